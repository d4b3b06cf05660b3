//! Killing the broker again and again.

use std::time::Duration;

use clap::Args;

use super::stage::{Stage, seed};
use super::{Options, Verdict};

/// Kill the broker at random moments, and judge whether anything acknowledged was lost
#[derive(Debug, Clone, Args)]
pub struct Kills {
    /// Options of both tests.
    #[command(flatten)]
    pub options: Options,
    /// How often the broker is killed
    #[arg(long, default_value_t = 60)]
    pub kills: u32,
}

impl Kills {
    /// Carries out the test. An error means that the broker did not come back.
    pub fn run(&self) -> Result<Verdict, String> {
        let options = &self.options;
        let seed = seed(options);
        let mut stage = Stage::new(options, options.data_dir.clone(), seed)?;
        stage.start()?;
        stage.run_until_ready()?;
        let subscribed = |stage: &Stage| stage.cast.is_settled();
        stage.scene.is_loaded = true;
        let _ = stage.run_until(subscribed)?;
        for _ in 0..self.kills {
            self.kill_once(&mut stage)?;
        }
        stage.run_for(Duration::from_millis(500))?;
        stage.finish()?;
        stage.stop();
        Ok(stage.verdict(vec![format!("crash: {} kills, seed {seed}", self.kills)]))
    }

    fn kill_once(&self, stage: &mut Stage) -> Result<(), String> {
        let chance = &mut stage.scene.chance;
        if chance.once_in(8) {
            // While it starts, or just after.
            let time = chance.between_ms(0, 150);
            stage.kill();
            stage.start()?;
            stage.run_for(time)?;
        } else {
            let time = chance.between_ms(20, 1200);
            stage.run_for(time)?;
        }
        stage.kill();
        let pause = stage.scene.chance.between_ms(0, 60);
        stage.run_for(pause)?;
        stage.cast.keeper.stop_reading();
        stage.start()?;
        if !stage.scene.chance.once_in(10) {
            stage.run_until_ready()?;
            stage.cast.keeper.read(&mut stage.scene);
        }
        Ok(())
    }
}
