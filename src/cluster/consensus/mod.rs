//! Consensus of the cores on who belongs to the cluster.
//!
//! The work is openraft's; what the cluster knows of it is [`Consensus`], and what it tells the
//! cluster comes through [`Observer`]. All of it runs on the thread that has the links.
//!
//! openraft 0.10 is an alpha, and pinned. It is used all the same: 0.9 needs `Send` futures
//! everywhere and brings a command line parser and decimal numbers with it; 0.10 has a Jepsen
//! suite, asks before an election whether it could be won, and hands leadership over, which
//! leaving needs. Nothing of it is visible outside of this module.
//!
//! A log belongs to a *cluster* (a random number, drawn by its first node) and has an *id*
//! (another one). Both are in each request, so that a node that has lost its data or left is
//! never taken for the one it was.

mod disk;
mod log;
mod machine;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::type_config::alias;
use openraft::{BasicNode, ChangeMembers, Config, Instant as _, Raft, SnapshotPolicy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shard_cluster::registry::{self, Command, Progress, Registry};
use shard_cluster::wire::Role;
use tokio::time::timeout;

use super::Shared;
use super::rpc::kind;
pub(super) use disk::Disk;
use disk::Write;
use log::{Log, from_json, to_json};
use machine::Machine;
use network::{Envelope, Network};

/// Heartbeats of the leader, and the time without them after which another one is elected, at
/// least and at most: about the lease of the links.
const HEARTBEAT: Duration = Duration::from_millis(500);
const ELECTION: (Duration, Duration) = (Duration::from_millis(1000), Duration::from_millis(2000));

/// A snapshot is made after so many entries, and so many of them are kept.
const SNAPSHOT_ENTRIES: u64 = 500;
const KEPT_ENTRIES: u64 = 100;

/// A node that has answered the leader within this time is there.
const ANSWERS: Duration = Duration::from_secs(2);

/// Entries that somebody may lack who has "everything": those of the moment.
const LAG_MAX: u64 = 2;

/// How long one change may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the identity on the disk.
const IDENTITY: &str = "identity";

/// A command in the log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Ordered(Command);

/// What it has done.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Outcome(registry::Outcome);

impl fmt::Display for Ordered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

openraft::declare_raft_types!(
    /// What openraft is told of our types.
    pub(super) Types: D = Ordered, R = Outcome
);

type Entry = alias::EntryOf<Types>;
type LogId = alias::LogIdOf<Types>;
type Vote = alias::VoteOf<Types>;
type Snapshot = alias::SnapshotOf<Types, Vec<u8>>;
type SnapshotMeta = alias::SnapshotMetaOf<Types>;
type StoredMembership = alias::StoredMembershipOf<Types>;

/// Who a log belongs to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Identity {
    /// The cluster; zero for a replicant that is in none.
    pub(super) cluster: u64,
    /// The log.
    pub(super) id: u64,
    /// The cluster was founded by it.
    pub(super) is_founder: bool,
    /// It has left and is not to join others by itself.
    pub(super) stays_alone: bool,
}

/// Who is told what the consensus has come to. Nothing here may wait.
pub(super) trait Observer {
    /// The cores whose votes count from now on, and the version of that set.
    fn cores(&self, names: &[String], version: u64);

    /// The members.
    fn registry(&self, registry: &Registry);
}

/// Why a command was not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failed {
    /// Another node leads, if anybody does.
    NotLeader(Option<String>),
    /// It does not apply.
    Refused(registry::Refusal),
    /// Something else.
    Other(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(leader)) => write!(out, "{leader} leads the cores"),
            Self::NotLeader(None) => out
                .write_str("no core leads: a majority of the cores has to run and to be connected"),
            Self::Refused(refusal) => write!(out, "{refusal}"),
            Self::Other(text) => out.write_str(text),
        }
    }
}

/// What is to be seen of the consensus.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct View {
    /// The number of the leadership.
    pub(crate) term: u64,
    /// Who leads.
    pub(crate) leader: Option<String>,
    /// Who votes.
    pub(crate) voters: Vec<String>,
    /// Who only learns.
    pub(crate) learners: Vec<String>,
    /// The last entry of the log, and the last one that is agreed on and done.
    pub(crate) last_index: u64,
    /// See `last_index`.
    pub(crate) applied_index: u64,
    /// Why it has stopped, if it has.
    pub(crate) failure: Option<String>,
}

/// This node's part in the consensus. Its clones are the same.
#[derive(Clone)]
pub(super) struct Consensus {
    raft: Raft<Types, Machine>,
    machine: Machine,
    identity: Identity,
}

/// The identity on a disk, if there is one.
pub(super) fn identity(disk: &Disk) -> io::Result<Option<Identity>> {
    let stored = disk.read()?;
    let identity = stored.meta.get(IDENTITY);
    identity.map(|bytes| from_json(bytes)).transpose()
}

/// Makes the disk that of an empty log.
pub(super) async fn wipe(disk: &Disk, identity: Identity) -> io::Result<()> {
    let identity = Write::Meta(IDENTITY, to_json(&identity)?);
    disk.begin_anew(vec![Write::Clear, identity]).await
}

impl Consensus {
    /// Goes on with what is on a disk, which has an identity.
    pub(super) async fn open(
        disk: &Disk,
        identity: Identity,
        shared: Weak<Shared>,
        observer: Rc<dyn Observer>,
    ) -> Result<Self, String> {
        let explain = |error: io::Error| format!("the log of the consensus: {error}");
        let disk = disk.for_current();
        let stored = disk.read().map_err(explain)?;
        let machine = Machine::new(disk.clone(), &stored, Rc::clone(&observer));
        let mut machine = machine.map_err(explain)?;
        let log = Log::new(disk, &stored, machine.membership(), observer);
        let log = log.map_err(explain)?;
        machine.set_log(log.clone());
        let network = Network {
            shared,
            cluster: identity.cluster,
            own: identity.id,
        };
        let raft = Raft::new(identity.id, config()?, network, log, machine.clone()).await;
        Ok(Self {
            raft: raft.map_err(|error| error.to_string())?,
            machine,
            identity,
        })
    }

    /// Who the log belongs to.
    pub(super) const fn identity(&self) -> Identity {
        self.identity
    }

    /// Makes a cluster of this node, whose log is empty.
    pub(super) async fn found(&self, name: &str, address: &str) -> Result<(), String> {
        let node = BasicNode::new(name);
        let nodes = BTreeMap::from([(self.identity.id, node)]);
        let founded = self.raft.initialize(nodes).await;
        founded.map_err(|error| error.to_string())?;
        let wait = self.raft.wait(Some(PATIENCE));
        let leads = wait.current_leader(self.identity.id, "alone").await;
        leads.map_err(|error| error.to_string())?;
        self.enrol(name, address)
            .await
            .map_err(|error| error.to_string())
    }

    /// Makes this node the first member of the cluster that it has founded.
    pub(super) async fn enrol(&self, name: &str, address: &str) -> Result<(), Failed> {
        let (name, address) = (name.into(), address.into());
        let add = Command::Add {
            name,
            id: self.identity.id,
            address,
            role: Role::Core,
        };
        self.propose(add).await
    }

    /// Whether there is something in the log.
    pub(super) async fn has_begun(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(true)
    }

    /// The index of the last change of voters or learners.
    pub(super) fn last_change(&self) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let changed = metrics.membership_config.log_id().as_ref();
        changed.map_or(0, |id| id.index())
    }

    /// The members.
    pub(super) fn registry(&self) -> Registry {
        self.machine.registry()
    }

    /// Does a command, if this node leads.
    pub(super) async fn propose(&self, command: Command) -> Result<(), Failed> {
        let written = timeout(PATIENCE, self.raft.client_write(Ordered(command))).await;
        let written = written.map_err(|_| Failed::Other(TOO_LATE.to_owned()))?;
        let response = written.map_err(failed)?;
        response.data.0.map_err(Failed::Refused)
    }

    /// Whether this node leads.
    pub(super) fn leads(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == openraft::ServerState::Leader
    }

    /// What is to be seen.
    pub(super) fn view(&self) -> View {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let name = |id: &u64| membership.get_node(id).map(|node| node.addr.clone());
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let learners: BTreeSet<u64> = membership.learner_ids().collect();
        View {
            term: metrics.current_term,
            leader: metrics.current_leader.as_ref().and_then(name),
            voters: voters.iter().filter_map(name).collect(),
            learners: learners.iter().filter_map(name).collect(),
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |last| last.index()),
            failure: metrics
                .running_state
                .as_ref()
                .err()
                .map(ToString::to_string),
        }
    }

    /// How far everybody is. Nothing if this node does not lead, or a change is under way.
    pub(super) fn progress(&self, is_old: bool) -> Option<Progress> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (replication, heard) = (metrics.replication.as_ref()?, metrics.heartbeat.as_ref()?);
        let (stored, agreed) = (
            &metrics.membership_config,
            &metrics.committed_membership_config,
        );
        let membership = stored.membership();
        if stored.log_id() != agreed.log_id() || membership.get_joint_config().len() != 1 {
            return None;
        }
        let own = self.identity.id;
        let last = metrics.last_log_index.unwrap_or(0);
        let has = |id: &u64, index: u64| {
            let matched = replication.get(id).and_then(|it| it.as_ref());
            *id == own || matched.is_some_and(|matched| matched.index() >= index)
        };
        let answers = |id: &u64| {
            let heard = heard.get(id).and_then(|it| it.as_ref());
            *id == own || heard.is_some_and(|heard| heard.elapsed() < ANSWERS)
        };
        let nodes: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
        let changed = stored.log_id().as_ref().map_or(0, |id| id.index());
        let known_to_all = nodes.iter().all(|id| has(id, changed));
        let near = last.saturating_sub(LAG_MAX);
        let caught_up = nodes
            .iter()
            .filter(|id| has(id, near.max(changed)) && answers(id));
        Some(Progress {
            own,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            caught_up: caught_up.copied().collect(),
            is_settled: known_to_all || is_old,
        })
    }

    /// Does a step that changes voters or learners, if this node leads.
    pub(super) async fn step(&self, step: registry::Step) -> Result<(), Failed> {
        use registry::Step;
        let (change, retain) = match step {
            Step::Activate { name, id } => {
                return self.propose(Command::Activate { name, id }).await;
            }
            Step::HandOver { to } => {
                let handed = self.raft.trigger().transfer_leader(to).await;
                return handed.map_err(|error| Failed::Other(error.to_string()));
            }
            Step::AddLearner { id, name } => {
                let node = BasicNode::new(name);
                (ChangeMembers::AddNodes([(id, node)].into()), true)
            }
            Step::AddVoter { id } => (ChangeMembers::AddVoterIds([id].into()), true),
            Step::Demote { id } => (ChangeMembers::RemoveVoters([id].into()), true),
            Step::Remove { id } if self.is_voter(id) => {
                (ChangeMembers::RemoveVoters([id].into()), false)
            }
            Step::Remove { id } => (ChangeMembers::RemoveNodes([id].into()), false),
        };
        let changed = timeout(PATIENCE, self.raft.change_membership(change, retain)).await;
        let changed = changed.map_err(|_| Failed::Other(TOO_LATE.to_owned()))?;
        changed.map(drop).map_err(failed)
    }

    fn is_voter(&self, id: u64) -> bool {
        self.raft.voter_ids().any(|voter| voter == id)
    }

    /// Whether a log is one of the consensus.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.is_voter(id) || self.raft.learner_ids().any(|learner| learner == id)
    }

    /// Whether a node is one of the consensus.
    pub(super) fn knows_name(&self, name: &str) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .nodes()
            .any(|(_, node)| *node.addr == *name)
    }

    /// Whether it is known whose votes count.
    pub(super) fn has_cores(&self) -> bool {
        self.raft.voter_ids().next().is_some()
    }

    /// Answers a request of another core.
    pub(super) async fn answer(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, String> {
        let raft = &self.raft;
        let text = |error: &dyn fmt::Display| error.to_string();
        match kind {
            kind::APPEND => {
                let request = self.open_envelope(body)?;
                reply(raft.append_entries(request.what).await)
            }
            kind::VOTE | kind::PRE_VOTE => {
                let request = self.open_envelope(body)?;
                // Who was removed, and does not know it, must not disturb.
                if raft.voter_ids().next().is_some() && !self.is_voter(request.from) {
                    return Err("it is no core of the cluster here".to_owned());
                }
                if kind == kind::VOTE {
                    reply(raft.vote(request.what).await)
                } else {
                    reply(raft.pre_vote(request.what).await)
                }
            }
            kind::SNAPSHOT => {
                let request = self.open_envelope(body)?;
                let (vote, meta, snapshot): (Vote, SnapshotMeta, Vec<u8>) = request.what;
                let snapshot = Snapshot { meta, snapshot };
                let installed = raft.install_full_snapshot(vote, snapshot).await;
                to_json(&installed.map_err(|error| text(&error))?).map_err(|error| text(&error))
            }
            _ => {
                let request = self.open_envelope(body)?;
                let handed = raft.handle_transfer_leader(request.what).await;
                to_json(&handed.map_err(|error| text(&error))?).map_err(|error| text(&error))
            }
        }
    }

    fn open_envelope<T: DeserializeOwned>(&self, body: &[u8]) -> Result<Envelope<T>, String> {
        let envelope: Envelope<T> = serde_json::from_slice(body).map_err(|it| it.to_string())?;
        let Identity { cluster, id, .. } = self.identity;
        if (envelope.cluster, envelope.to) != (cluster, id) {
            return Err("it is not for the log that is here now".to_owned());
        }
        Ok(envelope)
    }

    /// Ends this node's part.
    pub(super) async fn stop(&self) {
        _ = self.raft.shutdown().await;
    }
}

const TOO_LATE: &str = "the cores did not agree in time: a majority of them has to run and to be \
                        connected";

fn reply<T: Serialize>(answer: Result<T, RaftError<Types>>) -> Result<Vec<u8>, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    to_json(&answer).map_err(|error| error.to_string())
}

fn failed(error: RaftError<Types, ClientWriteError<Types>>) -> Failed {
    match error {
        RaftError::APIError(
            ClientWriteError::ForwardToLeader(forward)
            | ClientWriteError::LogEntryDiscarded(forward),
        ) => Failed::NotLeader(forward.leader_node.map(|node| node.addr)),
        error => Failed::Other(error.to_string()),
    }
}

fn config() -> Result<Arc<Config>, String> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let config = Config {
        cluster_name: "shardmq".to_owned(),
        heartbeat_interval: millis(HEARTBEAT),
        election_timeout_min: millis(ELECTION.0),
        election_timeout_max: millis(ELECTION.1),
        install_snapshot_timeout: millis(PATIENCE),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| error.to_string())
}
