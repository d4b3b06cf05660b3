//! What one peer still has to be sent.

use std::collections::{BTreeMap, VecDeque};

use super::Routes;
use super::log::{Next, Position};
use crate::wire::Resume;

/// Bytes of a frame of changes.
const FRAME_BYTES: usize = 64 << 10;

/// How far a peer is in the logs that it follows here. Made anew with each connection, and
/// sends nothing until the peer has asked.
#[derive(Debug)]
pub struct Feed {
    /// The peer, whose own routes it does not get.
    peer: Box<str>,
    cursors: BTreeMap<Box<str>, Cursor>,
    /// Whether the peer wants the logs of owners that it did not name, too.
    all: bool,
}

/// How far a peer is in one log.
#[derive(Debug)]
struct Cursor {
    known: Position,
    /// What is left of a snapshot; `known` is behind its end.
    snapshot: VecDeque<Vec<u8>>,
}

impl Cursor {
    const fn at(known: Position) -> Self {
        Self {
            known,
            snapshot: VecDeque::new(),
        }
    }
}

impl Feed {
    /// For a connection to `peer`.
    #[must_use]
    pub fn new(peer: &str) -> Self {
        Self {
            peer: peer.into(),
            cursors: BTreeMap::new(),
            all: false,
        }
    }

    /// The peer has asked for a log. One that asks anew has lost what it was sent. At most
    /// as many owners are remembered as there can be.
    pub fn resume(&mut self, asked: &Resume<'_>, routes: &Routes) {
        if asked.owner.is_empty() {
            self.all = true;
            return;
        }
        if self.cursors.len() < routes.limits.owners || self.cursors.contains_key(asked.owner) {
            let known = Position {
                incarnation: asked.incarnation,
                sequence: asked.sequence,
            };
            self.cursors.insert(asked.owner.into(), Cursor::at(known));
        }
    }

    /// Writes frames to the end of `out`, until it has about `bytes_max` bytes. False if
    /// nothing is left.
    pub fn fill(&mut self, routes: &Routes, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        self.follow_new(routes);
        for (owner, cursor) in &mut self.cursors {
            while out.len() < bytes_max && cursor.put(owner, routes, out) {}
        }
        out.len() >= bytes_max
    }

    /// Writes a digest of each log that the peer has all of. To be done now and then, when
    /// [`Feed::fill`] has nothing left.
    pub fn digests(&mut self, routes: &Routes, out: &mut Vec<u8>) {
        for (owner, cursor) in &self.cursors {
            let log = routes.log(owner);
            let log = log.filter(|log| log.position() == cursor.known);
            if let (Some(log), true) = (log, cursor.snapshot.is_empty()) {
                log.digest().put(out);
            }
        }
    }

    /// How far the peer was sent the log of an owner.
    #[must_use]
    pub fn sent(&self, owner: &str) -> Option<Position> {
        self.cursors.get(owner).map(|cursor| cursor.known)
    }

    /// Begins with owners that have come.
    fn follow_new(&mut self, routes: &Routes) {
        if !self.all {
            return;
        }
        for log in routes.logs() {
            let owner = log.owner();
            if owner != &*self.peer && !self.cursors.contains_key(owner) {
                let cursor = Cursor::at(Position::default());
                self.cursors.insert(owner.into(), cursor);
            }
        }
    }
}

impl Cursor {
    /// Writes one frame; false if there is none.
    fn put(&mut self, owner: &str, routes: &Routes, out: &mut Vec<u8>) -> bool {
        let Some(log) = routes.log(owner) else {
            self.snapshot.clear();
            return false;
        };
        if let Some(frame) = self.snapshot.pop_front() {
            out.extend(frame);
            return true;
        }
        match log.next(self.known) {
            Next::Nothing => return false,
            Next::Changes => self.known = log.put_changes(self.known, FRAME_BYTES, out),
            Next::Snapshot => {
                self.known = log.position();
                self.snapshot = log.snapshot();
            }
        }
        true
    }
}
