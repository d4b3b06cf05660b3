//! Opening what outlives the process, and what to say when that cannot be done.

use std::time::{Duration, Instant};

use log::{error, info, warn};
use shards::settings;
use shards::store::{self, Expect, OpenError, Options, StoreFailure};

use super::data_folder::DataFolder;
use crate::config::Config;
use crate::config::durability::Durability;
use crate::failure::Failure;
use crate::plane::Storage;

/// Opens the store of the folder as the configuration wants it; nothing with
/// `durability = "memory"`.
pub(crate) fn open(folder: &DataFolder, config: &Config) -> Result<Option<Storage>, Failure> {
    let durability = match config.durability {
        Durability::Synced => store::Durability::Synced,
        Durability::FlushedEvery(ms) => store::Durability::FlushedEvery(Duration::from_millis(ms)),
        Durability::Memory => {
            if folder.has_store() || store::exists(folder.path()) {
                warn!("durability = \"memory\": what is stored in the data folder is not used");
            }
            folder.mark_without_store()?;
            return Ok(None);
        }
    };
    let begun = Instant::now();
    let options = options(&config.storage, durability);
    let (store, stored) = store::open(folder.path(), expected(folder), options).map_err(explain)?;
    folder.mark_with_store()?;
    info!(
        "{} sessions and {} retained messages were stored; read in {} ms",
        stored.sessions.len(),
        stored.retained.len(),
        begun.elapsed().as_millis()
    );
    Ok(Some(Storage {
        store,
        stored,
        on_failure: Box::new(fail),
    }))
}

/// A folder whose mark says so has a database.
pub(crate) fn expected(folder: &DataFolder) -> Expect {
    if folder.has_store() {
        Expect::Existing
    } else {
        Expect::Any
    }
}

/// How the store is run.
pub(crate) fn options(settings: &settings::Storage, durability: store::Durability) -> Options {
    Options {
        started: Instant::now(),
        durability,
        reserve_bytes: settings.reserve_bytes,
        cache_bytes: usize::try_from(settings.cache_bytes).unwrap_or(usize::MAX),
        log_bytes: settings.log_bytes,
    }
}

/// Nothing can be stored any more: whatever were acknowledged from now on could be lost.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing more must be acknowledged, and what is stored is stored"
)]
fn fail(failure: &StoreFailure) {
    error!("nothing can be stored any more, so the broker ends: {failure}");
    Failure::new(format!("nothing can be stored any more: {failure}"))
        .advise("What was acknowledged is stored. Look at the disk and the kernel's log: dmesg")
        .show();
    std::process::exit(1)
}

/// What an error means.
pub(crate) fn explain(error: OpenError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        OpenError::Missing(_) => failure
            .advise("Restore the file from a backup")
            .advise("or begin anew with another folder: --data-dir FOLDER"),
        OpenError::Newer { .. } => failure
            .advise("Use the version of ShardMQ that wrote it")
            .advise("or another folder: --data-dir FOLDER"),
        OpenError::Damaged { .. } => failure
            .advise("Nothing was changed. Restore the folder from a backup")
            .advise("or begin anew with another folder: --data-dir FOLDER"),
        OpenError::Io { .. } => {
            failure.advise("Look at the disk, its free space and the kernel's log: dmesg")
        }
    }
}
