//! What goes from one node to another.

use serde::{Deserialize, Serialize};

use crate::run::Places;

use super::plan::{Audience, Plan};

/// Messages from each node to each other one. Empty where there is one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    /// Messages received, by the publisher's node and the subscriber's.
    pub delivered: Vec<u64>,
    /// Messages that had to go from one node to the other for that: one, however many
    /// subscribers the other node has.
    pub forwarded: Vec<u64>,
}

impl Crossed {
    /// Adds those of another part of the run.
    pub fn merge(&mut self, other: &Self) {
        let add = |own: &mut Vec<u64>, other: &[u64]| {
            own.resize(own.len().max(other.len()), 0);
            own.iter_mut()
                .zip(other)
                .for_each(|(own, more)| *own += more);
        };
        add(&mut self.delivered, &other.delivered);
        add(&mut self.forwarded, &other.forwarded);
    }

    /// What was counted since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        let rest = |own: &[u64], earlier: &[u64]| {
            let both = own.iter().zip(earlier);
            both.map(|(own, earlier)| own - earlier).collect()
        };
        Self {
            delivered: rest(&self.delivered, &earlier.delivered),
            forwarded: rest(&self.forwarded, &earlier.forwarded),
        }
    }
}

/// Counts on one thread.
#[derive(Debug)]
pub(super) struct Crossings {
    places: Places,
    /// The node of each subscriber of the thread.
    nodes: Vec<u32>,
    /// Whether a message for this subscriber stands for one that was forwarded: each does,
    /// unless others on its node hear the same.
    counts: Vec<bool>,
    so_far: Crossed,
    before: Crossed,
}

impl Crossings {
    /// For subscribers with these numbers; `None` where there is one node only.
    pub(super) fn new(plan: &Plan, places: Places, numbers: &[u32]) -> Option<Box<Self>> {
        if places.nodes() < 2 {
            return None;
        }
        let counts =
            |number: &u32| plan.audience != Audience::All || places.is_first_on_node(*number);
        let cells = (places.nodes() * places.nodes()) as usize;
        let nothing = Crossed {
            delivered: vec![0; cells],
            forwarded: vec![0; cells],
        };
        Some(Box::new(Self {
            places,
            nodes: numbers.iter().map(|number| places.of(*number)).collect(),
            counts: numbers.iter().map(counts).collect(),
            so_far: nothing.clone(),
            before: nothing,
        }))
    }

    /// A message of a publisher has come to the subscriber at `index`.
    pub(super) fn received(&mut self, index: usize, publisher: u32) {
        let (from, to) = (self.places.of_publisher(publisher), self.nodes[index]);
        let cell = (from * self.places.nodes() + to) as usize;
        self.so_far.delivered[cell] += 1;
        self.so_far.forwarded[cell] += u64::from(from != to && self.counts[index]);
    }

    /// The measured window begins.
    pub(super) fn begin(&mut self) {
        self.before.clone_from(&self.so_far);
    }

    /// What was counted in the measured window, which ends.
    pub(super) fn end(&self) -> Crossed {
        self.so_far.since(&self.before)
    }
}
