//! The broker is killed with SIGKILL a few times under load, and comes back with all that it
//! had acknowledged. `loadgen crash` does the same for longer; docs/durability-tests.md says
//! what is judged.
#![allow(clippy::expect_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use loadgen::crash::{Kills, Options};

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_broker_is_killed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.join(format!("crash-{}", std::process::id()));
    let kills = Kills {
        kills: 6,
        options: Options {
            broker: env!("CARGO_BIN_EXE_shardmq").into(),
            data_dir: folder.join("data"),
            shards: vec![1, 2],
            rate: 1000.0,
            settings: Vec::new(),
            without: Vec::new(),
            seed: None,
            patience: Duration::from_secs(30),
        },
    };
    let verdict = kills.run().expect("a broker that comes back");
    assert!(verdict.passed(), "{}", verdict.to_text());
    fs::remove_dir_all(&folder).expect("remove the data folder");
}
