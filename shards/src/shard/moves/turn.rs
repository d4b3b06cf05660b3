//! The nodes that publish: from when each of their shards sends to the new owner of a session what
//! it has sent to the former one. It needs no table for it: the routes say so, and all that it
//! does is to tell both from where on they do.

use std::collections::BTreeMap;

use super::Source;
use super::marks::{About, Marks, Writer};
use crate::nodes::OwnerRequest;
use crate::shard::Shard;
use crate::shard::items::Item;
use crate::shard::nodes::NODES_MAX;

/// After so long it is not told any more from where on somebody else gets messages: who had to know
/// is gone, or has waited in vain.
const UNTOLD_MS: u64 = 60_000;

/// Something that a former owner is to hear as soon as it is up, before any message.
#[derive(Debug)]
pub(super) struct Untold {
    /// All nodes know it by that.
    former: u64,
    payload: Vec<u8>,
    until_ms: u64,
}

impl Shard {
    /// Another node has said something about many sessions.
    pub(in crate::shard) fn marks_from_node(&mut self, node: u16, stream: u16, payload: &[u8]) {
        let Some(marks) = Marks::read(payload) else {
            return;
        };
        match marks.about {
            About::Turn(at) | About::Reach(at) => {
                let shard = self.id;
                self.await_routes(OwnerRequest::AwaitRoutes {
                    shard,
                    node,
                    at,
                    payload: payload.into(),
                    all: matches!(marks.about, About::Turn(_)),
                });
            }
            About::Turned { .. } | About::Passed { .. } => {
                let from = Source {
                    node,
                    shard: stream,
                };
                self.sort_marks(from, &marks);
            }
            About::Reached(at) => {
                let from = Source {
                    node,
                    shard: stream,
                };
                self.marks_to_other_shards(from, payload);
                self.has_reached(node, at);
            }
        }
    }

    fn await_routes(&mut self, request: OwnerRequest) {
        if let Some(owners) = &mut self.owners {
            owners.request(request);
        }
    }

    /// What is said about sessions goes to their shards.
    fn sort_marks(&mut self, from: Source, marks: &Marks<'_>) {
        let mut homes: BTreeMap<u16, Writer> = BTreeMap::new();
        for each in marks.moves() {
            let home = homes.entry(self.shard_of(each.client));
            home.or_insert_with(|| Writer::new(marks.about)).add(each);
        }
        for (home, writer) in homes {
            let payload = writer.finish();
            if home == self.id {
                self.marks_at_home(from, &payload);
            } else {
                self.marks_to_shard(home, from, &payload);
            }
        }
    }

    fn marks_to_other_shards(&mut self, from: Source, payload: &[u8]) {
        let own = self.id;
        for shard in (0..self.count).filter(|shard| *shard != own) {
            self.marks_to_shard(shard, from, payload);
        }
    }

    fn marks_to_shard(&mut self, shard: u16, from: Source, payload: &[u8]) {
        if let Some(peer) = self.peers.get_mut(usize::from(shard)) {
            peer.push(Item::Marks {
                node: from.node,
                stream: from.shard,
                payload: payload.into(),
            });
        }
    }

    /// Another shard of this node has said something about many sessions, or what another node
    /// has said was for sessions of this shard.
    pub(in crate::shard) fn marks_at_home_or_turn(
        &mut self,
        (node, stream): (u16, u16),
        payload: &[u8],
    ) {
        match Marks::read(payload).map(|marks| marks.about) {
            Some(About::Turn(_)) => self.turn_to(NODES_MAX, payload),
            _ => self.marks_at_home(
                Source {
                    node,
                    shard: stream,
                },
                payload,
            ),
        }
    }

    fn marks_at_home(&mut self, from: Source, payload: &[u8]) {
        let Some(marks) = Marks::read(payload) else {
            return;
        };
        match marks.about {
            About::Turned { shards } => self.turned(from, shards, &marks),
            About::Passed { node, shard } => {
                let Some(node) = self.node_with(node) else {
                    return;
                };
                for each in marks.moves() {
                    self.was_passed(each.client, each.epoch, Source { node, shard });
                }
            }
            About::Reached(at) => self.has_reached(from.node, at),
            About::Turn(_) | About::Reach(_) => {}
        }
    }

    /// A shard has turned to the new owners of sessions, or to this node.
    fn turned(&mut self, source: Source, shards: u16, marks: &Marks<'_>) {
        let mut passed: BTreeMap<u16, Writer> = BTreeMap::new();
        let about = About::Passed {
            node: self.common.tag_of(source.node),
            shard: source.shard,
        };
        for each in marks.moves() {
            if self.has_turned((each.client, each.epoch), source, shards) {
                continue;
            }
            if let Some(node) = self.turns_away(each.client, each.epoch, source) {
                let writer = passed.entry(node).or_insert_with(|| Writer::new(about));
                writer.add(each);
            }
        }
        for (node, writer) in passed {
            self.say_marks(node, &writer.finish());
        }
    }

    /// The routes of the new owner of sessions are in force here: from here on it gets what this
    /// shard publishes for them.
    pub(in crate::shard) fn turn_to(&mut self, owner: u16, payload: &[u8]) {
        let Some(marks) = Marks::read(payload) else {
            return;
        };
        if let About::Reach(at) = marks.about {
            return self.say_marks(owner, &Writer::new(About::Reached(at)).finish());
        }
        let shards = self.count;
        let turned = || Writer::new(About::Turned { shards });
        let mut to_owner = turned();
        let mut to_former: BTreeMap<u64, Writer> = BTreeMap::new();
        for each in marks.moves() {
            to_owner.add(each);
            let writer = to_former.entry(each.former).or_insert_with(turned);
            writer.add(each);
        }
        for (former, writer) in to_former {
            self.tell_former(former, writer.finish());
        }
        self.say_marks(owner, &to_owner.finish());
    }

    /// Says something to the node that all know by a number, or lets it wait until that is up: this
    /// node may have come up just now, and have met the new owner first.
    fn tell_former(&mut self, former: u64, payload: Vec<u8>) {
        let until_ms = self.now_ms + UNTOLD_MS;
        if let Some(node) = self.node_that_hears(former) {
            self.say_marks(node, &payload);
        } else if former != 0
            && let Some(moves) = self.moves()
        {
            moves.untold.push(Untold {
                former,
                payload,
                until_ms,
            });
            self.has_moves = true;
        }
    }

    fn node_that_hears(&self, tag: u64) -> Option<u16> {
        let hears = |node: &u16| *node == NODES_MAX || self.life_of(*node).is_some();
        self.node_with(tag).filter(hears)
    }

    /// Who has come up is told what it was to hear before.
    pub(super) fn tell_who_came_up(&mut self) {
        let Some(moves) = self.moves() else { return };
        let untold = core::mem::take(&mut moves.untold);
        for each in untold {
            if let Some(node) = self.node_that_hears(each.former) {
                self.say_marks(node, &each.payload);
            } else if self.now_ms < each.until_ms
                && let Some(moves) = self.moves()
            {
                moves.untold.push(each);
            }
        }
    }

    /// The node that all know by a number; [`NODES_MAX`] for this one.
    fn node_with(&self, tag: u64) -> Option<u16> {
        (0..=NODES_MAX).find(|node| tag != 0 && self.common.tag_of(*node) == tag)
    }

    /// Says something to the shards of this node: to all that they are to turn, and else to
    /// those whose sessions it is about.
    pub(super) fn tell_marks_here(&mut self, payload: &[u8]) {
        let Some(marks) = Marks::read(payload) else {
            return;
        };
        let from = Source {
            node: NODES_MAX,
            shard: self.id,
        };
        if !matches!(marks.about, About::Turn(_)) {
            return self.sort_marks(from, &marks);
        }
        self.marks_to_other_shards(from, payload);
        self.turn_to(NODES_MAX, payload);
    }

    /// The process of a node is gone, behind all that has come from it by one of this node's
    /// shards.
    pub(in crate::shard) fn process_is_gone(&mut self, node: u16, by: u16) {
        if by == self.id {
            for shard in (0..self.count).filter(|shard| *shard != by) {
                if let Some(peer) = self.peers.get_mut(usize::from(shard)) {
                    peer.push(Item::ProcessGone { node });
                }
            }
        }
        self.forget_turned(node, by);
        self.forget_turned_away(node, by);
    }
}
