//! Emptying this node for maintenance: no client is let in, those that are there are sent to other
//! nodes, so many a second, and then the sessions of those that did not take theirs along are
//! given to other nodes. EMQX calls it evacuation.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use serde_json::{Value, json};
use shards::operator::{Answer, Part, Patience, Place, Question};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::ask::{Drain, RATE_MAX, RATE_USUAL};
use super::desk::Desk;
use crate::cluster::Handle;

/// Steps a second in which clients are sent away.
const STEPS: u32 = 10;

/// Between two steps when the node stops.
const PAUSE: Duration = Duration::from_millis(50);

/// How long it may take until all shards have ended their connections.
const ENDING: Duration = Duration::from_secs(3);

/// How long clients whose sessions end with their connections may take to complete what they have
/// of shared subscriptions.
const COMPLETING: Duration = Duration::from_secs(2);

/// Whether this node is being emptied. Until the process ends, or somebody stops it.
#[derive(Default)]
pub(super) struct Drains(RefCell<Option<Running>>);

struct Running {
    drain: Drain,
    /// Clients that were connected at the beginning.
    initial: u64,
    state: Rc<Cell<State>>,
    task: AbortHandle,
}

/// How far it is. The names are EMQX's.
#[derive(Clone, Copy)]
enum State {
    EvictingConns,
    WaitingTakeover,
    EvictingSessions,
    Prohibiting,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::EvictingConns => "evicting_conns",
            Self::WaitingTakeover => "waiting_takeover",
            Self::EvictingSessions => "evicting_sessions",
            Self::Prohibiting => "prohibiting",
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drains {
    /// Begins, or goes on with another rate or other nodes.
    pub(super) fn start(&self, desk: &Rc<Desk>, drain: &Drain, links: Option<&Handle>) {
        let to = drain.redirect_to.as_deref().unwrap_or_default();
        let mut running = self.0.borrow_mut();
        let rate = drain.conn_evict_rate;
        info!("the node is being emptied: {rate} clients a second, to {to:?}");
        desk.start_drain(to);
        let initial = running.as_ref().map(|running| running.initial);
        let state = Rc::new(Cell::new(State::EvictingConns));
        let (known, links) = (Rc::clone(&state), links.cloned());
        let task = spawn_local(empty(Rc::clone(desk), drain.clone(), links, known));
        *running = Some(Running {
            drain: drain.clone(),
            initial: initial.unwrap_or_else(|| connected(desk)),
            state,
            task: task.abort_handle(),
        });
    }

    /// Ends, if it was begun.
    pub(super) fn stop(&self, desk: &Desk, links: Option<&Handle>) -> bool {
        desk.stop_drain();
        if let Some(links) = links.cloned() {
            spawn_local(async move { links.go(false).await });
        }
        let was_running = self.0.borrow_mut().take().is_some();
        if was_running {
            info!("the node is not being emptied any more");
        }
        was_running
    }

    /// Clients are let in by no means for a while, whether or not the node is being emptied.
    pub(super) fn close_for_now(&self, desk: &Desk, reference: &str) {
        if self.0.borrow().is_none() {
            desk.start_drain(reference);
        }
    }

    /// That while is over.
    pub(super) fn open_again(&self, desk: &Desk) {
        if self.0.borrow().is_none() {
            desk.stop_drain();
        }
    }

    /// What EMQX's `/load_rebalance/status` says.
    pub(super) fn status(&self, node: &str, desk: &Desk) -> Value {
        let running = self.0.borrow();
        let Some(running) = running.as_ref() else {
            return json!({"node": node, "status": "disabled"});
        };
        let left = connected(desk);
        let state = match left {
            0 => running.state.get(),
            _ => State::EvictingConns,
        };
        json!({
            "node": node,
            "status": "enabled",
            "process": "evacuation",
            "state": state.name(),
            "connection_eviction_rate": running.drain.conn_evict_rate,
            "session_eviction_rate": running.drain.sess_evict_rate,
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

/// Empties this node, for ever.
async fn empty(desk: Rc<Desk>, drain: Drain, links: Option<Handle>, state: Rc<Cell<State>>) {
    if let Some(links) = links {
        links.go(true).await;
    }
    let mut clock = interval(Duration::from_secs(1) / STEPS);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clients = Walks::new(desk.shards(), drain.conn_evict_rate);
    let mut sessions = Walks::new(desk.shards(), drain.sess_evict_rate);
    let wait = Duration::from_secs(drain.wait_takeover.into());
    let (begun, mut without_clients) = (Instant::now(), None);
    loop {
        clock.tick().await;
        let patience = patience_for(begun.elapsed() < COMPLETING);
        let send_away = |part| Question::SendAway(part, patience);
        clients.step(&desk, send_away).await;
        if without_clients.is_none() && connected(&desk) > 0 {
            continue;
        }
        let since = *without_clients.get_or_insert_with(Instant::now);
        if !desk.has_open_nodes() {
            state.set(State::Prohibiting);
        } else if since.elapsed() < wait {
            state.set(State::WaitingTakeover);
        } else {
            sessions.step(&desk, Question::HandOver).await;
            state.set(match sessions.left() {
                Some(0) => State::Prohibiting,
                _ => State::EvictingSessions,
            });
        }
    }
}

/// Ends all connections, since the node stops.
pub(super) async fn end_connections(desk: &Desk) {
    let begun = Instant::now();
    let mut clients = Walks::new(desk.shards(), RATE_MAX);
    while clients.left() != Some(0) && begun.elapsed() < ENDING {
        let patience = patience_for(begun.elapsed() < COMPLETING);
        let end = |part| Question::EndConnections(part, patience);
        clients.step(desk, end).await;
        sleep(PAUSE).await;
    }
}

/// What is done with clients that have something to complete, while there is time for that or not.
fn patience_for(has_time: bool) -> Patience {
    match has_time {
        true => Patience::Some,
        false => Patience::None,
    }
}

/// Sends all clients to other nodes within a time, if there are some that take them.
pub(super) async fn send_all_away(desk: &Desk, limit: Duration) {
    let begun = Instant::now();
    let (first, half) = (connected(desk), (limit.as_secs() / 2).max(1));
    let rate = (first / half).clamp(RATE_USUAL.into(), RATE_MAX.into());
    let mut clock = interval(Duration::from_secs(1) / STEPS);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clients = Walks::new(desk.shards(), rate as u32);
    while desk.has_open_nodes() && connected(desk) > 0 && begun.elapsed() < limit {
        clock.tick().await;
        let patience = patience_for(begun.elapsed() < COMPLETING.min(limit / 2));
        let send_away = |part| Question::SendAway(part, patience);
        clients.step(desk, send_away).await;
    }
    if first > 0 {
        info!(
            "{first} clients were sent to other nodes, {} are left",
            connected(desk)
        );
    }
}

/// Gives all sessions whose clients are away to other nodes, until there are none left, nobody to
/// take them, or no time.
pub(super) async fn hand_all_over(desk: &Desk, limit: Duration) {
    let end = Instant::now() + limit;
    let mut sessions = Walks::new(desk.shards(), RATE_MAX);
    let mut first = None;
    while desk.has_open_nodes() && Instant::now() < end {
        sessions.step(desk, Question::HandOver).await;
        let left = sessions.left();
        first = first.or(left);
        if left == Some(0) {
            break;
        }
        sleep(PAUSE).await;
    }
    let (first, left) = (first.unwrap_or(0), sessions.left().unwrap_or(0));
    if left > 0 {
        warn!(
            "{left} of {first} kept sessions are still here and stay with this node: other nodes \
             did not take them in time (cluster.handover_timeout)"
        );
    } else if first > 0 {
        info!("{first} kept sessions are with other nodes");
    }
}

/// Goes through the sessions of all shards, again and again, and does something to so many a
/// second.
struct Walks {
    rate: u32,
    /// In parts of one, [`STEPS`] of which make one.
    budget: u32,
    shards: Vec<Walk>,
}

/// How far that is on one shard.
#[derive(Clone, Copy, Default)]
struct Walk {
    place: Place,
    /// What this round has found to be left, and the last whole one.
    found: u32,
    left: Option<u32>,
}

impl Walk {
    /// Whether this round goes on.
    fn advance(&mut self, found: u32, next: Option<Place>) -> bool {
        self.place = next.unwrap_or_default();
        self.found += found;
        if next.is_none() {
            self.left = Some(core::mem::take(&mut self.found));
        }
        next.is_some()
    }
}

impl Walks {
    fn new(shards: u16, rate: u32) -> Self {
        Self {
            rate,
            budget: 0,
            shards: vec![Walk::default(); usize::from(shards)],
        }
    }

    /// As far as the budget goes, and to the end of each table at most.
    async fn step(&mut self, desk: &Desk, ask: impl Fn(Part) -> Question) {
        self.budget = (self.budget + self.rate).min(self.rate * STEPS);
        for (shard, walk) in (0..).zip(&mut self.shards) {
            while self.budget >= STEPS {
                let part = Part {
                    from: walk.place,
                    skip: 0,
                    most: self.budget / STEPS,
                };
                // One that does not answer is asked again in the next step.
                let Ok(answer) = desk.ask(shard, ask(part)).await else {
                    break;
                };
                let (Answer::SendAway(step)
                | Answer::EndConnections(step)
                | Answer::HandOver(step)) = answer
                else {
                    break;
                };
                self.budget -= self.budget.min(step.done * STEPS);
                if !walk.advance(step.left, step.next) {
                    break;
                }
            }
        }
    }

    /// What the last whole round has found to be left.
    fn left(&self) -> Option<u32> {
        self.shards.iter().map(|walk| walk.left).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_known_after_a_whole_round() {
        let mut walks = Walks::new(2, 10);
        let next = Some(Place { slot: 5, offset: 0 });
        assert!(walks.shards[0].advance(2, next));
        assert_eq!(walks.left(), None);
        assert!(!walks.shards[0].advance(1, None));
        assert_eq!(walks.left(), None);
        assert!(!walks.shards[1].advance(4, None));
        assert_eq!(walks.left(), Some(7));
        assert!(walks.shards[1].advance(9, next));
        assert_eq!(walks.left(), Some(7));
    }
}
