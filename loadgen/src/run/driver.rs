//! The loop of one thread: turns of the engine, and the scenario's part over them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::codec::{Packet, decode};
use crate::net::{Closing, Engine, Happening, Links};
use crate::session::{Event, Violation};
use crate::stats::Latency;

use super::clients::{Clients, Profile, Roster};
use super::control::Control;

/// The longest sleep: how late anything that nobody signals is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What a scenario does on one thread. All methods run on that thread.
pub trait Part: Send {
    /// A stage of the script begins.
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, now: u64);

    /// Once per turn, before output is sent: what is due by the clock.
    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest;

    /// Something happened to a client.
    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64);

    /// A client's connection is gone; `Closing::Requested` is what the scenario asked for.
    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, now: u64);

    /// The latencies so far, for the progress line.
    fn latency(&self) -> Option<&Latency> {
        None
    }
}

/// What a part wants after its turn.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    /// It has nothing more to do in this stage.
    pub is_done: bool,
    /// When to call again at the latest; `u64::MAX` for only when something happens.
    pub wake_at: u64,
}

impl Rest {
    /// Done when `is_done`; nothing is due by the clock.
    pub const fn when(is_done: bool) -> Self {
        Self {
            is_done,
            wake_at: u64::MAX,
        }
    }
}

/// The loop of one thread.
pub(super) struct Driver {
    engine: Engine,
    roster: Roster,
    control: Arc<Control>,
    pings: Pings,
    /// Acknowledgements of one receive, appended to the connection's output together.
    acknowledgements: Vec<u8>,
    stage: Option<usize>,
}

impl Driver {
    /// A driver for the clients `numbers` on the calling thread.
    pub(super) fn new(
        profile: Arc<Profile>,
        control: Arc<Control>,
        thread: usize,
        numbers: Vec<u32>,
    ) -> Result<Self, String> {
        let waker = Arc::clone(control.waker(thread));
        let engine = Engine::new(numbers.len(), waker).map_err(|error| ring_refused(&error))?;
        let pings = Pings::new(profile.keep_alive_s, numbers.len(), control.now());
        let roster = Roster::new(profile, Arc::clone(&control), thread, numbers);
        Ok(Self {
            engine,
            roster,
            control,
            pings,
            acknowledgements: Vec::new(),
            stage: None,
        })
    }

    /// Runs `part` through the stages; returns when the conductor has gone beyond `stages`.
    pub(super) fn run<P: Part>(&mut self, part: &mut P, stages: usize) -> Result<(), String> {
        loop {
            let now = self.control.now();
            if let Some(stage) = self
                .control
                .stage()
                .filter(|stage| Some(*stage) != self.stage)
            {
                if stage >= stages {
                    return Ok(());
                }
                self.stage = Some(stage);
                part.enter(stage, &mut self.clients(), now);
            }
            let wake_at = self.work(part, now);
            let timeout = Duration::from_nanos(wake_at.saturating_sub(now)).min(SLEEP_MAX);
            let (roster, acknowledgements) = (&mut self.roster, &mut self.acknowledgements);
            let happened = |links: &mut Links, happening: Happening<'_>| {
                deliver(part, Clients { roster, links }, happening, acknowledgements);
            };
            self.engine
                .turn(timeout, happened)
                .map_err(|error| format!("io_uring: {error}"))?;
            self.roster.was_woken = self.control.waker(self.roster.thread).take_signal();
        }
    }

    /// What the clock asks for; says when to be back.
    fn work<P: Part>(&mut self, part: &mut P, now: u64) -> u64 {
        let Some(stage) = self.stage else {
            return u64::MAX;
        };
        let rest = part.turn(&mut self.clients(), now);
        let thread = self.roster.thread;
        if rest.is_done {
            self.control.set_done(thread, stage);
        }
        self.control.show_latency(thread, part.latency());
        let connected = self.roster.connected as u64;
        self.control
            .board(thread)
            .connected
            .store(connected, Ordering::Relaxed);
        let mut clients = Clients {
            roster: &mut self.roster,
            links: self.engine.links(),
        };
        rest.wake_at.min(self.pings.turn(&mut clients, now))
    }

    fn clients(&mut self) -> Clients<'_> {
        Clients {
            roster: &mut self.roster,
            links: self.engine.links(),
        }
    }
}

fn ring_refused(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has none; Linux 6.1 or later is needed",
        Some(libc::EPERM | libc::EACCES) => {
            "it is forbidden here; see `sysctl kernel.io_uring_disabled` and the seccomp profile \
             of the container"
        }
        Some(libc::EINVAL) => "this kernel's is too old; Linux 6.1 or later is needed",
        Some(libc::ENOMEM) => "too little locked memory; see `ulimit -l`",
        _ => "see dmesg",
    };
    format!("cannot create an io_uring: {error} ({hint})")
}

fn deliver<P: Part>(
    part: &mut P,
    mut clients: Clients<'_>,
    happening: Happening<'_>,
    acknowledgements: &mut Vec<u8>,
) {
    match happening {
        Happening::Received(slot, bytes) => {
            let result = receive(part, &mut clients, slot, bytes, acknowledgements);
            if !acknowledgements.is_empty() {
                clients
                    .links
                    .output(slot)
                    .extend_from_slice(acknowledgements);
                acknowledgements.clear();
            }
            if let Err(violation) = result {
                clients.links.close(slot, Closing::Violation(violation));
            }
        }
        Happening::Closed(slot, reason) => {
            let now = clients.control().now();
            let roster = &mut *clients.roster;
            roster.open -= 1;
            let session = &mut roster.sessions[slot as usize];
            roster.connected -= usize::from(session.is_connected());
            session.disconnected();
            part.closed(&mut clients, slot, &reason, now);
        }
    }
}

/// Takes received bytes, together with the incomplete packet from before.
#[inline]
fn receive<P: Part>(
    part: &mut P,
    clients: &mut Clients<'_>,
    slot: u32,
    bytes: &[u8],
    acknowledgements: &mut Vec<u8>,
) -> Result<(), Violation> {
    let now = clients.control().now();
    let mut tail = clients.links.take_tail(slot);
    if tail.is_empty() {
        let used = consume(part, clients, slot, bytes, acknowledgements, now)?;
        if used < bytes.len() {
            clients.links.set_tail(slot, bytes[used..].to_vec());
        }
    } else {
        tail.extend_from_slice(bytes);
        let used = consume(part, clients, slot, &tail, acknowledgements, now)?;
        if used < tail.len() {
            tail.drain(..used);
            clients.links.set_tail(slot, tail);
        }
    }
    Ok(())
}

/// Decodes all whole packets at the start of `bytes`; says how many bytes they took.
#[inline]
fn consume<P: Part>(
    part: &mut P,
    clients: &mut Clients<'_>,
    slot: u32,
    bytes: &[u8],
    acknowledgements: &mut Vec<u8>,
    now: u64,
) -> Result<usize, Violation> {
    let version = clients.roster.profile.version;
    let mut used = 0;
    while let Some((packet, length)) =
        decode(&bytes[used..], version).map_err(Violation::Malformed)?
    {
        used += length;
        let is_connack = matches!(packet, Packet::Connack(_));
        let session = &mut clients.roster.sessions[slot as usize];
        if let Some(event) = session.receive(packet, acknowledgements)? {
            clients.roster.connected += usize::from(is_connack);
            part.event(clients, slot, event, now);
        }
    }
    Ok(used)
}

/// Sends PINGREQ for all clients in turn, each after three quarters of its keep-alive time.
struct Pings {
    /// Between two clients; `None` without keep-alive.
    interval_ns: Option<u64>,
    due_ns: u64,
    next: usize,
}

impl Pings {
    fn new(keep_alive_s: u16, clients: usize, now: u64) -> Self {
        let round_ns = u64::from(keep_alive_s) * 750_000_000;
        let interval_ns = (round_ns > 0 && clients > 0).then(|| round_ns / clients as u64);
        Self {
            interval_ns,
            due_ns: now + interval_ns.unwrap_or(0),
            next: 0,
        }
    }

    /// Sends what is due; says when the next is.
    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> u64 {
        let Some(interval_ns) = self.interval_ns else {
            return u64::MAX;
        };
        while self.due_ns <= now {
            self.due_ns += interval_ns;
            let slot = self.next as u32;
            self.next = (self.next + 1) % clients.count();
            let session = &mut clients.roster.sessions[slot as usize];
            if session.is_connected() && !session.ping(clients.links.output(slot)) {
                clients.links.close(slot, Closing::Unresponsive);
            }
        }
        self.due_ns
    }
}
