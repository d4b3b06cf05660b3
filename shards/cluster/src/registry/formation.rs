//! What nodes do that meet, and are not of one cluster yet.

use serde::{Deserialize, Serialize};

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
    /// Cores of it.
    pub cores: u32,
}

/// What a node does about another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Nothing: both are of one cluster, or it is the other one that joins.
    Stay,
    /// It joins the other one's cluster.
    Join,
    /// Both are in clusters with others: these are never made one.
    Foreign,
}

/// What `own` does about `other`. Of two that are alone, the larger name joins; so out of any
/// number that start together comes one cluster.
#[must_use]
pub fn decide(own: &Standing, other: &Standing) -> Decision {
    if own.cluster == other.cluster {
        // Zero on both sides: two replicants, and none can take the other one in.
        return Decision::Stay;
    }
    match (own.members > 1, other.members > 1) {
        (true, true) => Decision::Foreign,
        (true, false) => Decision::Stay,
        _ if other.cores == 0 => Decision::Stay,
        (false, true) => Decision::Join,
        (false, false) if own.role == Role::Replicant => Decision::Join,
        (false, false) if *other.name < *own.name => Decision::Join,
        (false, false) => Decision::Stay,
    }
}
