//! Who is alive, and whether this node may go on.
//!
//! ```text
//!               hello              silent for the lease       a majority of the cores
//!   Connecting ──────> Alive(life) ──────────────────> Suspect ──────────────────────> Gone
//!                        ▲   ▲ └──── heard again ───────┘  will never answer this life   │
//!                        │   └───────────────────────────────────────────────────────────┘
//!                        └ hello of a later life                     hello of a later life
//! ```
//!
//! Each life of a node has a number, its *incarnation*. Peers send each other heartbeats,
//! in which each tells what it has last heard of the other (`echo_ms`, a time of the other's
//! own clock: clocks are never compared).
//!
//! **Lease.** A core that echoes a heartbeat has seen its sender alive when that was sent.
//! So a node holds a lease from each core until `echo + lease`, by its own clock. It may
//! acknowledge while a majority of the configured cores, itself included, has given it a
//! lease ([`Members::lease_until_ms`]). A node that others cannot hear runs out of leases,
//! even if it hears all of them.
//!
//! **Giving up.** A core suspects who is silent for the lease and what clocks may drift. When a
//! majority of the cores suspects a node, each of these *condemns* that life: it never answers
//! it again, also after a restart ([`Event::Condemned`] is to be stored before the next
//! heartbeat is sent). When a majority has condemned, the life is gone ([`Event::Down`]).
//! Whoever learns that spreads it.
//!
//! **What this promises** (policy [`Fence`](Policy::Fence)): when any node says `Down` for a
//! life, that life may not acknowledge any more and never will again. For any two majorities
//! have a core in common: a life that held leases of a majority after a majority condemned it
//! would hold one of a core that does not answer it. It assumes that a core does not forget
//! what it condemned, and that clocks run alike within [`Config::drift_permille`]. A node that
//! some can hear and others cannot is given up by nobody while a majority hears it. Without a
//! majority nobody is given up.
//!
//! A life that is condemned or gone hears so ([`Event::Renew`], or the reason
//! [`Stale`](Reason::Stale)) and takes a new incarnation: nothing restarts.
//!
//! **Goodbye.** A node that stops ends its life itself ([`Members::end`]): from then on it holds
//! no lease and gives none, and its heartbeats say that it is gone. Whoever hears that says
//! [`Down`](Event::Down) at once, and counts its lease no more: the promise below holds, since it
//! is the node's own. One that is about to stop says so before ([`Members::go`]): it is as alive
//! as ever, and others give it nothing any more that it would have to pass on.
//!
//! **[`ServeLocal`](Policy::ServeLocal)** gives that up: every node acknowledges always, and
//! gives up by itself whom it does not hear. In a partition both sides go on, and what one
//! side acknowledges does not reach the other's sessions. Whom a neighbour hears is not given up:
//! there is a way over that one ([`Members::next_hop`]).
//!
//! A node whose process stood still suspects nobody for the time of a heartbeat: it first reads
//! what has come meanwhile.
//!
//! **Time to detect**: the lease, drift, and three heartbeats: below 5 s with the defaults.
//!
//! **The cores change while nodes run** ([`Members::set_cores`]): by consensus, one at a time, so
//! any majority of the cores before a change and any after it have a core in common. Two changes
//! apart they need not, and a node that was cut off may still count the cores of before the
//! first. So each set of cores has a version, heartbeats tell it, and:
//!
//! - a core that counts later cores than a node gives that node no lease. It takes a change over
//!   when it stores it, before it is counted for the change: once a change is agreed on, a node
//!   that does not know it gets no lease any more from a majority of the cores of before;
//! - a core condemns nobody for the time of a lease after a change, so that what was given before
//!   has run out;
//! - the next change waits until all members know the last one, or for twice that time.
//!
//! Which members there are says the [registry](crate::registry), not this module.

mod peer;
mod reach;
#[cfg(test)]
mod tests;
mod votes;

use std::collections::{BTreeMap, VecDeque};

pub use peer::{PeerStatus, State};
pub use reach::{LINKS_MAX, Route};

use self::peer::Peer;
use crate::wire::{Health, Heartbeat, Hello, Reason, Role};

/// What a partition does to a node that sees no majority of the cores.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// It acknowledges nothing of QoS 1 and 2 until it sees one.
    #[default]
    Fence,
    /// It goes on with what it has.
    ServeLocal,
}

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its cluster.
    pub cluster: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its role.
    pub role: Role,
    /// Its life: higher than any before.
    pub incarnation: u64,
    /// The cores whose votes count. If there are none, this node is alone and always may go on.
    pub cores: Vec<Box<str>>,
    /// Which set of cores that is: grows with every change.
    pub cores_version: u64,
    /// Time between heartbeats; 500 by default.
    pub heartbeat_ms: u64,
    /// How long a heartbeat proves life; 3,000 by default.
    pub lease_ms: u64,
    /// How much faster or slower than right a clock may run; 20 by default.
    pub drift_permille: u64,
    /// What a partition does.
    pub policy: Policy,
}

/// What has happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A node lives.
    Up {
        /// The node.
        node: Box<str>,
        /// Its life.
        incarnation: u64,
        /// A life that had not been given up and is over by that.
        former: Option<u64>,
    },
    /// A life of a node is over, and nothing follows it yet.
    Down {
        /// The node.
        node: Box<str>,
        /// The life.
        incarnation: u64,
    },
    /// This core never answers that life again. To be stored before the next heartbeat is
    /// sent, and given to [`Members::new`] after a restart.
    Condemned {
        /// The node.
        node: Box<str>,
        /// The life.
        incarnation: u64,
    },
    /// This node was given up: it needs a new life ([`Members::renew`]), and to say hello to
    /// everybody again.
    Renew,
    /// A node is no member any more and forgotten.
    Removed {
        /// The node.
        node: Box<str>,
    },
}

/// What one node knows of all others.
#[derive(Debug)]
pub struct Members {
    config: Config,
    peers: BTreeMap<Box<str>, Peer>,
    events: VecDeque<Event>,
    heartbeat_due_ms: u64,
    /// Whom this node reaches has changed: others are to know at once.
    has_moved: bool,
    renewing: bool,
    /// How this node goes, if it does.
    going: Going,
    /// When time began here.
    started_ms: Option<u64>,
    /// For how long no process of this node had given a lease then.
    rested_ms: u64,
    /// When a lease was last given to somebody who is forgotten by now.
    given_to_others_ms: Option<u64>,
    /// When time last went on here, and until when nobody is suspected: this process stood still,
    /// and has not read yet what has come meanwhile.
    ticked_ms: Option<u64>,
    listens_until_ms: u64,
    /// How many leases there were, and whether the last one still ran when last looked at.
    leases: u64,
    is_lease_running: bool,
    /// When the cores changed here.
    cores_changed_ms: Option<u64>,
}

/// Whether a node goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Going {
    #[default]
    No,
    /// It is about to.
    Soon,
    /// Its life is over.
    Over,
}

impl Config {
    /// A node with the default times.
    #[must_use]
    pub fn new(cluster: &str, name: &str, role: Role, incarnation: u64, cores: &[&str]) -> Self {
        Self {
            cluster: cluster.into(),
            name: name.into(),
            role,
            incarnation,
            cores: cores.iter().map(|core| (*core).into()).collect(),
            cores_version: 0,
            heartbeat_ms: 500,
            lease_ms: 3000,
            drift_permille: 20,
            policy: Policy::Fence,
        }
    }

    /// How many cores are a majority.
    fn majority(&self) -> usize {
        self.cores.len() / 2 + 1
    }

    /// Whether a node is one of the cores.
    #[must_use]
    pub fn is_core(&self, name: &str) -> bool {
        self.cores.iter().any(|core| **core == *name)
    }

    /// Whether this node votes.
    fn votes(&self) -> bool {
        self.role == Role::Core && self.is_core(&self.name)
    }

    /// How long a peer is silent before it is suspected: until its own clock, however slow,
    /// has ended its lease by ours, however fast.
    fn silence_ms(&self) -> u64 {
        let (fast, slow) = (
            1000 + self.drift_permille,
            1000_u64.saturating_sub(self.drift_permille),
        );
        self.lease_ms.saturating_mul(fast).div_ceil(slow.max(1))
    }
}

impl Members {
    /// A node that has heard of nobody. `condemned` is what [`Event::Condemned`] said in
    /// former lives.
    #[must_use]
    pub fn new(config: Config, condemned: impl IntoIterator<Item = (Box<str>, u64)>) -> Self {
        let mut peers = BTreeMap::new();
        for core in config.cores.iter().filter(|core| **core != config.name) {
            peers.insert(core.clone(), Peer::default());
        }
        for (node, incarnation) in condemned {
            peers.entry(node).or_default().condemn(incarnation);
        }
        Self {
            config,
            peers,
            events: VecDeque::new(),
            heartbeat_due_ms: 0,
            has_moved: false,
            renewing: false,
            going: Going::No,
            started_ms: None,
            rested_ms: 0,
            given_to_others_ms: None,
            ticked_ms: None,
            listens_until_ms: 0,
            leases: 0,
            is_lease_running: false,
            cores_changed_ms: None,
        }
    }

    /// What this node was told, with its present life.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether somebody is of this cluster and can be understood, member or not.
    ///
    /// # Errors
    /// It is not to be spoken with: send the reason and close.
    pub fn check(&self, hello: &Hello<'_>) -> Result<(), Reason> {
        if hello.version().is_none() {
            return Err(Reason::Version);
        }
        if *hello.cluster != *self.config.cluster {
            return Err(Reason::Cluster);
        }
        if *hello.node == *self.config.name {
            return Err(Reason::Member);
        }
        Ok(())
    }

    /// A peer has said hello, over a connection that either side made.
    ///
    /// # Errors
    /// It is not to be spoken with: send the reason and close.
    pub fn hello(&mut self, now_ms: u64, hello: &Hello<'_>) -> Result<(), Reason> {
        self.check(hello)?;
        let peer = self.peers.entry(hello.node.into()).or_default();
        if !peer.answers(hello.incarnation) || hello.incarnation < peer.incarnation {
            return Err(Reason::Stale);
        }
        if let Some(up) = peer.hello(now_ms, hello) {
            self.events.push_back(up);
        }
        Ok(())
    }

    /// A heartbeat has come from a life of a peer that has said hello.
    ///
    /// # Errors
    /// That life is over: send the reason and close.
    pub fn heartbeat(
        &mut self,
        now_ms: u64,
        from: &str,
        incarnation: u64,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<(), Reason> {
        let peer = self.peers.get(from).ok_or(Reason::Stale)?;
        if incarnation != peer.incarnation || !peer.answers(incarnation) {
            return Err(Reason::Stale);
        }
        self.watch_lease(now_ms);
        if let Some(peer) = self.peers.get_mut(from) {
            let grants = heartbeat.cores_version <= self.config.cores_version;
            self.has_moved |= peer.heartbeat(now_ms, heartbeat, self.config.lease_ms, grants);
        }
        self.watch_lease(now_ms);
        self.hear_views(now_ms, from, heartbeat);
        self.decide(now_ms);
        Ok(())
    }

    /// The cores are others from now on: to be called when their set is stored, before anybody
    /// counts this node as one that has it. A smaller version is that of a set that was stored
    /// and never agreed on, and is undone.
    pub fn set_cores(&mut self, now_ms: u64, cores: &[&str], version: u64) {
        if version == self.config.cores_version {
            return;
        }
        self.config.cores = cores.iter().map(|core| (*core).into()).collect();
        self.config.cores_version = version;
        self.cores_changed_ms = Some(now_ms);
        self.watch_lease(now_ms);
    }

    /// There is a peer, which has not said hello yet.
    pub fn expect(&mut self, node: &str) {
        self.peers.entry(node.into()).or_default();
    }

    /// A peer is no member any more. What it has said does not count, and it may come back with
    /// a later life only.
    pub fn forget(&mut self, node: &str) {
        let Some(peer) = self.peers.remove(node) else {
            return;
        };
        self.given_to_others_ms = self.given_to_others_ms.max(peer.given_ms());
        let (node, incarnation): (Box<str>, u64) = (node.into(), peer.incarnation);
        if peer.is_heard() {
            let node = node.clone();
            self.events.push_back(Event::Down { node, incarnation });
        }
        self.events.push_back(Event::Removed { node });
        let names: Vec<_> = self.peers.keys().cloned().collect();
        let is_node = |node: &str| names.iter().any(|name| **name == *node);
        self.peers
            .values_mut()
            .for_each(|peer| peer.keep_verdicts(is_node));
    }

    /// For how long a peer was not heard by this process, which has run for `now_ms` less
    /// `started_ms`.
    #[must_use]
    pub fn silent_ms(&self, now_ms: u64, node: &str) -> u64 {
        let heard_ms = self
            .peers
            .get(node)
            .map_or(0, |peer| peer.status().heard_ms);
        let since_ms = heard_ms.max(self.started_ms.unwrap_or(now_ms));
        now_ms.saturating_sub(since_ms)
    }

    /// Whether it is so long ago that the cores changed that no lease runs any more that was
    /// given before.
    fn is_settled(&self, now_ms: u64) -> bool {
        let changed_ms = self.cores_changed_ms;
        changed_ms.is_none_or(|then| now_ms.saturating_sub(then) > self.config.silence_ms())
    }

    /// A peer has refused this node for being stale, speaking as `incarnation`.
    pub fn refused_as_stale(&mut self, incarnation: u64) {
        let goes_on = self.going != Going::Over && !self.renewing;
        if incarnation == self.config.incarnation && goes_on {
            self.renewing = true;
            self.events.push_back(Event::Renew);
        }
    }

    /// This node takes a new life, higher than any before. All connections are to be closed.
    pub fn renew(&mut self, incarnation: u64) {
        self.config.incarnation = incarnation;
        self.renewing = false;
        self.is_lease_running = false;
        self.peers.values_mut().for_each(Peer::end_lease);
    }

    /// This node is about to stop, or is not any more. It says so in its heartbeats.
    pub fn go(&mut self, goes: bool) {
        self.going = match (self.going, goes) {
            (Going::Over, _) => Going::Over,
            (_, true) => Going::Soon,
            (_, false) => Going::No,
        };
    }

    /// Whether this node is about to stop, or has.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.going != Going::No
    }

    /// Whether this life is over by [`Members::end`].
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.going == Going::Over
    }

    /// This life is over: it holds no lease from now on, whatever comes, and gives none. The next
    /// heartbeats say so; nothing that was promised may be left to be done.
    pub fn end(&mut self, now_ms: u64) {
        self.going = Going::Over;
        self.watch_lease(now_ms);
    }

    /// A peer answers this life no more, and counts on no lease from it.
    pub fn parted(&mut self, node: &str) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.forget_given();
        }
    }

    /// Whether no lease may run any more that this node has given.
    #[must_use]
    pub fn has_parted(&self, now_ms: u64) -> bool {
        let given = self.peers.values().filter_map(Peer::given_ms);
        let last_ms = given.chain(self.given_to_others_ms).max();
        last_ms.is_none_or(|then| now_ms.saturating_sub(then) > self.config.silence_ms())
    }

    /// For so long no process of this node has given a lease when this one began; zero if that
    /// is not known.
    pub const fn set_rested_ms(&mut self, rested_ms: u64) {
        self.rested_ms = rested_ms;
    }

    /// Time goes on. True if heartbeats are to be sent to all who are connected, after the
    /// events were handled. To be called at least every tenth of a heartbeat's time.
    pub fn tick(&mut self, now_ms: u64) -> bool {
        self.started_ms.get_or_insert(now_ms);
        self.watch_lease(now_ms);
        self.suspect(now_ms);
        self.decide(now_ms);
        self.watch_neighbours(now_ms);
        let due = core::mem::take(&mut self.has_moved) || now_ms >= self.heartbeat_due_ms;
        if due {
            self.heartbeat_due_ms = now_ms + self.config.heartbeat_ms;
        }
        due
    }

    fn suspect(&mut self, now_ms: u64) {
        let ticked_ms = self.ticked_ms.replace(now_ms).unwrap_or(now_ms);
        if now_ms.saturating_sub(ticked_ms) > self.config.heartbeat_ms {
            self.listens_until_ms = now_ms.saturating_add(self.config.heartbeat_ms);
        }
        if now_ms < self.listens_until_ms {
            return;
        }
        let silence_ms = self.config.silence_ms();
        let peers = self.peers.values_mut();
        peers.for_each(|peer| peer.suspect(now_ms, silence_ms));
    }

    /// Writes a heartbeat for a peer. Nothing if it is not to be answered any more.
    pub fn put_heartbeat(&mut self, now_ms: u64, to: &str, out: &mut Vec<u8>) {
        let Some(peer) = self.peers.get_mut(to).filter(|peer| peer.is_heard()) else {
            return;
        };
        let (echo_ms, held_ms) = match self.going {
            Going::Over => (0, 0),
            Going::No | Going::Soon => peer.give(now_ms),
        };
        let version = self.config.cores_version;
        let reaches = self.reaches_for(now_ms, to);
        let times = (now_ms, echo_ms, held_ms);
        Heartbeat::put(out, times, version, &reaches, self.views());
    }

    /// What has happened since, oldest first.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Until when, by this node's clock, it may acknowledge QoS 1 and 2: it sees a majority of
    /// the cores. Grows with the heartbeats; `u64::MAX` if it never ends, zero if this life is
    /// over.
    #[must_use]
    pub fn lease_until_ms(&self) -> u64 {
        if self.renewing || self.going == Going::Over {
            return 0;
        }
        let own = usize::from(self.config.votes());
        let needed = self.config.majority().saturating_sub(own);
        let is_free = self.config.policy == Policy::ServeLocal || self.config.cores.is_empty();
        if is_free || needed == 0 {
            return u64::MAX;
        }
        let cores = self
            .peers
            .iter()
            .filter(|(name, _)| self.config.is_core(name));
        let mut leases: Vec<u64> = cores.map(|(_, peer)| peer.lease_until_ms()).collect();
        leases.sort_unstable_by(|a, b| b.cmp(a));
        leases.get(needed - 1).copied().unwrap_or(0)
    }

    /// Whether this node may acknowledge QoS 1 and 2.
    #[must_use]
    pub fn may_acknowledge(&self, now_ms: u64) -> bool {
        now_ms < self.lease_until_ms()
    }

    /// The number of the lease that runs, if one does. One that follows a lease that ran out
    /// has another number, however short the time between them was: see
    /// [`Directory::set_lease`](crate::directory::Directory::set_lease).
    #[must_use]
    pub fn lease(&self, now_ms: u64) -> Option<u64> {
        self.may_acknowledge(now_ms).then_some(self.leases)
    }

    /// Whether no lease runs any more that a former process of this node gave to somebody whom
    /// this one does not know: it was that long ago, or this node gives none that counts for what
    /// is decided by views (see the [directory](crate::directory)).
    #[must_use]
    pub fn is_mature(&self, now_ms: u64) -> bool {
        let started_ms = self.started_ms.unwrap_or(now_ms);
        let rested_ms = self
            .rested_ms
            .saturating_add(now_ms - started_ms.min(now_ms));
        self.config.role == Role::Replicant || rested_ms > self.config.silence_ms()
    }

    fn watch_lease(&mut self, now_ms: u64) {
        let is_running = self.may_acknowledge(now_ms);
        if is_running && !self.is_lease_running {
            self.leases += 1;
        }
        self.is_lease_running = is_running;
    }

    /// What is known of each peer, by name.
    pub fn peers(&self) -> impl Iterator<Item = (&str, PeerStatus)> {
        let peers = self.peers.iter();
        peers.map(|(name, peer)| (&**name, peer.status()))
    }

    /// What is known of a peer.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<PeerStatus> {
        self.peers.get(name).map(Peer::status)
    }

    /// A life of a peer is gone.
    fn give_up(&mut self, node: &str, incarnation: u64) {
        if let Some(peer) = self.peers.get_mut(node)
            && let Some(incarnation) = peer.give_up(incarnation)
        {
            let node = node.into();
            self.events.push_back(Event::Down { node, incarnation });
        }
    }

    /// Takes in what a peer thinks of others, and of this node.
    fn hear_views(&mut self, now_ms: u64, from: &str, heartbeat: &Heartbeat<'_>) {
        let is_core = self.config.is_core(from);
        if let Some(peer) = self.peers.get_mut(from) {
            if is_core {
                peer.set_views(heartbeat.views);
            }
            peer.hear_of_itself(from, heartbeat.views);
        }
        for view in heartbeat.views {
            if *view.node == *self.config.name {
                if view.health >= Health::Condemned && view.incarnation >= self.config.incarnation {
                    self.refused_as_stale(self.config.incarnation);
                }
            } else if view.health == Health::Gone {
                if *view.node == *from
                    && let Some(peer) = self.peers.get_mut(from)
                {
                    // Whose life is over by its own word counts on no lease.
                    peer.forget_given();
                }
                self.give_up(view.node, view.incarnation);
            } else if is_core && view.health > Health::Going {
                let peer = self.peers.entry(view.node.into()).or_default();
                peer.rumour(now_ms, view.incarnation);
            }
        }
    }
}
