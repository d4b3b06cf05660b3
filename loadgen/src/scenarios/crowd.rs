//! `idle` and `connect` storms: clients that connect, perhaps subscribe, and stay.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Qos;
use crate::net::Closing;
use crate::run::{Clients, Control, Muster, Part, Rest, Scenario, Seat, Stage, Start, Until, lost};
use crate::session::Event;
use crate::stats::Outcome;

/// What each client subscribes to, by its number; nothing for an empty list.
pub(super) type FiltersOf = Arc<dyn Fn(u32) -> Vec<String> + Send + Sync>;

/// A crowd of clients.
pub(super) struct Crowd {
    /// Clients in the whole run.
    pub(super) clients: u32,
    /// What they subscribe to, all once everyone is connected.
    pub(super) filters: Option<FiltersOf>,
    pub(super) filters_per_packet: usize,
    pub(super) qos: Qos,
    /// Their sessions are kept, and they are away while they are held.
    pub(super) is_away: bool,
    /// How long they stay.
    pub(super) hold: Duration,
    pub(super) patience: Duration,
}

const CONNECT: usize = 0;
const SUBSCRIBE: usize = 1;
const AWAY: usize = 2;
const HOLD: usize = 3;
const FORGET: usize = 4;
const LEAVE: usize = 5;

impl Scenario for Crowd {
    type Part = CrowdPart;

    fn script(&self) -> Vec<Stage> {
        let stage = |name, until, is_final| Stage {
            name,
            until,
            is_final,
        };
        vec![
            stage("connect", Until::Done(self.patience), false),
            stage("subscribe", Until::Done(self.patience), false),
            stage("away", Until::Done(self.patience), false),
            stage("hold", Until::Elapsed(self.hold), false),
            stage("forget", Until::Done(self.patience), true),
            stage("leave", Until::Done(self.patience), true),
        ]
    }

    fn clients(&self, seat: &Seat) -> Vec<u32> {
        seat.share
            .of_thread(self.clients, seat.thread, seat.threads)
    }

    fn part(&self, _seat: &Seat) -> CrowdPart {
        CrowdPart {
            total: self.clients,
            is_away: self.is_away,
            filters: self.filters.clone(),
            muster: Muster::new(self.qos, self.filters_per_packet),
            stage: CONNECT,
            outcome: Outcome::default(),
        }
    }

    fn outcome(&self, part: CrowdPart, _control: &Control) -> Outcome {
        let mut outcome = part.outcome;
        part.muster.measured(&mut outcome);
        outcome
    }
}

/// One thread of a crowd.
pub(super) struct CrowdPart {
    total: u32,
    is_away: bool,
    filters: Option<FiltersOf>,
    muster: Muster,
    stage: usize,
    outcome: Outcome,
}

impl Part for CrowdPart {
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, now: u64) {
        self.stage = stage;
        let slots = 0..clients.count() as u32;
        match (stage, &self.filters) {
            (CONNECT, _) => {
                let start = if self.is_away {
                    Start::Persistent
                } else {
                    Start::Clean
                };
                self.muster
                    .begin(clients, start, clients.count(), self.total);
            }
            (FORGET, _) if self.is_away => {
                self.muster
                    .begin(clients, Start::Clean, clients.count(), self.total);
            }
            (AWAY, _) if self.is_away => slots.for_each(|slot| clients.disconnect(slot)),
            (SUBSCRIBE, Some(filters)) => slots.for_each(|slot| {
                let filters = filters(clients.number(slot));
                self.muster.subscribe(clients, slot, filters, now);
            }),
            (LEAVE, _) => slots.for_each(|slot| clients.disconnect(slot)),
            _ => {}
        }
    }

    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        self.muster.show_progress(clients);
        match self.stage {
            CONNECT => self.muster.turn(clients, now),
            FORGET if self.is_away => self.muster.turn(clients, now),
            AWAY if self.is_away => Rest::when(clients.open_connections() == 0),
            SUBSCRIBE if self.filters.is_some() => {
                Rest::when(self.muster.subscribed_clients() == clients.count())
            }
            HOLD => Rest::when(true),
            LEAVE => Rest::when(clients.open_connections() == 0),
            _ => Rest::when(true),
        }
    }

    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64) {
        match event {
            Event::Connected { .. } => self.muster.connected(slot, now),
            Event::Subscribed { codes } => self.muster.suback(clients, slot, codes, now),
            Event::Message(_) => self.outcome.tally.foreign += 1,
            Event::Acknowledged => {}
        }
    }

    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, _now: u64) {
        if self.stage != LEAVE {
            let is_gathering = self.stage <= SUBSCRIBE;
            lost(clients, slot, reason, is_gathering, &mut self.outcome);
        }
    }
}
