//! The routes of another node.

use protocol::hash::Seed;

use super::Limits;
use super::log::{Log, Position};
use super::set::FilterSet;
use crate::wire::{Change, Changes, Digest, Frame, Resume, SnapshotBegin, SnapshotEnd};
use crate::wire::{SnapshotPart, WireError};

/// What is to be done after a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing.
    Done,
    /// Ask the sender for what follows the position; if it is the default one, for all.
    Ask(Position),
}

impl Step {
    /// The frame that asks, if one is to be sent.
    #[must_use]
    pub const fn resume(self, owner: &str) -> Option<Resume<'_>> {
        match self {
            Self::Done => None,
            Self::Ask(position) => Some(position.resume(owner)),
        }
    }
}

/// A copy of another node's routes, which follows its log.
#[derive(Debug)]
pub struct Replica {
    log: Log,
    /// The snapshot that is coming in.
    incoming: Option<Box<Incoming>>,
    /// Something was asked for, and the answer has not begun.
    asked: bool,
    /// Lives of the owner that are over: this one and those before.
    dead: u64,
    seed: Seed,
    routes_max: u64,
}

/// A snapshot that is not complete.
#[derive(Debug)]
struct Incoming {
    position: Position,
    count: u64,
    filters: FilterSet,
}

impl Replica {
    pub(super) fn new(owner: &str, seed: u64, limits: Limits) -> Self {
        Self {
            log: Log::new(owner, 0, seed, limits),
            incoming: None,
            asked: false,
            dead: 0,
            seed: Seed::new(seed),
            routes_max: limits.routes,
        }
    }

    /// How far it has followed the log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.log.position()
    }

    /// Whether all of the owner's routes have come, of the life that it has or of a former one.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.position().incarnation > 0
    }

    /// How many filters there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.log.filters().len()
    }

    /// All filters, in no order.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.log.filters().iter()
    }

    /// Takes a frame about this owner's routes, as [`Routes::handle`](super::Routes::handle).
    ///
    /// # Errors
    /// The frame cannot be read, or is over a limit.
    pub fn handle(
        &mut self,
        frame: &Frame<'_>,
        changed: &mut dyn FnMut(Change<'_>),
    ) -> Result<Step, WireError> {
        match frame {
            Frame::Changes(changes) => self.changes(changes, changed),
            Frame::SnapshotBegin(begin) => self.snapshot_begin(begin),
            Frame::SnapshotPart(part) => self.snapshot_part(part),
            Frame::SnapshotEnd(end) => Ok(self.snapshot_end(end, changed)),
            Frame::Digest(digest) => Ok(self.digest(digest)),
            _ => Ok(Step::Done),
        }
    }

    /// The source has changed or was connected to anew: a snapshot that was coming in is
    /// dropped. Returns what to ask for.
    pub(super) fn resume(&mut self) -> Position {
        self.incoming = None;
        self.asked = true;
        if self.is_dead() {
            Position::default()
        } else {
            self.position()
        }
    }

    /// A life of the owner is over.
    pub(super) fn gone(&mut self, incarnation: u64, changed: &mut dyn FnMut(Change<'_>)) {
        self.dead = self.dead.max(incarnation);
        if self
            .incoming
            .as_ref()
            .is_some_and(|it| it.position.incarnation <= self.dead)
        {
            self.incoming = None;
        }
        if self.is_dead() {
            let none = FilterSet::new(self.seed, 0);
            let old = self.log.replace(self.log.position(), none);
            old.iter()
                .for_each(|filter| changed(Change::Remove(filter)));
        }
    }

    /// The log, unless the owner's life is over or nothing is known yet.
    pub(super) fn log_alive(&self) -> Option<&Log> {
        (!self.is_dead()).then_some(&self.log)
    }

    const fn is_dead(&self) -> bool {
        self.log.position().incarnation <= self.dead
    }

    /// Asks, unless that was done and the answer has not begun.
    fn ask(&mut self, position: Position) -> Step {
        if core::mem::replace(&mut self.asked, true) {
            Step::Done
        } else {
            Step::Ask(position)
        }
    }

    /// Whether something is said of another life than the one that is known: nothing to do for
    /// one that is over, a reason to ask for one that is new.
    fn other_life(&mut self, incarnation: u64) -> Option<Step> {
        let known = self.position().incarnation;
        if incarnation <= self.dead || incarnation < known {
            Some(Step::Done)
        } else if incarnation > known || self.is_dead() {
            Some(self.ask(Position::default()))
        } else {
            None
        }
    }

    fn changes(
        &mut self,
        changes: &Changes<'_>,
        changed: &mut dyn FnMut(Change<'_>),
    ) -> Result<Step, WireError> {
        if self.incoming.is_some() {
            // They are in the snapshot, or follow it and are asked for then.
            return Ok(Step::Done);
        }
        if let Some(step) = self.other_life(changes.incarnation) {
            return Ok(step);
        }
        let next = self.position().sequence + 1;
        if changes.first > next {
            return Ok(self.ask(self.position()));
        }
        self.asked = false;
        let known = usize::try_from(next - changes.first).unwrap_or(usize::MAX);
        for change in changes.entries().skip(known) {
            let change = change?;
            if self.count() >= self.routes_max {
                return Err(WireError::Invalid);
            }
            if self.log.push(change) {
                changed(change);
            }
        }
        Ok(Step::Done)
    }

    fn snapshot_begin(&mut self, begin: &SnapshotBegin<'_>) -> Result<Step, WireError> {
        if begin.count > self.routes_max {
            return Err(WireError::Invalid);
        }
        if begin.incarnation <= self.dead || begin.incarnation < self.position().incarnation {
            return Ok(Step::Done);
        }
        self.asked = false;
        self.incoming = Some(Box::new(Incoming {
            position: Position {
                incarnation: begin.incarnation,
                sequence: begin.sequence,
            },
            count: begin.count,
            filters: FilterSet::new(self.seed, begin.incarnation),
        }));
        Ok(Step::Done)
    }

    fn snapshot_part(&mut self, part: &SnapshotPart<'_>) -> Result<Step, WireError> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(Step::Done);
        };
        for filter in part.filters() {
            if incoming.filters.len() >= incoming.count {
                return Err(WireError::Invalid);
            }
            incoming.filters.insert(filter?);
        }
        Ok(Step::Done)
    }

    /// Puts the snapshot in place of what there was. What is new is told before what is gone.
    fn snapshot_end(&mut self, end: &SnapshotEnd<'_>, changed: &mut dyn FnMut(Change<'_>)) -> Step {
        let Some(incoming) = self.incoming.take() else {
            return Step::Done;
        };
        let Incoming {
            position,
            count,
            filters,
        } = *incoming;
        if filters.len() != count || filters.digest() != end.digest {
            return self.ask(Position::default());
        }
        let old = self.log.replace(position, filters);
        let new = self.log.filters();
        let added = new.iter().filter(|filter| !old.contains(filter));
        added.for_each(|filter| changed(Change::Add(filter)));
        let removed = old.iter().filter(|filter| !new.contains(filter));
        removed.for_each(|filter| changed(Change::Remove(filter)));
        Step::Done
    }

    fn digest(&mut self, digest: &Digest<'_>) -> Step {
        if self.incoming.is_some() {
            return Step::Done;
        }
        // The sender believes that it has sent everything: it owes no answer.
        self.asked = false;
        if let Some(step) = self.other_life(digest.incarnation) {
            return step;
        }
        let ours = self.log.digest();
        if digest.sequence > ours.sequence {
            return self.ask(self.position());
        }
        if digest.sequence == ours.sequence && *digest != ours {
            return self.ask(Position::default());
        }
        Step::Done
    }

    /// Damages the routes, to test that it is found.
    #[cfg(test)]
    pub(super) fn damage(&mut self, filter: &str) {
        self.log.damage(filter);
    }

    /// Bytes the filters take, as far as they know.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.log.filters().bytes()
    }
}
