//! The log as openraft wants it: all entries in memory, and each change on the disk before it
//! counts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::rc::Rc;

use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::{Disk, Stored, Write};
use super::{Entry, LogId, Observer, StoredMembership, Types, Vote};

const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";

/// The log. Its clones are the same.
#[derive(Clone)]
pub(super) struct Log {
    disk: Disk,
    kept: Rc<RefCell<Kept>>,
    observer: Rc<dyn Observer>,
}

/// What is on the disk.
#[derive(Default)]
struct Kept {
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    /// The members as of the snapshot, before any entry.
    base: StoredMembership,
}

impl Log {
    pub(super) fn new(
        disk: Disk,
        stored: &Stored,
        base: StoredMembership,
        observer: Rc<dyn Observer>,
    ) -> io::Result<Self> {
        let entries = stored.log.iter();
        let entries = entries.map(|(index, entry)| Ok((*index, from_json(entry)?)));
        let kept = Kept {
            entries: entries.collect::<io::Result<_>>()?,
            vote: meta(stored, VOTE)?,
            purged: meta(stored, PURGED)?,
            committed: meta(stored, COMMITTED)?,
            base,
        };
        let log = Self {
            disk,
            kept: Rc::new(RefCell::new(kept)),
            observer,
        };
        log.tell();
        Ok(log)
    }

    /// A snapshot has taken the place of entries.
    pub(super) fn set_base(&self, base: StoredMembership) {
        self.kept.borrow_mut().base = base;
        self.tell();
    }

    /// Tells the last set of voters in the log, agreed on or not.
    fn tell(&self) {
        let kept = self.kept.borrow();
        let last = kept.entries.iter().rev().find_map(|(index, entry)| {
            let membership = openraft::entry::RaftPayload::get_membership(&entry.payload)?;
            Some((*index, membership))
        });
        let base = kept.base.log_id().as_ref();
        let last = match last {
            Some((index, membership)) if base.is_none_or(|base| base.index() < index) => {
                Some((index, membership))
            }
            _ => base.map(|base| (base.index(), kept.base.membership().clone())),
        };
        drop(kept);
        // Of a change that is under way, the set that is to be: one core makes the difference.
        let Some((index, membership)) = last else {
            return;
        };
        let voters = membership.get_joint_config().last();
        let names = voters.into_iter().flatten();
        let names = names.filter_map(|id| Some(membership.get_node(id)?.addr.clone()));
        self.observer.cores(&names.collect::<Vec<_>>(), index + 1);
    }
}

fn meta<T: DeserializeOwned>(stored: &Stored, name: &str) -> io::Result<Option<T>> {
    let value = stored.meta.get(name);
    value.map(|value| from_json(value)).transpose()
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(io::Error::from)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::from)
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let kept = self.kept.borrow();
        let entries = kept
            .entries
            .iter()
            .filter(|(index, _)| range.contains(index));
        Ok(entries.map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.kept.borrow().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let kept = self.kept.borrow();
        let last = kept.entries.values().next_back();
        Ok(LogState {
            last_purged_log_id: kept.purged,
            last_log_id: last.map(|entry| entry.log_id()).or(kept.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let write = Write::Meta(VOTE, to_json(vote)?);
        self.disk.write(vec![write]).await?;
        self.kept.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if self.kept.borrow().committed == committed {
            return Ok(());
        }
        let write = Write::Meta(COMMITTED, to_json(&committed)?);
        self.disk.write(vec![write]).await?;
        self.kept.borrow_mut().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.kept.borrow().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry>,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut writes = Vec::with_capacity(entries.len());
        for entry in &entries {
            writes.push(Write::Entry(entry.log_id().index(), to_json(entry)?));
        }
        {
            let mut kept = self.kept.borrow_mut();
            let entries = entries.into_iter();
            kept.entries
                .extend(entries.map(|entry| (entry.log_id().index(), entry)));
        }
        // Before this node is counted as one that has them.
        self.tell();
        let written = self.disk.write(writes).await;
        callback.io_completed(written);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        self.disk.write(vec![Write::Cut(from, u64::MAX)]).await?;
        _ = self.kept.borrow_mut().entries.split_off(&from);
        self.tell();
        Ok(())
    }

    async fn purge(&mut self, up_to: LogId) -> io::Result<()> {
        let before = up_to.index() + 1;
        let purged = Write::Meta(PURGED, to_json(&up_to)?);
        self.disk.write(vec![Write::Cut(0, before), purged]).await?;
        let mut kept = self.kept.borrow_mut();
        kept.purged = Some(up_to);
        kept.entries = kept.entries.split_off(&before);
        Ok(())
    }
}
