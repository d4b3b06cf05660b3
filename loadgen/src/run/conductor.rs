//! The conductor: starts the threads, leads them through the stages, and takes the samples.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::net::{Waker, system};
use crate::procfs::Usage;
use crate::stats::{Outcome, Progress};

use super::clients::Profile;
use super::control::Control;
use super::driver::{Driver, Part};
use super::gate::Gate;
use super::share::Share;
use super::{Stage, Until};

/// How often the conductor looks whether all threads are done with a stage.
const LOOK: Duration = Duration::from_millis(5);

/// How often it looks at anything while only time has to pass.
const LOOK_WHILE_TIMED: Duration = Duration::from_millis(200);

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
    /// The broker's process, to be sampled.
    pub broker_pid: Option<u32>,
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
    /// The broker at both ends.
    pub broker: Option<(Usage, Usage)>,
    /// This process at both ends.
    pub own: (Usage, Usage),
}

impl StageRecord {
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
}

impl Conducted {
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
        let lead = Lead {
            control: &control,
            staging,
            progress: Progress::new(staging.shows_progress),
        };
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

/// The conductor at work.
struct Lead<'a> {
    control: &'a Control,
    staging: &'a Staging,
    progress: Progress,
}

impl Lead<'_> {
    fn run(mut self, script: &[Stage], gate: &mut dyn Gate) -> Result<Conducted, String> {
        let mut conducted = Conducted::default();
        let mut brings = Value::Null;
        for (index, stage) in script.iter().enumerate() {
            if conducted.was_interrupted && !stage.is_final {
                continue;
            }
            let all = gate.arrive(stage.name, brings)?;
            self.share_totals(&all)?;
            let record = self.stage(index, stage, gate, &mut conducted.was_interrupted)?;
            if !record.is_complete && !stage.is_final && !conducted.was_interrupted {
                return Err(self.stuck(stage));
            }
            conducted.stages.push(record);
            brings = Value::Null;
            if stage.name == "stop" && self.staging.share.workers > 1 {
                brings = Value::from(self.control.sent_totals().to_vec());
            }
        }
        self.progress.clear();
        Ok(conducted)
    }

    /// Adds up what the publishers of all workers have sent, when the workers bring it.
    fn share_totals(&self, all: &[Value]) -> Result<(), String> {
        let mut totals: Vec<u64> = Vec::new();
        for value in all.iter().filter(|value| value.is_array()) {
            let part: Vec<u64> = serde_json::from_value(value.clone())
                .map_err(|error| format!("a worker brought bad totals: {error}"))?;
            totals.resize(totals.len().max(part.len()), 0);
            totals
                .iter_mut()
                .zip(part)
                .for_each(|(total, part)| *total += part);
        }
        if !totals.is_empty() {
            self.control.set_sent_totals(totals);
        }
        Ok(())
    }

    fn stage(
        &mut self,
        index: usize,
        stage: &Stage,
        gate: &mut dyn Gate,
        was_interrupted: &mut bool,
    ) -> Result<StageRecord, String> {
        let before = self.sample()?;
        let start_ns = self.control.now();
        self.control.begin(index, start_ns);
        let (end_ns, is_complete) = self.wait(index, stage, start_ns, gate, was_interrupted)?;
        let after = self.sample()?;
        Ok(StageRecord {
            name: stage.name.to_owned(),
            start_ns,
            end_ns,
            is_complete,
            broker: before.0.zip(after.0),
            own: (before.1, after.1),
        })
    }

    /// Waits for the end of a stage; says when that was, and whether everything was done.
    fn wait(
        &mut self,
        index: usize,
        stage: &Stage,
        start_ns: u64,
        gate: &mut dyn Gate,
        was_interrupted: &mut bool,
    ) -> Result<(u64, bool), String> {
        let mut progress = (self.control.progress(), start_ns);
        loop {
            let now = self.control.now();
            let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
            let sleep = match stage.until {
                Until::Elapsed(time) if since(start_ns) >= time => return Ok((now, true)),
                Until::Elapsed(time) => (time - since(start_ns)).min(LOOK_WHILE_TIMED),
                Until::Done(patience) => {
                    if let Some(end_ns) = self.control.all_done_ns(index) {
                        return Ok((end_ns, true));
                    }
                    let count = self.control.progress();
                    if count != progress.0 {
                        progress = (count, now);
                    } else if since(progress.1) >= patience {
                        return Ok((now, false));
                    }
                    LOOK
                }
            };
            if self.control.has_failed() {
                return Err(self.control.failure().unwrap_or_default());
            }
            self.progress.tick(stage.name, self.control);
            let interrupted = system::wait_for_interrupt(sleep) || gate.is_interrupted();
            if interrupted && std::mem::replace(was_interrupted, true) {
                return Err("interrupted twice".to_owned());
            }
            if interrupted && !stage.is_final {
                return Ok((self.control.now(), false));
            }
        }
    }

    fn sample(&self) -> Result<(Option<Usage>, Usage), String> {
        let broker = self.staging.broker_pid.map(Usage::read).transpose()?;
        Ok((broker, Usage::read(std::process::id())?))
    }

    fn stuck(&self, stage: &Stage) -> String {
        let Until::Done(patience) = stage.until else {
            return format!("the stage {:?} was not completed", stage.name);
        };
        format!(
            "{}: no progress for {} s; {} clients are connected",
            stage.name,
            patience.as_secs(),
            self.control.sum(|board| &board.connected),
        )
    }
}
