mod reach;

use super::*;
use crate::wire::{FRAME_MAX, Frame, VERSION_MAX, VERSION_MIN, decode, split};

const CORES: [&str; 3] = ["a", "b", "c"];

fn config(name: &str, incarnation: u64) -> Config {
    Config::new("home", name, Role::Core, incarnation, &CORES)
}

/// Some nodes, and which of them cannot be heard by which.
struct World {
    nodes: Vec<Members>,
    cut: Vec<(usize, usize)>,
    now_ms: u64,
    events: Vec<(usize, Event)>,
}

impl World {
    fn new(configs: Vec<Config>) -> Self {
        let members = |config| Members::new(config, []);
        let nodes: Vec<_> = configs.into_iter().map(members).collect();
        let mut world = Self {
            nodes,
            cut: Vec::new(),
            now_ms: 1000,
            events: Vec::new(),
        };
        world.greet();
        world
    }

    fn cores() -> Self {
        let mut world = Self::new(CORES.map(|name| config(name, 1)).to_vec());
        world.run(2000);
        world.events.clear();
        world
    }

    fn hears(&self, to: usize, from: usize) -> bool {
        to != from && !self.cut.contains(&(from, to))
    }

    /// Everybody says hello to everybody who hears.
    fn greet(&mut self) {
        for from in 0..self.nodes.len() {
            let config = self.nodes[from].config().clone();
            for to in 0..self.nodes.len() {
                if self.hears(to, from) {
                    let _ = self.nodes[to].hello(self.now_ms, &hello(&config));
                }
            }
        }
    }

    fn run(&mut self, for_ms: u64) {
        let end_ms = self.now_ms + for_ms;
        while self.now_ms < end_ms {
            self.now_ms += 50;
            for from in 0..self.nodes.len() {
                let due = self.nodes[from].tick(self.now_ms);
                self.collect();
                if due {
                    self.send_heartbeats(from);
                }
            }
        }
        self.collect();
    }

    fn send_heartbeats(&mut self, from: usize) {
        let (name, incarnation) = {
            let config = self.nodes[from].config();
            (config.name.clone(), config.incarnation)
        };
        for to in 0..self.nodes.len() {
            if !self.hears(to, from) {
                continue;
            }
            let mut out = Vec::new();
            let peer = self.nodes[to].config().name.clone();
            self.nodes[from].put_heartbeat(self.now_ms, &peer, &mut out);
            let Some((kind, body, _)) = split(&out, FRAME_MAX).unwrap() else {
                continue;
            };
            let Ok(Frame::Heartbeat(heartbeat)) = decode(kind, body) else {
                panic!("no heartbeat");
            };
            let to = &mut self.nodes[to];
            let heard = to.heartbeat(self.now_ms, &name, incarnation, &heartbeat);
            if heard == Err(Reason::Stale) {
                self.nodes[from].refused_as_stale(incarnation);
            }
        }
    }

    fn collect(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let events = core::iter::from_fn(|| node.poll());
            self.events.extend(events.map(|event| (index, event)));
        }
    }

    fn may_acknowledge(&self) -> Vec<bool> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| node.may_acknowledge(self.now_ms))
            .collect()
    }

    fn downs(&self) -> Vec<(usize, &str)> {
        let downs = self.events.iter().filter_map(|(index, event)| match event {
            Event::Down { node, .. } => Some((*index, &**node)),
            _ => None,
        });
        downs.collect()
    }

    /// Cuts a node off in both directions.
    fn isolate(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.cut.extend([(node, other), (other, node)]);
        }
    }
}

fn hello(config: &Config) -> Hello<'_> {
    Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        cluster: &config.cluster,
        node: &config.name,
        incarnation: config.incarnation,
        boot: 1,
        role: config.role,
        shards: 1,
        address: "",
    }
}

#[test]
fn nodes_that_hear_each_other_may_acknowledge() {
    let world = World::cores();
    assert_eq!(world.may_acknowledge(), [true; 3]);
    let status = world.nodes[0].peer("b").unwrap();
    assert_eq!((status.state, status.incarnation), (State::Alive, 1));
    assert!(status.round_trip_ms <= 50, "{status:?}");
}

#[test]
fn cores_that_stood_still_listen_before_they_suspect_anybody() {
    let mut world = World::cores();
    // The other two are stopped; what the first one sends them waits.
    for _ in 0..100 {
        world.now_ms += 50;
        world.nodes[0].tick(world.now_ms);
    }
    // They go on, one after the other, and look at the clock before they read.
    for node in [1, 2] {
        world.nodes[node].tick(world.now_ms);
        world.send_heartbeats(node);
        world.now_ms += 100;
        world.nodes[node].tick(world.now_ms);
    }
    world.run(5000);
    assert_eq!(world.downs(), []);
    assert_eq!(world.may_acknowledge(), [true; 3]);
}

#[test]
fn a_dead_node_is_down_within_five_seconds_and_the_others_go_on() {
    let mut world = World::cores();
    world.isolate(2);
    world.run(4900);
    assert_eq!(world.downs(), [(0, "c"), (1, "c")]);
    assert_eq!(world.may_acknowledge(), [true, true, false]);
    let condemned = world.events.iter().filter(
        |(_, event)| matches!(event, Event::Condemned { node, incarnation: 1 } if &**node == "c"),
    );
    assert_eq!(condemned.count(), 2);
}

#[test]
fn a_node_that_cannot_be_heard_knows_it_though_it_hears_everybody() {
    let mut world = World::cores();
    world.cut = vec![(2, 0), (2, 1)];
    world.run(3200);
    assert_eq!(world.may_acknowledge(), [true, true, false]);
    world.run(1700);
    assert_eq!(world.downs(), [(0, "c"), (1, "c")]);
    // It is told once somebody hears it.
    world.cut.clear();
    world.run(600);
    assert!(world.events.contains(&(2, Event::Renew)));
}

#[test]
fn a_node_that_a_majority_hears_is_given_up_by_nobody() {
    let mut world = World::cores();
    world.cut = vec![(1, 0), (0, 1)];
    world.run(60_000);
    assert_eq!(world.downs(), []);
    assert_eq!(world.may_acknowledge(), [true; 3]);
    assert_eq!(world.nodes[0].peer("b").unwrap().state, State::Suspect);
    world.cut.clear();
    world.run(1000);
    assert_eq!(world.nodes[0].peer("b").unwrap().state, State::Alive);
}

#[test]
fn a_minority_gives_up_nobody_and_comes_back_with_a_new_life() {
    let mut world = World::cores();
    world.isolate(2);
    world.run(10_000);
    assert_eq!(world.downs(), [(0, "c"), (1, "c")]);
    world.cut.clear();
    world.run(600);
    assert!(world.events.contains(&(2, Event::Renew)));
    assert_eq!(world.may_acknowledge(), [true, true, false]);
    world.nodes[2].renew(2);
    world.events.clear();
    world.greet();
    world.run(1500);
    assert_eq!(world.may_acknowledge(), [true; 3]);
    let up = Event::Up {
        node: "c".into(),
        incarnation: 2,
        former: None,
    };
    assert!(world.events.contains(&(0, up)));
    assert_eq!(world.downs(), []);
}

#[test]
fn a_node_that_dies_again_is_down_again() {
    let mut world = World::cores();
    for life in 2..5 {
        world.isolate(2);
        world.run(4900);
        assert_eq!(world.downs(), [(0, "c"), (1, "c")], "life {}", life - 1);
        world.cut.clear();
        world.nodes[2] = Members::new(config("c", life), []);
        world.greet();
        world.run(1500);
        assert_eq!(world.may_acknowledge(), [true; 3]);
        world.events.clear();
    }
}

#[test]
fn a_life_that_is_over_is_refused_also_after_a_restart_of_the_core() {
    let mut world = World::cores();
    world.isolate(2);
    world.run(10_000);
    assert_eq!(
        world.nodes[0].hello(world.now_ms, &hello(&config("c", 1))),
        Err(Reason::Stale)
    );
    let mut again = Members::new(config("a", 2), [("c".into(), 1)]);
    assert_eq!(again.hello(0, &hello(&config("c", 1))), Err(Reason::Stale));
    assert_eq!(again.hello(0, &hello(&config("c", 2))), Ok(()));
}

#[test]
fn a_core_that_restarts_helps_to_give_up_who_died_before() {
    let mut world = World::cores();
    world.isolate(2);
    world.nodes[1] = Members::new(config("b", 2), []);
    world.greet();
    world.run(9000);
    assert_eq!(world.downs(), [(0, "c")]);
}

#[test]
fn a_restart_within_the_lease_is_told_with_the_former_life() {
    let mut world = World::cores();
    world.nodes[2] = Members::new(config("c", 2), []);
    world.greet();
    world.run(1000);
    let up = Event::Up {
        node: "c".into(),
        incarnation: 2,
        former: Some(1),
    };
    assert!(world.events.contains(&(0, up)));
    assert_eq!(world.downs(), []);
}

#[test]
fn with_serve_local_both_sides_go_on_and_give_the_other_up() {
    let mut configs = CORES.map(|name| config(name, 1)).to_vec();
    configs
        .iter_mut()
        .for_each(|config| config.policy = Policy::ServeLocal);
    let mut world = World::new(configs);
    world.run(1000);
    world.isolate(2);
    world.run(5000);
    assert_eq!(world.may_acknowledge(), [true; 3]);
    assert_eq!(world.downs(), [(0, "c"), (1, "c"), (2, "a"), (2, "b")]);
}

#[test]
fn replicants_follow_the_cores_and_are_forgotten_when_they_are_removed() {
    let mut configs = CORES.map(|name| config(name, 1)).to_vec();
    configs.push(Config {
        role: Role::Replicant,
        ..config("r", 1)
    });
    let mut world = World::new(configs);
    world.run(2000);
    assert_eq!(world.may_acknowledge(), [true; 4]);
    world.isolate(2);
    world.run(5000);
    assert_eq!(world.downs(), [(0, "c"), (1, "c"), (3, "c")]);
    world.events.clear();
    assert!(world.nodes[0].silent_ms(world.now_ms, "c") >= 5000);
    assert!(world.nodes[0].silent_ms(world.now_ms, "r") <= 600);
    ["r", "c", "x"]
        .iter()
        .for_each(|node| world.nodes[0].forget(node));
    world.collect();
    let removed = |node: &str| (0, Event::Removed { node: node.into() });
    let down = Event::Down {
        node: "r".into(),
        incarnation: 1,
    };
    // The one is down already.
    assert_eq!(world.events, [(0, down), removed("r"), removed("c")]);
    assert!(world.nodes[0].peer("r").is_none());
}

#[test]
fn a_node_that_says_goodbye_is_down_at_once_and_acknowledges_nothing() {
    let mut world = World::cores();
    world.nodes[2].go(true);
    world.run(600);
    assert!(world.nodes[0].peer("c").unwrap().is_going);
    assert_eq!(world.may_acknowledge(), [true; 3]);
    assert_eq!((world.downs(), world.events.len()), (vec![], 0));
    world.nodes[2].end(world.now_ms);
    assert_eq!(world.may_acknowledge(), [true, true, false]);
    // One of them does not hear it, and is told by the other.
    world.cut = vec![(2, 1)];
    world.run(1100);
    assert_eq!(world.downs(), [(0, "c"), (1, "c")]);
    // What others say of it does not bring it back.
    assert!(!world.events.contains(&(2, Event::Renew)));
    assert_eq!(world.nodes[0].peer("c").unwrap().lease_until_ms, 0);
    let config = config("c", 2);
    assert_eq!(world.nodes[0].hello(world.now_ms, &hello(&config)), Ok(()));
    assert!(!world.nodes[0].peer("c").unwrap().is_going);
}

#[test]
fn a_node_that_is_about_to_go_is_suspected_by_nobody_for_it() {
    let mut world = World::cores();
    world.nodes[2].go(true);
    world.cut = vec![(2, 0)];
    world.run(20_000);
    assert_eq!(
        (world.downs(), world.may_acknowledge()),
        (vec![], vec![true; 3])
    );
    world.nodes[2].go(false);
    world.run(600);
    assert!(!world.nodes[1].peer("c").unwrap().is_going);
}

#[test]
fn leases_that_a_node_gave_are_over_when_their_holders_have_parted_or_with_the_time() {
    let mut world = World::cores();
    assert!(!world.nodes[2].has_parted(world.now_ms));
    world.nodes[2].end(world.now_ms);
    let now_ms = world.now_ms;
    world.nodes[2].parted("a");
    assert!(!world.nodes[2].has_parted(now_ms));
    // Heartbeats of a life that is over give none.
    world.run(1000);
    world.nodes[2].parted("b");
    assert!(world.nodes[2].has_parted(now_ms));
    world.nodes[1].forget("a");
    world.nodes[1].parted("a");
    assert!(!world.nodes[1].has_parted(now_ms));
    world.nodes[1].end(now_ms);
    assert!(world.nodes[1].has_parted(world.now_ms + 3200));
}

#[test]
fn whoever_says_that_its_life_is_over_counts_on_no_lease() {
    let mut world = World::cores();
    world.nodes[2].end(world.now_ms);
    world.cut = vec![(2, 1)];
    world.run(600);
    assert_eq!(world.downs(), [(0, "c"), (1, "c")]);
    for node in &mut world.nodes[..2] {
        node.end(world.now_ms);
    }
    world.nodes[0].parted("b");
    world.nodes[1].parted("a");
    assert!(world.nodes[0].has_parted(world.now_ms));
    // The other one has it from hearsay.
    assert!(!world.nodes[1].has_parted(world.now_ms));
}

#[test]
fn a_process_speaks_at_once_if_the_one_before_gave_no_lease_for_long_enough() {
    let is_mature = |mut node: Members, at_ms| {
        node.tick(1000);
        node.is_mature(at_ms)
    };
    let node = |rested_ms| {
        let mut node = Members::new(config("a", 2), []);
        node.set_rested_ms(rested_ms);
        node
    };
    assert!(!is_mature(node(0), 4000) && is_mature(node(0), 4200));
    assert!(!is_mature(node(2000), 2000) && is_mature(node(2000), 2200));
    assert!(is_mature(node(u64::MAX), 1000));
    let mut config = config("a", 2);
    config.role = Role::Replicant;
    assert!(is_mature(Members::new(config, []), 1000));
}

#[test]
fn strangers_are_refused() {
    let mut node = Members::new(config("a", 1), []);
    let stranger = config("x", 1);
    let refused = |node: &mut Members, hello: &Hello<'_>| node.hello(0, hello).unwrap_err();
    let base = hello(&stranger);
    let own = Hello { node: "a", ..base };
    assert_eq!(refused(&mut node, &own), Reason::Member);
    let cluster = "other";
    assert_eq!(
        refused(&mut node, &Hello { cluster, ..base }),
        Reason::Cluster
    );
    let (version_min, version_max) = (VERSION_MAX + 1, VERSION_MAX + 1);
    let later = Hello {
        version_min,
        version_max,
        ..base
    };
    assert_eq!(refused(&mut node, &later), Reason::Version);
}

#[test]
fn a_node_without_cores_is_alone_and_goes_on() {
    let node = Members::new(Config::new("home", "x", Role::Core, 1, &[]), []);
    assert!(node.may_acknowledge(0));
    let one = Members::new(Config::new("home", "x", Role::Core, 1, &["x"]), []);
    assert!(one.may_acknowledge(0));
}

#[test]
fn cores_of_a_later_set_give_no_lease_to_who_counts_the_former() {
    let mut world = World::cores();
    for node in [0, 1] {
        world.nodes[node].set_cores(world.now_ms, &["a", "b"], 1);
    }
    world.run(3100);
    assert_eq!(world.may_acknowledge(), [true, true, false]);
    let now_ms = world.now_ms;
    world.nodes[2].set_cores(now_ms, &["a", "b"], 1);
    world.run(1100);
    assert_eq!(world.may_acknowledge(), [true; 3]);
}

#[test]
fn nobody_is_condemned_before_the_leases_of_the_former_cores_have_run_out() {
    let mut world = World::cores();
    world.isolate(2);
    world.run(2500);
    for node in [0, 1] {
        world.nodes[node].set_cores(world.now_ms, &["a", "b"], 1);
    }
    world.run(3100);
    assert_eq!(world.downs(), []);
    world.run(1000);
    let mut downs = world.downs();
    downs.sort_unstable();
    assert_eq!(downs, [(0, "c"), (1, "c")]);
}

/// Five nodes whose cores change one at a time while any of them are cut off from any others.
struct Changing {
    world: World,
    names: [&'static str; 5],
    sets: Vec<Vec<&'static str>>,
    versions: [usize; 5],
    changed_ms: u64,
    seed: u64,
}

impl Changing {
    fn new(seed: u64) -> Self {
        let names = ["a", "b", "c", "d", "e"];
        let config = |name: &&str| Config::new("home", name, Role::Core, 1, &["a"]);
        Self {
            world: World::new(names.iter().map(config).collect()),
            names,
            sets: vec![vec!["a"]],
            versions: [0; 5],
            changed_ms: 0,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 33) as usize % below
    }

    fn adopt(&mut self, node: usize, version: usize) {
        self.versions[node] = version;
        let now_ms = self.world.now_ms;
        self.world.nodes[node].set_cores(now_ms, &self.sets[version], version as u64);
    }

    fn talk(&self, a: usize, b: usize) -> bool {
        a == b || self.world.hears(a, b) && self.world.hears(b, a)
    }

    /// What the consensus allows: a leader that has the last set, and that majorities of it and
    /// of the next store the change for.
    fn change(&mut self) {
        let last = self.sets.len() - 1;
        let (leader, other) = (self.random(5), self.random(5));
        let is_old = self.world.now_ms - self.changed_ms > 6300;
        let is_settled = is_old || self.versions.iter().all(|version| *version == last);
        let name = self.names[leader];
        if self.versions[leader] != last || !self.sets[last].contains(&name) || !is_settled {
            return;
        }
        let mut next = self.sets[last].clone();
        match next.iter().position(|core| *core == self.names[other]) {
            Some(at) => _ = next.remove(at),
            None => next.push(self.names[other]),
        }
        let reached = |set: &[&str]| {
            let nodes = (0..5).filter(|node| set.contains(&self.names[*node]));
            let reached = nodes.filter(|node| self.talk(leader, *node));
            reached.count() > set.len() / 2
        };
        if next.is_empty() || !reached(&self.sets[last]) || !reached(&next) {
            return;
        }
        self.sets.push(next);
        self.changed_ms = self.world.now_ms;
        let reached = (0..5).filter(|node| self.talk(leader, *node));
        for node in reached.collect::<Vec<_>>() {
            self.adopt(node, last + 1);
        }
    }

    fn step(&mut self) {
        match self.random(30) {
            0 => {
                let node = self.random(5);
                self.world.isolate(node);
            }
            1 | 2 => {
                let cut = (self.random(5), self.random(5));
                self.world.cut.push(cut);
            }
            3 => self.world.cut.clear(),
            4..8 => self.change(),
            8..12 => {
                let (from, to) = (self.random(5), self.random(5));
                if self.talk(from, to) && self.versions[from] > self.versions[to] {
                    self.adopt(to, self.versions[from]);
                }
            }
            _ => {}
        }
        self.world.greet();
        self.world.run(100);
        for (index, event) in core::mem::take(&mut self.world.events) {
            match event {
                Event::Renew => {
                    let node = &mut self.world.nodes[index];
                    node.renew(node.config().incarnation + 1);
                }
                event => self.world.events.push((index, event)),
            }
        }
    }

    fn check(&self, over: &mut Vec<(Box<str>, u64)>) {
        for (_, event) in &self.world.events {
            if let Event::Down { node, incarnation } = event {
                over.push((node.clone(), *incarnation));
            }
        }
        for node in &self.world.nodes {
            let config = node.config();
            let life = (config.name.clone(), config.incarnation);
            let acknowledges = node.may_acknowledge(self.world.now_ms);
            assert!(!acknowledges || !over.contains(&life), "{life:?}");
        }
    }
}

#[test]
fn no_life_that_is_given_up_acknowledges_while_the_cores_change() {
    let (mut changes, mut downs) = (0, 0);
    for seed in 1..60 {
        let mut run = Changing::new(seed);
        let mut over = Vec::new();
        for _ in 0..400 {
            run.step();
            run.check(&mut over);
            run.world.events.clear();
        }
        changes += run.sets.len();
        downs += over.len();
    }
    // It has tried something.
    assert!(changes > 300 && downs > 300, "{changes} {downs}");
}
