//! Emptying this node for maintenance: no client is let in, and those that are there are sent to
//! other nodes, so many a second. EMQX calls it evacuation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use log::info;
use serde_json::{Value, json};
use shards::operator::{Answer, Part, Place, Question};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval};

use super::ask::Drain;
use super::desk::{Desk, NoAnswer};

/// Steps a second in which clients are sent away.
const STEPS: u32 = 10;

/// Whether this node is being emptied. Until the process ends, or somebody stops it.
#[derive(Default)]
pub(super) struct Drains(RefCell<Option<Running>>);

struct Running {
    drain: Drain,
    /// Clients that were connected at the beginning.
    initial: u64,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drains {
    /// Begins, or goes on with another rate or other nodes.
    pub(super) fn start(&self, desk: &Rc<Desk>, drain: &Drain) {
        let to = drain.redirect_to.as_deref().unwrap_or_default();
        let mut running = self.0.borrow_mut();
        let rate = drain.conn_evict_rate;
        info!("the node is being emptied: {rate} clients a second, to {to:?}");
        desk.start_drain(to);
        let initial = running.as_ref().map(|running| running.initial);
        let task = spawn_local(send_away(Rc::clone(desk), rate));
        *running = Some(Running {
            drain: drain.clone(),
            initial: initial.unwrap_or_else(|| connected(desk)),
            task: task.abort_handle(),
        });
    }

    /// Ends, if it was begun.
    pub(super) fn stop(&self, desk: &Desk) -> bool {
        desk.stop_drain();
        let was_running = self.0.borrow_mut().take().is_some();
        if was_running {
            info!("the node is not being emptied any more");
        }
        was_running
    }

    /// What EMQX's `/load_rebalance/status` says.
    pub(super) fn status(&self, node: &str, desk: &Desk) -> Value {
        let running = self.0.borrow();
        let Some(running) = running.as_ref() else {
            return json!({"node": node, "status": "disabled"});
        };
        let left = connected(desk);
        json!({
            "node": node,
            "status": "enabled",
            "process": "evacuation",
            "state": if left > 0 { "evicting_conns" } else { "prohibiting" },
            "connection_eviction_rate": running.drain.conn_evict_rate,
            "redirect_to": running.drain.redirect_to,
            "stats": {"initial_connected": running.initial, "current_connected": left},
        })
    }
}

fn connected(desk: &Desk) -> u64 {
    desk.stats()
        .iter()
        .map(|shard| shard.connections.get())
        .sum()
}

/// Sends clients away, for ever.
async fn send_away(desk: Rc<Desk>, rate: u32) {
    let mut clock = interval(Duration::from_secs(1) / STEPS);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut places = vec![Place::default(); usize::from(desk.shards())];
    // In tenths of a client.
    let mut budget = 0;
    loop {
        clock.tick().await;
        budget = (budget + rate).min(rate * STEPS);
        for (shard, place) in (0..).zip(&mut places) {
            // One that does not answer is asked again.
            _ = step(&desk, shard, place, &mut budget).await;
        }
    }
}

/// Sends clients of one shard away, as far as the budget goes or to the end of its table.
async fn step(
    desk: &Desk,
    shard: u16,
    place: &mut Place,
    budget: &mut u32,
) -> Result<(), NoAnswer> {
    let stats = desk.stats();
    let is_empty = |shard: &std::sync::Arc<shards::Stats>| shard.connections.get() == 0;
    while *budget >= STEPS && !stats.get(usize::from(shard)).is_none_or(is_empty) {
        let part = Part {
            from: *place,
            skip: 0,
            most: *budget / STEPS,
        };
        let Answer::SendAway(sent, next) = desk.ask(shard, Question::SendAway(part)).await? else {
            return Ok(());
        };
        *budget -= sent * STEPS;
        *place = next.unwrap_or_default();
        if next.is_none() {
            return Ok(());
        }
    }
    Ok(())
}
