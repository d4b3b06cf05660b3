//! What the links know of the shards.

use std::os::fd::BorrowedFd;

use protocol::message::MessageRef;

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

    /// A node is there: from here on messages may be routed to it.
    fn up(&mut self, node: u16);

    /// A node is known to be dead: nothing waits for it any more.
    fn down(&mut self, node: u16);

    /// Takes messages that shards forward to a node, in the order of each shard, until `take`
    /// says false: that one is given again next time.
    fn forwards(&mut self, node: u16, take: &mut dyn FnMut(u16, &MessageRef<'_>) -> bool);

    /// A node has accepted so many more of a shard's messages.
    fn node_accepted(&mut self, node: u16, shard: u16, count: u64);

    /// A message has come from a node, by one of its streams. False if there is no room for it
    /// now: it is to be given again.
    fn arrived(&mut self, node: u16, stream: u16, message: &MessageRef<'_>) -> bool;

    /// Hands what has arrived to the shards.
    fn flush(&mut self);

    /// How many messages of each stream of each node were accepted here since the last call.
    fn accepted(&mut self, each: &mut dyn FnMut(u16, u16, u64));

    /// A route to another node was added or removed.
    fn route(&mut self, node: u16, filter: &str, add: bool);

    /// What has changed of the routes to this node: first and last subscriptions of shards.
    fn own_routes(&mut self, each: &mut dyn FnMut(&str, bool));
}
