//! The program `loadgen`; all of it is in the library.

use std::process::ExitCode;

use clap::Parser;

use loadgen::cli::{Cli, Command, Scenario};
use loadgen::coordinate::Run;
use loadgen::crash::Verdict;
use loadgen::net::system;
use loadgen::run::{Conducted, Share, Solo};
use loadgen::scenarios::{Context, Task};
use loadgen::stats::Report;

/// The run was made, and its checks found a fault.
const EXIT_FAILED: u8 = 1;
/// The run could not be made.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(message) => {
            eprintln!(
                "loadgen: {}",
                message.trim_start_matches("error: ").trim_end()
            );
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Does what the command line asks for; false when a run has failed its checks.
fn perform(command: Command) -> Result<bool, String> {
    system::hold_interrupts().map_err(|error| format!("cannot hold signals: {error}"))?;
    match command {
        Command::Scenario(scenario) => solo(*scenario),
        Command::Worker(worker) => worker.serve().map(|()| true),
        Command::Run(run) => shared(&run),
        Command::Crash(kills) => kills.run().map(|verdict| print_verdict(&verdict)),
        Command::PowerCut(cut) => cut.run().map(|verdict| print_verdict(&verdict)),
    }
}

/// Carries out a scenario in this process.
fn solo(scenario: Scenario) -> Result<bool, String> {
    let task = scenario.task();
    let mut context = Context {
        run: random_run(),
        share: Share::WHOLE,
        is_worker: false,
        clock_offset_ns: 0,
        gate: &mut Solo,
    };
    let conducted = task.conduct(&mut context)?;
    Ok(print_report(&*task, &conducted))
}

/// Carries out a scenario on workers.
fn shared(run: &Run) -> Result<bool, String> {
    let task = run.parse_scenario()?.task();
    let common = task.common();
    let conducted = run.coordinate(random_run(), common.brokers()?, !common.json)?;
    Ok(print_report(&*task, &conducted))
}

/// Prints the report; true when the run has passed.
fn print_report(task: &dyn Task, conducted: &Conducted) -> bool {
    let mut report = Report::new(task.name());
    report.set_nodes(task.common().node_names());
    report.add_machine();
    task.report(conducted, &mut report);
    report.add_circumstances(conducted);
    if task.common().json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_text());
    }
    report.passed()
}

/// Prints what a crash test has found; true when it has passed.
fn print_verdict(verdict: &Verdict) -> bool {
    print!("{}", verdict.to_text());
    verdict.passed()
}

/// A number that no other run has, in all likelihood.
fn random_run() -> u32 {
    (system::monotonic_ns() as u32).wrapping_mul(0x9e37_79b1) ^ std::process::id().rotate_left(16)
}
