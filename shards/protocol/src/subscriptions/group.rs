//! A share group: which of its members gets a message.

use core::cell::Cell;

use super::{FilterId, SessionKey};
use crate::wire::SubscriptionOptions;

/// One session in a share group; known by shard and session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// The shard that the session lives on.
    pub shard: u16,
    /// Whether its client is connected.
    pub online: bool,
    /// The session.
    pub session: SessionKey,
    /// Tells the session from others that had its key before or will have it.
    pub serial: u32,
    /// What was asked for and granted.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier; 0 for none.
    pub identifier: u32,
}

/// The members that subscribe to one filter under one name.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: Box<str>,
    pub(super) filter: Option<FilterId>,
    /// Tells the group from others that had its number before or will have it.
    pub(super) serial: u32,
    /// Those online first.
    members: Vec<Member>,
    online: usize,
    /// The member to begin with next, among those online and among those offline.
    turns: [Cell<usize>; 2],
}

impl Group {
    pub(super) fn new(name: &str, filter: FilterId, serial: u32) -> Self {
        Self {
            serial,
            name: name.into(),
            filter: Some(filter),
            ..Self::default()
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Adds a member, and returns what the same session was before.
    pub(super) fn insert(&mut self, member: Member) -> Option<Member> {
        let replaced = self.remove(member.shard, member.session);
        self.members.push(Member {
            online: false,
            ..member
        });
        self.set_online_at(self.members.len() - 1, member.online);
        replaced
    }

    pub(super) fn remove(&mut self, shard: u16, session: SessionKey) -> Option<Member> {
        let place = self.place(shard, session)?;
        let removed = self.members[place];
        let place = self.set_online_at(place, false);
        self.members.swap_remove(place);
        Some(removed)
    }

    /// Returns false where there is no such member.
    pub(super) fn set_online(&mut self, shard: u16, session: SessionKey, online: bool) -> bool {
        let Some(place) = self.place(shard, session) else {
            return false;
        };
        self.set_online_at(place, online);
        true
    }

    /// The next member in turn that `accepts` takes, those online before those offline.
    pub(super) fn pick(&self, mut accepts: impl FnMut(&Member) -> bool) -> Option<Member> {
        let (online, offline) = self.members.split_at(self.online);
        next(online, &self.turns[0], &mut accepts)
            .or_else(|| next(offline, &self.turns[1], &mut accepts))
    }

    fn place(&self, shard: u16, session: SessionKey) -> Option<usize> {
        let is_it = |member: &Member| member.session == session && member.shard == shard;
        self.members.iter().position(is_it)
    }

    /// Moves a member between those online and those offline; returns its place.
    fn set_online_at(&mut self, place: usize, online: bool) -> usize {
        if self.members[place].online == online {
            return place;
        }
        self.members[place].online = online;
        if !online {
            self.online -= 1;
        }
        let border = self.online;
        self.members.swap(place, border);
        if online {
            self.online += 1;
        }
        border
    }
}

fn next(
    members: &[Member],
    turn: &Cell<usize>,
    accepts: &mut impl FnMut(&Member) -> bool,
) -> Option<Member> {
    let (before, after) = members.split_at(turn.get().min(members.len()));
    let in_turn = after.iter().chain(before);
    let (steps, member) = in_turn.enumerate().find(|(_, member)| accepts(member))?;
    turn.set((before.len() + steps + 1) % members.len());
    Some(*member)
}
