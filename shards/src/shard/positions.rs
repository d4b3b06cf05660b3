//! How far the streams of other nodes are received, with what is stored of them.
//!
//! A node sends its messages again until this one has accepted them, to the process that comes
//! after a crash, too. So each shard stores, in the same commit as what its sessions get of a
//! stream, the number of the last message. After a crash a message that comes again is given
//! only to the shards that had not come so far. For that a session has to be on the shard where
//! it was, so the seed by which sessions are divided is stored, too.
//!
//! ```text
//!   node ─ stream ─► shard stream % shards ── messages, then how far ──► other shards
//!                            │                                                │
//!                    commit, own position                             commit, own position
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use shard_store::{Change, Division, Process, StoredReceived};

use super::Shard;
use super::items::Item;
use super::plan::Plan;
use super::publish::Routed;
use protocol::message::MessageRef;

/// How long after a start what was received before may be of use. A node that is not heard for
/// much less is given up, with what it has not been told is accepted.
const USE_MS: u64 = 60_000;

/// A message in a stream of another node.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Whose stream.
    pub(crate) process: Arc<Process>,
    /// Which.
    pub(crate) stream: u16,
    /// The number of the message.
    pub(crate) number: u64,
}

impl Place {
    /// Whether a message comes right before this place.
    pub(crate) fn follows(&self, process: &Arc<Process>, stream: u16, number: u64) -> bool {
        Arc::ptr_eq(&self.process, process) && self.stream == stream && self.number + 1 == number
    }
}

/// What a shard knows of the streams that come to it. None without a store or a cluster.
#[derive(Debug)]
pub(super) struct Positions {
    /// What was stored before the start, by node and stream.
    former: HashMap<(Box<str>, u16), Former>,
    /// When the rest of it is forgotten.
    forget_ms: u64,
    /// The last message that has come, of the batch that is being handled.
    last: Option<Place>,
    /// How many publishes each shard had been sent when it was last told how far they go.
    told: Vec<u64>,
}

/// What was stored of a stream before the start.
#[derive(Debug)]
struct Former {
    boot: u64,
    /// The last message that each shard has.
    shards: Vec<(u16, u64)>,
    /// The node has gone on with the stream.
    is_heard: bool,
}

impl Former {
    /// The shards that have a message.
    fn with(&self, number: u64) -> Vec<u16> {
        let with = self.shards.iter().filter(|(_, last)| number <= *last);
        with.map(|(shard, _)| *shard).collect()
    }
}

impl Positions {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            former: HashMap::new(),
            forget_ms: u64::MAX,
            last: None,
            told: vec![0; usize::from(shards)],
        }
    }

    /// The shards that have the last message that has come since before the start, if it is one
    /// that came before.
    fn have_last(&self) -> Option<Vec<u16>> {
        if self.former.is_empty() {
            return None;
        }
        let last = self.last.as_ref()?;
        let former = self.former.get(&(last.process.node.clone(), last.stream))?;
        let shards = former.with(last.number);
        (!shards.is_empty()).then_some(shards)
    }
}

impl Shard {
    /// Takes what was stored of the streams that come to this shard, or, with `division`, drops
    /// all of it: it holds for another division.
    pub(super) fn restore_positions(
        &mut self,
        stored: Vec<StoredReceived>,
        division: Option<Division>,
    ) {
        let (Some(positions), Some(journal)) = (&mut self.positions, &mut self.journal) else {
            return;
        };
        if let Some(division) = division {
            for received in stored {
                journal.push(drop_received(
                    received.shard,
                    &received.process.node,
                    received.stream,
                ));
            }
            return journal.push(Change::PutDivision(division));
        }
        for received in stored {
            let boot = received.process.boot;
            let key = (received.process.node, received.stream);
            let former = positions.former.entry(key).or_insert_with(|| Former {
                boot,
                shards: Vec::new(),
                is_heard: false,
            });
            // Of two processes of a node the later one is the one that may still speak.
            if former.boot < boot {
                *former = Former {
                    boot,
                    shards: Vec::new(),
                    is_heard: false,
                };
            }
            if former.boot == boot {
                former.shards.push((received.shard, received.number));
            }
        }
        positions.forget_ms = self.now_ms + USE_MS;
    }

    /// The next message is the one at this place.
    pub(super) fn stream_goes_on(&mut self, place: &Place) {
        self.note_received();
        let Some(positions) = &mut self.positions else {
            return;
        };
        let before = place.number.saturating_sub(1);
        positions.last = Some(Place {
            number: before,
            ..place.clone()
        });
        if positions.former.is_empty() {
            return;
        }
        let key = (place.process.node.clone(), place.stream);
        if let Some(former) = positions.former.get_mut(&key) {
            former.is_heard = true;
            let is_other = former.boot != place.process.boot;
            if is_other || former.with(place.number).is_empty() {
                // What is stored of it is written over with what comes.
                positions.former.remove(&key);
            }
        }
    }

    /// A message has come.
    #[inline]
    pub(super) fn count_received(&mut self) {
        if let Some(positions) = &mut self.positions
            && let Some(last) = &mut positions.last
        {
            last.number += 1;
        }
    }

    /// Says how far a stream is received, to the shards that have got something of it since.
    pub(super) fn note_received(&mut self) {
        let Some(positions) = &mut self.positions else {
            return;
        };
        let Some(last) = positions.last.take() else {
            return;
        };
        let shards = self.peers.iter_mut().zip(&mut positions.told);
        for (peer, told) in shards {
            if peer.sent() != *told {
                *told = peer.sent();
                peer.push(Item::Received(last.clone()));
            }
        }
        self.received_up_to(last);
    }

    /// What this shard's sessions get of a stream up to a message is in the commit of this turn
    /// or an earlier one.
    pub(super) fn received_up_to(&mut self, place: Place) {
        let shard = self.id;
        if let Some(journal) = &mut self.journal
            // Nothing was stored: then nothing could come twice.
            && !journal.is_empty()
        {
            journal.push(Change::PutReceived {
                shard,
                process: place.process,
                stream: place.stream,
                number: place.number,
            });
        }
    }

    /// The shards that have the message that has just come since before the start.
    #[inline]
    pub(super) fn have_received(&self) -> Option<Vec<u16>> {
        self.positions.as_ref()?.have_last()
    }

    /// Brings a message that has come before to the sessions of the shards that have not got it.
    pub(super) fn follow_again(
        &mut self,
        plan: &Plan,
        message: &MessageRef<'_>,
        have_it: &[u16],
    ) -> Routed {
        let mut routed = Routed::default();
        self.is_foreign = true;
        for &peer in plan.peers.iter().filter(|peer| !have_it.contains(peer)) {
            if peer < self.count {
                self.send_publish(peer, message, &mut routed.waits);
            }
        }
        if !have_it.contains(&self.id) {
            self.deliver_plan(plan, message);
        }
        routed.touched = core::mem::take(&mut self.touched);
        routed
    }

    /// Forgets what was stored of streams that nobody goes on with.
    pub(super) fn forget_former(&mut self) {
        let now_ms = self.now_ms;
        let Some(positions) = &mut self.positions else {
            return;
        };
        if now_ms < positions.forget_ms {
            return;
        }
        positions.forget_ms = u64::MAX;
        let Some(journal) = &mut self.journal else {
            return;
        };
        positions.former.retain(|(node, stream), former| {
            if !former.is_heard {
                let shards = former.shards.iter();
                shards.for_each(|(shard, _)| journal.push(drop_received(*shard, node, *stream)));
            }
            former.is_heard
        });
    }
}

fn drop_received(shard: u16, node: &str, stream: u16) -> Change {
    Change::DropReceived {
        shard,
        node: node.into(),
        stream,
    }
}
