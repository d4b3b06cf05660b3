//! Leading the threads through the stages of a script.

use std::time::Duration;

use serde_json::Value;

use crate::net::system;
use crate::procfs::Usage;
use crate::stats::Progress;

use super::brokers::Brokers;
use super::conductor::{Conducted, StageRecord, Staging};
use super::control::Control;
use super::gate::Gate;
use super::{Stage, Until};

/// How often the conductor looks whether all threads are done with a stage.
const LOOK: Duration = Duration::from_millis(5);

/// How often it looks at anything while only time has to pass.
const LOOK_WHILE_TIMED: Duration = Duration::from_millis(200);

/// A sleep that takes so much longer than asked for means that the machine was paused, or had
/// no time at all for this process.
const STANDSTILL: Duration = Duration::from_millis(500);

/// The stage after which all workers tell each other what their publishers have sent.
const STOP: &str = "stop";

/// The conductor at work.
pub(super) struct Lead<'a> {
    control: &'a Control,
    staging: &'a Staging,
    progress: Progress,
    was_interrupted: bool,
    stood_still: Duration,
    brokers: Brokers,
}

impl<'a> Lead<'a> {
    pub(super) fn new(control: &'a Control, staging: &'a Staging) -> Self {
        let progress = Progress::new(staging.shows_progress);
        Self {
            control,
            staging,
            progress,
            was_interrupted: false,
            stood_still: Duration::ZERO,
            brokers: staging.brokers.clone(),
        }
    }

    /// Goes through all stages.
    pub(super) fn run(
        mut self,
        script: &[Stage],
        gate: &mut dyn Gate,
    ) -> Result<Conducted, String> {
        let mut conducted = Conducted::default();
        let mut brings = Value::Null;
        for (index, stage) in script.iter().enumerate() {
            if self.was_interrupted && !stage.is_final {
                continue;
            }
            let Some(all) = gate.arrive(index, std::mem::take(&mut brings))? else {
                self.was_interrupted = true;
                continue;
            };
            self.share_totals(&all)?;
            let record = self.stage(index, stage, gate)?;
            if !record.is_complete && !stage.is_final && !self.was_interrupted {
                return Err(self.stuck(stage));
            }
            conducted.stages.push(record);
            if stage.name == STOP && self.staging.share.workers > 1 {
                brings = Value::from(self.control.sent_totals().to_vec());
            }
        }
        self.progress.clear();
        conducted.was_interrupted = self.was_interrupted;
        conducted.stood_still_s = self.stood_still.as_secs_f64();
        if let Some(problem) = self.brokers.problem() {
            conducted.outcome.add_problem(problem);
        }
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
    ) -> Result<StageRecord, String> {
        let before = self.sample()?;
        let start_ns = self.control.now();
        self.control.begin(index, start_ns);
        let end = self.wait(index, stage, start_ns, gate)?;
        let after = self.sample()?;
        Ok(StageRecord {
            name: stage.name.to_owned(),
            start_ns,
            end_ns: end.at_ns,
            is_complete: end.is_complete,
            brokers: before.0.into_iter().zip(after.0).collect(),
            own: (before.1, after.1),
        })
    }

    fn wait(
        &mut self,
        index: usize,
        stage: &Stage,
        start_ns: u64,
        gate: &mut dyn Gate,
    ) -> Result<End, String> {
        let mut watch = Watch {
            start_ns,
            count: self.control.progress(),
            changed_ns: start_ns,
        };
        loop {
            let sleep = match watch.look(self.control, index, stage.until) {
                Look::Over(end) => return Ok(end),
                Look::Again(sleep) => sleep,
            };
            if self.control.has_failed() {
                return Err(self.control.failure().unwrap_or_default());
            }
            if self.progress.is_due() {
                gate.show(self.control.counters());
                self.progress.show(stage.name, self.control);
            }
            let is_interrupted = self.sleep(sleep) || gate.is_interrupted();
            if is_interrupted && self.was_interrupted {
                return Err("interrupted twice".to_owned());
            }
            self.was_interrupted |= is_interrupted;
            if is_interrupted && !stage.is_final {
                return Ok(End {
                    at_ns: self.control.now(),
                    is_complete: false,
                });
            }
        }
    }

    /// Sleeps up to `time`; true when an interrupt came. Notices when it took far longer.
    fn sleep(&mut self, time: Duration) -> bool {
        let before = self.control.now();
        let is_interrupted = system::wait_for_interrupt(time);
        let slept = Duration::from_nanos(self.control.now().saturating_sub(before));
        let excess = slept.saturating_sub(time);
        if excess >= STANDSTILL {
            self.stood_still += excess;
        }
        is_interrupted
    }

    fn sample(&mut self) -> Result<(Vec<Usage>, Usage), String> {
        Ok((self.brokers.sample()?, Usage::read(std::process::id())?))
    }

    fn stuck(&self, stage: &Stage) -> String {
        let connected = self.control.counters().connected;
        match stage.until {
            Until::Done(patience) => format!(
                "{}: no progress for {} s; {connected} clients are connected",
                stage.name,
                patience.as_secs_f64(),
            ),
            Until::Elapsed(_) => format!("the stage {:?} was not completed", stage.name),
        }
    }
}

/// The end of a stage.
struct End {
    at_ns: u64,
    is_complete: bool,
}

/// What a look at a stage has found.
enum Look {
    Over(End),
    Again(Duration),
}

/// Sees when a stage is over.
struct Watch {
    start_ns: u64,
    /// The progress seen last, and when it last changed.
    count: u64,
    changed_ns: u64,
}

impl Watch {
    fn look(&mut self, control: &Control, index: usize, until: Until) -> Look {
        let now = control.now();
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        match until {
            Until::Elapsed(time) => match time.checked_sub(since(self.start_ns)) {
                Some(rest) if !rest.is_zero() => Look::Again(rest.min(LOOK_WHILE_TIMED)),
                _ => Look::Over(End {
                    at_ns: now,
                    is_complete: true,
                }),
            },
            Until::Done(patience) => {
                if let Some(at_ns) = control.all_done_ns(index) {
                    return Look::Over(End {
                        at_ns,
                        is_complete: true,
                    });
                }
                let count = control.progress();
                if count != self.count {
                    (self.count, self.changed_ns) = (count, now);
                }
                if since(self.changed_ns) >= patience {
                    return Look::Over(End {
                        at_ns: now,
                        is_complete: false,
                    });
                }
                Look::Again(LOOK)
            }
        }
    }
}
