//! ShardMQ, an MQTT broker for Linux: the process around the data plane.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`cluster`] | the links to other nodes |
//! | [`config`] | the configuration: file, environment, command line |
//! | [`http`], [`ctl`] | what operators see and do |
//! | [`host`] | what this machine has and allows |
//! | [`dev_cluster`] | `shardmq dev-cluster`: several nodes on this machine |
//! | [`data`] | `shardmq data`: what is stored, for people |
//! | [`start`] | `shardmq`: checks, start, signals, stop |
//! | [`tune`] | `shardmq tune`: what to change on this machine |
//! | [`plane`] | the seam to the data plane |
//! | [`failure`], [`logger`] | what the operator gets to read |
#![deny(unsafe_code)]

mod cli;
mod cluster;
mod config;
mod ctl;
mod data;
mod dev_cluster;
mod failure;
mod host;
mod http;
mod logger;
mod plane;
mod start;
mod tune;
mod whole_file;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Arguments, Command};
use config::Config;
use config::keys;
use failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::DevCluster {
        nodes,
        port,
        cluster_port,
    }) = arguments.command
    {
        let ports = dev_cluster::Ports { port, cluster_port };
        return ended(dev_cluster::run(nodes, &ports, &arguments.options));
    }
    let sources = arguments.options.sources();
    let result = match arguments.command.unwrap_or(Command::Run) {
        Command::Run | Command::DevCluster { .. } => load(&sources).and_then(start::run),
        Command::Check => load(&sources).map(|config| check(&config)),
        Command::Keys => Ok(print(&keys())),
        Command::Ctl { command } => load(&sources).and_then(|config| ctl::run(&command, &config)),
        Command::Data { command } => load(&sources).and_then(|config| data::run(&command, &config)),
        Command::Tune { json } => load(&sources).map(|config| {
            let report = tune::Report::of_this_host(&config);
            _ = print(&if json {
                report.json()
            } else {
                report.to_string()
            });
            report.exit_code()
        }),
    };
    ended(result)
}

/// What the process ends with.
fn ended(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|failure| {
        failure.show();
        ExitCode::FAILURE
    })
}

/// The configuration, or everything that is wrong with it.
fn load(sources: &config::Sources) -> Result<Config, Failure> {
    Config::load(sources).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::new(lines.join("\n"))
    })
}

/// `shardmq check`: prints the effective configuration. That of a bigger machine is
/// valid here too, so CPUs that are not here are only pointed out.
fn check(config: &Config) -> ExitCode {
    let here = |what: String| format!("not set; here {what}");
    let mut unset = vec![(
        "allow_anonymous",
        "not set: everybody, but no address is opened that others could reach".to_owned(),
    )];
    match start::placement::place(config, &host::cpus::Cpus::of_this_host()) {
        Ok(placement) => unset.extend([
            ("shards.cpus", here(placement.shards.to_string())),
            ("shards.count", here(placement.shards.len().to_string())),
            (
                "shards.control_cpus",
                here(format!("\"{}\"", placement.control)),
            ),
        ]),
        Err(failure) => failure.warn(),
    }
    print(&config::print::effective(config, &unset))
}

/// `shardmq keys`: the table of all keys.
fn keys() -> String {
    let mut out = String::new();
    for key in keys::all() {
        _ = writeln!(
            out,
            "{}\n    {}\n    {}",
            key.path,
            key.about,
            key.kind.allowed()
        );
    }
    out
}

/// Writes to standard output. Somebody who stops reading half-way (`| head`) is no error.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Failure::new(format!("cannot write to standard output: {error}")).show();
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
