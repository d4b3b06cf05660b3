//! How fast a client may send. One that is faster is not read for a while: its messages wait
//! in its socket, nothing is dropped, and it is not disconnected.

use protocol::rate::{Allowance, Bucket, Meter};

use super::Shard;
use super::connection::{Phase, Rates};
use super::timers::Timer;

impl Shard {
    /// Begins to watch the rates of a client that is connected, if there are limits.
    pub(super) fn limit_rates(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (limits, now_ms) = (&self.limits, self.now_ms);
        let listener = self.common.listeners.get(&connection.remote);
        // Whoever comes through a limited listener is bound by both.
        let meters = |node: Allowance, listener: Allowance| -> Vec<Meter> {
            let both = [node, listener].into_iter();
            both.filter_map(|allowance| allowance.meter(now_ms))
                .collect()
        };
        let messages = meters(limits.messages(), listener.messages);
        let bytes = meters(limits.bytes(), listener.bytes);
        let unlimited = messages.is_empty() && bytes.is_empty();
        if unlimited || connection.phase != Phase::Live {
            return;
        }
        connection.limited = true;
        connection.extras.get_or_insert_default().rates = Some(Box::new(Rates {
            messages,
            bytes,
            timer: None,
        }));
    }

    /// Whether a client has to wait with its next packet, which it pays for if not. The
    /// connection is paused then, until its timer fires.
    pub(super) fn is_too_fast(&mut self, key: u32, is_message: bool, size: usize) -> bool {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let serial = connection.serial;
        let ended = connection.ended;
        let extras = connection.extras.as_mut();
        let Some(rates) = extras.and_then(|extras| extras.rates.as_mut()) else {
            return false;
        };
        let messages = rates.messages.iter_mut().filter(|_| is_message);
        let meters = messages.chain(rates.bytes.iter_mut());
        let wait_ms = meters.map(|meter| meter.wait_ms(now_ms)).max();
        match wait_ms {
            // What a client has left behind does not wait any more.
            None | Some(0) => {}
            Some(_) if ended => {}
            Some(wait_ms) => {
                let timer = Timer::Rate { key, serial };
                rates.timer = Some(self.wheel.insert(now_ms.saturating_add(wait_ms), timer));
                connection.too_fast = true;
                connection.paused = true;
                self.paused.push(key);
                return true;
            }
        }
        for messages in rates.messages.iter_mut().filter(|_| is_message) {
            messages.take(1);
        }
        for bytes in &mut rates.bytes {
            bytes.take(u32::try_from(size).unwrap_or(u32::MAX));
        }
        false
    }

    /// A client has waited long enough. The end of the turn goes on with it.
    pub(super) fn rate_due(&mut self, key: u32, serial: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial {
            return;
        }
        connection.too_fast = false;
        let extras = connection.extras.as_mut();
        if let Some(rates) = extras.and_then(|extras| extras.rates.as_mut()) {
            rates.timer = None;
        }
    }

    /// Pays for taking over a client identifier that is connected: what is left goes to the new
    /// connection. An error when it was taken over too often.
    pub(super) fn pay_takeover(&mut self, client_id: &str) -> Result<Option<Box<Bucket>>, ()> {
        let session = self.find_session(client_id);
        let session = session.and_then(|session| self.sessions.get(session));
        let Some(connection) =
            session.and_then(|session| self.connections.get_mut(session.connection))
        else {
            return Ok(None);
        };
        let extras = connection.extras.get_or_insert_default();
        let fresh = || self.limits.takeover_rate.bucket(self.now_ms).map(Box::new);
        let Some(mut bucket) = extras.takeovers.take().or_else(fresh) else {
            return Ok(None);
        };
        if bucket.wait_ms(self.now_ms) > 0 {
            extras.takeovers = Some(bucket);
            return Err(());
        }
        bucket.take(1);
        Ok(Some(bucket))
    }

    /// Keeps what is left for the next takeover.
    pub(super) fn keep_takeovers(&mut self, key: u32, takeovers: Option<Box<Bucket>>) {
        if takeovers.is_some()
            && let Some(connection) = self.connections.get_mut(key)
            && connection.phase == Phase::Live
        {
            connection.extras.get_or_insert_default().takeovers = takeovers;
        }
    }
}
