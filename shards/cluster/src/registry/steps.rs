//! What the leader does next, so that voters and learners become what the registry says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Registry, State};
use crate::wire::Role;

/// How far the consensus is, as its leader knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// The leader's own log.
    pub own: u64,
    /// Voters.
    pub voters: BTreeSet<u64>,
    /// Learners.
    pub learners: BTreeSet<u64>,
    /// Those of them that have everything, or all but the last moments, and answer.
    pub caught_up: BTreeSet<u64>,
    /// Whether the voters may change: the last change of them is known to all, or so old that
    /// no lease runs that was given before it.
    pub is_settled: bool,
}

/// One change of the consensus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Somebody gets the log.
    AddLearner {
        /// Its log.
        id: u64,
        /// Its name.
        name: Box<str>,
    },
    /// A learner votes.
    AddVoter {
        /// Its log.
        id: u64,
    },
    /// A voter votes no more, and stays as a learner.
    Demote {
        /// Its log.
        id: u64,
    },
    /// Somebody gets the log no more.
    Remove {
        /// Its log.
        id: u64,
    },
    /// Another voter is to lead: the leader itself goes, or votes no more.
    HandOver {
        /// The one.
        to: u64,
    },
    /// A member has its place.
    Activate {
        /// Its name.
        name: Box<str>,
        /// Its log.
        id: u64,
    },
}

/// The next step, if there is one to be done. Whoever is to go goes first, so that nobody dead
/// is counted longer than need be; then one voter at a time.
#[must_use]
pub fn next_step(registry: &Registry, progress: &Progress) -> Option<Step> {
    let members: BTreeMap<u64, _> = registry
        .members()
        .map(|(name, member)| (member.id, (name, member)))
        .collect();
    for id in &progress.learners {
        if !members.contains_key(id) {
            return Some(Step::Remove { id: *id });
        }
    }
    for (id, (name, _)) in &members {
        if !progress.voters.contains(id) && !progress.learners.contains(id) {
            let (id, name) = (*id, (*name).into());
            return Some(Step::AddLearner { id, name });
        }
    }
    let is_core = |id: &u64| members.get(id).is_some_and(|(_, it)| it.role == Role::Core);
    let leaving = progress.voters.iter().find(|id| !is_core(id));
    if let (Some(id), true) = (leaving, progress.is_settled) {
        let id = *id;
        let mut others = progress.voters.intersection(&progress.caught_up);
        let successor = others.find(|other| is_core(other) && **other != progress.own);
        if let (true, Some(to)) = (id == progress.own, successor) {
            return Some(Step::HandOver { to: *to });
        }
        if id != progress.own && progress.voters.len() > 1 {
            let is_member = members.contains_key(&id);
            return Some(if is_member {
                Step::Demote { id }
            } else {
                Step::Remove { id }
            });
        }
    }
    let mut ready = progress.learners.intersection(&progress.caught_up);
    if let (Some(id), true) = (ready.find(|id| is_core(id)), progress.is_settled) {
        return Some(Step::AddVoter { id: *id });
    }
    members.iter().find_map(|(id, (name, member))| {
        let is_there = match member.role {
            Role::Core => progress.voters.contains(id),
            Role::Replicant => progress.caught_up.contains(id),
        };
        let (id, name) = (*id, (*name).into());
        let is_done = is_there && member.state == State::Joining;
        is_done.then_some(Step::Activate { name, id })
    })
}
