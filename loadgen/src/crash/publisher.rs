//! A publisher that keeps its exchanges over reconnects, or one that forgets them.

use std::time::{Duration, Instant};

use super::body;
use super::client::{Client, Event};
use super::outbox::Token;
use super::record::Outcome;
use super::scene::Scene;

/// Messages that may be unacknowledged.
const WINDOW: usize = 24;

/// Messages are not due before this, where the broker delays them: clocks are read at
/// different times.
const EARLY: Duration = Duration::from_millis(50);

/// A stream of a publisher.
pub(super) struct Flow {
    pub(super) stream: usize,
    /// Where it publishes; differs from where messages arrive when they are delayed.
    pub(super) topic: String,
    pub(super) delay: Option<Duration>,
}

/// A publisher.
pub(super) struct Publisher {
    pub(super) client: Client,
    flows: Vec<Flow>,
    /// Time between two messages.
    interval: Duration,
    due: Instant,
}

/// The token of a message.
fn token(stream: usize, sequence: u32) -> Token {
    (stream as u64) << 32 | u64::from(sequence)
}

/// The message of a token.
fn message(token: Token) -> (usize, u32) {
    ((token >> 32) as usize, token as u32)
}

impl Publisher {
    pub(super) fn new(client: Client, flows: Vec<Flow>, interval: Duration, now: Instant) -> Self {
        Self {
            client,
            flows,
            interval,
            due: now,
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.client.unsettled() == 0
    }

    pub(super) fn turn(&mut self, scene: &mut Scene) -> bool {
        if scene.is_loaded || !self.is_done() {
            self.client.connect(scene.address, scene.now);
        }
        let mut events = Vec::new();
        let busy = self.client.poll(scene.now, &mut scene.scratch, &mut events);
        for event in events {
            self.happened(event, scene);
        }
        if scene.is_loaded {
            self.publish(scene);
        }
        busy
    }

    fn happened(&mut self, event: Event, scene: &mut Scene) {
        match scene.common(event) {
            Some(Event::Connected { again }) => {
                for (stream, sequence) in again.into_iter().map(message) {
                    scene.record.sent_again(stream, sequence);
                }
            }
            Some(Event::Taken { token, reason }) => {
                let (stream, sequence) = message(token);
                let outcome = if reason >= 0x80 {
                    Outcome::Refused
                } else {
                    Outcome::Acknowledged
                };
                scene.record.settled(stream, sequence, outcome);
            }
            _ => {}
        }
    }

    fn publish(&mut self, scene: &mut Scene) {
        // What was due while there was no broker is not made up for.
        if scene.now > self.due + 16 * self.interval {
            self.due = scene.now;
        }
        while self.due <= scene.now && self.client.has_room(WINDOW) {
            self.due += self.interval;
            let flow = &self.flows[scene.chance.below(self.flows.len())];
            let filler = size(scene);
            let early = flow.delay.map(|delay| scene.now + delay - EARLY);
            let qos = scene.record.stream(flow.stream).qos;
            let sequence = scene.record.sent(flow.stream, early);
            let payload = body::write(scene.run, flow.stream, sequence, filler);
            let token = token(flow.stream, sequence);
            self.client
                .publish(&flow.topic, &payload, qos, false, token);
        }
    }
}

/// Most messages are small, some have several pages, few are large.
fn size(scene: &mut Scene) -> usize {
    match scene.chance.below(1000) {
        0 => 200_000,
        1..10 => scene.chance.below(20_000),
        _ => scene.chance.below(200),
    }
}
