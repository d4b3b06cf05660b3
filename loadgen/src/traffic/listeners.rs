//! The subscribing side of one thread: checks every message that arrives.

use std::sync::Arc;

use crate::check::{Flows, Ledger, Repeat, Tally};
use crate::codec::Publish;
use crate::payload::{Fault, Payloads, Stamp};
use crate::run::Share;

use super::plan::{Audience, Plan};

/// One subscribing client.
#[derive(Debug, Clone, Copy)]
struct Listener {
    /// The publisher it hears, where it hears one.
    hears: u32,
    /// Messages received.
    received: u64,
}

/// All subscribers of a thread, by their place on the thread.
pub(super) struct Listeners {
    list: Vec<Listener>,
    audience: Audience,
    publishers: u32,
    /// The publishers of this worker.
    own: std::ops::Range<u32>,
    payloads: Payloads,
    flows: Flows,
    ledger: Option<Ledger>,
    /// Where any one subscriber receives a message: the last sequence per subscriber and
    /// publisher of the worker, plus one.
    last: Vec<u64>,
}

impl Listeners {
    /// Subscribers `numbers` of a run.
    pub(super) fn new(plan: &Arc<Plan>, numbers: &[u32], run: u32, share: Share) -> Self {
        let listener = |number: &u32| Listener {
            hears: plan.heard_by(*number),
            received: 0,
        };
        let own = share.range(plan.publishers);
        let is_group = plan.audience == Audience::AnyOne;
        let flows = match plan.audience {
            Audience::Own | Audience::Next => numbers.len(),
            Audience::All => numbers.len() * plan.publishers as usize,
            Audience::AnyOne => 0,
        };
        let has_order = is_group && plan.checks_order;
        Self {
            list: numbers.iter().map(listener).collect(),
            audience: plan.audience,
            publishers: plan.publishers,
            payloads: Payloads::new(run, plan.payload),
            flows: Flows::new(flows),
            ledger: is_group.then(|| Ledger::new(plan.publishers as usize)),
            last: vec![
                0;
                if has_order {
                    numbers.len() * own.len()
                } else {
                    0
                }
            ],
            own,
        }
    }

    /// Checks a message that has arrived at the subscriber `index`; gives its stamp when it is
    /// a message of this run.
    #[inline]
    pub(super) fn receive(&mut self, index: usize, publish: &Publish<'_>) -> Option<Stamp> {
        let stamp = match self.payloads.read(publish.topic, publish.payload) {
            Ok(stamp) => stamp,
            Err(fault) => {
                let tally = self.flows.tally_mut();
                match fault {
                    Fault::Foreign => tally.foreign += 1,
                    Fault::Altered => tally.altered += 1,
                }
                return None;
            }
        };
        let listener = &mut self.list[index];
        listener.received += 1;
        let flow = match self.audience {
            Audience::Own | Audience::Next if stamp.publisher == listener.hears => index,
            Audience::All if stamp.publisher < self.publishers => {
                index * self.publishers as usize + stamp.publisher as usize
            }
            Audience::AnyOne => {
                self.receive_of_group(index, stamp);
                return Some(stamp);
            }
            _ => {
                self.flows.tally_mut().misdelivered += 1;
                return None;
            }
        };
        self.flows.receive(flow, stamp.sequence, Repeat::Forbidden);
        Some(stamp)
    }

    fn receive_of_group(&mut self, index: usize, stamp: Stamp) {
        let tally = self.flows.tally_mut();
        if let Some(ledger) = &mut self.ledger {
            ledger.receive(stamp.publisher, stamp.sequence, tally);
        }
        if !self.last.is_empty() && self.own.contains(&stamp.publisher) {
            let publisher = (stamp.publisher - self.own.start) as usize;
            let last = &mut self.last[index * self.own.len() + publisher];
            if stamp.sequence < *last {
                tally.reordered += 1;
            } else {
                *last = stamp.sequence.saturating_add(1);
            }
        }
    }

    /// How many messages these subscribers must have received in the end, where that is known
    /// for one thread alone.
    pub(super) fn expected(&self, totals: &[u64]) -> Option<u64> {
        match self.audience {
            Audience::Own | Audience::Next => {
                let total =
                    |listener: &Listener| totals.get(listener.hears as usize).copied().unwrap_or(0);
                Some(self.list.iter().map(total).sum())
            }
            Audience::All => Some(totals.iter().sum::<u64>() * self.list.len() as u64),
            Audience::AnyOne => None,
        }
    }

    /// The verdict, given what each publisher has sent: wrong deliveries, what each subscriber
    /// received, and the ledger to be merged with those of other threads.
    pub(super) fn close(mut self, totals: &[u64]) -> (Tally, Vec<u64>, Option<Ledger>) {
        let total = |publisher: u32| totals.get(publisher as usize).copied().unwrap_or(0);
        for (index, listener) in self.list.iter().enumerate() {
            match self.audience {
                Audience::Own | Audience::Next => self.flows.close(index, total(listener.hears)),
                Audience::All => {
                    let first = index * self.publishers as usize;
                    for publisher in 0..self.publishers {
                        self.flows
                            .close(first + publisher as usize, total(publisher));
                    }
                }
                Audience::AnyOne => {}
            }
        }
        let received = self.list.iter().map(|listener| listener.received).collect();
        (self.flows.into_tally(), received, self.ledger)
    }
}

#[cfg(test)]
mod tests;
