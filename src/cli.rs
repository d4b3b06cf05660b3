//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Sources;
use crate::{ctl, data};

/// What `shardmq --help` says after the options.
const AFTER_HELP: &str = "\
Settings come from, each overriding the one before:
  1. shardmq.toml in the working folder, or the file of --config or SHARDMQ_CONFIG
  2. environment: SHARDMQ_ and the key, with two underscores for a dot, such as
     SHARDMQ_LISTENERS__TCP__DEFAULT__BIND=127.0.0.1:1884
  3. --set key=value
  4. the flags above
`shardmq keys` lists every key, `shardmq check` shows what is in effect and why.

Without settings the broker listens on 127.0.0.1:1883 and keeps its data in ./data.
To let everybody in, from everywhere, without authentication:
  shardmq --set listeners.tcp.default.bind=0.0.0.0:1883 --set allow_anonymous=true";

/// The command line as a whole.
#[derive(Debug, Parser)]
#[command(name = "shardmq", version, about, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The options, which may stand before or after the command.
    #[command(flatten)]
    pub(crate) options: Options,
    /// What to do; [`Command::Run`] if nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker (the default)
    Run,
    /// Validate the configuration and print what is in effect, as TOML
    Check,
    /// List every configuration key, what it is for and what it takes
    Keys,
    /// Look at this machine and say what to change; exit code 1 if the broker could not run
    Tune {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at a running broker and its cluster, and change what is to be changed
    Ctl {
        /// What to do
        #[command(subcommand)]
        command: ctl::Command,
    },
    /// Run several nodes on this machine, to try a cluster: Ctrl-C stops all
    DevCluster {
        /// How many
        #[arg(value_parser = clap::value_parser!(u8).range(1..=16))]
        nodes: u8,
        /// Port for clients, on 127.0.0.1, 127.0.0.2 and so on
        #[arg(long, default_value_t = 1883, value_name = "PORT")]
        port: u16,
        /// UDP port of the links
        #[arg(long, default_value_t = 4370, value_name = "PORT")]
        cluster_port: u16,
    },
    /// Look at the stored data, or move them, while no broker runs
    Data {
        /// What to do
        #[command(subcommand)]
        command: data::Command,
    },
}

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Configuration file [default: ./shardmq.toml if it is there]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Set any key; may be repeated. VALUE is TOML, strings need no quotes
    #[arg(long, value_name = "KEY=VALUE", global = true, value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Folder for everything that is kept [data_dir]
    #[arg(long, value_name = "FOLDER", global = true)]
    data_dir: Option<String>,
    /// CPUs to pin shards to, such as 0-3,8 [shards.cpus]
    #[arg(long, value_name = "LIST", global = true)]
    cpus: Option<String>,
    /// Number of shards [shards.count]
    #[arg(long, value_name = "COUNT", global = true)]
    shards: Option<String>,
    /// Address and port, or port, of the default listener [listeners.tcp.default.bind]
    #[arg(long, value_name = "ADDRESS", global = true)]
    bind: Option<String>,
    /// Name of this node, name@host [node.name]
    #[arg(long, visible_alias = "node", value_name = "NAME", global = true)]
    node_name: Option<String>,
}

impl Options {
    /// The folder that was given.
    pub(crate) fn data_dir(&self) -> Option<&str> {
        self.data_dir.as_deref()
    }

    /// What several nodes have in common, as arguments.
    pub(crate) fn in_common(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(file) = &self.config {
            arguments.extend(["--config".into(), file.clone().into_os_string()]);
        }
        for (key, value) in &self.set {
            arguments.extend(["--set".into(), format!("{key}={value}").into()]);
        }
        if let Some(cpus) = &self.cpus {
            arguments.extend(["--cpus".into(), cpus.into()]);
        }
        // Each with all CPUs would be in the way of the others.
        let shards = self.shards.as_deref().unwrap_or("1");
        arguments.extend(["--shards".into(), shards.into()]);
        arguments
    }

    /// What the configuration is made from.
    pub(crate) fn sources(self) -> Sources {
        let flags = [
            ("--data-dir", "data_dir", self.data_dir),
            ("--cpus", "shards.cpus", self.cpus),
            ("--shards", "shards.count", self.shards),
            ("--bind", "listeners.tcp.default.bind", self.bind),
            ("--node-name", "node.name", self.node_name),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(flag, key, value)| Some((flag, key, value?)));
        Sources {
            file: self.config,
            environment: std::env::vars_os().collect(),
            set: self.set,
            flags: flags.collect(),
        }
    }
}

/// Splits the argument of `--set`.
fn key_and_value(argument: &str) -> Result<(String, String), &'static str> {
    match argument.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected key=value, such as mqtt.max_inflight=64"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn set_takes_a_key_and_a_value() {
        assert_eq!(
            key_and_value("a.b=c=d"),
            Ok(("a.b".to_owned(), "c=d".to_owned()))
        );
        assert_eq!(key_and_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_and_value("a").is_err());
        assert!(key_and_value("=b").is_err());
    }
}
