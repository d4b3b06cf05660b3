//! `shardmq data`: what is stored, for people.
//!
//! Each command locks the data folder, so none of them runs beside a broker.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use shards::store::{self, Counts, Durability, Expect, Store, Stored};

use crate::config::Config;
use crate::failure::Failure;
use crate::print;
use crate::start::data_folder::DataFolder;
use crate::start::storage;

/// What to do with the stored data.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Read and verify everything, and count it
    Check,
    /// Write everything as JSON, an object a line
    Export {
        /// The file to write; it must not exist yet [default: standard output]
        file: Option<PathBuf>,
    },
    /// Read what `export` wrote into a data folder that has no data
    Import {
        /// The file to read; `-` is standard input
        file: PathBuf,
    },
}

/// Does it.
pub(crate) fn run(command: &Command, config: &Config) -> Result<ExitCode, Failure> {
    match command {
        Command::Check => check(config),
        Command::Export { file } => export(config, file.as_deref()),
        Command::Import { file } => import(config, file),
    }
}

fn check(config: &Config) -> Result<ExitCode, Failure> {
    let (_folder, _, stored) = open(config)?;
    Ok(print(&table(Counts::of(&stored))))
}

/// What was counted, a line each.
fn table(counts: Counts) -> String {
    let mut out = String::new();
    for (name, count) in [
        ("sessions", counts.sessions),
        ("subscriptions", counts.subscriptions),
        ("messages for sessions", counts.entries),
        ("retained messages", counts.retained),
        ("delayed messages", counts.delayed),
        ("wills", counts.wills),
    ] {
        _ = writeln!(out, "{name:<22} {count}");
    }
    out
}

fn export(config: &Config, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let (_folder, store, stored) = open(config)?;
    let Some(path) = file else {
        let mut out = BufWriter::new(io::stdout().lock());
        return match store::export(&store, &stored, &mut out) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format!(
                "cannot write to standard output: {error}"
            ))),
            _ => Ok(ExitCode::SUCCESS),
        };
    };
    let explain = |error| explain(path, &error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(explain)?;
    let mut out = BufWriter::new(&file);
    store::export(&store, &stored, &mut out).map_err(explain)?;
    out.flush().map_err(explain)?;
    drop(out);
    file.sync_all().map_err(explain)?;
    Ok(ExitCode::SUCCESS)
}

fn import(config: &Config, file: &Path) -> Result<ExitCode, Failure> {
    let text: Box<dyn io::Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| explain(file, &error))?)
    };
    let folder = DataFolder::open(&config.data_dir)?;
    if folder.has_store() || store::exists(folder.path()) {
        return Err(Failure::new(format!(
            "the data folder {} has data already",
            folder.path().display()
        ))
        .advise("Import into a new folder: --data-dir FOLDER"));
    }
    let options = storage::options(&config.storage, Durability::Synced);
    let (mut store, _) =
        store::open(folder.path(), Expect::Any, options).map_err(storage::explain)?;
    if let Err(error) = store::import(&mut store, &mut BufReader::new(text)) {
        drop(store);
        // It has nothing in it, and it is ours.
        store::remove_empty(folder.path()).map_err(|error| explain(folder.path(), &error))?;
        return Err(
            Failure::new(format!("{}: {error}", file.display())).advise("Nothing was imported")
        );
    }
    drop(store);
    folder.mark_with_store()?;
    let (_, stored) =
        store::open(folder.path(), Expect::Existing, options).map_err(storage::explain)?;
    Ok(print(&table(Counts::of(&stored))))
}

/// The stored data of a folder that has some.
fn open(config: &Config) -> Result<(DataFolder, Store, Stored), Failure> {
    let nothing = || {
        Failure::new(format!(
            "the data folder {} has no stored data",
            config.data_dir.display()
        ))
        .advise("Name the folder of the broker: --data-dir FOLDER")
    };
    if !config.data_dir.exists() {
        return Err(nothing());
    }
    let folder = DataFolder::open(&config.data_dir)?;
    if !folder.has_store() && !store::exists(folder.path()) {
        return Err(nothing());
    }
    let options = storage::options(&config.storage, Durability::Synced);
    let (store, stored) =
        store::open(folder.path(), Expect::Existing, options).map_err(storage::explain)?;
    Ok((folder, store, stored))
}

/// What an error with a file means.
fn explain(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("{}: {error}", path.display()));
    match error.kind() {
        ErrorKind::AlreadyExists => failure.advise("Nothing is overwritten: name another file"),
        _ => failure,
    }
}
