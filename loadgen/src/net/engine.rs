//! Carries out what [`Links`] asks for, and tells what happened.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::links::{Closing, Links, Opening};
use super::ring::{Completion, Request, Ring};
use super::system::{self, RawAddress};
use super::waker::Waker;

/// Sends that are requested in one turn; their completions fit into the ring.
const SENDS_MAX: usize = 8192;

/// What the kernel has completed, as the owner of the connections sees it.
#[derive(Debug)]
pub enum Happening<'a> {
    /// Bytes have arrived.
    Received(u32, &'a [u8]),
    /// The connection is gone; its slot is free.
    Closed(u32, Closing),
}

/// The I/O of one thread. It is created and used on that thread only.
pub struct Engine {
    /// `None` only while it is being dropped.
    ring: Option<Ring>,
    links: Links,
    waker: Arc<Waker>,
    completions: Vec<Completion>,
    /// Connections that receive nothing at the moment because all buffers were in use.
    starved: Vec<u32>,
    /// Boxed: requests point to them, so they must not move.
    addresses: HashMap<SocketAddr, Box<RawAddress>>,
}

impl Engine {
    /// An engine for the calling thread with `slots` connections, woken by `waker`.
    pub fn new(slots: usize, waker: Arc<Waker>) -> io::Result<Self> {
        let mut ring = Ring::new()?;
        ring.watch(waker.descriptor());
        Ok(Self {
            ring: Some(ring),
            links: Links::new(slots),
            waker,
            completions: Vec::with_capacity(4096),
            starved: Vec::new(),
            addresses: HashMap::new(),
        })
    }

    /// The connections.
    pub fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    /// Sends what was written, opens and closes what was asked for, and waits for something to
    /// happen, at most for `timeout`. `happened` is told everything; it may work on the links.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut happened: impl FnMut(&mut Links, Happening<'_>),
    ) -> io::Result<()> {
        let Some(ring) = &mut self.ring else {
            return Ok(());
        };
        self.completions.clear();
        let mut hands = Hands {
            ring,
            links: &mut self.links,
            starved: &mut self.starved,
            waker: &self.waker,
        };
        hands.open(&mut self.addresses, &mut happened);
        hands.flush();
        hands.shut_down(&mut happened);
        hands.wait(timeout)?;
        hands.ring.collect(&mut self.completions);
        for completion in &self.completions {
            hands.complete(*completion, &mut happened);
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.close(std::mem::take(&mut self.links));
        }
    }
}

/// The parts of an engine during a turn.
struct Hands<'a> {
    ring: &'a mut Ring,
    links: &'a mut Links,
    starved: &'a mut Vec<u32>,
    waker: &'a Waker,
}

impl Hands<'_> {
    fn open(
        &mut self,
        addresses: &mut HashMap<SocketAddr, Box<RawAddress>>,
        happened: &mut impl FnMut(&mut Links, Happening<'_>),
    ) {
        for Opening {
            slot,
            target,
            source,
        } in std::mem::take(&mut self.links.openings)
        {
            let link = &mut self.links.links[slot as usize];
            match system::tcp_socket(target, source) {
                Ok(socket) => {
                    link.socket = Some(socket);
                    let address = addresses
                        .entry(target)
                        .or_insert_with(|| Box::new(RawAddress::new(target)));
                    self.ring.connect(slot, link, address);
                }
                Err(error) => {
                    link.is_connecting = false;
                    let reason = Closing::ConnectFailed(error);
                    happened(self.links, Happening::Closed(slot, reason));
                }
            }
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.links.dirty);
        for slot in dirty.drain(..dirty.len().min(SENDS_MAX)) {
            self.links.links[slot as usize].is_dirty = false;
            self.send(slot);
        }
        self.links.dirty = dirty;
        for slot in std::mem::take(self.starved) {
            let link = &mut self.links.links[slot as usize];
            if !link.is_receiving && link.closing.is_none() {
                self.ring.receive(slot, link);
            }
        }
    }

    /// Hands pending output to the kernel, unless earlier output is still on its way.
    #[inline]
    fn send(&mut self, slot: u32) {
        let link = &mut self.links.links[slot as usize];
        if link.is_connecting || link.is_sending || link.closing.is_some() {
            return;
        }
        if link.pending.is_empty() {
            if link.is_finishing {
                self.links.close(slot, Closing::Requested);
            }
            return;
        }
        link.sending = std::mem::take(&mut link.pending);
        link.sent = 0;
        self.ring.send(slot, link);
    }

    fn shut_down(&mut self, happened: &mut impl FnMut(&mut Links, Happening<'_>)) {
        while let Some(slot) = self.links.closings.pop() {
            let link = &self.links.links[slot as usize];
            if let (Some(socket), Some(_)) = (&link.socket, &link.closing) {
                system::shutdown(socket);
                self.release(slot, happened);
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if timeout.is_zero() || self.links.has_work() || !self.waker.park() {
            return self.ring.enter(Duration::ZERO);
        }
        let result = self.ring.enter(timeout);
        self.waker.unpark();
        result
    }

    #[inline]
    fn complete(
        &mut self,
        completion: Completion,
        happened: &mut impl FnMut(&mut Links, Happening<'_>),
    ) {
        let slot = completion.slot;
        match completion.request {
            Request::Receive => self.received(completion, happened),
            Request::Send => self.sent(slot, completion.result),
            Request::Connect => self.connected(slot, completion.result),
            Request::Wake => {
                self.waker.drain();
                if !completion.request_continues() {
                    self.ring.watch(self.waker.descriptor());
                }
                return;
            }
        }
        if self.links.links[slot as usize].closing.is_some() {
            self.release(slot, happened);
        }
    }

    #[inline]
    fn received(
        &mut self,
        completion: Completion,
        happened: &mut impl FnMut(&mut Links, Happening<'_>),
    ) {
        let slot = completion.slot;
        if let (Some(id), Ok(length)) = (completion.buffer(), usize::try_from(completion.result)) {
            if length > 0 && self.links.is_open(slot) {
                let bytes = self.ring.buffers.bytes(id, length);
                happened(self.links, Happening::Received(slot, bytes));
            }
            self.ring
                .buffers
                .release(id, length, completion.buffer_continues());
        }
        if !completion.request_continues() {
            self.links.links[slot as usize].is_receiving = false;
            self.receive_ended(slot, completion.result);
        }
    }

    fn receive_ended(&mut self, slot: u32, result: i32) {
        match result {
            0 => self.links.close(slot, Closing::ByBroker),
            _ if result > 0 || -result == libc::ENOBUFS => self.starved.push(slot),
            _ => {
                let error = io::Error::from_raw_os_error(-result);
                self.links.close(slot, Closing::Broken(error));
            }
        }
    }

    #[inline]
    fn sent(&mut self, slot: u32, result: i32) {
        let link = &mut self.links.links[slot as usize];
        link.is_sending = false;
        match usize::try_from(result) {
            Ok(count) => {
                link.sent += count;
                if link.sent < link.sending.len() && link.closing.is_none() {
                    self.ring.send(slot, link);
                    return;
                }
                let buffer = std::mem::take(&mut link.sending);
                let has_more = !link.pending.is_empty() || link.is_finishing;
                self.links.recycle(buffer);
                if has_more {
                    self.links.output(slot);
                }
            }
            Err(_) => {
                let error = io::Error::from_raw_os_error(-result);
                self.links.close(slot, Closing::Broken(error));
            }
        }
    }

    fn connected(&mut self, slot: u32, result: i32) {
        let link = &mut self.links.links[slot as usize];
        link.is_connecting = false;
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            self.links.close(slot, Closing::ConnectFailed(error));
            return;
        }
        if link.closing.is_none() {
            self.ring.receive(slot, link);
            self.links.output(slot);
        }
    }

    /// Frees the slot of a closing link once nothing of it is in flight.
    fn release(&mut self, slot: u32, happened: &mut impl FnMut(&mut Links, Happening<'_>)) {
        let link = &mut self.links.links[slot as usize];
        if link.is_in_flight() || link.socket.is_none() {
            return;
        }
        let Some(reason) = link.closing.take() else {
            return;
        };
        link.socket = None;
        let (pending, sending) = (
            std::mem::take(&mut link.pending),
            std::mem::take(&mut link.sending),
        );
        self.links.recycle(pending);
        self.links.recycle(sending);
        happened(self.links, Happening::Closed(slot, reason));
    }
}
