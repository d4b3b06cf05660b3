//! Retained messages: one client that changes them, and clients that come to read them.

use std::time::{Duration, Instant};

use super::body;
use super::client::{Client, Event, Message};
use super::scene::Scene;
use crate::codec::{Qos, Version};

/// Topics with a retained message.
const TOPICS: usize = 40;

/// Changes that may be unacknowledged, each of another topic.
const WINDOW: usize = 12;

/// How long a reader waits for what it must get, and how long it stays after that for what
/// it must not.
const MISSING: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_millis(250);

/// The first stream number of retained topics: far from those of the record.
const FIRST: usize = 1 << 20;

/// What was done to one topic. Changes are numbered from 1; 0 is the state before the first.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// Which changes deleted the message.
    deletions: Vec<bool>,
    acknowledged: usize,
}

impl Slot {
    fn sent(&self) -> usize {
        self.deletions.len()
    }

    /// Whether the topic may be empty for one who knows that `floor` was acknowledged.
    fn may_be_empty(&self, floor: usize) -> bool {
        floor == 0 || self.deletions[floor - 1..].contains(&true)
    }
}

/// The client that changes retained messages.
pub(super) struct Keeper {
    client: Client,
    slots: Vec<Slot>,
    /// What was acknowledged of each topic when only earlier things began to count.
    cut: Option<Vec<usize>>,
    due: Instant,
    reader: Option<Reader>,
    pub(super) reads: u64,
}

/// A client that reads all retained messages.
struct Reader {
    client: Client,
    /// What was known as acknowledged when it asked.
    floors: Vec<usize>,
    got: Vec<bool>,
    asked_at: Option<Instant>,
    complete_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(client: Client, now: Instant) -> Self {
        Self {
            client,
            slots: vec![Slot::default(); TOPICS],
            cut: None,
            due: now,
            reader: None,
            reads: 0,
        }
    }

    /// Only what has been acknowledged so far must be there from now on.
    pub(super) fn cut(&mut self) {
        self.cut = Some(self.slots.iter().map(|slot| slot.acknowledged).collect());
    }

    /// Goes away and asks for nothing more.
    pub(super) fn go_back(&mut self) {
        self.client.go_back();
        self.reader = None;
    }

    /// Begins to read all retained messages, unless somebody does.
    pub(super) fn read(&mut self, scene: &mut Scene) {
        if self.reader.is_none() {
            let version = if scene.chance.once_in(2) {
                Version::V5
            } else {
                Version::V311
            };
            self.reads += 1;
            let name = format!("crash-{:08x}-reader-{}", scene.run, self.reads);
            self.reader = Some(Reader {
                client: Client::new(name, version, false),
                floors: Vec::new(),
                got: vec![false; TOPICS],
                asked_at: None,
                complete_at: None,
            });
        }
    }

    /// Whether nobody reads and nothing is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.reader.is_none() && self.client.unsettled() == 0
    }

    /// Whether somebody reads.
    pub(super) fn is_reading(&self) -> bool {
        self.reader.is_some()
    }

    /// Gives up reading, because the broker was killed.
    pub(super) fn stop_reading(&mut self) {
        self.reader = None;
    }

    pub(super) fn turn(&mut self, scene: &mut Scene) -> bool {
        if scene.is_loaded || self.client.unsettled() > 0 {
            self.client.connect(scene.address, scene.now);
        }
        let mut events = Vec::new();
        let busy = self.client.poll(scene.now, &mut scene.scratch, &mut events);
        for event in events {
            if let Some(Event::Taken { token, reason }) = scene.common(event)
                && reason < 0x80
            {
                let slot = &mut self.slots[(token >> 32) as usize];
                slot.acknowledged = slot.acknowledged.max(token as u32 as usize);
            }
        }
        if scene.is_loaded {
            self.change(scene);
        }
        self.turn_reader(scene) || busy
    }

    fn change(&mut self, scene: &mut Scene) {
        while self.due <= scene.now && self.client.has_room(WINDOW) {
            self.due = scene.now.max(self.due + Duration::from_millis(2));
            let number = scene.chance.below(TOPICS);
            let slot = &mut self.slots[number];
            if slot.acknowledged < slot.sent() {
                continue;
            }
            let is_deletion = scene.chance.once_in(5);
            slot.deletions.push(is_deletion);
            let change = slot.sent();
            let mut payload = Vec::new();
            if !is_deletion {
                let filler = scene.chance.below(300);
                payload = body::write(scene.run, FIRST + number, change as u32, filler);
            }
            let qos = if number.is_multiple_of(2) {
                Qos::AtLeastOnce
            } else {
                Qos::ExactlyOnce
            };
            let topic = scene.topic(&format!("r/{number}"));
            let token = (number as u64) << 32 | change as u64;
            self.client.publish(&topic, &payload, qos, true, token);
        }
    }

    fn turn_reader(&mut self, scene: &mut Scene) -> bool {
        let Some(mut reader) = self.reader.take() else {
            return false;
        };
        if reader.asked_at.is_none() {
            reader.client.connect(scene.address, scene.now);
        }
        let mut events = Vec::new();
        let busy = reader
            .client
            .poll(scene.now, &mut scene.scratch, &mut events);
        for event in events {
            match scene.common(event) {
                Some(Event::Connected { .. }) => self.ask(&mut reader, scene),
                Some(Event::Message(message)) if message.retain => {
                    self.got(&mut reader, &message, scene);
                }
                // It will be read again.
                Some(Event::Closed) if reader.asked_at.is_some() => return busy,
                _ => {}
            }
        }
        if !self.is_finished(&mut reader, scene) {
            self.reader = Some(reader);
        }
        busy
    }

    fn ask(&self, reader: &mut Reader, scene: &Scene) {
        reader.floors = match &self.cut {
            Some(cut) => cut.clone(),
            None => self.slots.iter().map(|slot| slot.acknowledged).collect(),
        };
        reader.client.subscribe(&scene.topic("r/+"), 0);
        reader.asked_at = Some(scene.now);
    }

    fn got(&self, reader: &mut Reader, message: &Message, scene: &mut Scene) {
        let read = body::read(scene.run, &message.payload);
        let number = read.and_then(|(stream, _)| stream.checked_sub(FIRST));
        let (Some((_, change)), Some(number)) = (read, number.filter(|one| *one < TOPICS)) else {
            let what = format!("retained, {}", message.topic);
            scene.record.faults.add("altered", what);
            return;
        };
        reader.got[number] = true;
        let (change, slot) = (change as usize, &self.slots[number]);
        let floor = reader.floors[number];
        if change < floor {
            let what = format!("topic {number}: change {change}, but {floor} was acknowledged");
            scene.record.faults.add("stale retained message", what);
        } else if change > slot.sent() {
            let what = format!("topic {number}: change {change} of {}", slot.sent());
            scene.record.faults.add("never sent", what);
        }
    }

    /// Whether all that must come has come, and a while has passed since.
    fn is_finished(&self, reader: &mut Reader, scene: &mut Scene) -> bool {
        let Some(asked_at) = reader.asked_at else {
            return false;
        };
        let missing: Vec<usize> = (0..TOPICS)
            .filter(|&number| {
                !reader.got[number] && !self.slots[number].may_be_empty(reader.floors[number])
            })
            .collect();
        if missing.is_empty() {
            let complete_at = *reader.complete_at.get_or_insert(scene.now);
            return scene.now >= complete_at + LINGER;
        }
        if scene.now < asked_at + MISSING {
            return false;
        }
        for number in missing {
            let floor = reader.floors[number];
            let what = format!("topic {number}: change {floor} was acknowledged, nothing is there");
            scene.record.faults.add("retained message lost", what);
        }
        true
    }
}
