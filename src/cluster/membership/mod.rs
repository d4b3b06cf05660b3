//! What cluster this node is in, and what it does about it.
//!
//! ```text
//!              found                        join, accepted by the leader
//!   new ──────────────> cluster of its own ─────────────────────────────> joining
//!                             ▲                                               │ in the log
//!                             │  leave, or removed by others                  ▼
//!                             └──────────────────────────────────────────── member
//! ```
//!
//! A core always is in a cluster, if only in one of its own; a replicant that has met no core is
//! in none. The step to another cluster is one transaction on the disk: the log becomes an
//! empty one with another id. Its clients notice nothing.
//!
//! | module | what it holds |
//! |---|---|
//! | [`seek`] | meeting others: who joins whom, and hearing that one was removed |
//! | [`lead`] | what the leader does: voters become what the registry says, autoclean |
//! | [`change`] | changes of the members, and who does them |

pub(super) mod change;
mod lead;
mod seek;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use log::{error, info, warn};
use ring::rand::{SecureRandom as _, SystemRandom};
use shard_cluster::registry::{Registry, Standing};
use shard_cluster::wire::Role;
use tokio::sync::Notify;

use super::Shared;
use super::consensus::{self, Consensus, Disk, Identity, Observer};
use super::rpc::kind;
use super::seed::Seed;
use super::status::{ClusterStatus, MemberStatus};

/// What is known before the links start.
pub(super) struct Own {
    pub(super) name: String,
    /// Where others reach it, `host:port`.
    pub(super) address: String,
    pub(super) role: Role,
    pub(super) autoclean: Duration,
    /// It is to find others and to join them by itself.
    pub(super) seeks: bool,
    /// Nodes that the configuration names: they are dialed whether or not they are members.
    pub(super) seeds: Vec<Seed>,
}

/// This node's place in its cluster.
pub(super) struct Membership {
    own: Own,
    disk: Disk,
    consensus: RefCell<Option<Consensus>>,
    /// It is about to go to another cluster: nobody can join it.
    is_leaving: Cell<bool>,
    /// So many are about to join it: it goes to no other cluster.
    joining: Cell<u32>,
    /// Who took this node in, where it is on its way.
    taken_in_by: RefCell<Box<str>>,
    /// Who was a member, and is dialed still.
    gone: RefCell<BTreeSet<String>>,
    /// What was said in the log of whom, to say it once.
    said: RefCell<BTreeMap<String, String>>,
    /// There is somebody to be asked.
    wake: Notify,
    /// There may be something for the leader to do.
    work: Notify,
}

impl Membership {
    pub(super) fn new(own: Own, disk: Disk) -> Self {
        Self {
            own,
            disk,
            consensus: RefCell::new(None),
            is_leaving: Cell::new(false),
            joining: Cell::new(0),
            taken_in_by: RefCell::default(),
            gone: RefCell::default(),
            said: RefCell::default(),
            wake: Notify::new(),
            work: Notify::new(),
        }
    }

    /// There is somebody new to be asked.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// This node's part in the consensus, once it has one.
    fn consensus(&self) -> Option<Consensus> {
        self.consensus.borrow().clone()
    }

    /// What is to be seen.
    pub(super) fn status(&self) -> ClusterStatus {
        let Some(own) = self.consensus() else {
            return ClusterStatus::default();
        };
        let (registry, consensus, identity) = (own.registry(), own.view(), own.identity());
        let is_member = registry.by_id(identity.id).is_some();
        let members = registry.members().filter(|_| is_member);
        ClusterStatus {
            id: identity.cluster,
            version: registry.version(),
            members: members.map(|it| MemberStatus::of(it, &consensus)).collect(),
            consensus,
            stays_alone: identity.stays_alone,
        }
    }

    /// What this node is in, as it tells others.
    fn standing(&self) -> Standing {
        let own = self.consensus();
        let identity = own.as_ref().map(Consensus::identity).unwrap_or_default();
        let registry = own.map(|own| own.registry()).unwrap_or_default();
        let is_member = registry.by_id(identity.id).is_some();
        Standing {
            name: self.own.name.as_str().into(),
            role: self.own.role,
            cluster: identity.cluster,
            members: if is_member { registry.len() as u32 } else { 1 },
            cores: if is_member {
                registry.active_cores() as u32
            } else {
                0
            },
        }
    }

    /// Whether something was not said yet of somebody.
    fn is_news(&self, of: &str, text: &str) -> bool {
        let mut said = self.said.borrow_mut();
        said.insert(of.to_owned(), text.to_owned()).as_deref() != Some(text)
    }
}

/// A random number that is not zero.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // A system that has none would not have made the key of this process either.
    _ = SystemRandom::new().fill(&mut bytes);
    // JSON readers of others keep 53 bits.
    (u64::from_le_bytes(bytes) >> 11).max(1)
}

/// Tells the links what the consensus has come to.
struct Told {
    shared: Weak<Shared>,
    id: u64,
}

impl Observer for Told {
    fn cores(&self, names: &[String], version: u64) {
        if let Some(shared) = self.shared.upgrade() {
            shared.hub.borrow_mut().set_cores(names, version);
            shared.membership.work.notify_one();
        }
    }

    fn registry(&self, registry: &Registry) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let gone = shared.hub.borrow_mut().set_roster(registry, self.id);
        if registry.by_id(self.id).is_some() {
            let own = shared.membership.own.name.as_str();
            for (name, member) in registry.members().filter(|(name, _)| *name != own) {
                match Seed::at(name, &member.address) {
                    Some(seed) => shared.know(seed),
                    None => warn!("node {name} is at {}, which is no address", member.address),
                }
            }
        }
        shared.membership.gone.borrow_mut().extend(gone);
        shared.membership.work.notify_one();
    }
}

/// Dials those no more who were members, once nothing has to be agreed on with them.
fn forget_gone(shared: &Rc<Shared>, own: &Consensus) {
    let membership = &shared.membership;
    let named = |name: &str| membership.own.seeds.iter().any(|it| it.name == *name);
    membership.gone.borrow_mut().retain(|name| {
        let is_member = shared.hub.borrow().roster.contains(name.as_str());
        let is_needed = own.knows_name(name);
        if !is_member && !is_needed && !named(name) {
            shared.forget(name);
        }
        is_needed && !is_member
    });
}

/// Takes this node's place in its cluster and keeps it, for ever.
pub(super) async fn run(shared: Rc<Shared>) {
    answer(&shared);
    if let Err(error) = start(&shared).await {
        error!("this node takes no part in its cluster: {error}");
    }
    tokio::join!(seek::run(Rc::clone(&shared)), lead::run(shared));
}

/// Answers the requests of others.
fn answer(shared: &Rc<Shared>) {
    let kinds = [
        kind::APPEND,
        kind::VOTE,
        kind::PRE_VOTE,
        kind::SNAPSHOT,
        kind::HAND_OVER,
    ];
    for kind in kinds {
        let shared_then = Rc::downgrade(shared);
        shared.handlers.on(kind, move |request| {
            let shared = shared_then.clone();
            async move {
                let shared = shared.upgrade().ok_or("this node stops")?;
                let consensus = shared.membership.consensus();
                let consensus = consensus.ok_or("it takes no part in a cluster")?;
                consensus.answer(kind, &request.body).await
            }
        });
    }
    seek::answer(shared);
    change::answer(shared);
}

/// Goes on with what is on the disk, or begins.
async fn start(shared: &Rc<Shared>) -> Result<(), String> {
    let membership = &shared.membership;
    let stored = consensus::identity(&membership.disk);
    let stored = stored.map_err(|error| error.to_string())?;
    let is_core = membership.own.role == Role::Core;
    let Some(identity) = stored.filter(|stored| stored.cluster > 0 || !is_core) else {
        return alone(shared, false).await;
    };
    open(shared, identity).await?;
    let Some(consensus) = membership.consensus() else {
        return Ok(());
    };
    let registry = consensus.registry();
    let is_single = registry.by_id(identity.id).is_some() && registry.len() == 1;
    if !is_core && is_single {
        // It was a core, and has nobody who could make it a replicant.
        return alone(shared, identity.stays_alone).await;
    }
    if identity.is_founder && !consensus.has_begun().await {
        consensus
            .found(&membership.own.name, &membership.own.address)
            .await?;
    }
    Ok(())
}

/// Opens the log on the disk.
async fn open(shared: &Rc<Shared>, identity: Identity) -> Result<(), String> {
    let told = Told {
        shared: Rc::downgrade(shared),
        id: identity.id,
    };
    let disk = &shared.membership.disk;
    let opened = Consensus::open(disk, identity, Rc::downgrade(shared), Rc::new(told)).await;
    let opened = opened?;
    *shared.membership.consensus.borrow_mut() = Some(opened.clone());
    if !opened.has_cores() {
        // Nobody's vote counts but that of this node, if it may vote.
        let own = &shared.membership.own;
        let cores: &[String] = match own.role {
            Role::Core => core::slice::from_ref(&own.name),
            Role::Replicant => &[],
        };
        shared.hub.borrow_mut().set_cores(cores, 0);
    }
    // What came while it was opened.
    Told {
        shared: Rc::downgrade(shared),
        id: identity.id,
    }
    .registry(&opened.registry());
    Ok(())
}

/// Goes to another cluster with an empty log, and to a new life: nothing that was said of this
/// node before counts there.
async fn go(shared: &Rc<Shared>, identity: Identity) -> Result<(), String> {
    let membership = &shared.membership;
    let former = membership.consensus.borrow_mut().take();
    if let Some(former) = former {
        former.stop().await;
    }
    let wiped = consensus::wipe(&membership.disk, identity).await;
    wiped.map_err(|error| format!("the log of the consensus cannot be written: {error}"))?;
    {
        let mut hub = shared.hub.borrow_mut();
        let had_others = !hub.roster.is_empty();
        hub.set_roster(&Registry::default(), identity.id);
        if had_others {
            hub.new_life();
        }
    }
    open(shared, identity).await
}

/// Begins a cluster of its own, or for a replicant none.
async fn alone(shared: &Rc<Shared>, stays_alone: bool) -> Result<(), String> {
    let is_core = shared.membership.own.role == Role::Core;
    let identity = Identity {
        cluster: if is_core { random() } else { 0 },
        id: random(),
        is_founder: is_core,
        stays_alone,
    };
    go(shared, identity).await?;
    if let (true, Some(consensus)) = (is_core, shared.membership.consensus()) {
        let own = &shared.membership.own;
        consensus.found(&own.name, &own.address).await?;
    } else if !is_core {
        info!("this node is a replicant and looks for a core");
    }
    Ok(())
}
