//! This broker and Mosquitto under the same load, in one run.
//!
//! Each measurement starts a broker anew, pinned to one CPU, and `loadgen` pinned to
//! another. The two brokers take turns, so that what changes on the machine meanwhile
//! hits both. What counts is the broker's CPU time for each delivered message, filter
//! or connection: it does not depend on how fast the load generator is.

mod broker;
mod record;
mod scenarios;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::Value;

use broker::{Broker, Kind};
use record::Record;
use scenarios::{SCENARIOS, Scenario};

/// Options of `bench compare`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Measurements of each broker in each scenario; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    duration: u32,
    /// Only scenarios whose names contain this; may be repeated
    #[arg(long, value_name = "TEXT")]
    scenario: Vec<String>,
    /// ShardMQ's program [default: beside this one]
    #[arg(long, value_name = "FILE")]
    shardmq: Option<PathBuf>,
    /// The load generator [default: beside this one]
    #[arg(long, value_name = "FILE")]
    loadgen: Option<PathBuf>,
    /// Mosquitto, as Debian's package `mosquitto` installs it
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/mosquitto")]
    mosquitto: PathBuf,
    /// CPU that the brokers run on
    #[arg(long, default_value_t = 0)]
    broker_cpu: u32,
    /// CPU that the load generator runs on
    #[arg(long, default_value_t = 1)]
    loadgen_cpu: u32,
    /// Keep all results in bench/runs/<date>-<processor>
    #[arg(long)]
    save: bool,
}

/// Measures, prints the table, and says whether every target was reached.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let programs = Programs::find(options)?;
    let chosen = chosen(options)?;
    let mut record = Record::new(broker::version_of(&programs.mosquitto)?);
    for scenario in &chosen {
        for round in 0..options.rounds {
            for kind in [Kind::ShardMq, Kind::Mosquitto] {
                let result = measure(options, &programs, scenario, kind, round)?;
                record.add(scenario, kind, round, result);
            }
        }
        eprintln!("{}", table::row(scenario, &record));
    }
    let table = table::render(&chosen, &record);
    println!("{table}");
    if options.save {
        println!("kept in {}", record.save(&table)?.display());
    }
    Ok(chosen
        .iter()
        .all(|scenario| table::is_reached(scenario, &record)))
}

fn chosen(options: &Options) -> Result<Vec<&'static Scenario>, String> {
    let is_chosen = |scenario: &&Scenario| {
        let mut texts = options.scenario.iter();
        options.scenario.is_empty() || texts.any(|text| scenario.name.contains(&text[..]))
    };
    let chosen: Vec<_> = SCENARIOS.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!(
            "no scenario is called so; there are:\n{}",
            names.join("\n")
        ));
    }
    Ok(chosen)
}

/// One scenario against one broker: what the load generator reports.
fn measure(
    options: &Options,
    programs: &Programs,
    scenario: &Scenario,
    kind: Kind,
    round: u32,
) -> Result<Value, String> {
    let program = programs.of(kind);
    let broker = Broker::start(kind, program, options.broker_cpu)?;
    let mut loadgen = Command::new(&programs.loadgen);
    loadgen.args(scenario.arguments.split(' '));
    if scenario.lasts {
        loadgen.arg(format!("--duration={}s", options.duration));
    }
    loadgen.arg("--json");
    loadgen.arg(format!("--host={}", broker.address().ip()));
    loadgen.arg(format!("--port={}", broker.address().port()));
    loadgen.arg(format!("--broker-pid={}", broker.pid()));
    loadgen.arg(format!("--cpus={}", options.loadgen_cpu));
    let output = loadgen
        .output()
        .map_err(|error| format!("cannot run {}: {error}", programs.loadgen.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result: Value = serde_json::from_str(&text).map_err(|error| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{loadgen:?} gave no result ({error}):\n{text}{errors}")
    })?;
    for problem in result["problems"].as_array().into_iter().flatten() {
        eprintln!(
            "{}, {}, round {round}: {problem}",
            scenario.name,
            kind.name()
        );
    }
    Ok(result)
}

/// Where the programs are.
struct Programs {
    shardmq: PathBuf,
    mosquitto: PathBuf,
    loadgen: PathBuf,
}

impl Programs {
    fn find(options: &Options) -> Result<Self, String> {
        let own = std::env::current_exe()
            .map_err(|error| format!("cannot find out where this program is: {error}"))?;
        let beside = |given: &Option<PathBuf>, name: &str| {
            given.clone().unwrap_or_else(|| own.with_file_name(name))
        };
        let programs = Self {
            shardmq: beside(&options.shardmq, "shardmq"),
            mosquitto: options.mosquitto.clone(),
            loadgen: beside(&options.loadgen, "loadgen"),
        };
        exists(&programs.shardmq, "cargo build --release --workspace")?;
        exists(&programs.loadgen, "cargo build --release --workspace")?;
        exists(&programs.mosquitto, "apt-get install mosquitto")?;
        Ok(programs)
    }

    fn of(&self, kind: Kind) -> &Path {
        match kind {
            Kind::ShardMq => &self.shardmq,
            Kind::Mosquitto => &self.mosquitto,
        }
    }
}

fn exists(program: &Path, remedy: &str) -> Result<(), String> {
    if program.is_file() {
        return Ok(());
    }
    Err(format!(
        "there is no {}; `{remedy}` makes it",
        program.display()
    ))
}
