//! Messages that wait for a client that is away or has its window full.

use protocol::session::{Delivery, WhyLeft};
use protocol::wire::ReasonCode;

use super::Shard;
use super::events::Event;

impl Shard {
    /// Puts a delivery into the queue of its session. If it is too much for the queue, others
    /// leave it, or the client is disconnected at the end of the turn.
    pub(super) fn enqueue(&mut self, session_key: u32, delivery: Delivery) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let limits = self.limits.queue();
        let enqueued = session.outflow.enqueue(delivery, 0, &limits, self.now_ms);
        let connection = session.connection;
        if enqueued.disconnect {
            self.overflow(connection);
        }
        for left in enqueued.left {
            self.left_queue(session_key, &left.delivery, left.why);
        }
    }

    /// Counts a message that has left the queue of a session without being sent.
    fn left_queue(&mut self, session_key: u32, delivery: &Delivery, why: WhyLeft) {
        let reason = match why {
            WhyLeft::Expired => {
                self.stats.expired.add(1);
                "expired"
            }
            WhyLeft::Full => {
                if let Some(session) = self.sessions.get_mut(session_key) {
                    session.dropped += 1;
                }
                self.stats.dropped.add(1);
                self.stats.queue_full.add(1);
                "queue_full"
            }
        };
        if self.wants(Event::DeliveryDropped) {
            self.raise_queued(session_key, delivery, Some(reason));
        }
    }

    /// A connection is to end with this turn, because its session's queue is full.
    fn overflow(&mut self, key: u32) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.overflowed
        {
            connection.overflowed = true;
            self.overflowed.push(key);
        }
    }

    /// Disconnects the clients whose queue has overflowed. That is not done at once, since
    /// the end of one publishes its will, which may be too much for another.
    pub(super) fn disconnect_overflowed(&mut self) {
        while let Some(key) = self.overflowed.pop() {
            let connection = self.connections.get(key);
            if connection.is_some_and(|connection| connection.overflowed) {
                self.stats.overflowed.add(1);
                self.disconnect(key, ReasonCode::QUOTA_EXCEEDED);
            }
        }
    }
}
