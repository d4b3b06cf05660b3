//! The conductor: starts the threads, leads them through the stages, and takes the samples.

use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::net::{Waker, system};
use crate::procfs::Usage;
use crate::stats::Outcome;

use super::Stage;
use super::brokers::Brokers;
use super::clients::Profile;
use super::control::Control;
use super::driver::{Driver, Part};
use super::gate::Gate;
use super::lead::Lead;
use super::share::Share;

/// What a scenario is to the conductor.
pub trait Scenario: Sync {
    /// What it does on one thread.
    type Part: Part;

    /// Its stages, in order.
    fn script(&self) -> Vec<Stage>;

    /// The clients of one thread, by their numbers in the whole run.
    fn clients(&self, seat: &Seat) -> Vec<u32>;

    /// The part of one thread.
    fn part(&self, seat: &Seat) -> Self::Part;

    /// What a part has measured, after the last stage.
    fn outcome(&self, part: Self::Part, control: &Control) -> Outcome;
}

/// One thread's place in the run.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// The thread's number in its process.
    pub thread: usize,
    /// How many there are.
    pub threads: usize,
    /// Its process' part of the run.
    pub share: Share,
}

/// How a run is carried out, whatever the scenario.
#[derive(Debug, Clone)]
pub struct Staging {
    /// Number of threads.
    pub threads: usize,
    /// CPUs to pin them to, in a circle; empty for none.
    pub cpus: Vec<usize>,
    /// This process' part.
    pub share: Share,
    /// The brokers' processes, to be sampled.
    pub brokers: Brokers,
    /// Added to this machine's clock to get the run's.
    pub clock_offset_ns: i64,
    /// Show progress on a terminal.
    pub shows_progress: bool,
}

/// What the conductor has seen of one stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// When it began, by the run's clock.
    pub start_ns: u64,
    /// When it ended: its time was over, or the last thread was done.
    pub end_ns: u64,
    /// Whether all threads did all they had to.
    pub is_complete: bool,
    /// Each broker that is watched, at both ends.
    pub brokers: Vec<(Usage, Usage)>,
    /// This process at both ends.
    pub own: (Usage, Usage),
}

impl StageRecord {
    /// Adds what another worker has seen of the same stage.
    fn merge(&mut self, other: Self, worker: u32) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        self.is_complete &= other.is_complete;
        self.own.0.merge(other.own.0, worker);
        self.own.1.merge(other.own.1, worker);
    }

    /// All brokers together at both ends, if any is watched.
    pub fn broker(&self) -> Option<(Usage, Usage)> {
        let mut brokers = self.brokers.iter().cloned().zip(0..);
        let (mut whole, _) = brokers.next()?;
        for ((before, after), number) in brokers {
            whole.0.merge(before, number);
            whole.1.merge(after, number);
        }
        Some(whole)
    }

    /// How long it took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9
    }
}

/// A run that is over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Conducted {
    /// One record per stage that was entered.
    pub stages: Vec<StageRecord>,
    /// What the threads measured.
    pub outcome: Outcome,
    /// The user ended it early.
    pub was_interrupted: bool,
    /// How long the machine gave this process no time at all, in seconds.
    pub stood_still_s: f64,
}

impl Conducted {
    /// Adds what another worker has seen of the same run.
    pub fn merge(&mut self, other: Self, worker: u32) {
        for record in other.stages {
            match self.stages.iter_mut().find(|own| own.name == record.name) {
                Some(own) => own.merge(record, worker),
                None => self.stages.push(record),
            }
        }
        self.outcome.merge(other.outcome);
        self.was_interrupted |= other.was_interrupted;
        self.stood_still_s = self.stood_still_s.max(other.stood_still_s);
    }

    /// The record of a stage, if the run came to it.
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|record| record.name == name)
    }
}

/// Carries out a scenario. An error means that the run could not be made, not that it failed
/// its checks.
pub fn conduct<S: Scenario>(
    scenario: &S,
    profile: &Arc<Profile>,
    staging: &Staging,
    gate: &mut dyn Gate,
) -> Result<Conducted, String> {
    let wakers: Result<Vec<_>, _> = (0..staging.threads)
        .map(|_| Waker::new().map(Arc::new))
        .collect();
    let wakers = wakers.map_err(|error| format!("cannot create an eventfd: {error}"))?;
    let control = Arc::new(Control::new(wakers, staging.clock_offset_ns));
    let script = scenario.script();
    thread::scope(|scope| {
        let spawn = |thread| {
            let (control, profile) = (Arc::clone(&control), Arc::clone(profile));
            let (script, staging) = (&script, staging);
            let work = move || {
                let seat = Seat {
                    thread,
                    threads: staging.threads,
                    share: staging.share,
                };
                perform(scenario, seat, profile, &control, staging, script.len())
            };
            thread::Builder::new()
                .name(format!("loadgen-{thread}"))
                .spawn_scoped(scope, work)
        };
        let threads: Result<Vec<_>, _> = (0..staging.threads).map(spawn).collect();
        let lead = Lead::new(&control, staging);
        let led = match &threads {
            Ok(_) => lead.run(&script, gate),
            Err(error) => Err(format!("cannot start a thread: {error}")),
        };
        control.begin(script.len(), control.now());
        let mut conducted = led?;
        for thread in threads.into_iter().flatten() {
            let outcome = thread
                .join()
                .map_err(|_| "a thread has panicked".to_owned())?;
            conducted.outcome.merge(outcome?);
        }
        let totals = control.sent_totals();
        let own = staging.share.range(totals.len() as u32);
        conducted.outcome.close_ledger(own, &totals);
        Ok(conducted)
    })
}

/// The life of one thread.
fn perform<S: Scenario>(
    scenario: &S,
    seat: Seat,
    profile: Arc<Profile>,
    control: &Arc<Control>,
    staging: &Staging,
    stages: usize,
) -> Result<Outcome, String> {
    let work = || {
        if !staging.cpus.is_empty() {
            let cpu = staging.cpus[seat.thread % staging.cpus.len()];
            system::pin(cpu).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))?;
        }
        system::use_exact_timers();
        system::unshare_descriptors()
            .map_err(|error| format!("cannot separate the descriptors of threads: {error}"))?;
        let numbers = scenario.clients(&seat);
        let mut part = scenario.part(&seat);
        let mut driver = Driver::new(profile, Arc::clone(control), seat.thread, numbers)?;
        driver.run(&mut part, stages)?;
        Ok(scenario.outcome(part, control))
    };
    let result = work();
    if let Err(failure) = &result {
        control.fail(String::clone(failure));
    }
    result
}
