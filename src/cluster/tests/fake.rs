//! A plane without shards: what tests put in goes out, what comes in is kept.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use protocol::message::MessageRef;
use protocol::wire::QoS;
use shard_cluster::routes::Order;
use shard_cluster::wire::Change;
use shards::{OwnerEvent, OwnerRequest};

use crate::cluster::plane::Plane;

/// A message that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) node: u16,
    pub(super) stream: u16,
    pub(super) number: u32,
}

/// A plane; its clones are the same.
#[derive(Clone)]
pub(super) struct FakePlane {
    inner: Arc<Mutex<Inner>>,
    doorbell: Arc<(UnixStream, UnixStream)>,
    shards: u16,
    start: Instant,
}

#[derive(Default)]
struct Inner {
    forwards: VecDeque<(u16, u16, u32)>,
    own: VecDeque<(String, bool)>,
    fences: usize,
    arrived: Vec<Seen>,
    accepted: usize,
    told: usize,
    room: Option<usize>,
    accepted_by_nodes: Vec<u64>,
    /// By filter, node and copy.
    routes: BTreeSet<(String, u16, u8)>,
    ups: Vec<(u16, bool)>,
    names: Vec<(String, u16)>,
    requests: Vec<OwnerRequest>,
    events: Vec<OwnerEvent>,
    lease_until_ms: u64,
    open: (u64, u64, bool),
}

impl FakePlane {
    pub(super) fn new(shards: u16) -> Self {
        let doorbell = UnixStream::pair().unwrap();
        doorbell.0.set_nonblocking(true).unwrap();
        let inner = Inner {
            accepted_by_nodes: vec![0; usize::from(shards)],
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            doorbell: Arc::new(doorbell),
            shards,
            start: Instant::now(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn claim(&self, client: &str) {
        let client = client.into();
        self.inner().requests.push(OwnerRequest::Claim { client });
        self.ring();
    }

    pub(super) fn ask(&self, request: OwnerRequest) {
        self.inner().requests.push(request);
        self.ring();
    }

    pub(super) fn revoked(&self, client: &str, epoch: u64) {
        let client = client.into();
        let request = OwnerRequest::Revoked { client, epoch };
        self.inner().requests.push(request);
        self.ring();
    }

    /// What was decided since this was last asked.
    pub(super) fn take_events(&self) -> Vec<OwnerEvent> {
        std::mem::take(&mut self.inner().events)
    }

    fn ring(&self) {
        (&self.doorbell.1).write_all(&[1]).unwrap();
    }

    pub(super) fn forward(&self, node: u16, shard: u16, number: u32) {
        self.inner().forwards.push_back((node, shard, number));
        self.ring();
    }

    /// Whether the node may acknowledge.
    pub(super) fn has_lease(&self) -> bool {
        self.now_ms() < self.inner().lease_until_ms
    }

    pub(super) fn subscribe(&self, filter: &str, add: bool) {
        self.inner().own.push_back((filter.to_owned(), add));
        self.ring();
    }

    pub(super) fn accept_all(&self) {
        let mut inner = self.inner();
        inner.accepted = inner.arrived.len();
        drop(inner);
        self.ring();
    }

    pub(super) fn set_room(&self, room: usize) {
        self.inner().room = Some(room);
    }

    pub(super) fn arrived(&self) -> Vec<Seen> {
        self.inner().arrived.clone()
    }

    pub(super) fn accepted_by_nodes(&self) -> Vec<u64> {
        self.inner().accepted_by_nodes.clone()
    }

    pub(super) fn routes(&self) -> Vec<(String, u16)> {
        // Slots are given in the order in which nodes come; the tests look at filters.
        let inner = self.inner();
        let routes = inner.routes.iter();
        routes.map(|(filter, ..)| (filter.clone(), 1)).collect()
    }

    /// The slot of the node whose name begins so.
    pub(super) fn slot(&self, letter: char) -> Option<u16> {
        let inner = self.inner();
        let mut names = inner.names.iter();
        names
            .find(|(name, _)| name.starts_with(letter))
            .map(|it| it.1)
    }

    pub(super) fn ups(&self) -> Vec<(u16, bool)> {
        self.inner().ups.clone()
    }
}

impl Plane for FakePlane {
    fn owner_requests(&mut self) -> Vec<OwnerRequest> {
        std::mem::take(&mut self.inner().requests)
    }

    fn has_owner_events(&self) -> bool {
        false
    }

    fn owner_event(&mut self, event: OwnerEvent) {
        self.inner().events.push(event);
    }

    fn shards(&self) -> u16 {
        self.shards
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1000
    }

    fn set_lease_until(&mut self, until_ms: u64) {
        self.inner().lease_until_ms = until_ms;
    }

    fn set_open(&mut self, nodes: u64, going: u64, goes: bool) {
        self.inner().open = (nodes, going, goes);
    }

    fn news_fd(&self) -> BorrowedFd<'_> {
        self.doorbell.0.as_fd()
    }

    fn clear_news(&mut self) {
        let mut bytes = [0; 4096];
        while matches!((&self.doorbell.0).read(&mut bytes), Ok(read) if read > 0) {}
    }

    fn up(&mut self, node: u16) {
        self.inner().ups.push((node, true));
    }

    fn named_self(&mut self, _name: &str) {}

    fn named(&mut self, node: u16, name: &str) {
        self.inner().names.push((name.to_owned(), node));
    }

    fn down(&mut self, node: u16) {
        self.inner().ups.push((node, false));
    }

    fn gone(&mut self, _node: u16, _died: bool) {}

    fn lost(&mut self, node: u16, shard: u16, count: u64) {
        self.node_accepted(node, shard, count);
    }

    fn forwards(&mut self, node: u16, take: &mut dyn FnMut(u16, &MessageRef<'_>) -> bool) {
        let mut inner = self.inner();
        while let Some((to, shard, number)) = inner.forwards.front().copied()
            && to == node
        {
            let message = MessageRef {
                topic: "t",
                properties: &[],
                payload: &number.to_le_bytes(),
                qos: QoS::AtLeastOnce,
                retain: false,
                expires_ms: u64::MAX,
                publisher: 7,
            };
            if !take(shard, &message) {
                break;
            }
            inner.forwards.pop_front();
        }
    }

    fn node_accepted(&mut self, _node: u16, shard: u16, count: u64) {
        self.inner().accepted_by_nodes[usize::from(shard)] += count;
    }

    fn heard(&mut self, _: u16, _: &str, _: u64) {}

    fn arrived(&mut self, node: u16, (stream, _): (u16, u64), message: &MessageRef<'_>) -> bool {
        let mut inner = self.inner();
        if inner.room.is_some_and(|room| inner.arrived.len() >= room) {
            return false;
        }
        let number = u32::from_le_bytes(message.payload.try_into().unwrap());
        inner.arrived.push(Seen {
            node,
            stream,
            number,
        });
        true
    }

    fn flush(&mut self) {}

    fn has_backlog(&self) -> bool {
        false
    }

    fn accepted(&mut self, each: &mut dyn FnMut(u16, u16, u64)) {
        let mut inner = self.inner();
        let (from, to) = (inner.told, inner.accepted);
        inner.told = to;
        for seen in &inner.arrived[from..to] {
            each(seen.node, seen.stream, 1);
        }
    }

    fn route(&mut self, node: u16, order: Order<'_>) {
        let mut inner = self.inner();
        let routes = &mut inner.routes;
        match order {
            Order::Change { copy, change } => {
                let key = (change.filter().to_owned(), node, copy);
                let changed = match change {
                    Change::Add(_) => routes.insert(key),
                    Change::Remove(_) => routes.remove(&key),
                };
                assert!(changed, "{change:?} of {node} came twice");
            }
            Order::Forget { copy } => {
                routes.retain(|(_, of, number)| (*of, *number) != (node, copy))
            }
            Order::Share(change) => panic!("no groups here: {change:?}"),
        }
    }

    fn has_too_many_routes(&self) -> bool {
        false
    }

    fn own_routes(&mut self, each: &mut dyn FnMut(&str, bool)) -> usize {
        let own: Vec<_> = self.inner().own.drain(..).collect();
        own.iter().for_each(|(filter, add)| each(filter, *add));
        std::mem::take(&mut self.inner().fences)
    }

    fn fence(&mut self) {
        self.inner().fences += 1;
        self.ring();
    }
}
