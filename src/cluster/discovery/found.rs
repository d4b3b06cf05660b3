//! What can be found.

use std::fmt;

use crate::cluster::seed::Seed;

/// Somewhere where a node may be: who it is, it says itself.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::cluster) struct Place {
    /// A name or an address.
    pub(in crate::cluster) host: String,
    /// The port of its links.
    pub(in crate::cluster) port: u16,
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cluster) enum Found {
    /// A node that has said its name.
    Node(Seed),
    /// A place without a name.
    Place(Place),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(seed) => write!(out, "node {seed}"),
            Self::Place(place) => write!(out, "{place}"),
        }
    }
}
