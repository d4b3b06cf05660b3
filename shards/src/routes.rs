//! Between the shards and the one writer of the route index.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard_sync::routes::{Destination, RouteReader, RouteWriter, route_index};
use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::shard::RouteChange;

/// A shard's way to the route writer and back. Owned by the shard's engine.
pub(crate) struct RouteLink {
    changes: Producer<RouteChange>,
    /// Changes that found no room.
    backlog: VecDeque<RouteChange>,
    writer: Arc<Doorbell>,
    /// Changes of this shard that are applied: written by the route writer.
    applied: Arc<AtomicU64>,
    /// As last read.
    seen: u64,
    sent: bool,
}

impl RouteLink {
    /// Hands over a change.
    pub(crate) fn send(&mut self, change: RouteChange) {
        self.backlog.push_back(change);
        self.sent = true;
    }

    /// Wakes the writer if there is something for it.
    pub(crate) fn ring(&mut self) {
        while let Some(change) = self.backlog.pop_front() {
            if let Err(change) = self.changes.push(change) {
                self.backlog.push_front(change);
                break;
            }
        }
        if std::mem::take(&mut self.sent) {
            self.writer.ring();
        }
    }

    /// How many changes of this shard are applied.
    pub(crate) fn applied(&mut self) -> u64 {
        self.seen = self.applied.load(Ordering::Acquire);
        self.seen
    }

    /// Whether the writer has applied nothing since [`RouteLink::applied`].
    pub(crate) fn is_quiet(&self) -> bool {
        self.applied.load(Ordering::Acquire) == self.seen
    }

    /// Whether changes wait for room.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }
}

/// Changes on their way from one shard to the writer.
const CHANGES_UNDER_WAY: usize = 4096;

/// Changes applied for one shard before the next one's turn.
const CHANGES_AT_ONCE: usize = 256;

/// Makes the route index of a node and starts its writer. Gives each shard, in order, a
/// reader and a link to the writer; nothing when there is one shard, which needs no routes
/// to itself.
pub(crate) fn start(
    shards: usize,
    seed: u64,
    doorbells: &[Arc<Doorbell>],
) -> io::Result<Vec<(RouteReader, RouteLink)>> {
    if shards < 2 {
        return Ok(Vec::new());
    }
    let (index, reader) = route_index(seed);
    let own = Arc::new(Doorbell::new()?);
    let (mut links, mut sources) = (Vec::new(), Vec::new());
    for (shard, doorbell) in doorbells.iter().enumerate() {
        let (producer, consumer) = ring(CHANGES_UNDER_WAY);
        let applied = Arc::new(AtomicU64::new(0));
        let link = RouteLink {
            changes: producer,
            backlog: VecDeque::new(),
            writer: Arc::clone(&own),
            applied: Arc::clone(&applied),
            seen: 0,
            sent: false,
        };
        links.push((reader.clone(), link));
        sources.push(Source {
            destination: Destination::Shard(u8::try_from(shard).unwrap_or(u8::MAX)),
            changes: consumer,
            applied,
            doorbell: Arc::clone(doorbell),
        });
    }
    let writer = Writer {
        index,
        own,
        sources,
    };
    std::thread::Builder::new()
        .name("routes".to_owned())
        .spawn(move || writer.run())?;
    Ok(links)
}

/// One shard, as the writer sees it.
struct Source {
    destination: Destination,
    changes: Consumer<RouteChange>,
    applied: Arc<AtomicU64>,
    doorbell: Arc<Doorbell>,
}

/// The only one that changes the route index. Has a thread of its own, which ends with the
/// process.
struct Writer {
    index: RouteWriter,
    own: Arc<Doorbell>,
    sources: Vec<Source>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut idle = true;
            for source in &mut self.sources {
                idle &= !source.apply(&mut self.index);
            }
            if idle {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        let sources = &self.sources;
        if self
            .own
            .park(|| sources.iter().all(|source| source.changes.is_empty()))
        {
            let mut poll = libc::pollfd {
                fd: self.own.fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one entry, which lives through the call.
            unsafe { libc::poll(&raw mut poll, 1, -1) };
            self.own.drain();
        }
        self.own.unpark();
    }
}

impl Source {
    /// Applies changes of this shard; false when there were none.
    fn apply(&mut self, index: &mut RouteWriter) -> bool {
        let mut count = 0;
        while count < CHANGES_AT_ONCE
            && let Some(change) = self.changes.pop()
        {
            match change {
                // The index is full only beyond two thousand million filters, more than
                // fit into the memory of any machine that this runs on.
                RouteChange::Add(filter) => {
                    let _ = index.add(&filter, self.destination);
                }
                RouteChange::Remove(filter) => {
                    index.remove(&filter, self.destination);
                }
            }
            count += 1;
        }
        if count > 0 {
            self.applied.fetch_add(count as u64, Ordering::Release);
            self.doorbell.ring();
        }
        count > 0
    }
}
