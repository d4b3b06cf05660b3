//! Meeting others.

use std::rc::Rc;
use std::time::Duration;

use log::{error, info, warn};
use serde::{Deserialize, Serialize};
use shard_cluster::registry::{Decision, Registry, Removal, Standing, State};
use shard_cluster::registry::{decide, follows, is_left_behind};
use shard_cluster::wire::Role;
use tokio::time::{Instant, sleep};

use super::change::{self, Change};
use super::{Membership, alone, go, random};
use crate::cluster::Shared;
use crate::cluster::consensus::{Consensus, Identity};
use crate::cluster::rpc::{self, kind};

/// Between two looks at who is there.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a node may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// A member that is connected with another one and does not hear it for so long asks whether it
/// still is one: who was removed is a guest to the others.
const SILENT: Duration = Duration::from_millis(1500);

/// For so long after its start a core that is the only one of its cluster waits for the first of
/// the nodes that the configuration names, or for a cluster of several cores: if each of five went
/// to the first that it met, there could be two clusters of two.
const GATHERING: Duration = Duration::from_secs(2);

/// A node that was accepted and then heard nothing of that cluster for so long is alone again.
const FORSAKEN: Duration = Duration::from_secs(60);

/// The same where who accepted it says that it is in another cluster by now.
const LEFT_BEHIND: Duration = Duration::from_secs(3);

/// Since when a node that is on its way to a cluster has heard nothing of it.
#[derive(Default)]
struct Forsaken {
    by_all: Option<Instant>,
    by_who_took_it_in: Option<Instant>,
}

/// Who asks.
#[derive(Deserialize, Serialize)]
struct Who {
    standing: Standing,
    /// Its log.
    id: u64,
    /// How many commands had changed the members when it was one of them, as it knows; zero if it
    /// was not yet.
    version: u64,
}

/// The answer.
#[derive(Deserialize, Serialize)]
struct Known {
    standing: Standing,
    /// The one who asks was a member of this cluster and is none any more.
    removal: Option<Removal>,
}

/// How long something has lasted that `is` so now.
fn lasted(since: &mut Option<Instant>, is: bool) -> Duration {
    if !is {
        *since = None;
        return Duration::ZERO;
    }
    since.get_or_insert_with(Instant::now).elapsed()
}

/// Says who is here.
pub(super) fn answer(shared: &Rc<Shared>) {
    let weak = Rc::downgrade(shared);
    shared.handlers.on(kind::WHO, move |request| {
        let shared = weak.upgrade();
        async move {
            let shared = shared.ok_or("this node stops")?;
            let who = serde_json::from_slice(&request.body).map_err(|it| it.to_string())?;
            let known = known(&shared, &who);
            serde_json::to_vec(&known).map_err(|error| error.to_string())
        }
    });
}

fn known(shared: &Rc<Shared>, who: &Who) -> Known {
    let standing = shared.membership.standing();
    let own = shared.membership.consensus();
    let is_over =
        |own: &Consensus| own.identity().cluster == who.standing.cluster && !own.knows(who.id);
    // While its vote counts it is needed.
    let own = own.filter(is_over);
    let removal = own.and_then(|own| {
        let registry = own.registry();
        let remembered = registry.removal(who.id);
        // Ids are never used again: who was a member then, and is not now, was removed.
        let was_member = who.version > 0 && who.version < registry.version();
        let is_removed = was_member && registry.by_id(who.id).is_none();
        remembered.or_else(|| is_removed.then_some(Removal::Cleaned))
    });
    Known { standing, removal }
}

/// Looks at who is there, for ever.
pub(super) async fn run(shared: Rc<Shared>) {
    let mut forsaken = Forsaken::default();
    let begun = Instant::now();
    loop {
        look(&shared, &mut forsaken, begun.elapsed() < GATHERING).await;
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = shared.membership.wake.notified() => {
                // Others are about to come, too.
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn look(shared: &Rc<Shared>, forsaken: &mut Forsaken, is_gathering: bool) {
    let membership = &shared.membership;
    let Some(own) = membership.consensus() else {
        return;
    };
    if membership.is_leaving.get() {
        return;
    }
    let (identity, registry, view) = (own.identity(), own.registry(), own.view());
    say_failure(membership, view.failure.as_deref());
    super::forget_gone(shared, &own);
    let is_member = registry.by_id(identity.id).is_some();
    // It has learned so, and its vote counts still.
    let is_going = registry.removal(identity.id);
    let is_new = registry.is_empty();
    let is_joining = is_new && identity.cluster > 0 && !identity.is_founder;
    let silent = lasted(&mut forsaken.by_all, is_joining || is_going.is_some());
    let mut asked = shared.hub.borrow().guests();
    asked.extend(shared.hub.borrow_mut().members_to_ask(SILENT));
    let mut best: Option<(Standing, String)> = None;
    let (mut elsewhere, mut here) = (Vec::new(), Vec::new());
    for node in asked {
        let who = Who {
            standing: membership.standing(),
            id: identity.id,
            // Who is on the way in may know more than the one who is asked, and less than what
            // has taken it in.
            version: if is_member { registry.version() } else { 0 },
        };
        let Some(known) = ask(shared, &node, &who).await else {
            continue;
        };
        if let (Some(removal), false) = (known.removal, is_new) {
            return removed(shared, removal).await;
        }
        if is_joining || is_going.is_some() {
            if is_joining && known.standing.cluster == identity.cluster {
                forsaken.by_who_took_it_in = None;
                _ = request(shared, &node, identity.id).await;
                return;
            }
            here.push(known.standing);
            continue;
        }
        if follows(&who.standing, &registry, &known.standing) {
            best = Some((known.standing, node));
            break;
        }
        // One that goes from one to another is in none for a moment.
        if ![0, identity.cluster].contains(&known.standing.cluster) {
            elsewhere.push(node.clone());
        }
        consider(shared, &who.standing, known.standing, node, &mut best);
    }
    let best = best
        .filter(|(other, _)| !is_gathering || is_to_meet(shared, other))
        .filter(|_| !is_taking_in(shared, &own, &registry, &elsewhere));
    let is_left = is_joining && is_left(membership, &here);
    let is_left = lasted(&mut forsaken.by_who_took_it_in, is_left) > LEFT_BEHIND;
    if let (Some(removal), true) = (is_going, silent > FORSAKEN) {
        removed(shared, removal).await;
    } else if silent > FORSAKEN || is_left {
        warn!("nothing was heard of the cluster that this node was to join: it is alone again");
        _ = alone(shared, false).await;
    } else if let (Some((_, node)), true) = (best, !identity.stays_alone && membership.own.seeks) {
        _ = join(shared, &node).await;
    } else if is_member {
        change::keep_own(shared, &registry).await;
    }
}

fn say_failure(membership: &Membership, failure: Option<&str>) {
    if let Some(failure) = failure.filter(|failure| membership.is_news("", failure)) {
        error!("the consensus has stopped here: {failure}. Restart the node");
    }
}

/// Whether somebody is on the way to this node's cluster, who would be left alone with it. Those
/// of `elsewhere` have said, while this was the registry, that they are of another one.
fn is_taking_in(
    shared: &Rc<Shared>,
    own: &Consensus,
    registry: &Registry,
    elsewhere: &[String],
) -> bool {
    if !own.leads() {
        return false;
    }
    if own.registry().version() != registry.version() {
        // Somebody may have been taken in while others were asked.
        return true;
    }
    let hub = shared.hub.borrow();
    let joining = registry
        .members()
        .filter(|(_, it)| it.state == State::Joining);
    let mut others = joining.filter(|(name, _)| **name != *hub.name());
    others.any(|(name, _)| hub.is_connected(name) && !elsewhere.iter().any(|it| it == name))
}

/// Whether who took this node in has gone elsewhere, and nobody of that cluster is here.
fn is_left(membership: &Membership, here: &[Standing]) -> bool {
    let by = membership.taken_in_by.borrow();
    is_left_behind(&membership.standing(), &by, here)
}

/// Whether a node joins another one although there may be better ones to come.
fn is_to_meet(shared: &Rc<Shared>, other: &Standing) -> bool {
    let seeds = &shared.membership.own.seeds;
    let first = seeds.iter().map(|seed| &*seed.name).min();
    other.cores > 1 || first.is_none_or(|first| *first == *other.name)
}

async fn ask(shared: &Rc<Shared>, node: &str, who: &Who) -> Option<Known> {
    let body = serde_json::to_vec(who).ok()?;
    let answer = rpc::call(shared, node, kind::WHO, &body, PATIENCE)
        .await
        .ok()?;
    serde_json::from_slice(&answer).ok()
}

/// Looks at what another node is in. The best to join has the most members, then the smallest
/// name.
fn consider(
    shared: &Rc<Shared>,
    own: &Standing,
    other: Standing,
    node: String,
    best: &mut Option<(Standing, String)>,
) {
    match decide(own, &other) {
        Decision::Stay => {}
        Decision::Join => {
            let is_better = best
                .as_ref()
                .is_none_or(|(best, _)| (other.members, &best.name) > (best.members, &other.name));
            if is_better {
                *best = Some((other, node));
            }
        }
        Decision::Foreign => {
            if shared.membership.is_news(&node, "foreign") {
                warn!(
                    "node {node} is in another cluster of {} nodes with the same name and cookie; \
                     clusters are never mixed. To make them one, let each node of one of them \
                     leave it, and join the other",
                    other.members
                );
            }
        }
    }
}

/// Goes to the cluster of a node, if its leader accepts this one.
pub(super) async fn join(shared: &Rc<Shared>, node: &str) -> Result<(), String> {
    let membership = &shared.membership;
    if membership.is_leaving.get() || membership.joining.get() > 0 {
        return Err("another change is under way: try again".to_owned());
    }
    membership.is_leaving.set(true);
    let joined = go_to(shared, node).await;
    membership.is_leaving.set(false);
    if let Err(why) = &joined
        && membership.is_news(node, why)
    {
        info!("the cluster of node {node} does not take this one in yet: {why}");
    }
    joined
}

async fn go_to(shared: &Rc<Shared>, node: &str) -> Result<(), String> {
    let id = random();
    let cluster = request(shared, node, id).await?;
    *shared.membership.taken_in_by.borrow_mut() = node.into();
    info!("this node goes to the cluster of node {node}");
    let identity = Identity {
        cluster,
        id,
        is_founder: false,
        stays_alone: false,
    };
    let gone = go(shared, identity).await;
    if let Err(error) = &gone {
        error!("this node cannot take part in that cluster: {error}");
    }
    gone
}

/// Asks to be taken in.
async fn request(shared: &Rc<Shared>, node: &str, id: u64) -> Result<u64, String> {
    let own = &shared.membership.own;
    let change = Change::Join {
        id,
        address: own.address.clone(),
        standing: shared.membership.standing(),
    };
    change::ask(shared, node, change).await
}

/// This node was removed by others.
async fn removed(shared: &Rc<Shared>, removal: Removal) {
    let own = &shared.membership.own;
    let (why, stays_alone) = match removal {
        Removal::Left => ("it has left", true),
        Removal::Forced => ("an operator has removed it", true),
        Removal::Cleaned => ("it was gone for cluster.autoclean", false),
        Removal::Replaced => ("its name came with another data folder", true),
    };
    let then = match (stays_alone, own.role) {
        (true, _) => "It is alone now, until it is told to join",
        (false, Role::Core) => "It is alone now, and joins again",
        (false, Role::Replicant) => "It joins again",
    };
    warn!("this node is no member of its cluster any more: {why}. {then}");
    shared.membership.is_leaving.set(true);
    if let Err(error) = alone(shared, stays_alone).await {
        error!("this node takes no part in a cluster: {error}");
    }
    shared.membership.is_leaving.set(false);
}
