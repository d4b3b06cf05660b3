//! Who belongs to a cluster: the state that the consensus log of the cores makes.
//!
//! A [`Registry`] says who *is to be* a member; the leader brings the voters and learners of
//! the consensus in line with it, one at a time ([`next_step`]). So everything that changes the
//! cluster is one command in the log, and a leader that dies halfway is followed by one that
//! goes on.
//!
//! Each member has an `id` beside its name. It belongs to one log on one disk: a node that has
//! lost its data, or left, comes back with the same name and another id. An id that was removed
//! never comes back.
//!
//! [`decide`] says what a node that is in no cluster, or in one of its own, does when it meets
//! others.

mod formation;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

pub use formation::{Decision, Standing, decide, follows, is_left_behind};
pub use steps::{Progress, Step, next_step};

use crate::wire::Role;

/// Members of one cluster.
pub const MEMBERS_MAX: usize = 64;

/// Removed members that are remembered with the reason.
const REMOVED_MAX: usize = 256;

/// A member.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Member {
    /// Its log: never zero, never used again.
    pub id: u64,
    /// Where its links are, `host:port`.
    pub address: Box<str>,
    /// What it is to be.
    pub role: Role,
    /// How far it is.
    pub state: State,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum State {
    /// It is getting what the others have.
    Joining,
    /// It takes part.
    Active,
}

/// Why somebody is no member any more.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Removal {
    /// It left.
    Left,
    /// An operator removed it.
    Forced,
    /// It was gone for long.
    Cleaned,
    /// Its name came again with another log.
    Replaced,
}

/// Somebody who was a member.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Removed {
    id: u64,
    removal: Removal,
}

/// A change of a registry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Command {
    /// Somebody is to be a member. The same name with another id takes its place.
    Add {
        /// Its name.
        name: Box<str>,
        /// Its log.
        id: u64,
        /// Where its links are.
        address: Box<str>,
        /// What it is to be.
        role: Role,
    },
    /// A member has everything, and its place among the voters or learners.
    Activate {
        /// Its name.
        name: Box<str>,
        /// Its log.
        id: u64,
    },
    /// Somebody is to be a member no more.
    Remove {
        /// Its name.
        name: Box<str>,
        /// Its log; another one of that name stays.
        id: u64,
        /// Why.
        removal: Removal,
    },
    /// A member is to be something else.
    SetRole {
        /// Its name.
        name: Box<str>,
        /// What.
        role: Role,
    },
    /// A member's links are elsewhere.
    SetAddress {
        /// Its name.
        name: Box<str>,
        /// Where, `host:port`.
        address: Box<str>,
    },
}

/// Why a command has changed nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Refusal {
    /// No member has this name and id.
    NoMember,
    /// It would leave no core.
    LastCore,
    /// There are [`MEMBERS_MAX`] members.
    Full,
    /// The id was that of a member that is removed, or is that of another one.
    UsedId,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoMember => out.write_str("no member of the cluster has this name"),
            Self::LastCore => out.write_str("it is the only core: others cannot go on without it"),
            Self::Full => write!(out, "the cluster has {MEMBERS_MAX} members, which is all"),
            Self::UsedId => out.write_str("it was removed, and has to join with a new log"),
        }
    }
}

/// What a command has done: nothing to say, or why it was refused.
pub type Outcome = Result<(), Refusal>;

/// The members of a cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Registry {
    /// How many commands have changed it.
    version: u64,
    members: BTreeMap<Box<str>, Member>,
    /// The last of those that were removed, oldest first.
    removed: VecDeque<Removed>,
}

impl Registry {
    /// How many commands have changed it.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All members, by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(name, member)| (&**name, member))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// The member that has a log.
    #[must_use]
    pub fn by_id(&self, id: u64) -> Option<(&str, &Member)> {
        self.members().find(|(_, member)| member.id == id)
    }

    /// Members that are to be cores.
    #[must_use]
    pub fn cores(&self) -> usize {
        let members = self.members.values();
        members.filter(|member| member.role == Role::Core).count()
    }

    /// Cores that take part: one that was taken in and has not heard so may be elsewhere.
    #[must_use]
    pub fn active_cores(&self) -> usize {
        let cores = self.members.values().filter(|it| it.role == Role::Core);
        cores.filter(|it| it.state == State::Active).count()
    }

    /// Why a log is no member's any more, if that is remembered.
    #[must_use]
    pub fn removal(&self, id: u64) -> Option<Removal> {
        let removed = self.removed.iter().rev();
        let mut removed = removed.filter(|removed| removed.id == id);
        removed.next().map(|removed| removed.removal)
    }

    /// Does what a command says.
    ///
    /// # Errors
    /// It does not apply, and has changed nothing.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Add {
                name,
                id,
                address,
                role,
            } => self.add(name, *id, address, *role)?,
            Command::Activate { name, id } => {
                let member = self.members.get_mut(name);
                let member = member.filter(|member| member.id == *id);
                member.ok_or(Refusal::NoMember)?.state = State::Active;
            }
            Command::Remove { name, id, removal } => self.remove(name, *id, *removal)?,
            Command::SetRole { name, role } => {
                let member = self.members.get(name).ok_or(Refusal::NoMember)?;
                if *role != Role::Core && self.is_last_core(member) {
                    return Err(Refusal::LastCore);
                }
                if let Some(member) = self.members.get_mut(name) {
                    member.role = *role;
                }
            }
            Command::SetAddress { name, address } => {
                let member = self.members.get_mut(name).ok_or(Refusal::NoMember)?;
                member.address = address.clone();
            }
        }
        self.version += 1;
        Ok(())
    }

    fn add(&mut self, name: &str, id: u64, address: &str, role: Role) -> Outcome {
        let of_another = self.by_id(id).is_some_and(|(other, _)| *other != *name);
        if id == 0 || of_another || self.removal(id).is_some() {
            return Err(Refusal::UsedId);
        }
        let former = self.members.get(name);
        if former.is_none() && self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::Full);
        }
        if role != Role::Core && former.is_none_or(|former| self.is_last_core(former)) {
            // There has to be a core to join.
            if former.is_some() || self.cores() == 0 {
                return Err(Refusal::LastCore);
            }
        }
        let replaced = former.filter(|former| former.id != id);
        let replaced = replaced.map(|former| former.id);
        let state = match former {
            Some(former) if former.id == id => former.state,
            _ => State::Joining,
        };
        let member = Member {
            id,
            address: address.into(),
            role,
            state,
        };
        self.members.insert(name.into(), member);
        if let Some(id) = replaced {
            self.remember(id, Removal::Replaced);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str, id: u64, removal: Removal) -> Outcome {
        let member = self.members.get(name).filter(|member| member.id == id);
        if self.is_last_core(member.ok_or(Refusal::NoMember)?) {
            return Err(Refusal::LastCore);
        }
        self.members.remove(name);
        self.remember(id, removal);
        Ok(())
    }

    fn is_last_core(&self, member: &Member) -> bool {
        member.role == Role::Core && self.cores() == 1
    }

    fn remember(&mut self, id: u64, removal: Removal) {
        self.removed.push_back(Removed { id, removal });
        if self.removed.len() > REMOVED_MAX {
            self.removed.pop_front();
        }
    }

    /// All of it as bytes: JSON, so that a later version may add to it.
    ///
    /// # Errors
    /// None that can come; the serializer has to say so.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// It was not.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
