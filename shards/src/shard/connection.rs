//! One network connection, as the shard sees it: bytes in, bytes out.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;

use protocol::aliases::TopicAliases;
use protocol::auth::Authentication;
use protocol::rate::{Bucket, Meter};
use protocol::wire::{PacketId, ReasonCode, Version};

use crate::settings::Mqtt;
use crate::wheel::TimerKey;

use super::journal::{Journal, Waiter};
use super::outbox::Output;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Accepted; CONNECT has not arrived in full.
    AwaitsConnect,
    /// CONNECT has arrived, and its Authentication Method needs more: see [`Authenticating`].
    Authenticates,
    /// CONNECT waits until the client identifier is this node's: see [`super::owners`].
    Claims,
    /// CONNECT was accepted.
    Live,
    /// What is in the output is sent, then the socket is closed. Input is ignored.
    Closing,
    /// Handed over to another shard, or closed by the peer: nothing more happens here.
    Gone,
}

/// How a connection ended, for those who want to hear of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// It has not, or the peer just closed it.
    Open,
    /// Another connection discards its session.
    Discarded,
    ByClient(ReasonCode),
    ByServer(ReasonCode),
}

/// Where a client connects from, and to which listener: 22 bytes, where two socket addresses
/// would have 64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    /// IPv4 addresses are mapped.
    ip: Ipv6Addr,
    pub(crate) port: u16,
    pub(crate) listener_port: u16,
    /// The listener's place in the settings.
    pub(crate) listener: u16,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            ip: Ipv6Addr::UNSPECIFIED,
            port: 0,
            listener_port: 0,
            listener: 0,
        }
    }
}

impl Remote {
    pub(crate) fn new(address: SocketAddr, listener_port: u16, listener: u16) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let port = address.port();
        Self {
            ip,
            port,
            listener_port,
            listener,
        }
    }

    /// The address without the port.
    pub(crate) fn host(&self) -> String {
        self.ip.to_canonical().to_string()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip.to_canonical(), self.port).fmt(out)
    }
}

/// A network connection. Lives on the shard that reads its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Output that has not been given to the kernel. Empty, without memory, while idle.
    pub(crate) output: Output,
    /// The start of a packet whose end has not arrived, or input of a paused connection.
    pub(crate) tail: Vec<u8>,
    /// The session, or [`super::NONE`].
    pub(crate) session: u32,
    /// Tells this connection from earlier ones under the same key.
    pub(crate) serial: u32,
    pub(crate) phase: Phase,
    pub(crate) version: Version,
    /// On the list of connections whose output is to be flushed.
    pub(crate) dirty: bool,
    /// Input waits: see [`super::Shard`]'s `must_wait`.
    pub(crate) paused: bool,
    /// The client's rates are limited: see [`Rates`].
    pub(crate) limited: bool,
    /// It was faster than they allow, and is not read until its timer fires.
    pub(crate) too_fast: bool,
    /// The client has closed its side: the rest of its input does not wait any more.
    pub(crate) ended: bool,
    /// Its session's queue is full: the connection ends with this turn.
    pub(crate) overflowed: bool,
    /// It has published more to a node, this plus 1, than that takes; else 0.
    pub(crate) awaits_node: u16,
    /// SUBSCRIBE packets whose SUBACK waits for routes or other shards.
    pub(crate) held_subacks: u16,
    /// Reason strings are welcome: a 5.0 client with Request Problem Information
    /// [MQTT-3.1.2-29].
    pub(crate) explains: bool,
    /// Largest packet the client takes, in bytes.
    pub(crate) maximum_packet_size: u32,
    /// Keep alive times 1.5, in milliseconds; 0 when it is off.
    pub(crate) silence_ms_max: u32,
    /// When the last packet arrived, in milliseconds of the shard's clock.
    pub(crate) heard_ms: u64,
    pub(crate) timer: Option<TimerKey>,
    pub(crate) remote: Remote,
    pub(crate) end: End,
    /// When CONNECT was accepted, in milliseconds since 1970.
    pub(crate) connected_unix_ms: u64,
    pub(crate) username: Option<Box<str>>,
    /// Topic aliases that the client takes; 0 is none.
    pub(crate) topic_alias_maximum: u16,
    /// What few connections need. `None` until then.
    pub(crate) extras: Option<Box<Extras>>,
    /// Acknowledgements that wait for other shards, in the order of the packets.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 32 in idle connections"
    )]
    pub(crate) pending: Option<Box<VecDeque<PendingAck>>>,
    /// Output that waits for the disk. `None` while there is none.
    stored_later: Option<Box<StoredLater>>,
    /// Nothing is sent until this commit is on the disk: CONNACK is in the output.
    pub(crate) held_until: u64,
}

/// Output that waits for commits, oldest first.
type StoredLater = VecDeque<(u64, Output)>;

impl Connection {
    pub(crate) fn new(serial: u32, now_ms: u64, remote: Remote) -> Self {
        Self {
            output: Output::default(),
            tail: Vec::new(),
            session: super::NONE,
            serial,
            phase: Phase::AwaitsConnect,
            version: Version::V5,
            dirty: false,
            paused: false,
            limited: false,
            too_fast: false,
            ended: false,
            overflowed: false,
            awaits_node: 0,
            held_subacks: 0,
            explains: false,
            maximum_packet_size: u32::MAX,
            silence_ms_max: 0,
            heard_ms: now_ms,
            timer: None,
            remote,
            end: End::Open,
            connected_unix_ms: 0,
            username: None,
            topic_alias_maximum: 0,
            extras: None,
            pending: None,
            stored_later: None,
            held_until: 0,
        }
    }

    /// Whether output waits for the disk.
    #[inline]
    pub(crate) fn holds_output(&self) -> bool {
        self.stored_later.is_some()
    }

    /// Drops the output that waits for the disk: the client is gone.
    pub(crate) fn drop_held_output(&mut self) {
        self.stored_later = None;
    }

    /// Lets `write` write output that is sent when everything up to now is on the disk.
    pub(crate) fn hold_output(
        &mut self,
        journal: &mut Journal,
        key: u32,
        write: impl FnOnce(&mut Self),
    ) {
        let commit = journal.last();
        if self.stored_later.is_none() && journal.has_committed(commit) {
            return write(self);
        }
        let open = core::mem::take(&mut self.output);
        // What is written later goes out earlier: it must not rely on an alias set here.
        let aliases = core::mem::take(&mut self.topic_alias_maximum);
        write(self);
        self.topic_alias_maximum = aliases;
        let written = core::mem::replace(&mut self.output, open);
        let held = self.stored_later.get_or_insert_default();
        if let Some((last, output)) = held.back_mut()
            && *last == commit
        {
            output.append(written);
            return;
        }
        held.push_back((commit, written));
        let serial = self.serial;
        journal.wait(Waiter::Output { key, serial });
    }

    /// Moves what does not wait any more to the output.
    pub(crate) fn release_output(&mut self, journal: &Journal) {
        let Some(held) = &mut self.stored_later else {
            return;
        };
        while let Some((commit, _)) = held.front()
            && journal.has_committed(*commit)
        {
            if let Some((_, output)) = held.pop_front() {
                self.output.append(output);
            }
        }
        if held.is_empty() {
            self.stored_later = None;
        }
    }

    /// Whether a paused connection has to stay paused, whatever there is room for.
    pub(crate) fn waits(&self, limits: &Mqtt) -> bool {
        self.too_fast
            || self.held_subacks > 0
            || self.awaits_node > 0
            || self.output.len() >= limits.max_output_bytes as usize
    }

    /// Acknowledgements that have not been sent.
    pub(crate) fn pending_acks(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.len())
    }

    /// Messages whose acknowledgement has not been sent and that the session's inflow does
    /// not hold.
    pub(crate) fn pending_unheld(&self) -> usize {
        let pending = self.pending.iter().flat_map(|pending| pending.iter());
        pending
            .filter(|ack| ack.answer.kind != AckKind::PubRec || ack.answer.reason.is_error())
            .count()
    }
}

/// What few connections need, so that the others have room for one pointer to it.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Topic aliases the client has set.
    pub(crate) aliases: Aliases,
    /// Topic aliases set towards the client.
    pub(crate) aliases_out: Option<Box<TopicAliases>>,
    /// How often its client identifier may still be taken over. `None` before the first time.
    pub(crate) takeovers: Option<Box<Bucket>>,
    /// What the client may still send. `None` without limits.
    pub(crate) rates: Option<Box<Rates>>,
    /// `None` without an Authentication Method.
    pub(crate) authentication: Option<Box<Authenticating>>,
}

/// The enhanced authentication of a client.
#[derive(Debug)]
pub(crate) struct Authenticating {
    pub(crate) state: Authentication,
    /// The CONNECT that waits for its end: first byte and body. Empty afterwards.
    pub(crate) connect: (u8, Vec<u8>),
}

/// How fast a client may send.
#[derive(Debug)]
pub(crate) struct Rates {
    /// What is measured in messages, by the node's limits and the listener's.
    pub(crate) messages: Vec<Meter>,
    /// What is measured in bytes.
    pub(crate) bytes: Vec<Meter>,
    /// Runs while it has to wait.
    pub(crate) timer: Option<TimerKey>,
}

/// The topics behind the aliases that one client has set.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    topics: Vec<Option<Rc<str>>>,
}

impl Aliases {
    /// Sets an alias, which the caller has checked against the maximum.
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &str) {
        let index = usize::from(alias.get()) - 1;
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        if self.topics[index].as_deref() != Some(topic) {
            self.topics[index] = Some(topic.into());
        }
    }

    pub(crate) fn topic(&self, alias: NonZeroU16) -> Option<Rc<str>> {
        self.topics.get(usize::from(alias.get()) - 1)?.clone()
    }
}

/// What acknowledges a packet of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::enum_variant_names, reason = "the packets' names")]
pub(crate) enum AckKind {
    PubAck,
    PubRec,
    PubComp,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) packet_id: PacketId,
    pub(crate) kind: AckKind,
    pub(crate) reason: ReasonCode,
}

impl Answer {
    pub(crate) fn is(&self, packet_id: PacketId, kind: AckKind) -> bool {
        (self.packet_id, self.kind) == (packet_id, kind)
    }
}

/// An acknowledgement that waits for other shards to accept its message, or for one that
/// does.
#[derive(Debug)]
pub(crate) struct PendingAck {
    pub(crate) answer: Answer,
    /// Shards that have to accept, and up to which message of this shard.
    pub(crate) waits: Vec<(u16, u64)>,
    /// Others that have to store it.
    pub(crate) later: u16,
    /// What of it is stored by this shard is so with this commit; 0 for nothing.
    pub(crate) commit: u64,
}

impl PendingAck {
    /// One that waits for a commit only, or for nothing with commit 0.
    pub(crate) fn new(answer: Answer, commit: u64) -> Self {
        Self {
            answer,
            waits: Vec::new(),
            later: 0,
            commit,
        }
    }
}
