//! The routes of another node, as far as this one has to know them.

use std::collections::BTreeSet;

use super::log::Position;
use super::{COPIES, Limits, Order, SHARE_PREFIX};
use crate::siphash::siphash128;
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

/// Who hears what becomes of the routes.
pub(super) type Tell<'t> = &'t mut dyn FnMut(Order<'_>);

/// How far another node's log has been followed. The routes themselves are in the index.
#[derive(Debug)]
pub struct Replica {
    copy: Copy,
    /// The snapshot that is coming in.
    incoming: Option<Box<Incoming>>,
    /// The number of the last copy.
    last: u8,
    /// Something was asked for, and the answer has not begun.
    asked: bool,
    /// Lives of the owner that are over: this one and those before.
    dead: u64,
    routes_max: u64,
}

/// Routes that came one after the other, and are in the index under one number.
#[derive(Debug, Default)]
struct Copy {
    number: u8,
    position: Position,
    count: u64,
    digest: u128,
    /// Texts that are for groups and not for the index.
    shares: BTreeSet<Box<str>>,
    /// Whether the index may have something of it.
    is_told: bool,
}

/// A snapshot that is not complete.
#[derive(Debug)]
struct Incoming {
    copy: Copy,
    /// How many routes it is going to have.
    count: u64,
}

impl Copy {
    const fn new(number: u8, position: Position) -> Self {
        Self {
            number,
            position,
            count: 0,
            digest: 0,
            shares: BTreeSet::new(),
            is_told: false,
        }
    }

    fn weight(&self, filter: &str) -> u128 {
        siphash128([self.position.incarnation, 0], filter.as_bytes())
    }

    /// Takes a change into the count and the digest. An owner that adds what is there, or
    /// removes what is not, has another digest afterwards.
    fn count(&mut self, change: Change<'_>) {
        let weight = self.weight(change.filter());
        match change {
            Change::Add(_) => {
                self.count += 1;
                self.digest = self.digest.wrapping_add(weight);
            }
            Change::Remove(_) => {
                self.count = self.count.saturating_sub(1);
                self.digest = self.digest.wrapping_sub(weight);
            }
        }
    }

    /// The index is told of a change, and groups are.
    fn apply(&mut self, change: Change<'_>, tell: Tell<'_>) {
        self.count(change);
        if !change.filter().starts_with(SHARE_PREFIX) {
            self.is_told = true;
            let copy = self.number;
            return tell(Order::Change { copy, change });
        }
        let is_new = match change {
            Change::Add(text) => self.shares.insert(text.into()),
            Change::Remove(text) => self.shares.remove(text),
        };
        if is_new {
            tell(Order::Share(change));
        }
    }

    /// Takes a route of a snapshot. Groups hear of it when the snapshot is complete.
    fn add(&mut self, filter: &str, tell: Tell<'_>) {
        if filter.starts_with(SHARE_PREFIX) {
            self.count(Change::Add(filter));
            self.shares.insert(filter.into());
        } else {
            self.apply(Change::Add(filter), tell);
        }
    }

    /// The index forgets it.
    fn forget(&self, tell: Tell<'_>) {
        if self.is_told {
            tell(Order::Forget { copy: self.number });
        }
    }
}

impl Replica {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            copy: Copy::default(),
            incoming: None,
            last: 0,
            asked: false,
            dead: 0,
            routes_max: limits.routes,
        }
    }

    /// How far it has followed the log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.copy.position
    }

    /// Whether all of the owner's routes have come, of the life that it has or of a former one.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.position().incarnation > 0
    }

    /// How many filters there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.copy.count
    }

    /// The number of the copy that is in force.
    #[cfg(test)]
    pub(super) const fn copy(&self) -> u8 {
        self.copy.number
    }

    /// Takes a frame about this owner's routes, as [`Routes::handle`](super::Routes::handle).
    ///
    /// # Errors
    /// The frame cannot be read, or is over a limit.
    pub fn handle(&mut self, frame: &Frame<'_>, tell: Tell<'_>) -> Result<Step, WireError> {
        match frame {
            Frame::Changes(changes) => self.changes(changes, tell),
            Frame::SnapshotBegin(begin) => self.snapshot_begin(begin, tell),
            Frame::SnapshotPart(part) => self.snapshot_part(part, tell),
            Frame::SnapshotEnd(end) => Ok(self.snapshot_end(end, tell)),
            Frame::Digest(digest) => Ok(self.digest(digest)),
            _ => Ok(Step::Done),
        }
    }

    /// The source was connected to anew: a snapshot that was coming in is dropped. Returns
    /// what to ask for.
    pub(super) fn resume(&mut self, tell: Tell<'_>) -> Position {
        self.drop_incoming(tell);
        self.asked = true;
        if self.is_dead() {
            Position::default()
        } else {
            self.position()
        }
    }

    /// A life of the owner is over.
    pub(super) fn gone(&mut self, incarnation: u64, tell: Tell<'_>) {
        self.dead = self.dead.max(incarnation);
        let incoming = self.incoming.as_ref();
        if incoming.is_some_and(|it| it.copy.position.incarnation <= self.dead) {
            self.drop_incoming(tell);
        }
        if self.is_dead() {
            let none = self.next_copy(self.position());
            let old = core::mem::replace(&mut self.copy, none);
            old.forget(tell);
            for text in &old.shares {
                tell(Order::Share(Change::Remove(text)));
            }
        }
    }

    const fn is_dead(&self) -> bool {
        self.position().incarnation <= self.dead
    }

    const fn next_copy(&mut self, position: Position) -> Copy {
        self.last = (self.last + 1) % COPIES;
        if self.last == self.copy.number {
            self.last = (self.last + 1) % COPIES;
        }
        Copy::new(self.last, position)
    }

    fn drop_incoming(&mut self, tell: Tell<'_>) {
        if let Some(incoming) = self.incoming.take() {
            incoming.copy.forget(tell);
        }
    }

    /// Asks, unless that was done and the answer has not begun.
    const fn ask(&mut self, position: Position) -> Step {
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

    fn changes(&mut self, changes: &Changes<'_>, tell: Tell<'_>) -> Result<Step, WireError> {
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
            self.copy.position.sequence += 1;
            self.copy.apply(change, tell);
        }
        Ok(Step::Done)
    }

    fn snapshot_begin(
        &mut self,
        begin: &SnapshotBegin<'_>,
        tell: Tell<'_>,
    ) -> Result<Step, WireError> {
        if begin.count > self.routes_max {
            return Err(WireError::Invalid);
        }
        if begin.incarnation <= self.dead || begin.incarnation < self.position().incarnation {
            return Ok(Step::Done);
        }
        self.asked = false;
        self.drop_incoming(tell);
        let position = Position {
            incarnation: begin.incarnation,
            sequence: begin.sequence,
        };
        let copy = self.next_copy(position);
        let count = begin.count;
        self.incoming = Some(Box::new(Incoming { copy, count }));
        Ok(Step::Done)
    }

    fn snapshot_part(
        &mut self,
        part: &SnapshotPart<'_>,
        tell: Tell<'_>,
    ) -> Result<Step, WireError> {
        let Some(incoming) = &mut self.incoming else {
            return Ok(Step::Done);
        };
        for filter in part.filters() {
            if incoming.copy.count >= incoming.count {
                return Err(WireError::Invalid);
            }
            incoming.copy.add(filter?, tell);
        }
        Ok(Step::Done)
    }

    /// Puts the snapshot in place of what there was. What is new is told before what is gone.
    fn snapshot_end(&mut self, end: &SnapshotEnd<'_>, tell: Tell<'_>) -> Step {
        let Some(incoming) = self.incoming.take() else {
            return Step::Done;
        };
        let Incoming { copy, count } = *incoming;
        if copy.count != count || copy.digest != end.digest {
            copy.forget(tell);
            return self.ask(Position::default());
        }
        let old = core::mem::replace(&mut self.copy, copy);
        for text in self.copy.shares.difference(&old.shares) {
            tell(Order::Share(Change::Add(text)));
        }
        for text in old.shares.difference(&self.copy.shares) {
            tell(Order::Share(Change::Remove(text)));
        }
        old.forget(tell);
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
        let ours = &self.copy;
        if digest.sequence > ours.position.sequence {
            return self.ask(self.position());
        }
        let is_equal = (digest.count, digest.digest) == (ours.count, ours.digest);
        if digest.sequence == ours.position.sequence && !is_equal {
            return self.ask(Position::default());
        }
        Step::Done
    }

    /// Damages the digest, as a change does that has got lost.
    #[cfg(test)]
    pub(super) fn damage(&mut self, filter: &str) {
        self.copy.count(Change::Add(filter));
    }
}
