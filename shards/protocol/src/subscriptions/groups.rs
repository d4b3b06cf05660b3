//! All share groups, by number and by filter and name.

use core::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::group::{Ability, Group, Member, Place, Resort};
use super::strategy::{Occasion, Random, Strategies, Strategy};
use super::{FilterId, GroupId, SessionKey};
use crate::topic::tree::hash::Hash;
use crate::topic::tree::slab::Slab;
use crate::topic::tree::table::Table;

#[derive(Debug)]
pub(super) struct Groups {
    hash: Hash,
    groups: Slab<Group>,
    numbers: Table,
    members: usize,
    /// Groups created so far.
    created: u32,
    strategies: Strategies,
    /// The turns that all groups of a name share, by name.
    turns: HashMap<Box<str>, Rc<Cell<u64>>>,
}

impl Groups {
    pub(super) fn new(hash: Hash, strategies: Strategies) -> Self {
        Self {
            hash,
            groups: Slab::new(),
            numbers: Table::default(),
            members: 0,
            created: 0,
            strategies,
            turns: HashMap::new(),
        }
    }

    pub(super) fn find(&self, filter: FilterId, name: &str) -> Option<GroupId> {
        let is_it = |number| {
            let group = self.groups.get(number);
            group.filter == Some(filter) && *group.name == *name
        };
        self.numbers
            .find(hash_of(&self.hash, filter, name), is_it)
            .map(GroupId)
    }

    /// Creates a group that is not there, without members.
    pub(super) fn create(&mut self, filter: FilterId, name: &str) -> GroupId {
        self.created = self.created.wrapping_add(1);
        let strategy = self.strategies.of(name);
        let by = [strategy, self.strategies.initial_sticky_pick];
        let mut group = Group::new(name, filter, self.created, by);
        if by.contains(&Strategy::RoundRobinPerGroup) {
            group.share_turns(Rc::clone(self.turns.entry(name.into()).or_default()));
        }
        let number = self.groups.insert(group);
        self.numbers
            .insert(hash_of(&self.hash, filter, name), number);
        GroupId(number)
    }

    /// Removes a group that has no members any more.
    pub(super) fn remove(&mut self, id: GroupId) {
        let group = self.groups.remove(id.0);
        if let Some(filter) = group.filter {
            self.numbers
                .remove(hash_of(&self.hash, filter, &group.name), id.0);
        }
        if let Some(turns) = self.turns.get(&group.name)
            && Rc::strong_count(turns) <= 2
        {
            self.turns.remove(&group.name);
        }
    }

    pub(super) fn serial(&self, id: GroupId) -> Option<u32> {
        self.groups.find(id.0).map(|group| group.serial)
    }

    pub(super) fn insert_member(&mut self, id: GroupId, member: Member) -> Option<Member> {
        let replaced = self.groups.get_mut(id.0).insert(&self.hash, member);
        if replaced.is_none() {
            self.members += 1;
        }
        replaced
    }

    pub(super) fn remove_member(
        &mut self,
        id: GroupId,
        shard: u16,
        session: SessionKey,
    ) -> Option<Member> {
        let hash = self.hash;
        let removed = self.find_mut(id)?.remove(&hash, shard, session)?;
        self.members -= 1;
        Some(removed)
    }

    pub(super) fn set_online(
        &mut self,
        id: GroupId,
        shard: u16,
        session: SessionKey,
        online: bool,
    ) -> bool {
        let hash = self.hash;
        let group = self.find_mut(id);
        group.is_some_and(|group| group.set_online(&hash, shard, session, online))
    }

    pub(super) fn set_ability(
        &mut self,
        id: GroupId,
        shard: u16,
        session: SessionKey,
        ability: Ability,
    ) -> bool {
        let hash = self.hash;
        let group = self.find_mut(id);
        group.is_some_and(|group| group.set_ability(&hash, shard, session, ability))
    }

    pub(super) fn pick(
        &mut self,
        id: GroupId,
        occasion: Occasion<'_>,
        random: &mut Random,
    ) -> Option<(Member, Resort)> {
        let hash = self.hash;
        self.find_mut(id)?.pick(&hash, occasion, random)
    }

    pub(super) fn member(&self, id: GroupId, shard: u16, session: SessionKey) -> Option<&Member> {
        self.groups.find(id.0)?.member(&self.hash, shard, session)
    }

    pub(super) fn members_of(&self, id: GroupId) -> usize {
        self.groups.find(id.0).map_or(0, Group::len)
    }

    pub(super) fn online_of(&self, id: GroupId) -> usize {
        self.groups.find(id.0).map_or(0, Group::online_len)
    }

    /// Says whether a group stays without members. Returns what was said before; `None` where
    /// there is no such group.
    pub(super) fn set_held(&mut self, id: GroupId, held: bool) -> Option<bool> {
        let group = self.find_mut(id)?;
        Some(core::mem::replace(&mut group.held, held))
    }

    /// Whether a group has neither members nor another reason to stay.
    pub(super) fn is_needless(&self, id: GroupId) -> bool {
        let group = self.groups.find(id.0);
        group.is_some_and(|group| group.len() == 0 && !group.held)
    }

    fn find_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.find(id.0)?;
        Some(self.groups.get_mut(id.0))
    }

    pub(super) fn filter(&self, id: GroupId) -> Option<FilterId> {
        self.groups.find(id.0)?.filter
    }

    pub(super) fn name(&self, id: GroupId) -> &str {
        self.groups.find(id.0).map_or("", |group| &group.name)
    }

    pub(super) fn members(&self, id: GroupId) -> impl Iterator<Item = &Member> {
        self.groups.find(id.0).into_iter().flat_map(Group::members)
    }

    /// Bytes of memory it holds, without names and unused room of lists.
    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes() + self.numbers.bytes() + self.members * size_of::<Place>()
    }

    pub(super) fn members_len(&self) -> usize {
        self.members
    }
}

fn hash_of(hash: &Hash, filter: FilterId, name: &str) -> u64 {
    hash.with(hash.text(name), filter.0)
}
