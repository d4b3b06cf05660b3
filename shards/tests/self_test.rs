//! The shards of a node try at start whether their tasks run in time.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail"
)]

use std::fs;
use std::time::Duration;

use shards::StartError;
use shards::settings::{Engine, Mqtt, Settings};

/// A CPU that this process may use.
fn any_cpu() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let first = allowed.trim().split(['-', ',']).next().unwrap();
    first.parse().unwrap()
}

/// Two shards without listeners.
fn settings() -> Settings {
    Settings {
        cpus: vec![any_cpu(); 2],
        listeners: Vec::new(),
        engine: Engine::default(),
        mqtt: Mqtt::default(),
        allow_anonymous: true,
        hash_seed: 1,
        ..Settings::default()
    }
}

#[test]
fn shards_without_listeners_start_and_stop() {
    let running = shards::start(&settings(), None).unwrap();
    running.stopper().stop();
    running.wait().unwrap();
}

#[test]
fn a_late_shard_is_reported_with_what_was_measured() {
    let error = StartError::Late {
        cpu: 3,
        timer: Duration::from_millis(95),
        wake: Duration::from_millis(198),
    };
    let text = error.to_string();
    for part in ["CPU 3", "95 ms", "198 ms"] {
        assert!(text.contains(part), "{text}");
    }
}
