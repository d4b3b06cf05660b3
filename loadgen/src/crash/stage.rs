//! A broker with everybody who takes part, driven turn by turn.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::broker::{self, Broker, Recipe};
use super::cast::{Cast, Parts};
use super::record::{Outcome, Record};
use super::scene::{Chance, Scene};
use super::{Options, Verdict, Without};

/// How long a broker may take from its start to its first CONNACK.
const START: Duration = Duration::from_secs(30);

/// How long a turn rests in which nothing came.
const REST: Duration = Duration::from_micros(200);

/// A test under way.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) cast: Cast,
    pub(super) recipe: Recipe,
    broker: Option<Broker>,
    shards: Vec<u32>,
    patience: Duration,
    /// Connections accepted when the broker was started last.
    connected_before: u64,
    pub(super) starts: u64,
    pub(super) slowest_start: Duration,
}

impl Stage {
    /// Everything ready, and the broker not started.
    pub(super) fn new(options: &Options, data: PathBuf, seed: u64) -> Result<Self, String> {
        let mut scene = Scene {
            run: seed as u32 ^ std::process::id() << 8,
            record: Record::default(),
            chance: Chance::new(seed),
            now: Instant::now(),
            killed_at: None,
            address: broker::unused_address()?,
            is_loaded: false,
            is_ending: false,
            connected: 0,
            scratch: Vec::new(),
        };
        let parts = Parts {
            wills: !options.without.contains(&Without::Wills),
            delayed: !options.without.contains(&Without::Delayed),
        };
        let cast = Cast::new(&mut scene, parts, options.rate);
        let settings = [
            "mqtt.max_mqueue_len=4000000000",
            "mqtt.max_mqueue_bytes=4000000000",
        ];
        let settings = settings.into_iter().map(str::to_owned);
        let arguments = settings
            .chain(options.settings.iter().cloned())
            .flat_map(|setting| ["--set".to_owned(), setting])
            .collect();
        let log = data.with_extension("log");
        if let Some(folder) = data.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(Self {
            scene,
            cast,
            recipe: Recipe {
                program: options.broker.clone(),
                data,
                log,
                arguments,
            },
            broker: None,
            shards: options.shards.clone(),
            patience: options.patience,
            connected_before: 0,
            starts: 0,
            slowest_start: Duration::ZERO,
        })
    }

    /// Starts the broker.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let shards = self.shards[self.scene.chance.below(self.shards.len())];
        self.connected_before = self.scene.connected;
        self.starts += 1;
        self.broker = Some(Broker::start(&self.recipe, self.scene.address, shards)?);
        Ok(())
    }

    /// Goes on until the broker serves.
    pub(super) fn run_until_ready(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        while self.scene.connected == self.connected_before {
            self.turn()?;
            if begin.elapsed() > START {
                return Err(self.ended(&format!("the broker does not serve after {START:?}")));
            }
        }
        if let Some(broker) = &self.broker {
            self.slowest_start = self.slowest_start.max(broker.started_at.elapsed());
        }
        Ok(())
    }

    /// Goes on for a time.
    pub(super) fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Goes on until a condition holds; false when nothing came for too long.
    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        let mut quiet_since = Instant::now();
        let mut looked_at = Instant::now();
        let mut arrivals = self.scene.record.arrivals;
        loop {
            self.turn()?;
            if looked_at.elapsed() < Duration::from_millis(50) {
                continue;
            }
            looked_at = Instant::now();
            if done(self) {
                return Ok(true);
            }
            if self.scene.record.arrivals != arrivals {
                arrivals = self.scene.record.arrivals;
                quiet_since = Instant::now();
            }
            if quiet_since.elapsed() > self.patience {
                return Ok(false);
            }
        }
    }

    /// One turn of everybody. An error when the broker has ended by itself.
    pub(super) fn turn(&mut self) -> Result<(), String> {
        if !self.cast.turn(&mut self.scene) {
            std::thread::sleep(REST);
            let status = self.broker.as_mut().and_then(Broker::ended);
            if let Some(status) = status {
                return Err(self.ended(&format!("the broker has ended by itself: {status}")));
            }
        }
        Ok(())
    }

    fn ended(&self, what: &str) -> String {
        let log = broker::tail(&self.recipe.log);
        format!("{what} (start {})\n{log}", self.starts)
    }

    /// Kills the broker.
    pub(super) fn kill(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.kill();
        }
        self.scene.killed_at = Some(Instant::now());
    }

    /// Stops the broker in order.
    pub(super) fn stop(&mut self) {
        if let Some(mut broker) = self.broker.take()
            && let Err(what) = broker.stop()
        {
            let what = format!("{what}\n{}", broker::tail(&self.recipe.log));
            self.scene.record.faults.add("end after SIGTERM", what);
        }
    }

    /// Goes on elsewhere.
    pub(super) fn move_to(&mut self, address: SocketAddr, data: PathBuf) {
        self.scene.address = address;
        self.recipe.data = data;
    }

    /// No new messages; everybody comes back, and all that is owed is awaited.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.scene.is_loaded = false;
        self.scene.is_ending = true;
        self.cast.keeper.stop_reading();
        self.cast.keeper.read(&mut self.scene);
        let done = |stage: &Self| stage.cast.is_done() && stage.scene.record.missing() == 0;
        // A reader has a patience of its own.
        let read = |stage: &Self| !stage.cast.keeper.is_reading();
        let _ = self.run_until(done)? || self.run_until(read)?;
        if !self.cast.is_done() {
            let what = self.cast.undone();
            self.scene.record.faults.add("not finished", what);
        }
        // What must not come has had its time, and so have repeats.
        self.run_for(Duration::from_millis(500))?;
        self.scene.record.close();
        Ok(())
    }

    /// What was done and what was wrong.
    pub(super) fn verdict(self, first: Vec<String>) -> Verdict {
        let record = &self.scene.record;
        let count = |outcome| record.outcomes(outcome);
        let mut lines = first;
        lines.push(format!(
            "messages: {} acknowledged, {} refused, {} unknown; {} arrivals, {} of them repeats",
            count(Outcome::Acknowledged),
            count(Outcome::Refused),
            count(Outcome::Unknown),
            record.arrivals,
            record.repeats,
        ));
        lines.push(format!(
            "retained messages read {} times; {} starts, slowest {:.2} s to the first CONNACK",
            self.cast.keeper.reads,
            self.starts,
            self.slowest_start.as_secs_f64(),
        ));
        Verdict {
            faults: self.scene.record.faults.clone(),
            lines,
        }
    }
}

/// What chance begins with.
pub(super) fn seed(options: &Options) -> u64 {
    options.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    })
}
