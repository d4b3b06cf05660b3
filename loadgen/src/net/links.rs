//! The connections of one thread, as plain data.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::session::Violation;

/// Output that a connection may gather before its owner is told to hold back, in bytes.
const OUTPUT_HIGH: usize = 1 << 20;

/// Spare output buffers that a thread keeps.
const SPARES_MAX: usize = 1024;

/// A spare buffer larger than this is given back to the allocator.
const SPARE_CAPACITY_MAX: usize = 64 << 10;

/// Why a connection is over.
#[derive(Debug)]
pub enum Closing {
    /// This side asked for it.
    Requested,
    /// It could not be made.
    ConnectFailed(io::Error),
    /// The broker closed it without being asked.
    ByBroker,
    /// It broke.
    Broken(io::Error),
    /// The broker broke the protocol, or refused the client.
    Violation(Violation),
    /// No answer to PINGREQ.
    Unresponsive,
}

impl fmt::Display for Closing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => formatter.write_str("closed"),
            Self::ConnectFailed(error) => {
                write!(formatter, "cannot connect: {}", explain(error))
            }
            Self::ByBroker => formatter.write_str("the broker closed the connection"),
            Self::Broken(error) => write!(formatter, "the connection broke: {error}"),
            Self::Violation(violation) => violation.fmt(formatter),
            Self::Unresponsive => formatter.write_str("the broker does not answer PINGREQ"),
        }
    }
}

/// The error, and what helps against it.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused; is the broker running there?".into(),
        Some(libc::EADDRNOTAVAIL) => "no free port at the source address; give more of them, \
            for example --source 127.0.0.1-127.0.0.40"
            .into(),
        Some(libc::EMFILE | libc::ENFILE) => "too many open descriptors; use more --threads \
            (each has its own table), or raise `ulimit -Hn`"
            .into(),
        _ => error.to_string(),
    }
}

/// One connection. It is free when it has no socket and nothing in flight.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) socket: Option<OwnedFd>,
    /// Output that was not handed to the kernel yet.
    pub(super) pending: Vec<u8>,
    /// Output in the hands of the kernel while `is_sending`: not to be touched.
    pub(super) sending: Vec<u8>,
    /// How much of `sending` the kernel has taken.
    pub(super) sent: usize,
    /// The start of a packet whose end has not arrived.
    tail: Vec<u8>,
    pub(super) closing: Option<Closing>,
    pub(super) is_connecting: bool,
    pub(super) is_receiving: bool,
    pub(super) is_sending: bool,
    /// On the list of links with output.
    pub(super) is_dirty: bool,
    /// Close once all output is sent.
    pub(super) is_finishing: bool,
}

impl Link {
    pub(super) fn is_in_flight(&self) -> bool {
        self.is_connecting || self.is_receiving || self.is_sending
    }
}

/// A connection to make.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) slot: u32,
    pub(super) target: SocketAddr,
    pub(super) source: Option<IpAddr>,
}

/// All connections of a thread, by slot.
#[derive(Debug, Default)]
pub struct Links {
    pub(super) links: Vec<Link>,
    pub(super) openings: Vec<Opening>,
    pub(super) dirty: Vec<u32>,
    /// Links to shut down now.
    pub(super) closings: Vec<u32>,
    spares: Vec<Vec<u8>>,
}

impl Links {
    /// `count` slots without connections.
    pub fn new(count: usize) -> Self {
        let mut links = Vec::new();
        links.resize_with(count, Link::default);
        Self {
            links,
            ..Self::default()
        }
    }

    /// Asks for a connection in a free slot. Output may be appended at once; it is sent when
    /// the connection stands.
    pub fn open(&mut self, slot: u32, target: SocketAddr, source: Option<IpAddr>) {
        let link = &mut self.links[slot as usize];
        debug_assert!(link.socket.is_none() && !link.is_in_flight());
        link.tail = Vec::new();
        link.pending.clear();
        link.closing = None;
        link.is_finishing = false;
        link.is_connecting = true;
        self.openings.push(Opening {
            slot,
            target,
            source,
        });
    }

    /// The output buffer of a connection. What is appended is sent at the end of the turn.
    #[inline]
    pub fn output(&mut self, slot: u32) -> &mut Vec<u8> {
        let link = &mut self.links[slot as usize];
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(slot);
        }
        if link.pending.capacity() == 0
            && let Some(spare) = self.spares.pop()
        {
            link.pending = spare;
        }
        &mut link.pending
    }

    /// Whether the kernel takes the output so slowly that no more should be appended.
    #[inline]
    pub fn is_congested(&self, slot: u32) -> bool {
        self.links[slot as usize].pending.len() >= OUTPUT_HIGH
    }

    /// Closes a connection once its output is sent.
    pub fn finish(&mut self, slot: u32) {
        self.links[slot as usize].is_finishing = true;
        self.output(slot);
    }

    /// Closes a connection at once. The first reason given is the one that is reported.
    pub fn close(&mut self, slot: u32, reason: Closing) {
        let link = &mut self.links[slot as usize];
        if link.closing.is_none() {
            // The broker may close first once it has read DISCONNECT.
            let is_asked = link.is_finishing && !matches!(reason, Closing::Violation(_));
            link.closing = Some(if is_asked { Closing::Requested } else { reason });
            self.closings.push(slot);
        }
    }

    /// Whether something was asked for that the engine has not carried out.
    pub(super) fn has_work(&self) -> bool {
        !(self.openings.is_empty() && self.dirty.is_empty() && self.closings.is_empty())
    }

    /// Whether received bytes of this connection still count.
    #[inline]
    pub fn is_open(&self, slot: u32) -> bool {
        let link = &self.links[slot as usize];
        link.socket.is_some() && link.closing.is_none()
    }

    /// The incomplete packet of a connection; it is given back with [`set_tail`](Self::set_tail).
    #[inline]
    pub fn take_tail(&mut self, slot: u32) -> Vec<u8> {
        std::mem::take(&mut self.links[slot as usize].tail)
    }

    /// Keeps an incomplete packet until more of it arrives.
    #[inline]
    pub fn set_tail(&mut self, slot: u32, tail: Vec<u8>) {
        self.links[slot as usize].tail = tail;
    }

    /// Takes back a buffer that is not needed for now.
    #[inline]
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let useful = 1..=SPARE_CAPACITY_MAX;
        if useful.contains(&buffer.capacity()) && self.spares.len() < SPARES_MAX {
            buffer.clear();
            self.spares.push(buffer);
        }
    }
}
