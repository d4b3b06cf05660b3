//! What all actors share: the record, the time, and chance.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::body;
use super::client::{Event, Message};
use super::record::{Arrival, Record};

/// Chance that can be repeated: xorshift64*.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True once in `count` times.
    pub(super) fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A time between two.
    pub(super) fn between_ms(&mut self, low: u64, high: u64) -> Duration {
        let span = (high.saturating_sub(low) + 1) as usize;
        Duration::from_millis(low + self.below(span) as u64)
    }
}

/// What all actors share.
pub(super) struct Scene {
    pub(super) run: u32,
    pub(super) record: Record,
    pub(super) chance: Chance,
    /// The time of this turn.
    pub(super) now: Instant,
    /// When the broker was killed last.
    pub(super) killed_at: Option<Instant>,
    pub(super) address: SocketAddr,
    /// New messages may be sent.
    pub(super) is_loaded: bool,
    /// All receivers are to be there, and to stay.
    pub(super) is_ending: bool,
    /// Connections that a broker has accepted since its start.
    pub(super) connected: u64,
    pub(super) scratch: Vec<u8>,
}

impl Scene {
    /// A topic of this run.
    pub(super) fn topic(&self, rest: &str) -> String {
        format!("crash/{:08x}/{rest}", self.run)
    }

    /// Takes note of a message that has come to a receiver.
    pub(super) fn arrived(&mut self, receiver: usize, message: &Message) {
        let Some((stream, sequence)) = body::read(self.run, &message.payload) else {
            let what = format!("{} bytes at {}", message.payload.len(), message.topic);
            self.record.faults.add("altered", what);
            return;
        };
        let arrival = Arrival {
            stream,
            sequence,
            topic: &message.topic,
            qos: message.qos,
            dup: message.dup,
            retain: message.retain,
            at: Instant::now(),
        };
        self.record.arrived(receiver, &arrival);
    }

    /// Takes note of what concerns no actor in particular; the event if it does.
    pub(super) fn common(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Fault(kind, what) => {
                self.record.faults.add(kind, what);
                None
            }
            Event::Connected { .. } => {
                self.connected += 1;
                Some(event)
            }
            _ => Some(event),
        }
    }
}
