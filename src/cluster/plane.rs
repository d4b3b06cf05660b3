//! What the links know of the shards.

use std::os::fd::BorrowedFd;

use protocol::message::MessageRef;
use shard_cluster::routes::Order;
use shard_cluster::wire::Change;
use shards::{OwnerEvent, OwnerRequest};

/// The shards' side of the links to other nodes. Each other node has a number, its *slot*.
pub(crate) trait Plane: Send {
    /// How many shards there are: so many streams of messages go to each node.
    fn shards(&self) -> u16;

    /// The shards' clock, in milliseconds.
    fn now_ms(&self) -> u64;

    /// Becomes readable when a shard has something.
    fn news_fd(&self) -> BorrowedFd<'_>;

    /// What the descriptor told is known. To be done before everything is taken.
    fn clear_news(&mut self);

    /// Until when, by the shards' clock, this node may acknowledge QoS 1 and 2.
    fn set_lease_until(&mut self, until_ms: u64);

    /// Which nodes are up and stay, a bit each, which go, and whether this one does.
    fn set_open(&mut self, nodes: u64, going: u64, goes: bool);

    /// A node is there: from here on messages may be routed to it.
    fn up(&mut self, node: u16);

    /// The name of this node. Said once, before all else.
    fn named_self(&mut self, name: &str);

    /// A node has this slot. Said before anything else of it.
    fn named(&mut self, node: u16, name: &str);

    /// A node is known to be dead. What the shards still have for it is lost; what was taken and
    /// is not accepted is to be told by [`Plane::lost`], afterwards.
    fn down(&mut self, node: u16);

    /// The process of a node that has accepted messages is gone; or, unless it `died`, what its
    /// shards have said since may be lost.
    fn gone(&mut self, node: u16, died: bool);

    /// So many more of a shard's messages are lost with a node: nobody waits for them.
    fn lost(&mut self, node: u16, shard: u16, count: u64);

    /// Takes messages that shards forward to a node, in the order of each shard, until `take`
    /// says false: then that one and those behind it of the same shard are given again next
    /// time.
    fn forwards(&mut self, node: u16, take: &mut dyn FnMut(u16, &MessageRef<'_>) -> bool);

    /// A node has accepted so many more of a shard's messages.
    fn node_accepted(&mut self, node: u16, shard: u16, count: u64);

    /// The process of a node that speaks, by its first life. Said before any message of it.
    fn heard(&mut self, node: u16, name: &str, boot: u64);

    /// A message has come from a node, by one of its streams, with its number in that. False if
    /// there is no room for it now: it is to be given again.
    fn arrived(&mut self, node: u16, place: (u16, u64), message: &MessageRef<'_>) -> bool;

    /// Hands what has arrived, and what was said of routes, to the shards.
    fn flush(&mut self);

    /// Whether something found no room: [`Plane::flush`] is to be called again soon.
    fn has_backlog(&self) -> bool;

    /// How many messages of each stream of each node were accepted here since the last call.
    fn accepted(&mut self, each: &mut dyn FnMut(u16, u16, u64));

    /// What is to be done about the routes to another node.
    fn route(&mut self, node: u16, order: Order<'_>);

    /// Whether so many changes of routes wait that no more should be read.
    fn has_too_many_routes(&self) -> bool;

    /// What has changed of the routes to this node: first and last subscriptions of shards.
    /// Returns how many fences have come back by then.
    fn own_routes(&mut self, each: &mut dyn FnMut(&str, bool)) -> usize;

    /// Asks to be told when all routes that were given by now are in force on all shards, and
    /// those that shards know to be in force were given to [`Plane::own_routes`].
    fn fence(&mut self);

    /// What the shards have said about client identifiers.
    fn owner_requests(&mut self) -> Vec<OwnerRequest>;

    /// What was decided about one, for its shard, which gets it with [`Plane::flush`].
    fn owner_event(&mut self, event: OwnerEvent);

    /// Whether a shard has not heard of all that was decided.
    fn has_owner_events(&self) -> bool;
}

impl Plane for shards::Nodes {
    fn shards(&self) -> u16 {
        self.shards()
    }

    fn now_ms(&self) -> u64 {
        self.now_ms()
    }

    fn news_fd(&self) -> BorrowedFd<'_> {
        self.news_fd()
    }

    fn clear_news(&mut self) {
        self.clear_news();
    }

    fn set_lease_until(&mut self, until_ms: u64) {
        self.set_lease_until(until_ms);
    }

    fn set_open(&mut self, nodes: u64, going: u64, goes: bool) {
        self.set_open(nodes, going, goes);
    }

    fn up(&mut self, node: u16) {
        self.up(node);
    }

    fn named_self(&mut self, name: &str) {
        self.named_self(name);
    }

    fn named(&mut self, node: u16, name: &str) {
        self.named(node, name);
    }

    fn down(&mut self, node: u16) {
        self.down(node);
    }

    fn gone(&mut self, node: u16, died: bool) {
        self.gone(node, died);
    }

    fn lost(&mut self, node: u16, shard: u16, count: u64) {
        self.lost(node, shard, count);
    }

    fn forwards(&mut self, node: u16, take: &mut dyn FnMut(u16, &MessageRef<'_>) -> bool) {
        self.forwards(node, take);
    }

    fn node_accepted(&mut self, node: u16, shard: u16, count: u64) {
        self.node_accepted(node, shard, count);
    }

    fn heard(&mut self, node: u16, name: &str, boot: u64) {
        self.heard(node, name, boot);
    }

    fn arrived(&mut self, node: u16, place: (u16, u64), message: &MessageRef<'_>) -> bool {
        self.arrived(node, place, message)
    }

    fn flush(&mut self) {
        self.flush();
    }

    fn has_backlog(&self) -> bool {
        self.has_backlog()
    }

    fn accepted(&mut self, each: &mut dyn FnMut(u16, u16, u64)) {
        self.accepted(each);
    }

    fn route(&mut self, node: u16, order: Order<'_>) {
        match order {
            Order::Change { copy, change } => match change {
                Change::Add(filter) => self.route(node, copy, filter, true),
                Change::Remove(filter) => self.route(node, copy, filter, false),
            },
            Order::Forget { copy } => self.forget_routes(node, copy),
            Order::Share(Change::Add(text)) => self.share(node, text, true),
            Order::Share(Change::Remove(text)) => self.share(node, text, false),
        }
    }

    fn has_too_many_routes(&self) -> bool {
        self.has_too_many_routes()
    }

    fn own_routes(&mut self, each: &mut dyn FnMut(&str, bool)) -> usize {
        self.own_routes(each)
    }

    fn fence(&mut self) {
        self.fence();
    }

    fn owner_requests(&mut self) -> Vec<OwnerRequest> {
        self.owner_requests()
    }

    fn owner_event(&mut self, event: OwnerEvent) {
        self.owner_event(event);
    }

    fn has_owner_events(&self) -> bool {
        self.has_owner_events()
    }
}
