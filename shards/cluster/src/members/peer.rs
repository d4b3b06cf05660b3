//! One peer.

use std::collections::BTreeMap;

use super::Event;
use super::reach::{Reached, reached};
use crate::wire::{Health, Heartbeat, Hello, Role, Views};

/// What a peer is thought to be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// It has not said hello.
    #[default]
    Connecting,
    /// It was heard within the lease.
    Alive,
    /// It was not.
    Suspect,
    /// It is given up until it comes with a later life.
    Gone,
}

/// What is known of a peer, to be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerStatus {
    /// What it is thought to be.
    pub state: State,
    /// Its last known life; zero if it has not said hello.
    pub incarnation: u64,
    /// What it said it is.
    pub role: Option<Role>,
    /// When it was last heard, by this node's clock.
    pub heard_ms: u64,
    /// Time of the way there and back, when it was last heard.
    pub round_trip_ms: u64,
    /// Until when it has given this node a lease, by this node's clock.
    pub lease_until_ms: u64,
    /// It has said that it stops, or that it has.
    pub is_going: bool,
}

/// A peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    state: State,
    pub(super) incarnation: u64,
    role: Option<Role>,
    heard_ms: u64,
    /// The time of this node's clock that it has last echoed, or when it said hello.
    echoed_ms: u64,
    /// Whether its link is a direct one.
    is_direct: bool,
    /// Whether it was a neighbour when that was last looked at.
    pub(super) was_neighbour: bool,
    /// Whom it can pass packets on to.
    reached: Reached,
    /// Its clock in its last heartbeat.
    time_ms: u64,
    /// When that came.
    time_came_ms: u64,
    round_trip_ms: u64,
    lease_until_ms: u64,
    /// When this node last gave it a lease.
    given_ms: Option<u64>,
    is_going: bool,
    /// A later life that other cores suspect and that was not heard here, since when that is
    /// known, and whether that is as long as nobody is silent who lives.
    rumour: (u64, u64),
    is_rumour_old: bool,
    /// Lives up to this one are not answered.
    condemned: u64,
    /// Lives up to this one are gone.
    gone: u64,
    /// What it thinks of others, if it is a core.
    views: BTreeMap<Box<str>, (u64, Health)>,
    /// What it has condemned: this is never taken back.
    verdicts: BTreeMap<Box<str>, u64>,
}

impl Peer {
    /// Whether a life is answered.
    pub(super) const fn answers(&self, incarnation: u64) -> bool {
        incarnation > self.condemned && incarnation > self.gone
    }

    /// Whether it has said hello.
    pub(super) const fn is_known(&self) -> bool {
        self.incarnation > 0
    }

    /// Whether it has said hello with a life that is answered.
    pub(super) const fn is_heard(&self) -> bool {
        self.incarnation > 0 && self.answers(self.incarnation)
    }

    /// It says hello with a life that is answered and not older than the known one.
    pub(super) fn hello(&mut self, now_ms: u64, hello: &Hello<'_>) -> Option<Event> {
        self.role = Some(hello.role);
        (self.heard_ms, self.echoed_ms) = (now_ms, now_ms);
        if hello.incarnation == self.incarnation {
            self.state = State::Alive;
            return None;
        }
        let former = self.is_heard().then_some(self.incarnation);
        self.state = State::Alive;
        self.incarnation = hello.incarnation;
        self.is_going = false;
        (self.time_ms, self.time_came_ms) = (0, 0);
        self.views.clear();
        Some(Event::Up {
            node: hello.node.into(),
            incarnation: hello.incarnation,
            former,
        })
    }

    /// It lives. `grants`: what it echoes is a lease. True if it reaches others than before.
    pub(super) fn heartbeat(
        &mut self,
        now_ms: u64,
        heartbeat: &Heartbeat<'_>,
        lease_ms: u64,
        grants: bool,
    ) -> bool {
        self.state = State::Alive;
        self.heard_ms = now_ms;
        self.time_ms = heartbeat.time_ms;
        self.time_came_ms = now_ms;
        let reached = reached(heartbeat.reaches);
        let has_moved = self.is_direct && reached != self.reached;
        self.reached = reached;
        // A time that has not been yet is not ours.
        if heartbeat.echo_ms > 0 && heartbeat.echo_ms <= now_ms {
            let waited_ms = now_ms - heartbeat.echo_ms;
            self.echoed_ms = self.echoed_ms.max(heartbeat.echo_ms);
            self.round_trip_ms = waited_ms.saturating_sub(u64::from(heartbeat.held_ms));
            if grants {
                let until_ms = heartbeat.echo_ms.saturating_add(lease_ms);
                self.lease_until_ms = self.lease_until_ms.max(until_ms);
            }
        }
        has_moved
    }

    /// It is linked directly from now on, or over others. What it reaches is not known yet.
    pub(super) fn linked(&mut self, is_direct: bool) {
        self.is_direct = is_direct;
        self.reached.clear();
    }

    pub(super) const fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// When it was heard, and when it last heard this node, as far as it has said.
    pub(super) const fn near_ms(&self) -> (u64, u64) {
        (self.heard_ms, self.echoed_ms)
    }

    /// Over how many links it reaches a node.
    pub(super) fn reaches(&self, node: &str) -> Option<u8> {
        self.reached.get(node).copied()
    }

    /// What to echo, and for how long it was held.
    fn echo(&self, now_ms: u64) -> (u64, u32) {
        let held_ms = now_ms.saturating_sub(self.time_came_ms);
        (self.time_ms, u32::try_from(held_ms).unwrap_or(u32::MAX))
    }

    /// The same, for a heartbeat that is sent now: that may be a lease.
    pub(super) fn give(&mut self, now_ms: u64) -> (u64, u32) {
        if self.time_ms > 0 {
            self.given_ms = Some(now_ms);
        }
        self.echo(now_ms)
    }

    /// When it was last given a lease that it may count on.
    pub(super) const fn given_ms(&self) -> Option<u64> {
        self.given_ms
    }

    pub(super) const fn forget_given(&mut self) {
        self.given_ms = None;
    }

    /// What it says of itself: that it goes, or that its life is over.
    pub(super) fn hear_of_itself(&mut self, name: &str, mut views: Views<'_>) {
        self.is_going = views.any(|view| *view.node == *name);
    }

    pub(super) fn suspect(&mut self, now_ms: u64, silence_ms: u64) {
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        if self.state == State::Alive && silent_ms > silence_ms {
            self.state = State::Suspect;
        }
        self.is_rumour_old = now_ms.saturating_sub(self.rumour.1) > silence_ms;
    }

    /// Another core suspects a life. If it never was heard here, as when this core was not
    /// there or has restarted, it is suspected here too, once it had time to say hello.
    pub(super) fn rumour(&mut self, now_ms: u64, incarnation: u64) {
        if incarnation > self.incarnation.max(self.rumour.0) && self.answers(incarnation) {
            self.rumour = (incarnation, now_ms);
            self.is_rumour_old = false;
        }
    }

    /// The life that is suspected.
    pub(super) fn suspected(&self) -> Option<u64> {
        if self.rumour.0 > self.incarnation && self.is_rumour_old {
            return Some(self.rumour.0);
        }
        (self.state == State::Suspect).then_some(self.incarnation)
    }

    pub(super) fn condemn(&mut self, incarnation: u64) {
        self.condemned = self.condemned.max(incarnation);
    }

    /// The last life that is condemned and not gone, and the last one that is gone.
    pub(super) const fn lives_over(&self) -> (Option<u64>, Option<u64>) {
        let condemned = self.condemned > self.gone;
        (
            if condemned {
                Some(self.condemned)
            } else {
                None
            },
            if self.gone > 0 { Some(self.gone) } else { None },
        )
    }

    /// Lives up to this one are gone. Returns the one that was heard last, if that is new.
    pub(super) fn give_up(&mut self, incarnation: u64) -> Option<u64> {
        let was_heard = self.incarnation > self.gone;
        self.gone = self.gone.max(incarnation);
        let is_over = was_heard && self.incarnation <= self.gone;
        if is_over || self.state == State::Connecting {
            self.state = State::Gone;
            self.lease_until_ms = 0;
        }
        is_over.then_some(self.incarnation)
    }

    pub(super) const fn lease_until_ms(&self) -> u64 {
        self.lease_until_ms
    }

    pub(super) const fn end_lease(&mut self) {
        self.lease_until_ms = 0;
    }

    pub(super) fn set_views(&mut self, views: Views<'_>) {
        self.views.clear();
        for view in views.filter(|view| view.health > Health::Going) {
            if view.health >= Health::Condemned {
                let verdict = self.verdicts.entry(view.node.into()).or_insert(0);
                *verdict = view.incarnation.max(*verdict);
            }
            // Of a life that may be over: what is gone for long is told as well.
            let known = self.views.entry(view.node.into());
            let known = known.or_insert((view.incarnation, view.health));
            *known = (view.incarnation, view.health).max(*known);
        }
    }

    /// Forgets what it thinks of nodes that nobody speaks of any more.
    pub(super) fn keep_verdicts(&mut self, is_node: impl Fn(&str) -> bool) {
        let views = &self.views;
        self.verdicts
            .retain(|node, _| is_node(node) || views.contains_key(node));
    }

    /// Whether it, a core, does not hear that life of a node.
    pub(super) fn suspects(&self, node: &str, incarnation: u64) -> bool {
        let view = self.views.get(node);
        self.is_heard() && view.is_some_and(|(life, _)| *life == incarnation)
            || self.has_condemned(node, incarnation)
    }

    /// Whether it, a core, never answers that life of a node again.
    pub(super) fn has_condemned(&self, node: &str, incarnation: u64) -> bool {
        self.verdicts
            .get(node)
            .is_some_and(|life| *life >= incarnation)
    }

    pub(super) const fn status(&self) -> PeerStatus {
        PeerStatus {
            state: self.state,
            incarnation: self.incarnation,
            role: self.role,
            heard_ms: self.heard_ms,
            round_trip_ms: self.round_trip_ms,
            lease_until_ms: self.lease_until_ms,
            is_going: self.is_going,
        }
    }
}
