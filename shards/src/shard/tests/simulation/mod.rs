//! Random clients that do random things on random nodes, and what must hold whatever they
//! do. One seed gives one run; a seed that fails is named, and runs alone with
//! `SHARDMQ_SIM_SEED=<seed>`; `SHARDMQ_SIM_SEEDS=<count>` runs more of them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`actor`] | a client that obeys the protocol and remembers what it has sent and got |
//! | [`ledger`] | all messages, all groups, and what must have become of them |
//! | [`world`] | the node, the actors, and what happens next |

mod actor;
mod ledger;
mod matching;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::world::World;

/// Seeds of a test run.
const SEEDS: u64 = 300;

/// Things that happen in one run.
const EVENTS: usize = 250;

#[test]
fn whatever_clients_do_no_promise_is_broken() {
    let only = std::env::var("SHARDMQ_SIM_SEED").ok();
    let seeds = match only.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => {
            0..std::env::var("SHARDMQ_SIM_SEEDS")
                .ok()
                .and_then(|n| n.parse().ok())
                .unwrap_or(SEEDS)
        }
    };
    for seed in seeds {
        let run = AssertUnwindSafe(|| simulate(seed));
        assert!(
            catch_unwind(run).is_ok(),
            "SHARDMQ_SIM_SEED={seed} runs the seed that failed alone"
        );
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..EVENTS {
        world.something_happens();
    }
    world.end();
}
