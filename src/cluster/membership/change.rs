//! Changes of the members. Any member takes one and passes it to the leader.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use log::info;
use serde::{Deserialize, Serialize};
use shard_cluster::registry::{Command, Refusal, Registry, Removal, Standing, Step};
use shard_cluster::wire::Role;
use tokio::time::{Instant, sleep};

use super::{alone, seek};
use crate::cluster::Shared;
use crate::cluster::consensus::{Consensus, Failed};
use crate::cluster::rpc::{self, CallError, kind};
use crate::cluster::seed::Seed;

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a connection may take with a node that is to be joined.
const MEETING: Duration = Duration::from_secs(10);

/// How long a connection that was lost may take to be there again.
const AGAIN: Duration = Duration::from_secs(2);

/// Between two looks at whether something has come about.
const PAUSE: Duration = Duration::from_millis(50);

/// A change that somebody asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Change {
    /// The one who asks is to be a member.
    Join {
        id: u64,
        address: String,
        standing: Standing,
    },
    /// A member is to be none any more.
    Remove {
        name: String,
        /// Its log; any if it is not known.
        id: Option<u64>,
        is_forced: bool,
    },
    /// A member is to be something else.
    SetRole { name: String, role: Role },
    /// A member's links are elsewhere.
    SetAddress { name: String, address: String },
}

/// A change on its way.
#[derive(Deserialize, Serialize)]
struct Asked {
    change: Change,
    /// It came from another member: it is not passed on again.
    is_passed_on: bool,
}

/// Why a node did not join, leave, or remove another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ChangeError {
    /// This node is in a cluster with others: it has to leave that first.
    InCluster,
    /// This node is in no cluster with others.
    Alone,
    /// That is no name of a node.
    NotAName(String),
    /// There is no connection with that node.
    NotReached(String),
    /// The other side, or the cores, say why not.
    Refused(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => out
                .write_str("this node is in a cluster with others: it has to leave that one first"),
            Self::Alone => out.write_str("this node is in no cluster with others"),
            Self::NotAName(text) => out.write_str(text),
            Self::NotReached(name) => write!(
                out,
                "there is no connection with {name}: it has to run, with the same cluster.name \
                 and node.cookie; the log says what is wrong"
            ),
            Self::Refused(text) => out.write_str(text),
        }
    }
}

/// Answers those who ask for a change.
pub(super) fn answer(shared: &Rc<Shared>) {
    let weak = Rc::downgrade(shared);
    shared.handlers.on(kind::CHANGE, move |request| {
        let shared = weak.upgrade();
        async move {
            let shared = shared.ok_or("this node stops")?;
            let asked: Asked =
                serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
            let cluster = take(&shared, asked).await?;
            serde_json::to_vec(&cluster).map_err(|error| error.to_string())
        }
    });
}

/// Asks a node for a change that may be done twice. Returns the cluster in which it was done. Two
/// that meet may connect with each other at once, and then the first connection is closed: the
/// question is asked again over the other one.
pub(super) async fn ask(shared: &Shared, node: &str, change: Change) -> Result<u64, String> {
    let body = put(change, false)?;
    let mut answer = rpc::call(shared, node, kind::CHANGE, &body, PATIENCE).await;
    for _ in 0..2 {
        if !matches!(answer, Err(CallError::Lost(_) | CallError::NotConnected)) {
            break;
        }
        let is_connected = || shared.hub.borrow().is_connected(node);
        if wait_for(AGAIN, is_connected).await.is_err() {
            break;
        }
        answer = rpc::call(shared, node, kind::CHANGE, &body, PATIENCE).await;
    }
    take_answer(answer)
}

/// Asks a node for a change, once.
async fn send(
    shared: &Shared,
    node: &str,
    change: Change,
    is_passed_on: bool,
) -> Result<u64, String> {
    let body = put(change, is_passed_on)?;
    take_answer(rpc::call(shared, node, kind::CHANGE, &body, PATIENCE).await)
}

fn put(change: Change, is_passed_on: bool) -> Result<Vec<u8>, String> {
    let asked = Asked {
        change,
        is_passed_on,
    };
    serde_json::to_vec(&asked).map_err(|error| error.to_string())
}

fn take_answer(answer: Result<Vec<u8>, CallError>) -> Result<u64, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

/// Does a change here, or has the leader do it.
async fn take(shared: &Rc<Shared>, asked: Asked) -> Result<u64, String> {
    let Some(own) = shared.membership.consensus() else {
        return Err("it takes no part in a cluster".to_owned());
    };
    if own.leads() {
        return execute(shared, &own, asked.change).await;
    }
    let leader = own.view().leader;
    match leader.filter(|leader| *leader != shared.membership.own.name) {
        Some(leader) if !asked.is_passed_on => send(shared, &leader, asked.change, true).await,
        leader => Err(Failed::NotLeader(leader).to_string()),
    }
}

/// Has a change of this node's own cluster done.
async fn have(shared: &Rc<Shared>, change: Change) -> Result<u64, String> {
    let asked = Asked {
        change,
        is_passed_on: false,
    };
    take(shared, asked).await
}

/// Does a change, as the leader.
async fn execute(shared: &Rc<Shared>, own: &Consensus, change: Change) -> Result<u64, String> {
    let registry = own.registry();
    let id_of = |name: &str| registry.get(name).map(|member| member.id);
    let (command, removed) = match change {
        Change::Join {
            id,
            address,
            standing,
        } => return take_in(shared, own, (id, address, standing)).await,
        Change::Remove {
            name,
            id,
            is_forced,
        } => {
            let id = id.or_else(|| id_of(&name)).unwrap_or(0);
            if id == own.identity().id {
                return resign(shared, own, (name, is_forced)).await;
            }
            let removal = if is_forced {
                Removal::Forced
            } else {
                Removal::Left
            };
            let name = name.into();
            (Command::Remove { name, id, removal }, Some(id))
        }
        Change::SetRole { name, role } => {
            let name = name.into();
            (Command::SetRole { name, role }, None)
        }
        Change::SetAddress { name, address } => {
            let (name, address) = (name.into(), address.into());
            (Command::SetAddress { name, address }, None)
        }
    };
    own.propose(command).await.map_err(|it| it.to_string())?;
    if let Some(id) = removed {
        // Until then its vote counts: who leaves must not go before.
        wait_for(PATIENCE / 2, || !own.knows(id))
            .await
            .map_err(|()| {
                "it is removed, and its vote still counts until a majority of the cores agrees"
                    .to_owned()
            })?;
    }
    Ok(own.identity().cluster)
}

/// Has another core lead, and that one remove this node.
async fn resign(
    shared: &Rc<Shared>,
    own: &Consensus,
    (name, is_forced): (String, bool),
) -> Result<u64, String> {
    hand_over(shared, own).await?;
    let leader = own.view().leader.filter(|leader| *leader != name);
    let leader = leader.ok_or_else(|| Failed::Refused(Refusal::LastCore).to_string())?;
    let change = Change::Remove {
        name,
        id: Some(own.identity().id),
        is_forced,
    };
    send(shared, &leader, change, true).await
}

/// Takes somebody in.
async fn take_in(
    shared: &Rc<Shared>,
    own: &Consensus,
    (id, address, standing): (u64, String, Standing),
) -> Result<u64, String> {
    let membership = &shared.membership;
    if membership.is_leaving.get() {
        return Err("it is about to join another cluster itself".to_owned());
    }
    let cluster = own.identity().cluster;
    if standing.cores > 1 && standing.cluster != cluster {
        return Err("a node leaves the cluster that it is in before it joins another".to_owned());
    }
    if *standing.name == *membership.own.name {
        return Err(format!(
            "the name {} is that of another node too",
            standing.name
        ));
    }
    let add = Command::Add {
        name: standing.name,
        id,
        address: address.into(),
        role: standing.role,
    };
    membership.joining.set(membership.joining.get() + 1);
    let added = own.propose(add).await;
    membership.joining.set(membership.joining.get() - 1);
    added.map_err(|error| error.to_string())?;
    membership.work.notify_one();
    Ok(cluster)
}

/// Has role and address of this node in the registry be what its configuration says.
pub(super) async fn keep_own(shared: &Rc<Shared>, registry: &Registry) {
    let own = &shared.membership.own;
    let Some(member) = registry.get(&own.name) else {
        return;
    };
    let name = own.name.clone();
    let change = if member.role != own.role {
        let role = own.role;
        Change::SetRole { name, role }
    } else if *member.address != *own.address {
        let address = own.address.clone();
        Change::SetAddress { name, address }
    } else {
        return;
    };
    if let Err(why) = have(shared, change).await
        && shared.membership.is_news(&own.name, &why)
    {
        info!("role and address of this node in the cluster stay what they were: {why}");
    }
}

/// Joins the cluster of a node: its name if it is known here, or `name@host:port`.
pub(crate) async fn join(shared: &Rc<Shared>, node: &str) -> Result<(), ChangeError> {
    if shared.membership.standing().members > 1 {
        return Err(ChangeError::InCluster);
    }
    let seed = Seed::parse(node).map_err(ChangeError::NotAName)?;
    let name = seed.name.clone();
    if !shared.hub.borrow().is_connected(&name) {
        shared.know(seed);
    }
    let met = wait_for(MEETING, || shared.hub.borrow().is_connected(&name)).await;
    met.map_err(|()| ChangeError::NotReached(name.clone()))?;
    seek::join(shared, &name)
        .await
        .map_err(ChangeError::Refused)?;
    let is_member = || shared.membership.standing().members > 1;
    let joined = wait_for(PATIENCE, is_member).await;
    joined.map_err(|()| ChangeError::Refused("nothing of its cluster has come yet".to_owned()))
}

/// Leaves the cluster. The others have to agree.
pub(crate) async fn leave(shared: &Rc<Shared>) -> Result<(), ChangeError> {
    let membership = &shared.membership;
    let own = membership.consensus().ok_or(ChangeError::Alone)?;
    if membership.standing().members < 2 {
        return Err(ChangeError::Alone);
    }
    let refused = |text: String| ChangeError::Refused(text);
    let change = Change::Remove {
        name: membership.own.name.clone(),
        id: Some(own.identity().id),
        is_forced: false,
    };
    if let Err(why) = have(shared, change).await {
        // The others end their connections with who is no member. If it was done, this node
        // hears so when they are made again.
        let id = own.identity().id;
        let has_left = || {
            membership
                .consensus()
                .is_some_and(|now| now.identity().id != id)
        };
        let left = wait_for(PATIENCE / 2, has_left).await;
        return left.map_err(|()| refused(why));
    }
    info!("this node has left its cluster and is alone");
    membership.is_leaving.set(true);
    let left = alone(shared, true).await;
    membership.is_leaving.set(false);
    left.map_err(refused)
}

/// Has another core lead, if this one does and there is one: this node stops.
pub(crate) async fn hand_over_own(shared: &Shared) -> Result<(), String> {
    match shared.membership.consensus() {
        Some(own) => hand_over(shared, &own).await,
        None => Ok(()),
    }
}

/// Has another core lead, if this one does and there is one that stays.
async fn hand_over(shared: &Shared, own: &Consensus) -> Result<(), String> {
    let progress = own.leads().then(|| own.progress(false)).flatten();
    let Some(progress) = progress else {
        return Ok(());
    };
    let registry = own.registry();
    let goes = |id: &u64| {
        let member = registry.by_id(*id);
        member.is_some_and(|(name, _)| shared.hub.borrow().goes(name))
    };
    let mut others = progress.voters.intersection(&progress.caught_up);
    // One that is about to go, too, would not take it in time.
    let Some(to) = others.find(|id| **id != progress.own && !goes(id)) else {
        return Ok(());
    };
    let step = Step::HandOver { to: *to };
    own.step(step).await.map_err(|error| error.to_string())?;
    let has_leader = || !own.leads() && own.view().leader.is_some();
    let handed = wait_for(PATIENCE / 2, has_leader).await;
    handed.map_err(|()| "no other core has taken the lead: try again".to_owned())
}

/// Removes another node from the cluster, whether or not it runs.
pub(crate) async fn force_leave(shared: &Rc<Shared>, name: &str) -> Result<(), ChangeError> {
    if *name == *shared.membership.own.name {
        let text = "a node does not remove itself by force: let it leave";
        return Err(ChangeError::Refused(text.to_owned()));
    }
    if shared.membership.standing().members < 2 {
        return Err(ChangeError::Alone);
    }
    let change = Change::Remove {
        name: name.to_owned(),
        id: None,
        is_forced: true,
    };
    have(shared, change).await.map_err(ChangeError::Refused)?;
    Ok(())
}

/// Waits until something is so.
async fn wait_for(patience: Duration, is: impl Fn() -> bool) -> Result<(), ()> {
    let end = Instant::now() + patience;
    while !is() {
        if Instant::now() >= end {
            return Err(());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
