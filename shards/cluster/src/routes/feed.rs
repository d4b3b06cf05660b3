//! What one peer still has to be sent.

use std::collections::VecDeque;

use super::Routes;
use super::log::{Next, Position};
use crate::wire::Resume;

/// Bytes of a frame of changes.
const FRAME_BYTES: usize = 64 << 10;

/// How far a peer is in this node's log. Made anew with each connection, and sends nothing
/// until the peer has asked.
#[derive(Debug, Default)]
pub struct Feed {
    cursor: Option<Cursor>,
}

#[derive(Debug)]
struct Cursor {
    known: Position,
    /// What is left of a snapshot; `known` is behind its end.
    snapshot: VecDeque<Vec<u8>>,
}

impl Feed {
    /// For a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer has asked for a log. One that asks anew has lost what it was sent. A node has
    /// its own log only.
    pub fn resume(&mut self, asked: &Resume<'_>, routes: &Routes) {
        if *asked.owner == *routes.own().log().owner() {
            let known = Position {
                incarnation: asked.incarnation,
                sequence: asked.sequence,
            };
            let snapshot = VecDeque::new();
            self.cursor = Some(Cursor { known, snapshot });
        }
    }

    /// Writes frames to the end of `out`, until it has about `bytes_max` bytes. False if
    /// nothing is left.
    pub fn fill(&mut self, routes: &Routes, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        if let Some(cursor) = &mut self.cursor {
            while out.len() < bytes_max && cursor.put(routes, out) {}
        }
        out.len() >= bytes_max
    }

    /// Writes a digest of the log, if the peer has all of it. To be done now and then, when
    /// [`Feed::fill`] has nothing left.
    pub fn digests(&mut self, routes: &Routes, out: &mut Vec<u8>) {
        let log = routes.own().log();
        let cursor = self.cursor.as_ref();
        if cursor.is_some_and(|it| it.known == log.position() && it.snapshot.is_empty()) {
            log.digest().put(out);
        }
    }

    /// How far the peer was sent the log.
    #[must_use]
    pub fn sent(&self) -> Option<Position> {
        self.cursor.as_ref().map(|cursor| cursor.known)
    }
}

impl Cursor {
    /// Writes one frame; false if there is none.
    fn put(&mut self, routes: &Routes, out: &mut Vec<u8>) -> bool {
        if let Some(frame) = self.snapshot.pop_front() {
            out.extend(frame);
            return true;
        }
        let log = routes.own().log();
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
