use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::wire::{FRAME_MAX, decode, split};

const SMALL: Limits = Limits {
    tail_bytes: 200,
    routes: 1000,
    owners: 10,
};

/// A node, and the index that hears of changes.
struct Node {
    routes: Routes,
    index: BTreeSet<(String, String)>,
}

/// One direction of a connection: what is asked for goes the other way.
struct Connection {
    feed: Feed,
    to: String,
    bytes: VecDeque<u8>,
}

impl Node {
    fn new(name: &str, incarnation: u64) -> Self {
        Self {
            routes: Routes::new(name, incarnation, 42, SMALL),
            index: BTreeSet::new(),
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
        let index = &mut self.index;
        let step = self.routes.handle(&frame, &mut |change| {
            changed(index, owner, change);
        });
        let resume = step.unwrap().resume(owner)?;
        let mut out = Vec::new();
        resume.put(&mut out);
        Some(out)
    }

    fn gone(&mut self, owner: &str, incarnation: u64) {
        let index = &mut self.index;
        self.routes.gone(owner, incarnation, &mut |change| {
            changed(index, owner, change);
        });
    }

    /// The index has what the replicas have.
    fn check(&self) {
        let replicas = self.routes.replicas();
        let filters = replicas.flat_map(|(owner, replica)| {
            let filters = replica.filters();
            filters.map(move |filter| (owner.to_owned(), filter.to_owned()))
        });
        assert_eq!(self.index, filters.collect());
    }
}

fn changed(index: &mut BTreeSet<(String, String)>, owner: &str, change: Change<'_>) {
    let key = (owner.to_owned(), change.filter().to_owned());
    match change {
        Change::Add(_) => assert!(index.insert(key), "added twice: {change:?}"),
        Change::Remove(_) => assert!(index.remove(&key), "removed twice: {change:?}"),
    }
}

impl Connection {
    fn new(from: &Node, to: &mut Node, all: bool) -> Self {
        let name = to.routes.own().log().owner().to_owned();
        let mut connection = Self {
            feed: Feed::new(&name),
            to: name,
            bytes: VecDeque::new(),
        };
        let mut asked = Vec::new();
        let peer = from.routes.own().log().owner().to_owned();
        to.routes.ask(&peer, all, &mut asked);
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

fn replica_at(node: &Node, owner: &str) -> BTreeSet<String> {
    let replica = node.routes.replica(owner).unwrap();
    replica.filters().map(str::to_owned).collect()
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
    let mut connection = Connection::new(&a, &mut b, false);
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
    assert_eq!(connection.feed.sent("a"), Some(a.routes.own().position()));
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
    let mut connection = Connection::new(&a, &mut b, false);
    // Begin, one part, end.
    let sent = kinds(&mut connection, &a, &mut b);
    assert_eq!(sent, BTreeMap::from([(18, 1), (19, 1), (20, 1)]));
    a.routes.own_mut().add("new");
    let mut connection = Connection::new(&a, &mut b, false);
    let sent = kinds(&mut connection, &a, &mut b);
    assert_eq!(sent, BTreeMap::from([(17, 1)]));
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
}

#[test]
fn who_was_away_for_longer_than_the_tail_gets_a_snapshot_and_the_index_the_difference() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("stays");
    a.routes.own_mut().add("goes");
    let mut connection = Connection::new(&a, &mut b, false);
    settle(&mut connection, &a, &mut b, false);
    a.routes.own_mut().remove("goes");
    for n in 0..50 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut connection = Connection::new(&a, &mut b, false);
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
    let mut connection = Connection::new(&a, &mut b, false);
    settle(&mut connection, &a, &mut b, false);
    for damaged in ["f/3", "other"] {
        b.routes.replica_mut("a").unwrap().damage(damaged);
        // The index and the replica differ now in the same way.
        let key = ("a".to_owned(), damaged.to_owned());
        if !b.index.remove(&key) {
            b.index.insert(key);
        }
        settle(&mut connection, &a, &mut b, true);
        assert_eq!(replica_at(&b, "a"), filters_of(&a));
        b.check();
    }
}

#[test]
fn a_node_that_lives_again_replaces_its_former_life() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("old");
    a.routes.own_mut().add("both");
    let mut connection = Connection::new(&a, &mut b, false);
    settle(&mut connection, &a, &mut b, false);
    let mut a = Node::new("a", 2);
    a.routes.own_mut().add("both");
    a.routes.own_mut().add("new");
    let mut connection = Connection::new(&a, &mut b, false);
    settle(&mut connection, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    b.check();
}

#[test]
fn a_life_that_was_given_up_is_not_heard_again_until_it_is_renewed() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    a.routes.own_mut().add("x");
    let mut connection = Connection::new(&a, &mut b, false);
    settle(&mut connection, &a, &mut b, false);
    b.gone("a", 1);
    assert!(b.index.is_empty());
    a.routes.own_mut().add("y");
    settle(&mut connection, &a, &mut b, true);
    let mut again = Connection::new(&a, &mut b, false);
    settle(&mut again, &a, &mut b, true);
    assert!(b.index.is_empty());
    a.routes.own_mut().renew(2);
    settle(&mut again, &a, &mut b, true);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
    b.check();
}

#[test]
fn a_replicant_gets_all_logs_through_one_core_and_goes_on_through_another() {
    let mut a = Node::new("a", 1);
    let (mut core1, mut core2) = (Node::new("core1", 1), Node::new("core2", 1));
    let mut replicant = Node::new("r", 1);
    a.routes.own_mut().add("of/a");
    core1.routes.own_mut().add("of/core1");
    for core in [&mut core1, &mut core2] {
        let mut link = Connection::new(&a, core, false);
        settle(&mut link, &a, core, false);
    }
    let mut link = Connection::new(&core1, &mut replicant, true);
    assert_eq!(link.to, "r");
    settle(&mut link, &core1, &mut replicant, true);
    assert_eq!(replica_at(&replicant, "a"), filters_of(&a));
    assert_eq!(replica_at(&replicant, "core1"), filters_of(&core1));
    a.routes.own_mut().add("more/of/a");
    let mut mesh = Connection::new(&a, &mut core2, false);
    settle(&mut mesh, &a, &mut core2, false);
    let mut link = Connection::new(&core2, &mut replicant, true);
    let sent = kinds(&mut link, &core2, &mut replicant);
    // The one change of a, and all of core2 itself, of which nothing was known.
    assert_eq!(sent, BTreeMap::from([(17, 1), (18, 1), (20, 1)]));
    assert_eq!(replica_at(&replicant, "a"), filters_of(&a));
    replicant.check();
}

#[test]
fn changes_that_come_again_change_nothing_again() {
    let mut replica = Replica::new("a", 1, SMALL);
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
        let mut hear = |change: Change<'_>| heard.push(change.filter().to_owned());
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
fn a_source_that_is_behind_says_nothing() {
    let mut a = Node::new("a", 1);
    let (mut ahead, mut behind) = (Node::new("ahead", 1), Node::new("behind", 1));
    let mut replicant = Node::new("r", 1);
    a.routes.own_mut().add("x");
    let mut link = Connection::new(&a, &mut behind, false);
    settle(&mut link, &a, &mut behind, false);
    a.routes.own_mut().remove("x");
    let mut link = Connection::new(&a, &mut ahead, false);
    settle(&mut link, &a, &mut ahead, false);
    let mut link = Connection::new(&ahead, &mut replicant, true);
    settle(&mut link, &ahead, &mut replicant, true);
    let mut link = Connection::new(&behind, &mut replicant, true);
    settle(&mut link, &behind, &mut replicant, true);
    assert_eq!(replica_at(&replicant, "a"), filters_of(&a));
}

#[test]
fn a_snapshot_that_is_not_complete_changes_nothing() {
    let (mut a, mut b) = (Node::new("a", 1), Node::new("b", 1));
    for n in 0..10 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut connection = Connection::new(&a, &mut b, false);
    for _ in 0..2 {
        connection.step(&a, &mut b, false);
    }
    assert!(b.index.is_empty());
    let mut connection = Connection::new(&a, &mut b, false);
    settle(&mut connection, &a, &mut b, false);
    assert_eq!(replica_at(&b, "a"), filters_of(&a));
}

#[test]
fn routes_over_the_limit_are_refused() {
    let (mut a, b) = (Node::new("a", 1), Node::new("b", 1));
    for n in 0..SMALL.routes + 1 {
        a.routes.own_mut().add(&format!("f/{n}"));
    }
    let mut b = b;
    let mut connection = Connection::new(&a, &mut b, false);
    let mut out = Vec::new();
    connection.feed.fill(&a.routes, &mut out, 1);
    let (kind, body, _) = split(&out, FRAME_MAX).unwrap().unwrap();
    let frame = decode(kind, body).unwrap();
    let handled = b.routes.handle(&frame, &mut |_| {});
    assert_eq!(handled, Err(WireError::Invalid));
}

#[test]
fn a_route_takes_less_than_120_bytes() {
    let mut replica = Replica::new("a", 1, Limits::default());
    let mut routes = Routes::new("a", 1, 1, Limits::default());
    let count = 100_000_usize;
    for n in 0..count {
        routes
            .own_mut()
            .add(&format!("site/{}/device/{n}/+", n % 100));
    }
    let mut nothing = |_: Change<'_>| {};
    for frame in routes.own().log().snapshot() {
        let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
        let step = replica.handle(&decode(kind, body).unwrap(), &mut nothing);
        assert_eq!(step, Ok(Step::Done));
    }
    assert_eq!(replica.count(), count as u64);
    // What the allocator adds to a text is at most 24 bytes.
    assert!(
        replica.bytes() / count + 24 < 120,
        "{}",
        replica.bytes() / count
    );
}

proptest! {
    #[test]
    fn whatever_happens_in_between_routes_converge(
        events in prop::collection::vec((0_u8..12, 0_u8..20), 0..200),
    ) {
        let (mut a, mut core) = (Node::new("a", 1), Node::new("core", 1));
        let mut replicant = Node::new("r", 1);
        let mut incarnation = 1;
        let mut up = Connection::new(&a, &mut core, false);
        let mut down = Connection::new(&core, &mut replicant, true);
        for (event, n) in events {
            match event {
                0..3 => { a.routes.own_mut().add(&format!("f/{n}")); }
                3..5 => { a.routes.own_mut().remove(&format!("f/{n}")); }
                5..7 => { up.step(&a, &mut core, n == 0); }
                7..9 => { down.step(&core, &mut replicant, n == 0); }
                9 => up = Connection::new(&a, &mut core, false),
                10 => down = Connection::new(&core, &mut replicant, true),
                _ => {
                    let gone = incarnation;
                    incarnation += 1;
                    if n < 5 {
                        a = Node::new("a", incarnation);
                    } else {
                        a.routes.own_mut().renew(incarnation);
                    }
                    if n % 2 == 0 {
                        core.gone("a", gone);
                    }
                    up = Connection::new(&a, &mut core, false);
                }
            }
            core.check();
            replicant.check();
        }
        settle(&mut up, &a, &mut core, true);
        settle(&mut down, &core, &mut replicant, true);
        prop_assert_eq!(replica_at(&core, "a"), filters_of(&a));
        prop_assert_eq!(replica_at(&replicant, "a"), filters_of(&a));
    }
}
