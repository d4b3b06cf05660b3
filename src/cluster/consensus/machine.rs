//! The state that the log makes: the [`Registry`].
//!
//! It is in memory. After a start it is made from the snapshot and the entries behind it that
//! are known to be agreed on.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use futures_util::{Stream, StreamExt as _};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, EntryPayload::Membership, EntryPayload::Normal};
use serde::{Deserialize, Serialize};
use shard_cluster::registry::Registry;

use super::disk::{Disk, Stored, Write};
use super::log::{Log, from_json, to_json};
use super::{LogId, Observer, Snapshot, SnapshotMeta, StoredMembership, Types};

/// The name of the snapshot on the disk.
const SNAPSHOT: &str = "snapshot";

/// A registry as of some entry.
#[derive(Clone, Default, Deserialize, Serialize)]
struct State {
    last: Option<LogId>,
    membership: StoredMembership,
    registry: Registry,
}

/// The state machine. Its clones are the same.
#[derive(Clone)]
pub(super) struct Machine {
    disk: Disk,
    state: Rc<RefCell<State>>,
    snapshot: Rc<RefCell<Option<State>>>,
    observer: Rc<dyn Observer>,
    log: Option<Log>,
}

impl Machine {
    pub(super) fn new(disk: Disk, stored: &Stored, observer: Rc<dyn Observer>) -> io::Result<Self> {
        let snapshot = stored.meta.get(SNAPSHOT);
        let snapshot: Option<State> = snapshot.map(|bytes| from_json(bytes)).transpose()?;
        let state = snapshot.clone().unwrap_or_default();
        observer.registry(&state.registry);
        Ok(Self {
            disk,
            state: Rc::new(RefCell::new(state)),
            snapshot: Rc::new(RefCell::new(snapshot)),
            observer,
            log: None,
        })
    }

    /// The log is told when a snapshot takes the place of its entries.
    pub(super) fn set_log(&mut self, log: Log) {
        self.log = Some(log);
    }

    /// The members as of the snapshot.
    pub(super) fn membership(&self) -> StoredMembership {
        self.state.borrow().membership.clone()
    }

    /// The members now.
    pub(super) fn registry(&self) -> Registry {
        self.state.borrow().registry.clone()
    }

    async fn keep(&self, state: State) -> io::Result<()> {
        let write = Write::Meta(SNAPSHOT, to_json(&state)?);
        self.disk.write(vec![write]).await?;
        *self.snapshot.borrow_mut() = Some(state);
        Ok(())
    }
}

impl State {
    fn snapshot(&self) -> io::Result<Snapshot> {
        Ok(Snapshot {
            meta: SnapshotMeta {
                last_log_id: self.last,
                last_membership: self.membership.clone(),
            },
            snapshot: self.registry.encode()?,
        })
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let state = self.state.borrow().clone();
        let snapshot = state.snapshot()?;
        self.keep(state).await?;
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.state.borrow();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin,
    {
        let mut changed = false;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let mut state = self.state.borrow_mut();
            state.last = Some(entry.log_id());
            let outcome = match entry.payload {
                EntryPayload::Blank => Ok(()),
                Normal(command) => {
                    changed = true;
                    state.registry.apply(&command.0)
                }
                Membership(membership) => {
                    state.membership = StoredMembership::new(state.last, membership);
                    Ok(())
                }
            };
            drop(state);
            if let Some(responder) = responder {
                responder.send(super::Outcome(outcome));
            }
        }
        if changed {
            let registry = self.registry();
            self.observer.registry(&registry);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, bytes: Vec<u8>) -> io::Result<()> {
        let state = State {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            registry: Registry::decode(&bytes)?,
        };
        self.keep(state.clone()).await?;
        let (membership, registry) = (state.membership.clone(), state.registry.clone());
        *self.state.borrow_mut() = state;
        if let Some(log) = &self.log {
            log.set_base(membership);
        }
        self.observer.registry(&registry);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshot = self.snapshot.borrow();
        snapshot.as_ref().map(State::snapshot).transpose()
    }
}
