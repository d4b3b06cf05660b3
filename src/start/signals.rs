//! SIGTERM and SIGINT: the first one stops the broker in order, the second at once.
//!
//! SIGPIPE is ignored by Rust's runtime, so a peer that hangs up is an error of a write.

use std::{process, thread};

use log::{info, warn};

use crate::failure::Failure;
use crate::host::system;
use crate::http::Retirement;
use crate::plane::Stopper;

/// Starts the thread that waits for the signals, which [`system::hold_signals`] keeps for
/// it. It lives as long as the process.
pub(crate) fn watch(stopper: Stopper, retirement: Retirement) -> Result<(), Failure> {
    let stop = move || {
        retirement.begin();
        stopper.stop();
    };
    let wait = move || {
        let signal = system::next_signal();
        info!("{}: stopping; once more stops at once", name(signal));
        // The next signal is waited for meanwhile.
        let stops = thread::Builder::new()
            .name("stopping".to_owned())
            .spawn(stop);
        if let Err(error) = stops {
            warn!("no thread can be started to stop in order: {error}");
            exit_at_once(signal)
        }
        let signal = system::next_signal();
        warn!("{} once more: stopped at once", name(signal));
        exit_at_once(signal)
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
        .map_err(|error| Failure::new(format!("no thread can be started: {error}")))
}

/// Ends the process with what a shell reports for one that a signal ended.
#[expect(
    clippy::disallowed_methods,
    reason = "the operator insists, whatever is lost"
)]
fn exit_at_once(signal: i32) {
    process::exit(128 + signal)
}

/// The name of a signal that is waited for.
fn name(signal: i32) -> &'static str {
    if signal == libc::SIGINT {
        "SIGINT"
    } else {
        "SIGTERM"
    }
}
