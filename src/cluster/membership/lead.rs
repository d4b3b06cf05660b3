//! What the leader does.

use std::rc::Rc;
use std::time::Duration;

use log::{debug, info, warn};
use shard_cluster::registry::{Command, Registry, Removal, Step, next_step};
use shard_cluster::wire::Role;
use tokio::time::{Instant, sleep};

use crate::cluster::Shared;
use crate::cluster::consensus::Consensus;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Between two looks at who is gone for long.
const CLEAN: Duration = Duration::from_secs(1);

/// A change of the voters that some do not know is followed by another one after this time, which
/// is twice that of a lease with what clocks may drift: see `shard_cluster::members`.
const SETTLED: Duration = Duration::from_millis(6500);

/// Since when this node leads, and what it has seen since.
struct Leading {
    since: Instant,
    /// The last change of voters or learners, and when it was first seen.
    change: (u64, Instant),
    cleaned: Instant,
}

/// Does what the leader is to do, whenever this node leads.
pub(super) async fn run(shared: Rc<Shared>) {
    let mut leading: Option<Leading> = None;
    loop {
        let own = shared.membership.consensus();
        match own.filter(Consensus::leads) {
            Some(own) => {
                let now = Instant::now();
                let leading = leading.get_or_insert_with(|| Leading {
                    since: now,
                    change: (own.last_change(), now),
                    cleaned: now,
                });
                while work(&shared, &own, leading).await {}
            }
            None => leading = None,
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = shared.membership.work.notified() => {}
        }
    }
}

/// One step. Whether there may be another one at once.
async fn work(shared: &Rc<Shared>, own: &Consensus, leading: &mut Leading) -> bool {
    let now = Instant::now();
    let change = own.last_change();
    if leading.change.0 != change {
        leading.change = (change, now);
    }
    let registry = own.registry();
    if registry.is_empty() && own.identity().is_founder {
        // It died between its first two steps.
        let (name, address) = (&shared.membership.own.name, &shared.membership.own.address);
        return own.enrol(name, address).await.is_ok();
    }
    let is_old = now.duration_since(leading.change.1) > SETTLED;
    let Some(progress) = own.progress(is_old) else {
        return false;
    };
    if let Some(step) = next_step(&registry, &progress) {
        say(&registry, &step);
        let goes_on = !matches!(step, Step::HandOver { .. });
        return match own.step(step).await {
            Ok(()) => goes_on,
            Err(error) => {
                debug!("{error}");
                false
            }
        };
    }
    if now.duration_since(leading.cleaned) > CLEAN {
        leading.cleaned = now;
        clean(shared, own, &registry, leading.since).await;
    }
    false
}

fn say(registry: &Registry, step: &Step) {
    let name = |id: &u64| match registry.by_id(*id) {
        Some((name, _)) => format!("node {name}"),
        None => "a node that is no member any more".to_owned(),
    };
    match step {
        Step::AddLearner { name, .. } => info!("node {name} gets the log of the cluster"),
        Step::AddVoter { id } => info!("{} becomes one of the cores that vote", name(id)),
        Step::Demote { id } => info!("{} votes no more", name(id)),
        Step::Remove { id } => info!("{} gets the log of the cluster no more", name(id)),
        Step::HandOver { to } => info!("{} is to lead", name(to)),
        Step::Activate { name, .. } => info!("node {name} has joined"),
    }
}

/// Removes one node that is gone for long, if a majority of the cores that are left is there.
async fn clean(shared: &Rc<Shared>, own: &Consensus, registry: &Registry, since: Instant) {
    let membership = &shared.membership;
    let led = since.elapsed();
    let silent = |name: &str| {
        let silent = Duration::from_millis(shared.hub.borrow().silent_ms(name));
        silent.min(led)
    };
    let own_name = membership.own.name.as_str();
    let gone = registry
        .members()
        .find(|(name, _)| *name != own_name && silent(name) >= membership.own.autoclean);
    let Some((name, member)) = gone else {
        return;
    };
    let cores = registry.members().filter(|(_, it)| it.role == Role::Core);
    let others: Vec<&str> = cores
        .map(|(core, _)| core)
        .filter(|core| *core != name)
        .collect();
    let is_there = |core: &&&str| **core == own_name || shared.hub.borrow().is_connected(core);
    if others.iter().filter(is_there).count() <= others.len() / 2 {
        return;
    }
    warn!("node {name} was gone for cluster.autoclean and is removed from the cluster");
    let remove = Command::Remove {
        name: name.into(),
        id: member.id,
        removal: Removal::Cleaned,
    };
    if let Err(error) = own.propose(remove).await {
        warn!("node {name} could not be removed: {error}");
    }
}
