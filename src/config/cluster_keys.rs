//! The keys of the cluster: what each takes and what it is for.

use super::discovery::ETCD_PORT;
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
        "cluster.partition_policy",
        Kind::Word(&["fence", "serve_local"]),
        "what a node does that sees no majority of the cores: fence, no acknowledgements",
    ),
    key(
        "cluster.autoheal",
        Kind::Boolean,
        "whether a node that others had given up takes part again by itself",
    ),
    key(
        "cluster.suback",
        Kind::Word(&["local", "acked"]),
        "when SUBACK goes out: local, this node has the routes; acked, all that are up do",
    ),
    key(
        "cluster.publish_ack",
        Kind::Word(&["local", "owner"]),
        "when PUBACK goes out: local, this node has the message; owner, all it is for do",
    ),
    key(
        "cluster.proto_dist",
        Kind::Word(&["inet_tcp", "inet6_tcp", "inet_tls", "inet6_tls"]),
        "IPv4 or IPv6, with a generated key (_tcp) or certificates (_tls); always QUIC",
    ),
    key(
        "cluster.core_nodes",
        Kind::Seeds,
        "cores by which a replicant finds its cluster, beside those that it discovers",
    ),
    key(
        "cluster.autoclean",
        Kind::Duration(1, 31_536_000),
        "a member that is gone for so long is removed from the cluster",
    ),
    key(
        "cluster.handover_timeout",
        Kind::Duration(0, 3600),
        "how long a node that stops or leaves gives its kept sessions to others: 0s, not at all",
    ),
    key(
        "cluster.discovery_strategy",
        Kind::Word(&["manual", "static", "dns", "etcd", "k8s"]),
        "how other nodes are found: manual, not at all; else as the section of that name says",
    ),
    key(
        "cluster.ssl_options.cacertfile",
        Kind::Folder,
        "PEM file of who may have signed the certificates of nodes",
    ),
    key(
        "cluster.ssl_options.certfile",
        Kind::Folder,
        "PEM file of the certificate of this node, with those between it and the authority",
    ),
    key(
        "cluster.ssl_options.keyfile",
        Kind::Folder,
        "PEM file of the key of that certificate",
    ),
    key(
        "cluster.static.seeds",
        Kind::Seeds,
        "nodes of the cluster, by their names: one that runs is enough to be found",
    ),
    key(
        "cluster.dns.name",
        Kind::Text(255),
        "name whose records are the nodes",
    ),
    key(
        "cluster.dns.record_type",
        Kind::Word(&["a", "aaaa", "srv"]),
        "records of that name; srv has the ports too",
    ),
    key(
        "cluster.dns.server",
        Kind::Text(64),
        "DNS server to ask, address:port; by default those of /etc/resolv.conf",
    ),
    key(
        "cluster.etcd.server",
        Kind::Urls(ETCD_PORT),
        "etcd servers, v3; the next one is asked where one does not answer",
    ),
    key(
        "cluster.etcd.prefix",
        Kind::Text(255),
        "keys are <prefix>/<cluster.name>/nodes/<node.name>",
    ),
    key(
        "cluster.etcd.node_ttl",
        Kind::Duration(5, 3600),
        "how long after a node has ended its key is there",
    ),
    key(
        "cluster.etcd.ssl_options.cacertfile",
        Kind::Folder,
        "PEM file of who may have signed the certificates of etcd servers at https://",
    ),
    key(
        "cluster.etcd.ssl_options.certfile",
        Kind::Folder,
        "PEM file of this node's certificate for etcd",
    ),
    key(
        "cluster.etcd.ssl_options.keyfile",
        Kind::Folder,
        "PEM file of the key of that certificate",
    ),
    key(
        "cluster.k8s.apiserver",
        Kind::Text(255),
        "where the Kubernetes API is",
    ),
    key(
        "cluster.k8s.service_name",
        Kind::Text(63),
        "service whose endpoints are the nodes",
    ),
    key(
        "cluster.k8s.address_type",
        Kind::Word(&["ip", "dns", "hostname"]),
        "what of an endpoint is dialed: its address, or a name of it in the cluster's DNS",
    ),
    key(
        "cluster.k8s.namespace",
        Kind::Text(63),
        "namespace of the service; by default that of the pod",
    ),
    key(
        "cluster.k8s.suffix",
        Kind::Text(255),
        "end of those names; by default pod.cluster.local (dns), svc.cluster.local (hostname)",
    ),
    key(
        "cluster.k8s.service_account",
        Kind::Folder,
        "folder with token, ca.crt and namespace of the pod's service account",
    ),
];
