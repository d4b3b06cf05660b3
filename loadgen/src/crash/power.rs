//! The disk as a power cut would leave it: copied while the broker writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use super::broker;
use super::stage::{Stage, seed};
use super::{Options, Verdict, Without};

/// Copy the disk below a working broker, and judge whether anything acknowledged before is
/// missing on the copy
#[derive(Debug, Clone, Args)]
pub struct PowerCut {
    /// Options of both tests.
    #[command(flatten)]
    pub options: Options,
    /// How often
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// A command that copies the disk
    #[arg(long)]
    pub copy: String,
    /// A command that makes the copy readable at --copy-dir
    #[arg(long)]
    pub open: String,
    /// A command that undoes --open
    #[arg(long)]
    pub close: String,
    /// Where the copy is, after --open: what --data-dir's parent is on the original
    #[arg(long)]
    pub copy_dir: PathBuf,
}

impl PowerCut {
    /// Carries out the test.
    pub fn run(&self) -> Result<Verdict, String> {
        let first = seed(&self.options);
        let mut all: Option<Verdict> = None;
        for round in 0..self.rounds {
            let verdict = self.round(round, first.wrapping_add(u64::from(round)))?;
            let failed = !verdict.passed();
            let sum = match all.take() {
                None => verdict,
                Some(mut sum) => {
                    sum.lines.extend(verdict.lines);
                    sum.faults.merge(verdict.faults);
                    sum
                }
            };
            all = Some(sum);
            if failed {
                break;
            }
        }
        all.ok_or_else(|| "at least one round is needed".to_owned())
    }

    fn round(&self, round: u32, seed: u64) -> Result<Verdict, String> {
        let mut options = self.options.clone();
        // What a client does after the copy began is not on the copy.
        options.without = vec![Without::Wills];
        if self.options.without.contains(&Without::Delayed) {
            options.without.push(Without::Delayed);
        }
        let name = format!("round-{round}");
        let data = options.data_dir.join(&name);
        std::fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        let mut stage = Stage::new(&options, data.clone(), seed)?;
        stage.recipe.log = std::env::temp_dir().join(format!("power-cut-{seed}.log"));
        stage.start()?;
        stage.run_until_ready()?;
        if !stage.run_until(|stage| stage.cast.is_settled())? {
            return Err("not all subscriptions were acknowledged".to_owned());
        }
        stage.scene.is_loaded = true;
        let time = stage.scene.chance.between_ms(300, 2000);
        stage.run_for(time)?;
        let copied = self.copy_under_load(&mut stage)?;
        stage.kill();
        stage.cast.go_back(&mut stage.scene);
        shell(&self.open)?;
        let judged = self.judge(&mut stage, &data);
        stage.kill();
        let closed = shell(&self.close);
        judged.and(closed)?;
        let _ = std::fs::remove_dir_all(&data);
        let line = format!("power cut {round}: copied in {copied:?} under load, seed {seed}");
        Ok(stage.verdict(vec![line]))
    }

    fn copy_under_load(&self, stage: &mut Stage) -> Result<Duration, String> {
        stage.scene.record.cut();
        stage.cast.keeper.cut();
        let began = std::time::Instant::now();
        let mut copy = Command::new("sh")
            .args(["-c", &self.copy])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run sh: {error}"))?;
        loop {
            stage.turn()?;
            match copy.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(began.elapsed()),
                Ok(None) => {}
                other => return Err(format!("{}: {other:?}", self.copy)),
            }
        }
    }

    /// Starts a broker on the copy and awaits all that it owes.
    fn judge(&self, stage: &mut Stage, data: &Path) -> Result<(), String> {
        let parent = self
            .options
            .data_dir
            .parent()
            .unwrap_or_else(|| Path::new("/"));
        let inside = data.strip_prefix(parent).unwrap_or(data);
        let address = broker::unused_address()?;
        stage.move_to(address, self.copy_dir.join(inside));
        stage.start()?;
        stage.run_until_ready()?;
        stage.finish()
    }
}

fn shell(command: &str) -> Result<(), String> {
    let status = Command::new("sh").args(["-c", command]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{command}: {other:?}")),
    }
}
