//! Benchmarks of ShardMQ.
//!
//! | command | what it measures |
//! |---|---|
//! | `bench compare` | CPU time a message of this broker and of Mosquitto, in one run |
//! | `bench instructions` | instructions of the pure part, which repeat exactly |
//! | `bench store` | the store on its own: messages through group commit, size, start |

mod compare;
mod instructions;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of ShardMQ
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// CPU time of ShardMQ and of Mosquitto for the same load, one CPU each, interleaved
    Compare(compare::Options),
    /// Instructions of decode, encode, match and session step, counted by callgrind
    Instructions(instructions::Options),
    /// The store on its own: messages through group commit, size on disk, start
    Store(store::Options),
    /// One case of `instructions`, to be run under callgrind
    #[command(hide = true)]
    Case {
        /// Its name.
        name: String,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Compare(options) => compare::run(&options),
        Command::Instructions(options) => instructions::run(&options),
        Command::Store(options) => store::run(&options),
        Command::Case { name } => instructions::run_case(&name).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::from(2)
        }
    }
}
