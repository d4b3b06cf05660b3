//! All share groups, by number and by filter and name.

use super::group::{Group, Member};
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
}

impl Groups {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            hash,
            groups: Slab::new(),
            numbers: Table::default(),
            members: 0,
            created: 0,
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
        let group = Group::new(name, filter, self.created);
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
    }

    pub(super) fn serial(&self, id: GroupId) -> Option<u32> {
        self.groups.find(id.0).map(|group| group.serial)
    }

    pub(super) fn insert_member(&mut self, id: GroupId, member: Member) -> Option<Member> {
        let replaced = self.groups.get_mut(id.0).insert(member);
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
        self.groups.find(id.0)?;
        let removed = self.groups.get_mut(id.0).remove(shard, session)?;
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
        self.groups.find(id.0).is_some()
            && self.groups.get_mut(id.0).set_online(shard, session, online)
    }

    pub(super) fn pick(&self, id: GroupId, accepts: impl FnMut(&Member) -> bool) -> Option<Member> {
        self.groups.find(id.0)?.pick(accepts)
    }

    pub(super) fn filter(&self, id: GroupId) -> Option<FilterId> {
        self.groups.find(id.0)?.filter
    }

    pub(super) fn name(&self, id: GroupId) -> &str {
        self.groups.find(id.0).map_or("", |group| &group.name)
    }

    pub(super) fn members(&self, id: GroupId) -> &[Member] {
        self.groups.find(id.0).map_or(&[], |group| group.members())
    }

    /// Bytes of memory it holds, without names and unused room of lists.
    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes() + self.numbers.bytes() + self.members * size_of::<Member>()
    }

    pub(super) fn members_len(&self) -> usize {
        self.members
    }
}

fn hash_of(hash: &Hash, filter: FilterId, name: &str) -> u64 {
    hash.with(hash.text(name), filter.0)
}
