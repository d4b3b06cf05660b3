//! The clients of one thread: their sessions, and how they connect.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::codec::{Connect, Qos, Version};
use crate::net::{Closing, Links, Sources, Targets};
use crate::session::Session;

use super::control::Control;
use super::places::Places;

/// What all clients of a run have in common.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The run's number: in client identifiers, topics and payloads.
    pub run: u32,
    /// The protocol version.
    pub version: Version,
    /// Where the brokers are.
    pub targets: Targets,
    /// Which of them each client connects to.
    pub places: Places,
    /// Where connections come from.
    pub sources: Sources,
    /// Keep Alive in seconds, 0 for none.
    pub keep_alive_s: u16,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// Connections per second in the whole run, 0 for as many as the broker takes.
    pub connect_rate: f64,
}

impl Profile {
    /// Where a client connects to, by its number in the whole run.
    pub fn target(&self, client: u32) -> SocketAddr {
        self.targets.of(self.places.of(client) as usize)
    }
}

/// How a client begins its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing is kept from before or for later.
    Clean,
    /// The broker keeps the session when the client is away.
    Persistent,
}

/// Session Expiry Interval of persistent sessions, in seconds: longer than any run.
const EXPIRY_S: u32 = 24 * 3600;

/// What is kept per client beside its connection.
pub(super) struct Roster {
    pub(super) profile: Arc<Profile>,
    pub(super) control: Arc<Control>,
    pub(super) sessions: Vec<Session>,
    /// Each client's number in the whole run.
    numbers: Vec<u32>,
    pub(super) thread: usize,
    /// Clients with an open session.
    pub(super) connected: usize,
    /// Connections that exist or are being made.
    pub(super) open: usize,
    /// Another thread woke this one before the present turn.
    pub(super) was_woken: bool,
}

impl Roster {
    pub(super) fn new(
        profile: Arc<Profile>,
        control: Arc<Control>,
        thread: usize,
        numbers: Vec<u32>,
    ) -> Self {
        let sessions = numbers
            .iter()
            .map(|_| Session::new(profile.version))
            .collect();
        Self {
            profile,
            control,
            sessions,
            numbers,
            thread,
            connected: 0,
            open: 0,
            was_woken: false,
        }
    }
}

/// The clients of a thread as a scenario works with them. A slot is a client's place on its
/// thread.
pub struct Clients<'a> {
    pub(super) roster: &'a mut Roster,
    pub(super) links: &'a mut Links,
}

impl Clients<'_> {
    /// Connects a client that has no connection.
    pub fn open(&mut self, slot: u32, start: Start) {
        let roster = &mut *self.roster;
        let number = roster.numbers[slot as usize];
        let profile = &roster.profile;
        let source = profile.sources.of(number as usize);
        self.links.open(slot, profile.target(number), source);
        let request = Connect {
            version: profile.version,
            client_id: &client_id(profile.run, number),
            clean: start == Start::Clean,
            keep_alive_s: profile.keep_alive_s,
            session_expiry_s: if start == Start::Persistent {
                EXPIRY_S
            } else {
                0
            },
            credentials: profile
                .credentials
                .as_ref()
                .map(|(name, word)| (&**name, &**word)),
            will: None,
        };
        roster.open += 1;
        roster.sessions[slot as usize].connect(self.links.output(slot), &request);
    }

    /// Sends SUBSCRIBE.
    pub fn subscribe(&mut self, slot: u32, filters: &[String], qos: Qos) {
        let out = self.links.output(slot);
        self.roster.sessions[slot as usize].subscribe(out, filters, qos);
    }

    /// Whether a client may publish one more message at once.
    #[inline]
    pub fn may_publish(&self, slot: u32, qos: Qos) -> bool {
        let session = &self.roster.sessions[slot as usize];
        session.is_connected()
            && (qos == Qos::AtMostOnce || session.may_send())
            && !self.links.is_congested(slot)
    }

    /// A client's session and output buffer.
    #[inline]
    pub fn publishing(&mut self, slot: u32) -> (&mut Session, &mut Vec<u8>) {
        (
            &mut self.roster.sessions[slot as usize],
            self.links.output(slot),
        )
    }

    /// A client's session.
    #[inline]
    pub fn session(&mut self, slot: u32) -> &mut Session {
        &mut self.roster.sessions[slot as usize]
    }

    /// A client's output buffer.
    #[inline]
    pub fn output(&mut self, slot: u32) -> &mut Vec<u8> {
        self.links.output(slot)
    }

    /// Sends DISCONNECT and closes the connection.
    pub fn disconnect(&mut self, slot: u32) {
        if self.roster.sessions[slot as usize].is_connected() {
            crate::codec::disconnect(self.links.output(slot));
            self.links.finish(slot);
        } else if self.links.is_open(slot) {
            self.links.close(slot, Closing::Requested);
        }
    }

    /// How many slots there are.
    pub fn count(&self) -> usize {
        self.roster.sessions.len()
    }

    /// How many clients are connected.
    pub fn connected(&self) -> usize {
        self.roster.connected
    }

    /// How many connections exist or are being made.
    pub fn open_connections(&self) -> usize {
        self.roster.open
    }

    /// A client's number in the whole run.
    pub fn number(&self, slot: u32) -> u32 {
        self.roster.numbers[slot as usize]
    }

    /// What the run shares.
    #[inline]
    pub fn control(&self) -> &Arc<Control> {
        &self.roster.control
    }

    /// What all clients have in common.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.roster.profile
    }

    /// Whether another thread has woken this one since the last turn.
    #[inline]
    pub fn was_woken(&self) -> bool {
        self.roster.was_woken
    }

    /// The thread's number.
    pub fn thread(&self) -> usize {
        self.roster.thread
    }

    /// Describes a client that lost its connection.
    pub fn describe(&self, slot: u32, reason: &Closing) -> String {
        let number = self.number(slot);
        let target = self.roster.profile.target(number);
        let name = client_id(self.roster.profile.run, number);
        format!("client {name} to {target}: {reason}")
    }
}

/// The client identifier of a client: unique in the run, 23 bytes at most (`[MQTT-3.1.3-5]`).
fn client_id(run: u32, number: u32) -> String {
    format!("lg{run:08x}-{number}")
}
