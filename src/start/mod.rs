//! `shardmq`: everything between a valid configuration and a running data plane, and
//! the way back.
//!
//! Each step either succeeds or ends the program with what is wrong and what to do.
//!
//! | module | what it holds |
//! |---|---|
//! | [`placement`] | which CPUs shards and control threads get |
//! | [`data_folder`] | the folder, its lock and its format |
//! | [`storage`] | what outlives the process |
//! | [`links`] | other nodes |
//! | [`operators`] | the HTTP API |
//! | [`ports`] | whether the listeners' ports are free |
//! | [`ready`] | what is said when the broker is up |
//! | [`notify`] | the word to systemd |
//! | [`signals`] | SIGTERM and SIGINT |

pub(crate) mod data_folder;
mod links;
mod notify;
mod operators;
pub(crate) mod placement;
mod ports;
mod ready;
mod signals;
pub(crate) mod storage;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

use log::{info, warn};
use shards::settings::{Listener, Settings};

use crate::config::Config;
use crate::failure::Failure;
use crate::host::cpus::Cpus;
use crate::host::kernel::Kernel;
use crate::host::system::{self, Limit};
use crate::host::{limits, uring};
use crate::{logger, plane};
use data_folder::DataFolder;
use placement::Placement;

/// Runs the broker until it is stopped.
pub(crate) fn run(config: Config) -> Result<ExitCode, Failure> {
    logger::start(config.log_level);
    system::hold_signals()
        .map_err(|error| Failure::new(format!("signals cannot be held: {error}")))?;
    let open_files = open_files()?;
    let placement = placement::place(&config, &Cpus::of_this_host())?;
    enough_files(open_files, &config, &placement)?;
    uring::probe(&Kernel::of_this_host())?;
    locked_memory()?;
    let folder = DataFolder::open(&config.data_dir)?;
    let listeners = ports::reserve(&config.listeners)?;
    let links = links::prepare(&config, folder.path())?;
    let operators = operators::prepare(&config, folder.path(), &listeners, open_files)?;
    keep_off_shards(&placement);

    let ready = ready::Ready {
        config: &config,
        placement: &placement,
        listeners: &listeners,
        http: operators.tcp(),
    };
    let announcement = ready.announcement(&folder, open_files);
    warn_about(&config, &placement, open_files);
    let storage = storage::open(&folder, &config)?;
    let mut running = plane::start(&settings(&config, &placement, listeners), storage)?;
    let links = links.map(|links| links.start(&mut running)).transpose()?;
    let operators = operators.start(&mut running, links.as_ref())?;
    signals::watch(running.stopper(), operators.retirement())?;
    announcement.show();
    notify::ready();

    let totals = plane::wait(running);
    operators.stop();
    let totals = totals?;
    if let Some(links) = links {
        links.stop();
    }
    info!(
        "stopped: {} messages received, {} sent, {} dropped, {} protocol errors",
        totals.received, totals.sent, totals.dropped, totals.protocol_errors
    );
    drop(folder);
    Ok(ExitCode::SUCCESS)
}

/// What the data plane is started with.
fn settings(config: &Config, placement: &Placement, listeners: Vec<Listener>) -> Settings {
    Settings {
        cpus: placement.shards.iter().collect(),
        listeners,
        engine: config.engine.clone(),
        mqtt: config.mqtt.clone(),
        node_name: config.node_name.clone(),
        cluster: config.cluster.is_some(),
        suback_acked: config.cluster.as_ref().is_some_and(|it| it.suback_acked),
        publish_ack_local: config
            .cluster
            .as_ref()
            .is_some_and(|it| it.publish_ack_local),
        sys_topics: config.sys_topics.clone(),
        sys_event_messages: config.sys_event_messages.clone(),
        events: config.events.clone(),
        rewrite: config.rewrite.clone(),
        auto_subscribe: config.auto_subscribe.clone(),
        // Not set means: whoever reaches a listener, and then all of them are loopback.
        allow_anonymous: config.allow_anonymous.unwrap_or(true),
        hash_seed: random(),
    }
}

/// A number that others cannot know: the standard library seeds its hash maps from the system's
/// random source.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// Raises the limit of open files and returns it.
fn open_files() -> Result<u64, Failure> {
    limits::raise_open_files()
        .map(|limit| limit.soft)
        .map_err(|error| Failure::new(format!("the limit of open files cannot be raised: {error}")))
}

/// Makes sure that the broker has enough open files for itself and somebody else.
fn enough_files(open_files: u64, config: &Config, placement: &Placement) -> Result<(), Failure> {
    let (shards, listeners) = (placement.shards.len(), config.listeners.len());
    if limits::connections(open_files, shards, listeners) > 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the limit of open files is too low: {open_files}, which leaves none for connections"
    ))
    .command("sudo prlimit --pid $$ --nofile=1048576:1048576")
    .advise("in a systemd unit: LimitNOFILE=1048576; in a container: --ulimit nofile=1048576"))
}

/// Makes sure that the shards' executors may lock the memory they need.
fn locked_memory() -> Result<(), Failure> {
    let limit = limits::raise_locked_memory().unwrap_or(Limit { soft: 0, hard: 0 });
    if limit.soft >= limits::LOCKED_MEMORY_MIN {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the limit of locked memory is too low: {} KiB, and io_uring needs {} KiB",
        limit.soft >> 10,
        limits::LOCKED_MEMORY_MIN >> 10,
    ))
    .command("sudo prlimit --pid $$ --memlock=unlimited:unlimited")
    .advise("in a systemd unit: LimitMEMLOCK=infinity; in a container: --ulimit memlock=-1"))
}

/// Moves this thread, and with it every control thread it starts, to the control CPUs.
fn keep_off_shards(placement: &Placement) {
    if placement.control.is_empty() {
        return;
    }
    if let Err(error) = system::pin(&placement.control) {
        warn!(
            "control threads cannot be kept on CPUs {}: {error}",
            placement.control
        );
    }
}

/// Says what the operator probably did not mean.
fn warn_about(config: &Config, placement: &Placement, open_files: u64) {
    if config.allow_anonymous == Some(false) {
        warn!("allow_anonymous = false and no authentication in this version: nobody can connect");
    }
    let possible = limits::connections(open_files, placement.shards.len(), config.listeners.len());
    for Listener {
        name,
        max_connections,
        ..
    } in &config.listeners
    {
        if u64::from(*max_connections) > possible {
            warn!(
                "listeners.tcp.{name}.max_connections = {max_connections}, but the open files are \
                 enough for {possible} connections"
            );
        }
    }
}
