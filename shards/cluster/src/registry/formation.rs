//! What nodes do that meet, and are not of one cluster yet.

use serde::{Deserialize, Serialize};

use super::Registry;
use crate::wire::Role;

/// What a node is in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Standing {
    /// The node.
    pub name: Box<str>,
    /// What it is.
    pub role: Role,
    /// The cluster that it is in: a random number that the first node of it has drawn. Zero
    /// for a replicant that is in none.
    pub cluster: u64,
    /// Members of that cluster, itself among them.
    pub members: u32,
    /// Cores of it that take part.
    pub cores: u32,
}

/// What a node does about another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Nothing: both are of one cluster, or it is the other one that joins.
    Stay,
    /// It joins the other one's cluster.
    Join,
    /// Both are in clusters of several cores: these are never made one.
    Foreign,
}

/// What `own` does about `other`. Clusters of several cores are never made one. A core that is
/// the only one of its cluster joins another cluster with more cores; of two such the one with
/// fewer members, then the larger name. Its replicants [follow](follows) it. So out of any number
/// that start together comes one cluster, whomever replicants have met first.
#[must_use]
pub fn decide(own: &Standing, other: &Standing) -> Decision {
    // Both in none: two replicants, and none can take the other one in.
    if own.cluster == other.cluster || other.cores == 0 {
        return Decision::Stay;
    }
    match (own.cores > 1, other.cores > 1) {
        (true, true) => Decision::Foreign,
        (true, false) => Decision::Stay,
        _ if own.role == Role::Replicant && own.members > 1 => Decision::Stay,
        _ if own.role == Role::Replicant => Decision::Join,
        (false, true) => Decision::Join,
        // Its core and this one decide.
        (false, false) if other.role == Role::Replicant => Decision::Stay,
        (false, false) => {
            let is_larger = (other.members, &own.name) > (own.members, &other.name);
            match is_larger {
                true => Decision::Join,
                false => Decision::Stay,
            }
        }
    }
}

/// Whether a replicant, whose cluster has these members, goes where `other` is: it was the only
/// core, and is in another cluster now.
#[must_use]
pub fn follows(own: &Standing, members: &Registry, other: &Standing) -> bool {
    let was_its_core = members
        .get(&other.name)
        .is_some_and(|member| member.role == Role::Core);
    own.role == Role::Replicant
        && members.cores() == 1
        && was_its_core
        && other.role == Role::Core
        && other.cluster != own.cluster
        && other.cores > 0
}

/// Whether nobody is left of the cluster that took `own` in: `by`, who did, is in another one by
/// now, and none of those that are here is in it.
#[must_use]
pub fn is_left_behind(own: &Standing, by: &str, here: &[Standing]) -> bool {
    let is_elsewhere = |other: &Standing| other.cluster > 0 && other.cluster != own.cluster;
    let mut takers = here.iter().filter(|other| *other.name == *by);
    takers.any(is_elsewhere) && here.iter().all(|other| other.cluster != own.cluster)
}
