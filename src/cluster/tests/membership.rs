//! Nodes that come and go.

use std::fs;
use std::sync::atomic::AtomicU32;

use shard_cluster::registry;

use super::*;
use crate::cluster::membership::change::{self, ChangeError};

/// Names of members, and of those that vote.
type Seen = (Vec<String>, Vec<String>);

/// A folder for a node under test.
pub(super) fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("shardmq-membership-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Nodes that know nobody.
fn strangers(count: u8) -> Vec<Start> {
    let mut all = all_settings(count);
    all.iter_mut()
        .for_each(|start| start.settings.seeds.clear());
    all
}

fn place(start: &Start) -> String {
    format!("{}:{}", start.settings.name, start.bind.port())
}

fn block<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

impl Node {
    fn seen(&self) -> Seen {
        let cluster = self.running.cluster();
        let active = cluster.members.into_iter();
        let active = active.filter(|it| it.state == registry::State::Active);
        let (mut members, mut voters) = (Vec::new(), Vec::new());
        for member in active {
            if member.is_voter {
                voters.push(member.name.clone());
            }
            members.push(member.name);
        }
        (members, voters)
    }

    fn join(&self, place: &str) -> Result<(), ChangeError> {
        block(self.running.handle().join(place))
    }

    fn leave(&self) -> Result<(), ChangeError> {
        block(self.running.handle().leave())
    }

    fn force_leave(&self, name: &str) -> Result<(), ChangeError> {
        block(self.running.handle().force_leave(name))
    }

    fn leader(&self) -> Option<String> {
        self.running.cluster().consensus.leader
    }
}

fn name(index: usize) -> String {
    format!("{}@127.0.0.{}", char::from(b'a' + index as u8), index + 1)
}

fn names(of: &[usize]) -> Vec<String> {
    of.iter().map(|index| name(*index)).collect()
}

/// Waits until these nodes know these members, and of them these voters.
fn wait_for_members(nodes: &[&Node], members: &[usize], voters: &[usize]) {
    let expected = (names(members), names(voters));
    wait_for("the members", || {
        nodes.iter().all(|node| node.seen() == expected)
    });
}

#[test]
fn nodes_that_name_each_other_become_one_cluster_whoever_is_late() {
    let mut starts = all_settings(3);
    let late = starts.remove(0);
    let (b, c) = (
        Node::start(starts[0].clone()),
        Node::start(starts[1].clone()),
    );
    wait_for_members(&[&b, &c], &[1, 2], &[1, 2]);
    let a = Node::start(late);
    wait_for_members(&[&a, &b, &c], &[0, 1, 2], &[0, 1, 2]);
    let id = a.running.cluster().id;
    assert!(id > 0 && [&b, &c].iter().all(|node| node.running.cluster().id == id));
    wait_for("a leader", || {
        b.leader().is_some() && b.leader() == c.leader()
    });
    b.plane.subscribe("x", true);
    wait_for("the route", || a.plane.routes() == [("x".to_owned(), 1)]);
}

#[test]
fn a_node_joins_and_leaves_when_it_is_told_to() {
    let starts = strangers(3);
    let nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    for (node, index) in [(a, 0), (b, 1), (c, 2)] {
        wait_for_members(&[node], &[index], &[index]);
    }
    assert_eq!(a.leave(), Err(ChangeError::Alone));
    assert!(matches!(a.join("nobody"), Err(ChangeError::NotAName(_))));
    // The smaller name may be the one that joins, and any member takes it in.
    assert_eq!(a.join(&place(&starts[1])), Ok(()));
    assert_eq!(c.join(&place(&starts[0])), Ok(()));
    wait_for_members(&[a, b, c], &[0, 1, 2], &[0, 1, 2]);
    assert_eq!(b.join(&place(&starts[2])), Err(ChangeError::InCluster));
    // The one that leads, too.
    assert_eq!(b.leave(), Ok(()));
    wait_for_members(&[a, c], &[0, 2], &[0, 2]);
    wait_for_members(&[b], &[1], &[1]);
    assert!(b.running.cluster().stays_alone);
    assert_eq!(c.leave(), Ok(()));
    wait_for_members(&[a], &[0], &[0]);
    assert_eq!(b.join(&place(&starts[0])), Ok(()));
    wait_for_members(&[a, b], &[0, 1], &[0, 1]);
    assert!(!b.running.cluster().stays_alone);
}

#[test]
fn a_core_that_stops_hands_over_to_one_that_stays() {
    let nodes = cluster(3);
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    let leads = |index: &usize| nodes[0].leader() == Some(name(*index));
    let leader = || (0..3).find(leads).unwrap();
    let goes = |at: usize, index: usize| {
        let name = name(index);
        let goes = move |shared: Rc<Shared>| async move { shared.hub.borrow().goes(&name) };
        block(nodes[at].running.handle().run(goes)).unwrap()
    };
    wait_for("a leader", || (0..3).any(|index| leads(&index)));
    let first = leader();
    let (second, third) = ((first + 1) % 3, (first + 2) % 3);
    let hand_over = || {
        let hand_over =
            |shared: Rc<Shared>| async move { change::hand_over_own(&shared).await.is_ok() };
        block(nodes[first].running.handle().run(hand_over))
    };
    for index in [second, third] {
        block(nodes[index].running.handle().go(true));
    }
    wait_for("word of both", || goes(first, second) && goes(first, third));
    // It is done with at once, and nothing is asked of those who go.
    let term = nodes[first].running.cluster().consensus.term;
    assert_eq!(hand_over(), Some(true));
    assert_eq!(nodes[first].running.cluster().consensus.term, term);
    block(nodes[third].running.handle().go(false));
    wait_for("word of one", || !goes(first, third));
    // A follower may have to catch up first.
    wait_for("another leader", || {
        assert_eq!(hand_over(), Some(true));
        leads(&third)
    });
}

#[test]
fn who_is_removed_hears_so_when_it_comes_back_and_does_not_disturb() {
    let mut starts = all_settings(3);
    starts
        .iter_mut()
        .for_each(|start| start.settings.data_dir = Some(folder()));
    let mut nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    nodes.pop().unwrap().running.stop();
    let [a, b] = [&nodes[0], &nodes[1]];
    assert!(matches!(
        a.force_leave("x@nowhere"),
        Err(ChangeError::Refused(_))
    ));
    assert!(matches!(
        a.force_leave(&name(0)),
        Err(ChangeError::Refused(_))
    ));
    wait_for("the end", || a.force_leave(&name(2)) == Ok(()));
    wait_for_members(&[a, b], &[0, 1], &[0, 1]);
    let lives = || [a, b].map(|node| node.running.status()[0].incarnation);
    let before = lives();
    let c = Node::start(starts[2].clone());
    wait_for_members(&[&c], &[2], &[2]);
    wait_for("word of it", || c.running.cluster().stays_alone);
    assert_eq!(c.join(&place(&starts[1])), Ok(()));
    wait_for_members(&[a, b, &c], &[0, 1, 2], &[0, 1, 2]);
    assert_eq!(lives(), before);
}

#[test]
fn a_cluster_comes_back_from_its_disks_and_a_lost_one_is_replaced() {
    let mut starts = all_settings(3);
    starts
        .iter_mut()
        .for_each(|start| start.settings.data_dir = Some(folder()));
    let nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    let id = nodes[0].running.cluster().id;
    nodes.into_iter().for_each(|node| node.running.stop());
    // They find each other without being told where.
    starts
        .iter_mut()
        .for_each(|start| start.settings.seeds.clear());
    let nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let mut nodes = nodes;
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    wait_for("a leader", || {
        all.iter().all(|node| node.leader().is_some())
    });
    assert!(all.iter().all(|node| node.running.cluster().id == id));
    let before = nodes[0].running.cluster().version;
    nodes.pop().unwrap().running.stop();
    starts[2].settings.data_dir = Some(folder());
    starts[2].settings.seeds = vec![Seed::parse(&place(&starts[0])).unwrap()];
    nodes.push(Node::start(starts[2].clone()));
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for("its successor", || {
        nodes[0].running.cluster().version > before
    });
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    assert!(all.iter().all(|node| node.running.cluster().id == id));
}

#[test]
fn a_node_knows_the_other_members_before_it_meets_them() {
    let mut starts = all_settings(3);
    starts[0].settings.data_dir = Some(folder());
    let mut nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    nodes.drain(..).for_each(|node| node.running.stop());
    starts[0].settings.seeds.clear();
    let node = Node::start(starts[0].clone());
    wait_for("their slots", || {
        ['b', 'c']
            .iter()
            .all(|letter| node.plane.slot(*letter).is_some())
    });
    assert!(node.plane.ups().is_empty());
}

#[test]
fn clusters_that_meet_are_not_mixed() {
    let starts = strangers(4);
    let nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let [a, b, c, d] = [&nodes[0], &nodes[1], &nodes[2], &nodes[3]];
    assert_eq!(b.join(&place(&starts[0])), Ok(()));
    assert_eq!(d.join(&place(&starts[2])), Ok(()));
    assert_eq!(d.join(&place(&starts[0])), Err(ChangeError::InCluster));
    // They get to know each other all the same.
    let seed = Seed::parse(&place(&starts[0])).unwrap();
    let handle = c.running.handle();
    let met = handle.run(move |shared| async move { shared.know(seed) });
    assert_eq!(block(met), Some(()));
    a.plane.subscribe("x", true);
    wait_for("the route", || !b.plane.routes().is_empty());
    thread::sleep(Duration::from_secs(2));
    wait_for_members(&[a, b], &[0, 1], &[0, 1]);
    wait_for_members(&[c, d], &[2, 3], &[2, 3]);
    assert_eq!((c.plane.routes(), d.plane.routes()), (vec![], vec![]));
}

#[test]
fn the_only_core_of_a_cluster_goes_to_others_and_its_replicants_follow() {
    let mut starts = all_settings(4);
    let seed = |start: &Start| vec![Seed::parse(&place(start)).unwrap()];
    let (c_only, r_only) = (seed(&starts[2]), seed(&starts[3]));
    starts[2].settings.seeds = r_only;
    starts[3].settings.seeds = c_only;
    starts[3].settings.role = Role::Replicant;
    starts[..2]
        .iter_mut()
        .for_each(|start| start.settings.seeds.truncate(1));
    let nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let [a, b, c, r] = [&nodes[0], &nodes[1], &nodes[2], &nodes[3]];
    wait_for_members(&[a, b], &[0, 1], &[0, 1]);
    wait_for_members(&[c, r], &[2, 3], &[2]);
    let seed = Seed::parse(&place(&starts[0])).unwrap();
    let handle = c.running.handle();
    let met = handle.run(move |shared| async move { shared.know(seed) });
    assert_eq!(block(met), Some(()));
    wait_for_members(&[a, b, c, r], &[0, 1, 2, 3], &[0, 1, 2]);
    r.plane.subscribe("x", true);
    wait_for("the route", || a.plane.routes().len() == 1);
}

#[test]
fn replicants_learn_and_never_vote_and_go_on_without_cores() {
    let mut starts = all_settings(4);
    for start in &mut starts[2..] {
        start.settings.role = Role::Replicant;
        start.settings.seeds.truncate(2);
    }
    let r = Node::start(starts[2].clone());
    thread::sleep(Duration::from_millis(500));
    assert_eq!(r.seen(), (vec![], vec![]));
    let mut cores: Vec<Node> = starts[..2].iter().cloned().map(Node::start).collect();
    let s = Node::start(starts[3].clone());
    let members = [0, 1, 2, 3];
    wait_for_members(&[&cores[0], &cores[1], &r, &s], &members, &[0, 1]);
    s.plane.subscribe("x", true);
    wait_for("the route", || r.plane.routes().len() == 1);
    cores.drain(..).for_each(|core| core.running.stop());
    s.plane.subscribe("y", true);
    wait_for("another route", || r.plane.routes().len() == 2);
    assert_eq!(r.seen().0, names(&members));
}

#[test]
fn a_core_becomes_a_replicant_and_back_by_its_configuration() {
    let mut starts = all_settings(3);
    starts
        .iter_mut()
        .for_each(|start| start.settings.data_dir = Some(folder()));
    let mut nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    for (role, voters) in [(Role::Replicant, &[1, 2][..]), (Role::Core, &[0, 1, 2])] {
        let all: Vec<&Node> = nodes.iter().collect();
        wait_for("three", || all.iter().all(|node| node.seen().0.len() == 3));
        nodes.remove(0).running.stop();
        starts[0].settings.role = role;
        nodes.insert(0, Node::start(starts[0].clone()));
        let all: Vec<&Node> = nodes.iter().collect();
        wait_for_members(&all, &[0, 1, 2], voters);
    }
}

#[test]
fn who_is_gone_for_long_is_removed_while_a_majority_is_there() {
    let mut starts = all_settings(3);
    for start in &mut starts {
        start.settings.autoclean = Duration::from_secs(4);
        start.settings.data_dir = Some(folder());
    }
    let mut nodes: Vec<Node> = starts.iter().cloned().map(Node::start).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    wait_for_members(&all, &[0, 1, 2], &[0, 1, 2]);
    nodes.pop().unwrap().running.stop();
    let [a, b] = [&nodes[0], &nodes[1]];
    wait_for_members(&[a, b], &[0, 1], &[0, 1]);
    // It finds them, and joins again by itself.
    let c = Node::start(starts[2].clone());
    wait_for_members(&[a, b, &c], &[0, 1, 2], &[0, 1, 2]);
}
