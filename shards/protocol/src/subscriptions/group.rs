//! A share group: which of its members gets a message.
//!
//! Every operation takes the same time whatever the number of members: those that can take
//! a message stand in a ring, in the order of their turns, and so do those whose window is
//! full and those whose client is away. Whoever joins a ring comes last.

use core::cell::Cell;
use std::rc::Rc;

use super::strategy::{Occasion, Random, Strategy, consistent, mix};
use super::{FilterId, SessionKey};
use crate::session::Membership;
use crate::topic::tree::hash::Hash;
use crate::topic::tree::table::Part;
use crate::wire::SubscriptionOptions;

/// Members up to which one is searched for from end to end.
const SEARCHED_MAX: usize = 16;

/// Members that a hash or chance picks before it is somebody's turn.
const TRIES: u64 = 8;

/// No place, no member.
const NONE: u32 = u32::MAX;

/// Rings of members: those that can only queue a message while online, those that can while
/// away, and those that can send it. With [`Strategy::Local`] there is one of the last for
/// each shard.
const BUSY: usize = 0;
const AWAY: usize = 1;
const READY: usize = 2;

/// What a member can do with another message, as far as the group has heard.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ability {
    /// Send it, or queue it if its client is away.
    #[default]
    Ready,
    /// Queue it: its window is full.
    Busy,
    /// Nothing: its queue is full too.
    Full,
}

/// What is asked of the member that gets a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resort {
    /// To send it at once, or refuse it.
    Send,
    /// To queue it or refuse it: no member can send it.
    Queue,
    /// To queue it although its client is away: no member that is online can take it.
    Last,
}

/// One session in a share group; known by shard and session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// The shard that the session lives on.
    pub shard: u16,
    /// Whether its client is connected.
    pub online: bool,
    /// What it can do with a message.
    pub ability: Ability,
    /// The session.
    pub session: SessionKey,
    /// Tells the session from others that had its key before or will have it.
    pub serial: u32,
    /// What was asked for and granted.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier; 0 for none.
    pub identifier: u32,
    /// The number by which the session knows the subscription.
    pub membership: Membership,
}

/// A member with its neighbours in its ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) member: Member,
    before: u32,
    behind: u32,
    /// Where it stands among those online.
    rank: u32,
}

/// The members that subscribe to one filter under one name.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: Box<str>,
    pub(super) filter: Option<FilterId>,
    /// Tells the group from others that had its number before or will have it.
    pub(super) serial: u32,
    strategy: Strategy,
    initial_sticky_pick: Strategy,
    members: Vec<Place>,
    /// The places by shard and session, once there are many.
    index: Option<Box<Part>>,
    /// Whose turn it is in each ring.
    heads: Vec<u32>,
    /// The places of those online, if the strategy picks by number.
    online: Vec<u32>,
    /// Members that are online.
    online_len: usize,
    /// The shard whose turn it is, for a publisher elsewhere.
    shard_turn: usize,
    /// The member to stay with, by shard and session.
    sticky: Option<(u16, SessionKey)>,
    /// Turns so far, of all groups with the name.
    turns: Option<Rc<Cell<u64>>>,
    /// It stays although it may have no members.
    pub(super) held: bool,
}

impl Group {
    pub(super) fn new(name: &str, filter: FilterId, serial: u32, by: [Strategy; 2]) -> Self {
        let [strategy, initial_sticky_pick] = by;
        Self {
            serial,
            name: name.into(),
            filter: Some(filter),
            strategy,
            initial_sticky_pick,
            heads: vec![NONE; READY + 1],
            ..Self::default()
        }
    }

    /// Shares the turns with other groups of the name.
    pub(super) fn share_turns(&mut self, turns: Rc<Cell<u64>>) {
        self.turns = Some(turns);
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn online_len(&self) -> usize {
        self.online_len
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().map(|place| &place.member)
    }

    pub(super) fn member(&self, hash: &Hash, shard: u16, session: SessionKey) -> Option<&Member> {
        let place = self.place(hash, shard, session)?;
        Some(&self.members[place].member)
    }

    /// Adds a member, and returns what the same session was before.
    pub(super) fn insert(&mut self, hash: &Hash, member: Member) -> Option<Member> {
        if let Some(place) = self.place(hash, member.shard, member.session) {
            let replaced = self.members[place].member;
            self.change(place, |entry| *entry = member);
            return Some(replaced);
        }
        let place = self.members.len();
        self.members.push(Place {
            member,
            before: NONE,
            behind: NONE,
            rank: NONE,
        });
        match &mut self.index {
            Some(index) => index.insert(key(hash, &member), place as u32),
            None if place == SEARCHED_MAX => {
                let mut index = Box::<Part>::default();
                for (place, entry) in (0..).zip(&self.members) {
                    index.insert(key(hash, &entry.member), place);
                }
                self.index = Some(index);
            }
            None => {}
        }
        self.enter_online(place);
        self.enter_ring(place);
        None
    }

    pub(super) fn remove(
        &mut self,
        hash: &Hash,
        shard: u16,
        session: SessionKey,
    ) -> Option<Member> {
        let place = self.place(hash, shard, session)?;
        self.leave_online(place);
        self.leave_ring(place);
        let last = self.members.len() - 1;
        let moved = self.members[last].member;
        let removed = self.members.swap_remove(place).member;
        if let Some(index) = &mut self.index {
            index.remove(key(hash, &removed), place as u32);
            if place != last {
                index.remove(key(hash, &moved), last as u32);
                index.insert(key(hash, &moved), place as u32);
            }
        }
        if place != last {
            self.moved(last as u32, place as u32);
        }
        if self.sticky == Some((shard, session)) {
            self.sticky = None;
        }
        Some(removed)
    }

    /// Says whether a member's client is there. Returns false where there is no such member.
    pub(super) fn set_online(
        &mut self,
        hash: &Hash,
        shard: u16,
        session: SessionKey,
        online: bool,
    ) -> bool {
        let Some(place) = self.place(hash, shard, session) else {
            return false;
        };
        self.change(place, |member| {
            (member.online, member.ability) = (online, Ability::Ready);
        });
        true
    }

    /// Says what a member can do. Returns false where there is no such member.
    pub(super) fn set_ability(
        &mut self,
        hash: &Hash,
        shard: u16,
        session: SessionKey,
        ability: Ability,
    ) -> bool {
        let Some(place) = self.place(hash, shard, session) else {
            return false;
        };
        self.change(place, |member| member.ability = ability);
        true
    }

    /// The member that is to get a message, and what is asked of it. `None` when none can
    /// take one.
    pub(super) fn pick(
        &mut self,
        hash: &Hash,
        occasion: Occasion<'_>,
        random: &mut Random,
    ) -> Option<(Member, Resort)> {
        let picked = self.pick_by(self.strategy, hash, occasion, random);
        let (place, resort) = picked
            .map(|place| (place, Resort::Send))
            .or_else(|| Some((self.pick_busy(hash, occasion)?, Resort::Queue)))
            .or_else(|| Some((self.next_in_turn(AWAY)?, Resort::Last)))?;
        Some((self.members[place].member, resort))
    }

    /// A member that can send a message.
    fn pick_by(
        &mut self,
        strategy: Strategy,
        hash: &Hash,
        occasion: Occasion<'_>,
        random: &mut Random,
    ) -> Option<usize> {
        match strategy {
            Strategy::RoundRobin => self.next_in_turn(READY),
            Strategy::Local => self.pick_local(occasion.shard),
            Strategy::Sticky => self.pick_sticky(hash, occasion, random),
            Strategy::RoundRobinPerGroup => {
                let turns = self.turns.as_ref()?;
                let turn = turns.get();
                turns.set(turn.wrapping_add(1));
                let of = self.online.len().max(1) as u64;
                self.online_if(Ability::Ready, (turn % of) as usize)
                    .or_else(|| self.next_in_turn(READY))
            }
            Strategy::Random => {
                let of = self.online.len().max(1) as u64;
                let mut tries = (0..TRIES).map(|_| (random.next_number() % of) as usize);
                tries
                    .find_map(|rank| self.online_if(Ability::Ready, rank))
                    .or_else(|| self.next_in_turn(READY))
            }
            Strategy::HashClientId | Strategy::HashTopic => {
                let by = self.hashed(strategy, hash, occasion);
                self.by_hash(by, Ability::Ready)
                    .or_else(|| self.next_in_turn(READY))
            }
        }
    }

    /// A member on the publisher's shard before those on others, which take turns.
    fn pick_local(&mut self, shard: u16) -> Option<usize> {
        let own = self.next_in_turn(READY + usize::from(shard));
        own.or_else(|| {
            let shards = self.heads.len() - READY;
            let from = self.shard_turn;
            let mut turns = (0..shards).map(|turn| (from + turn) % shards);
            let shard = turns.find(|shard| self.heads[READY + shard] != NONE)?;
            self.shard_turn = shard + 1;
            self.next_in_turn(READY + shard)
        })
    }

    fn pick_sticky(
        &mut self,
        hash: &Hash,
        occasion: Occasion<'_>,
        random: &mut Random,
    ) -> Option<usize> {
        if let Some(place) = self.sticky_place(hash)
            && self.is_online(place, Ability::Ready)
        {
            return Some(place);
        }
        let initial = match self.initial_sticky_pick {
            Strategy::Sticky => Strategy::RoundRobin,
            other => other,
        };
        let place = self.pick_by(initial, hash, occasion, random)?;
        let member = &self.members[place].member;
        self.sticky = Some((member.shard, member.session));
        Some(place)
    }

    /// A member that can queue a message: the one that would be picked if it could send it,
    /// so that what belongs together stays together, or the next in turn.
    fn pick_busy(&mut self, hash: &Hash, occasion: Occasion<'_>) -> Option<usize> {
        let same = match self.strategy {
            Strategy::Sticky => self
                .sticky_place(hash)
                .filter(|place| self.is_online(*place, Ability::Busy)),
            Strategy::HashClientId | Strategy::HashTopic => {
                let by = self.hashed(self.strategy, hash, occasion);
                self.by_hash(by, Ability::Busy)
            }
            _ => None,
        };
        same.or_else(|| self.next_in_turn(BUSY))
    }

    fn sticky_place(&self, hash: &Hash) -> Option<usize> {
        let (shard, session) = self.sticky?;
        self.place(hash, shard, session)
    }

    fn hashed(&self, strategy: Strategy, hash: &Hash, occasion: Occasion<'_>) -> u64 {
        match strategy {
            Strategy::HashTopic => hash.text(occasion.topic),
            _ => mix(occasion.publisher),
        }
    }

    /// The first of those that a hash leads to that has the ability.
    fn by_hash(&self, hash: u64, ability: Ability) -> Option<usize> {
        let count = self.online.len();
        let mut tries = (0..TRIES).map(|n| consistent(mix(hash ^ n), count));
        tries.find_map(|rank| self.online_if(ability, rank))
    }

    /// The place of one of those online, if it has the ability.
    fn online_if(&self, ability: Ability, rank: usize) -> Option<usize> {
        let place = *self.online.get(rank)? as usize;
        self.is_online(place, ability).then_some(place)
    }

    fn is_online(&self, place: usize, ability: Ability) -> bool {
        let member = &self.members[place].member;
        member.online && member.ability == ability
    }

    /// The member whose turn it is in a ring; the next turn is that of the one behind it.
    fn next_in_turn(&mut self, ring: usize) -> Option<usize> {
        let head = self.heads.get_mut(ring).filter(|head| **head != NONE)?;
        let place = *head as usize;
        *head = self.members[place].behind;
        Some(place)
    }

    fn place(&self, hash: &Hash, shard: u16, session: SessionKey) -> Option<usize> {
        let is_it = |member: &Member| member.session == session && member.shard == shard;
        if let Some(index) = &self.index {
            let key = key_of(hash, shard, session);
            let found = index.find(key, |place| is_it(&self.members[place as usize].member));
            return found.map(|place| place as usize);
        }
        self.members.iter().position(|place| is_it(&place.member))
    }

    /// The ring that a member belongs to.
    fn ring(&self, member: &Member) -> Option<usize> {
        let is_local = [self.strategy, self.initial_sticky_pick]
            == [Strategy::Sticky, Strategy::Local]
            || self.strategy == Strategy::Local;
        match (member.online, member.ability) {
            (_, Ability::Full) => None,
            (true, Ability::Ready) if is_local => Some(READY + usize::from(member.shard)),
            (true, Ability::Ready) => Some(READY),
            (true, Ability::Busy) => Some(BUSY),
            (false, _) => Some(AWAY),
        }
    }

    /// Whether members are picked by number.
    fn ranks(&self) -> bool {
        let by_number = |strategy| {
            !matches!(
                strategy,
                Strategy::RoundRobin | Strategy::Local | Strategy::Sticky
            )
        };
        by_number(self.strategy)
            || (self.strategy == Strategy::Sticky && by_number(self.initial_sticky_pick))
    }

    /// Changes a member, and moves it to where it belongs then.
    fn change(&mut self, place: usize, change: impl FnOnce(&mut Member)) {
        let before = self.members[place].member;
        let mut member = before;
        change(&mut member);
        if member.online != before.online {
            self.leave_online(place);
        }
        let moves = self.ring(&before) != self.ring(&member);
        if moves {
            self.leave_ring(place);
        }
        self.members[place].member = member;
        if member.online != before.online {
            self.enter_online(place);
        }
        if moves {
            self.enter_ring(place);
        }
    }

    /// Counts a member in that is online.
    fn enter_online(&mut self, place: usize) {
        if self.members[place].member.online {
            self.online_len += 1;
            if self.ranks() {
                self.members[place].rank = self.online.len() as u32;
                self.online.push(place as u32);
            }
        }
    }

    /// Counts a member out that was online.
    fn leave_online(&mut self, place: usize) {
        let Place { member, rank, .. } = self.members[place];
        if member.online {
            self.online_len -= 1;
            if self.ranks() {
                self.online.swap_remove(rank as usize);
                if let Some(moved) = self.online.get(rank as usize) {
                    self.members[*moved as usize].rank = rank;
                }
            }
        }
    }

    /// Puts a member into its ring, behind all others.
    fn enter_ring(&mut self, place: usize) {
        let member = self.members[place].member;
        let here = place as u32;
        let Some(ring) = self.ring(&member) else {
            return;
        };
        if ring >= self.heads.len() {
            self.heads.resize(ring + 1, NONE);
        }
        let head = self.heads[ring];
        if head == NONE {
            self.heads[ring] = here;
            (self.members[place].before, self.members[place].behind) = (here, here);
            return;
        }
        let last = self.members[head as usize].before;
        (self.members[place].before, self.members[place].behind) = (last, head);
        self.members[last as usize].behind = here;
        self.members[head as usize].before = here;
    }

    /// Takes a member out of its ring.
    fn leave_ring(&mut self, place: usize) {
        let Place {
            member,
            before,
            behind,
            ..
        } = self.members[place];
        let Some(ring) = self.ring(&member) else {
            return;
        };
        let here = place as u32;
        if behind == here {
            self.heads[ring] = NONE;
            return;
        }
        self.members[before as usize].behind = behind;
        self.members[behind as usize].before = before;
        if self.heads[ring] == here {
            self.heads[ring] = behind;
        }
    }

    /// A member has moved to another place: its neighbours have to know.
    fn moved(&mut self, from: u32, to: u32) {
        let Place {
            member,
            before,
            behind,
            rank,
        } = self.members[to as usize];
        if member.online && self.ranks() {
            self.online[rank as usize] = to;
        }
        let Some(ring) = self.ring(&member) else {
            return;
        };
        if behind == from {
            (
                self.members[to as usize].before,
                self.members[to as usize].behind,
            ) = (to, to);
        } else {
            self.members[before as usize].behind = to;
            self.members[behind as usize].before = to;
        }
        if self.heads[ring] == from {
            self.heads[ring] = to;
        }
    }
}

fn key(hash: &Hash, member: &Member) -> u32 {
    key_of(hash, member.shard, member.session)
}

fn key_of(hash: &Hash, shard: u16, session: SessionKey) -> u32 {
    (hash.with(hash.with(0, u32::from(shard)), session) >> 32) as u32
}
