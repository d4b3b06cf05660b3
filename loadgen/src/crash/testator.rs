//! A client with a session and a will, whose connection ends in every way there is.

use std::time::{Duration, Instant};

use super::body;
use super::client::{Client, Event, OwnWill};
use super::record::Outcome;
use super::scene::Scene;
use crate::codec::Qos;

/// Clocks of two processes are read at different times.
const EARLY: Duration = Duration::from_millis(50);

/// How long after a CONNACK or a DISCONNECT a kill makes the outcome unknown: nothing
/// acknowledges a DISCONNECT.
const UNSURE: Duration = Duration::from_millis(1500);

/// How long before its delay is over a will can certainly be taken back.
const MARGIN: Duration = Duration::from_millis(500);

/// How the connection will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Without DISCONNECT.
    Cut,
    /// With DISCONNECT, which deletes the will.
    Leave,
    /// Without DISCONNECT, but the client is back before the delay is over.
    Return,
    /// When the broker is killed.
    Stay,
}

/// Where a generation of the will stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No CONNECT is under way.
    Idle,
    /// CONNACK is awaited.
    Connecting,
    /// The broker has the will.
    Armed { since: Instant, until: Instant },
    /// DISCONNECT was sent, perhaps to a broker that was killed since CONNACK; the end of the
    /// connection is awaited.
    Leaving { since: Instant },
    /// The connection has ended after that: by the broker, or by a kill.
    Left { since: Instant, at: Instant },
    /// The will must come.
    Due { at: Instant },
}

/// The client.
pub(super) struct Testator {
    pub(super) client: Client,
    pub(super) stream: usize,
    qos: Qos,
    delay_s: u32,
    watchers: Vec<usize>,
    stage: Stage,
    ending: Ending,
    /// The current will's number.
    generation: u32,
    /// The will before, and when its connection ended, if this connection came early.
    returned_from: Option<(u32, Instant)>,
}

impl Testator {
    pub(super) fn new(client: Client, stream: usize, delay_s: u32, scene: &Scene) -> Self {
        Self {
            client,
            stream,
            qos: scene.record.stream(stream).qos,
            delay_s,
            watchers: Vec::new(),
            stage: Stage::Idle,
            ending: Ending::Cut,
            generation: 0,
            returned_from: None,
        }
    }

    /// Who watches for its wills.
    pub(super) fn watched_by(&mut self, watchers: Vec<usize>) {
        self.watchers = watchers;
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Idle
    }

    pub(super) fn turn(&mut self, scene: &mut Scene) -> bool {
        self.advance(scene);
        let mut events = Vec::new();
        let busy = self.client.poll(scene.now, &mut scene.scratch, &mut events);
        for event in events {
            match scene.common(event) {
                Some(Event::Connected { .. }) => self.connected(scene),
                Some(Event::Closed) => self.closed(scene),
                _ => {}
            }
        }
        busy
    }

    /// Does what is due.
    fn advance(&mut self, scene: &mut Scene) {
        let now = scene.now;
        match self.stage {
            Stage::Idle if scene.is_loaded => self.connect(scene),
            Stage::Armed { since, until } if now >= until => self.end(scene, since),
            Stage::Left { since, at } if now >= at + UNSURE => {
                let is_sure = scene.killed_at.is_none_or(|killed| killed < since);
                if is_sure && self.arrivals(scene) == 0 {
                    let (stream, generation) = (self.stream, self.generation);
                    scene.record.settled(stream, generation, Outcome::Withdrawn);
                }
                self.stage = Stage::Idle;
            }
            Stage::Due { at } if self.ending == Ending::Return && now >= at + self.pause() => {
                self.return_early(scene, at);
            }
            Stage::Due { .. } if self.has_come(scene) => self.stage = Stage::Idle,
            _ => {}
        }
    }

    /// How long the client is away when it comes back before the delay is over.
    fn pause(&self) -> Duration {
        Duration::from_millis(u64::from(self.delay_s) * 300)
    }

    fn connect(&mut self, scene: &mut Scene) {
        let generation = scene.record.next_sequence(self.stream);
        let topic = scene.record.stream(self.stream).topic.clone();
        self.client.will = Some(OwnWill {
            topic,
            payload: body::write(scene.run, self.stream, generation, 40),
            qos: self.qos,
            delay_s: self.delay_s,
        });
        if self.client.connect(scene.address, scene.now) {
            self.generation = scene.record.sent(self.stream, None);
            self.stage = Stage::Connecting;
        }
    }

    fn connected(&mut self, scene: &mut Scene) {
        let since = scene.now;
        self.take_back(scene);
        self.ending = match scene.chance.below(6) {
            0 | 1 => Ending::Cut,
            2 => Ending::Leave,
            3 if self.delay_s >= 2 => Ending::Return,
            _ => Ending::Stay,
        };
        let time = match self.ending {
            Ending::Stay => Duration::from_secs(3),
            _ => scene.chance.between_ms(20, 600),
        };
        let until = since + time;
        self.stage = Stage::Armed { since, until };
    }

    fn end(&mut self, scene: &mut Scene, since: Instant) {
        if self.ending == Ending::Leave {
            self.client.leave();
            self.stage = Stage::Leaving { since };
        } else {
            self.client.cut();
            self.due(scene, scene.now);
        }
    }

    /// The connection has ended without DISCONNECT: the will is owed, after its delay.
    fn due(&mut self, scene: &mut Scene, ended_at: Instant) {
        let (stream, generation) = (self.stream, self.generation);
        let delay = Duration::from_secs(u64::from(self.delay_s));
        let early = (ended_at + delay).checked_sub(EARLY).unwrap_or(ended_at);
        scene.record.set_not_before(stream, generation, early);
        scene
            .record
            .settled(stream, generation, Outcome::Acknowledged);
        self.stage = Stage::Due { at: ended_at };
    }

    fn closed(&mut self, scene: &mut Scene) {
        match self.stage {
            Stage::Leaving { since } => {
                let at = scene.now;
                self.stage = Stage::Left { since, at };
            }
            Stage::Armed { since, .. } => {
                // What ended it was the kill, if there was one.
                let killed_at = scene.killed_at.filter(|killed| *killed >= since);
                if killed_at.is_some() || self.ending == Ending::Return {
                    self.ending = Ending::Cut;
                }
                self.due(scene, killed_at.unwrap_or(scene.now));
            }
            // Whether the broker has taken the will is unknown: the next one is another.
            Stage::Connecting => self.stage = Stage::Idle,
            _ => {}
        }
    }

    /// Comes back before the delay is over, which takes the will back, if nothing disturbs.
    fn return_early(&mut self, scene: &mut Scene, since: Instant) {
        let was_killed = scene.killed_at.is_some_and(|killed| killed >= since);
        if was_killed || self.arrivals(scene) > 0 {
            self.ending = Ending::Cut;
            return;
        }
        let old = self.generation;
        self.connect(scene);
        if self.stage == Stage::Connecting {
            // Until CONNACK is there, either may be.
            scene.record.settled(self.stream, old, Outcome::Unknown);
            self.returned_from = Some((old, since));
        }
    }

    /// The will of the connection before is taken back, if this one came in time.
    fn take_back(&mut self, scene: &mut Scene) {
        let Some((old, since)) = self.returned_from.take() else {
            return;
        };
        let was_killed = scene.killed_at.is_some_and(|killed| killed >= since);
        let in_time = scene.now + MARGIN < since + Duration::from_secs(u64::from(self.delay_s));
        let has_come = self
            .watchers
            .iter()
            .any(|watcher| scene.record.count(*watcher, self.stream, old) > 0);
        if in_time && !was_killed && !has_come {
            scene.record.settled(self.stream, old, Outcome::Withdrawn);
        }
    }

    /// How many watchers have got the current will.
    fn arrivals(&self, scene: &Scene) -> usize {
        let has =
            |watcher: &&usize| scene.record.count(**watcher, self.stream, self.generation) > 0;
        self.watchers.iter().filter(has).count()
    }

    fn has_come(&self, scene: &Scene) -> bool {
        self.arrivals(scene) == self.watchers.len()
    }
}
