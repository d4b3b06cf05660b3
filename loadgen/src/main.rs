//! The program `loadgen`; all of it is in the library.

use std::process::ExitCode;

use clap::Parser;

use loadgen::cli::Cli;
use loadgen::net::system;
use loadgen::run::{Share, Solo};
use loadgen::scenarios::{Context, Task};
use loadgen::stats::Report;

/// The run was made, and its checks found a fault.
const EXIT_FAILED: u8 = 1;
/// The run could not be made.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let task = cli.command.task();
    match perform(&*task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(message) => {
            eprintln!("loadgen: {message}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Carries out a scenario in this process and prints its report; true when it passed.
fn perform(task: &dyn Task) -> Result<bool, String> {
    system::hold_interrupts().map_err(|error| format!("cannot hold signals: {error}"))?;
    let mut gate = Solo;
    let mut context = Context {
        run: random_run(),
        share: Share::WHOLE,
        clock_offset_ns: 0,
        gate: &mut gate,
    };
    let conducted = task.conduct(&mut context)?;
    let mut report = Report::new(task.name());
    report.add_machine();
    task.report(&conducted, &mut report);
    if conducted.was_interrupted {
        report.add_note("interrupted: this is the run so far".to_owned());
    }
    if task.common().json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_text());
    }
    Ok(report.passed())
}

/// A number that no other run has, in all likelihood.
fn random_run() -> u32 {
    (system::monotonic_ns() as u32).wrapping_mul(0x9e37_79b1) ^ std::process::id().rotate_left(16)
}
