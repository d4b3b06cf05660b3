//! The keys of the cluster: what each takes and what it is for.

use super::keys::{Key, key};
use super::value::Kind;

/// The keys about other nodes, in the order in which `shardmq check` prints them.
pub(super) const CLUSTER_KEYS: &[Key] = &[
    key(
        "cluster.name",
        Kind::Text(255),
        "name of the cluster: nodes of another one are refused",
    ),
    key(
        "cluster.bind",
        Kind::Bind,
        "UDP address of the links to other nodes; by default the host of node.name, port 4370",
    ),
    key(
        "cluster.discovery_strategy",
        Kind::Word(&["manual", "static"]),
        "how other nodes are found: manual, not at all; static, by cluster.static.seeds",
    ),
    key(
        "cluster.static.seeds",
        Kind::Seeds,
        "all nodes of the cluster, by their names",
    ),
];
