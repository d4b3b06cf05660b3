use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::wire::{FRAME_MAX, decode, split};

const SMALL: Limits = Limits {
    tail_bytes: 200,
    routes: 1000,
    owners: 10,
};

/// A route in the index: owner, copy and filter.
type Route = (String, u8, String);

/// A node, and the index that hears of changes.
struct Node {
    routes: Routes,
    index: BTreeSet<Route>,
    shares: BTreeSet<(String, String)>,
}

/// One direction of a connection: what is asked for goes the other way.
struct Connection {
    feed: Feed,
    bytes: VecDeque<u8>,
}

impl Node {
    fn new(name: &str, incarnation: u64) -> Self {
        Self {
            routes: Routes::new(name, incarnation, 42, SMALL),
            index: BTreeSet::new(),
            shares: BTreeSet::new(),
        }
    }

    /// Takes a frame; returns what to ask for.
    fn handle(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (kind, body, _) = split(frame, FRAME_MAX).unwrap().unwrap();
        let frame = decode(kind, body).unwrap();
        let owner = match frame {
            Frame::Changes(changes) => changes.owner,
            Frame::SnapshotBegin(begin) => begin.owner,
            Frame::SnapshotPart(part) => part.owner,
            Frame::SnapshotEnd(end) => end.owner,
            Frame::Digest(digest) => digest.owner,
            other => panic!("{other:?}"),
        };
        let Self {
            routes,
            index,
            shares,
        } = self;
        let step = routes.handle(&frame, &mut |order| obey(index, shares, owner, order));
        let resume = step.unwrap().resume(owner)?;
        let mut out = Vec::new();
        resume.put(&mut out);
        Some(out)
    }

    fn gone(&mut self, owner: &str, incarnation: u64) {
        let Self {
            routes,
            index,
            shares,
        } = self;
        routes.gone(owner, incarnation, &mut |order| {
            obey(index, shares, owner, order);
        });
    }

    /// The index has what the replica knows of, and while a snapshot comes in one more copy.
    fn check(&self) {
        for (owner, replica) in self.routes.replicas() {
            let routes = self.index.iter().filter(|(name, ..)| name == owner);
            let copies: BTreeSet<u8> = routes.map(|(_, copy, _)| *copy).collect();
            let others = copies.iter().filter(|copy| **copy != replica.copy());
            assert!(others.count() <= 1, "{copies:?}");
            assert_eq!(replica_at(self, owner).len() as u64, replica.count());
        }
    }
}

fn obey(
    index: &mut BTreeSet<Route>,
    shares: &mut BTreeSet<(String, String)>,
    owner: &str,
    order: Order<'_>,
) {
    let own = owner.to_owned();
    let key = |filter: &str| (own.clone(), filter.to_owned());
    match order {
        Order::Change { copy, change } => {
            let key = (own.clone(), copy, change.filter().to_owned());
            match change {
                Change::Add(_) => assert!(index.insert(key), "added twice: {change:?}"),
                Change::Remove(_) => assert!(index.remove(&key), "removed twice: {change:?}"),
            }
        }
        Order::Forget { copy } => {
            index.retain(|(name, number, _)| (&**name, *number) != (owner, copy));
        }
        Order::Share(Change::Add(text)) => assert!(shares.insert(key(text)), "{text} twice"),
        Order::Share(Change::Remove(text)) => assert!(shares.remove(&key(text)), "{text} twice"),
    }
}

impl Connection {
    fn new(from: &Node, to: &mut Node) -> Self {
        let mut connection = Self {
            feed: Feed::new(),
            bytes: VecDeque::new(),
        };
        let mut asked = Vec::new();
        let peer = from.routes.own().log().owner();
        let Node {
            routes,
            index,
            shares,
        } = to;
        routes.ask(peer, &mut asked, &mut |order| {
            obey(index, shares, peer, order);
        });
        connection.asked(&asked, from);
        connection
    }

    fn asked(&mut self, mut frames: &[u8], from: &Node) {
        while let Some((kind, body, size)) = split(frames, FRAME_MAX).unwrap() {
            let Frame::Resume(resume) = decode(kind, body).unwrap() else {
                panic!("not asked for");
            };
            self.feed.resume(&resume, &from.routes);
            frames = &frames[size..];
        }
    }

    /// Fills some bytes in, and takes the frames that are complete.
    fn step(&mut self, from: &Node, to: &mut Node, digests: bool) -> bool {
        let mut out = Vec::new();
        let more = self.feed.fill(&from.routes, &mut out, 40);
        if digests && !more {
            self.feed.digests(&from.routes, &mut out);
        }
        let was_idle = out.is_empty() && self.bytes.is_empty();
        self.bytes.extend(out);
        let bytes = self.bytes.make_contiguous();
        let Some((_, _, size)) = split(bytes, FRAME_MAX).unwrap() else {
            return !was_idle;
        };
        let frame: Vec<u8> = self.bytes.drain(..size).collect();
        if let Some(asked) = to.handle(&frame) {
            self.asked(&asked, from);
        }
        true
    }
}

/// Lets everything arrive.
fn settle(connection: &mut Connection, from: &Node, to: &mut Node, digests: bool) {
    connection.step(from, to, digests);
    for _ in 0..10_000 {
        if !connection.step(from, to, false) {
            return;
        }
    }
    panic!("it does not settle");
}

fn filters_of(owner: &Node) -> BTreeSet<String> {
    owner.routes.own().filters().map(str::to_owned).collect()
}

/// The routes that are in force, but for those of a snapshot that is coming in.
fn replica_at(node: &Node, owner: &str) -> BTreeSet<String> {
    let copy = node.routes.replica(owner).unwrap().copy();
    let of_owner = |(name, ..): &&Route| name == owner;
    let routes = node.index.iter().filter(of_owner);
    let routes = routes.filter(|(_, number, _)| *number == copy);
    let filters = routes.map(|(.., filter)| filter.clone());
    let shares = node.shares.iter().filter(|(name, _)| name == owner);
    filters
        .chain(shares.map(|(_, text)| text.clone()))
        .collect()
}

#[test]
fn a_filter_is_in_the_log_once_for_all_shards() {
    let mut node = Node::new("a", 1);
    let own = node.routes.own_mut();
    assert!(own.add("x"));
    assert!(!own.add("x"));
    assert!(!own.add("x"));
    assert!(!own.remove("x"));
    assert!(!own.remove("x"));
    assert!(own.remove("x"));
    assert!(!own.remove("x"));
    assert_eq!((own.position().sequence, own.count()), (2, 0));
}

#[test]
fn a_replica_follows_its_owner() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("before");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    a.routes.own_mut().add("after");
    a.routes.own_mut().remove("before");
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    b.check();
    assert_eq!(
        b.routes.replica("a").unwrap().position(),
        a.routes.own().position()
    );
    assert_eq!(connection.feed.sent(), Some(a.routes.own().position()));
}

/// Frames of what `from` sends to `to`, by kind, until everything has arrived.
fn kinds(connection: &mut Connection, from: &Node, to: &mut Node) -> BTreeMap<u8, usize> {
    let mut kinds = BTreeMap::new();
    loop {
        let mut out = Vec::new();
        connection.feed.fill(&from.routes, &mut out, usize::MAX);
        if out.is_empty() {
            return kinds;
        }
        let mut rest = &*out;
        while let Some((kind, _, size)) = split(rest, FRAME_MAX).unwrap() {
            *kinds.entry(kind).or_insert(0) += 1;
            if let Some(asked) = to.handle(&rest[..size]) {
                connection.asked(&asked, from);
            }
            rest = &rest[size..];
        }
    }
}

#[test]
fn who_comes_back_gets_what_it_has_not_seen_and_nothing_again() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    for n in 0..50 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut connection = Connection::new(&a, &mut b);
    // Begin, one part, end.
    let sent = kinds(&mut connection, &a, &mut b);
    assert_eq!(sent, BTreeMap::from([(18, 1), (19, 1), (20, 1)]));
    a.routes.own_mut().add("new");
    let mut connection = Connection::new(&a, &mut b);
    let sent = kinds(&mut connection, &a, &mut b);
    assert_eq!(sent, BTreeMap::from([(17, 1)]));
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
}

#[test]
fn who_was_away_for_longer_than_the_tail_gets_a_snapshot_and_the_index_the_difference() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("stays");
    a.routes.own_mut().add("goes");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    a.routes.own_mut().remove("goes");
    for n in 0..50 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut connection = Connection::new(&a, &mut b);
    let sent = kinds(&mut connection, &a, &mut b);
    assert_eq!(sent.get(&18), Some(&1));
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    // The index would have refused to add "stays" again.
    b.check();
}

#[test]
fn a_difference_is_found_by_the_digest_and_mended() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    for n in 0..10 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    b.routes.replica_mut("a").unwrap().damage("f/3");
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    assert_eq!(b.routes.replica("a").unwrap().count(), 10);
    let mut digest = Vec::new();
    connection.feed.digests(&a.routes, &mut digest);
    assert!(!digest.is_empty());
    assert_eq!(b.handle(&digest), None);
    b.check();
}

#[test]
fn a_node_that_lives_again_replaces_its_former_life() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("old");
    a.routes.own_mut().add("both");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    let mut a = Node::new("a", 2);
    a.routes.own_mut().add("both");
    a.routes.own_mut().add("new");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    b.check();
}

#[test]
fn a_life_that_was_given_up_is_not_heard_again_until_it_is_renewed() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("x");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    b.gone("a", 1);
    assert!(b.index.is_empty());
    a.routes.own_mut().add("y");
    settle(&mut connection, &a, &mut b, true);
    let mut again = Connection::new(&a, &mut b);
    settle(&mut again, &a, &mut b, true);
    assert!(b.index.is_empty());
    a.routes.own_mut().renew(2);
    settle(&mut again, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    b.check();
}

/// Lets everything arrive but the end of a snapshot, and drops the connection.
fn break_off(from: &Node, to: &mut Node) {
    let mut connection = Connection::new(from, to);
    let mut out = Vec::new();
    connection.feed.fill(&from.routes, &mut out, usize::MAX);
    let mut rest = &*out;
    while let Some((kind, _, size)) = split(rest, FRAME_MAX).unwrap()
        && kind != 20
    {
        to.handle(&rest[..size]);
        rest = &rest[size..];
    }
}

#[test]
fn however_often_a_snapshot_breaks_off_what_is_in_force_stays() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("stays");
    a.routes.own_mut().add("goes");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    let before = replica_at(&b, "a");
    a.routes.own_mut().remove("goes");
    a.routes.own_mut().renew(2);
    for _ in 0..3 * COPIES {
        break_off(&a, &mut b);
        assert_eq!(replica_at(&b, "a"), before);
        b.check();
    }
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    assert_eq!(b.index.len(), 1);
}

#[test]
fn routes_of_a_snapshot_are_in_force_as_they_come() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("x");
    break_off(&a, &mut b);
    assert_eq!(b.index.len(), 1);
    b.gone("a", 1);
    assert!(b.index.is_empty());
}

#[test]
fn a_snapshot_with_another_digest_is_forgotten_and_asked_for_again() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("x");
    a.routes.own_mut().add("$share/1.0/g/x");
    break_off(&a, &mut b);
    let (owner, digest) = ("a", 7);
    let mut end = Vec::new();
    crate::wire::SnapshotEnd { owner, digest }.put(&mut end);
    assert!(b.handle(&end).is_some());
    assert!(b.index.is_empty() && b.shares.is_empty());
    assert_eq!(b.handle(&end), None);
}

#[test]
fn groups_hear_of_each_text_once_and_of_the_end_of_its_owner() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    for n in 1..3 {
        a.routes.own_mut().add(&format!("$share/{n}.0/g/x"));
    }
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    a.routes.own_mut().remove("$share/1.0/g/x");
    a.routes.own_mut().add("$share/3.0/g/x");
    settle(&mut connection, &a, &mut b, false);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    // The texts of the snapshot are compared with those that are known.
    a.routes.own_mut().remove("$share/2.0/g/x");
    a.routes.own_mut().add("$share/4.0/g/x");
    a.routes.own_mut().renew(2);
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    assert!(b.index.is_empty());
    b.gone("a", 2);
    assert!(b.shares.is_empty());
}

#[test]
fn a_node_that_is_forgotten_leaves_nothing_and_may_come_again() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("x");
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, false);
    let (routes, index, shares) = (&mut b.routes, &mut b.index, &mut b.shares);
    routes.forget("a", &mut |order| obey(index, shares, "a", order));
    assert!(b.index.is_empty() && b.routes.replica("a").is_none());
    let mut connection = Connection::new(&a, &mut b);
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
}

#[test]
fn changes_that_come_again_change_nothing_again() {
    let mut replica = Replica::new(SMALL);
    let mut begin = Vec::new();
    crate::wire::SnapshotBegin {
        owner: "a",
        incarnation: 1,
        sequence: 0,
        count: 0,
    }
    .put(&mut begin);
    let (owner, digest) = ("a", 0);
    let mut end = Vec::new();
    crate::wire::SnapshotEnd { owner, digest }.put(&mut end);
    let all = [Change::Add("x"), Change::Remove("x"), Change::Add("y")];
    let changes = |first: usize| {
        let mut out = Vec::new();
        let head = ("a", 1, first as u64 + 1);
        crate::wire::put_changes(&mut out, 1000, head, all[first..].iter().copied());
        out
    };
    let mut heard = Vec::new();
    for frame in [begin, end, changes(0), changes(1), changes(0)] {
        let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
        let frame = decode(kind, body).unwrap();
        let mut hear = |order: Order<'_>| {
            if let Order::Change { change, .. } = order {
                heard.push(change.filter().to_owned());
            }
        };
        assert_eq!(replica.handle(&frame, &mut hear), Ok(Step::Done));
    }
    assert_eq!(heard, ["x", "x", "y"]);
    // And what is missing is asked for, once.
    let late = {
        let mut out = Vec::new();
        let change = [Change::Add("z")];
        crate::wire::put_changes(&mut out, 1000, ("a", 1, 9), change.into_iter());
        out
    };
    let (kind, body, _) = split(&late, FRAME_MAX).unwrap().unwrap();
    let frame = decode(kind, body).unwrap();
    let position = replica.position();
    assert_eq!(position.sequence, 3);
    assert_eq!(replica.handle(&frame, &mut |_| {}), Ok(Step::Ask(position)));
    assert_eq!(replica.handle(&frame, &mut |_| {}), Ok(Step::Done));
}

#[test]
fn routes_over_the_limit_are_refused() {
    let (mut a, b) = (Node::new("a", 1), Node::new("b", 1));
    for n in 0..SMALL.routes + 1 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut b = b;
    let mut connection = Connection::new(&a, &mut b);
    let mut out = Vec::new();
    connection.feed.fill(&a.routes, &mut out, 1);
    let (kind, body, _) = split(&out, FRAME_MAX).unwrap().unwrap();
    let frame = decode(kind, body).unwrap();
    let handled = b.routes.handle(&frame, &mut |_| {});
    assert_eq!(handled, Err(WireError::Invalid));
}

proptest! {
    #[test]
    fn whatever_happens_in_between_routes_converge(
        events in prop::collection::vec((0_u8..10, 0_u8..20), 0..200),
    ) {
        let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
        let mut incarnation = 1;
        let mut link = Connection::new(&a, &mut b);
        let text = |n: u8| match n % 4 {
            0 => format!("$share/{n}.0/g/f"),
            _ => format!("f/{n}"),
        };
        for (event, n) in events {
            match event {
                0..3 => { a.routes.own_mut().add(&text(n)); }
                3..5 => { a.routes.own_mut().remove(&text(n)); }
                5..8 => { link.step(&a, &mut b, n == 0); }
                8 => link = Connection::new(&a, &mut b),
                _ => {
                    let gone = incarnation;
                    incarnation += 1;
                    if n < 5 {
                        a = Node::new("a", incarnation);
                    } else {
                        a.routes.own_mut().renew(incarnation);
                    }
                    if n % 2 == 0 {
                        b.gone("a", gone);
                    }
                    link = Connection::new(&a, &mut b);
                }
            }
            b.check();
        }
        settle(&mut link, &a, &mut b, true);
        prop_assert_eq!(replica_at(&b, "a"), filters_of(&a));
        // Nothing is left of what was there before.
        let routes = b.index.len() + b.shares.len();
        prop_assert_eq!(routes, filters_of(&a).len());
    }
}
