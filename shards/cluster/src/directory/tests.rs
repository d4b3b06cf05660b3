use super::*;

const CORES: [&str; 3] = ["a", "b", "c"];

/// Nodes that are all connected, and hear each other at once.
struct World {
    nodes: BTreeMap<&'static str, Directory>,
}

impl World {
    fn new() -> Self {
        let node = |name| (name, Directory::new(name, 1, Role::Core, CORES.len()));
        let mut world = Self {
            nodes: CORES.into_iter().map(node).collect(),
        };
        world
            .nodes
            .insert("r", Directory::new("r", 1, Role::Replicant, 3));
        let names: Vec<_> = world.nodes.keys().copied().collect();
        for at in &names {
            for other in names.iter().filter(|other| *other != at) {
                let role = world.nodes[other].role;
                world.node(at).up(other, 1, role);
                world.node(at).connected(other);
            }
            world.node(at).set_lease(Some(1), true);
        }
        world.settle();
        world
    }

    fn node(&mut self, name: &str) -> &mut Directory {
        self.nodes.get_mut(name).unwrap()
    }

    fn settle(&mut self) {
        self.settle_without("");
    }

    /// Lets everything arrive that does not come from or go to a node.
    fn settle_without(&mut self, cut: &str) {
        loop {
            let mut sent = Vec::new();
            for (from, node) in &mut self.nodes {
                let frames = core::iter::from_fn(|| node.transmit());
                sent.extend(frames.map(|(to, frame)| (*from, to, frame)));
            }
            if sent.is_empty() {
                return;
            }
            for (from, to, frame) in sent {
                let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
                let Ok(Frame::Directory(said)) = decode(kind, body) else {
                    panic!("something else was said");
                };
                if from != cut && *to != *cut {
                    self.node(&to).handle(from, &said);
                }
            }
        }
    }

    fn owners(&self, client: &str) -> Vec<&'static str> {
        let nodes = self.nodes.iter();
        let owners = nodes.filter(|(_, node)| node.owns(client).is_some());
        owners.map(|(name, _)| *name).collect()
    }

    fn event(&mut self, name: &str) -> Event {
        self.node(name).poll().expect("nothing happened")
    }

    fn keeper(&self, client: &str) -> String {
        view::keeper(client, &self.nodes["a"].cores)
            .unwrap()
            .to_owned()
    }

    /// A client identifier that a core keeps.
    fn kept_by(&self, core: &str) -> String {
        let mut clients = (0..).map(|n| format!("client-{n}"));
        clients.find(|client| self.keeper(client) == core).unwrap()
    }
}

#[test]
fn whoever_claims_first_gets_it_with_an_epoch() {
    let mut world = World::new();
    world.node("r").claim("x");
    world.settle();
    assert_eq!(
        world.event("r"),
        Event::Granted {
            client: "x".into(),
            epoch: 1,
            former: None
        }
    );
    assert_eq!(world.owners("x"), ["r"]);
}

#[test]
fn a_client_that_connects_elsewhere_takes_its_identifier_along() {
    let mut world = World::new();
    world.node("a").claim("x");
    world.settle();
    let Event::Granted { epoch, .. } = world.event("a") else {
        panic!("not granted");
    };
    world.node("b").claim("x");
    world.settle();
    let client: Box<str> = "x".into();
    let revoke = Event::Revoke {
        client: client.clone(),
        epoch,
    };
    assert_eq!(world.event("a"), revoke);
    assert_eq!(world.owners("x"), ["a"]);
    world.node("a").revoked("x", epoch, true);
    assert_eq!(world.owners("x"), [""; 0]);
    world.settle();
    let granted = Event::Granted {
        client,
        epoch: epoch + 1,
        former: Some("a".into()),
    };
    assert_eq!(world.event("b"), granted);
    assert_eq!(world.owners("x"), ["b"]);
}

#[test]
fn of_those_that_wait_who_has_the_session_from_before_gets_it_first() {
    let mut world = World::new();
    for core in CORES {
        world.node(core).up("r", 2, Role::Replicant);
    }
    world.node("b").claim("x");
    world.settle();
    assert_eq!(world.node("b").poll(), None);
    let mut again = Directory::new("r", 2, Role::Replicant, 3);
    for core in CORES {
        again.up(core, 1, Role::Core);
    }
    again.claim_former("x", 1);
    for core in CORES {
        again.connected(core);
        world.node(core).connected("r");
    }
    again.set_lease(Some(1), true);
    world.nodes.insert("r", again);
    world.settle();
    let Event::Granted { epoch, .. } = world.event("r") else {
        panic!("it was not granted");
    };
    let client: Box<str> = "x".into();
    assert_eq!(world.event("r"), Event::Revoke { client, epoch });
    world.node("r").revoked("x", epoch, true);
    world.settle();
    let Event::Granted { former, .. } = world.event("b") else {
        panic!("it was not granted");
    };
    assert_eq!(former.as_deref(), Some("r"));
}

#[test]
fn of_two_that_wait_the_later_gets_it_and_the_earlier_is_denied() {
    let mut world = World::new();
    world.node("a").claim("x");
    world.settle();
    world.event("a");
    world.node("b").claim("x");
    world.settle();
    let Event::Revoke { epoch, .. } = world.event("a") else {
        panic!("not revoked");
    };
    world.node("r").claim("x");
    world.settle();
    let client = "x".into();
    assert_eq!(world.event("b"), Event::Denied { client });
    world.node("a").revoked("x", epoch, true);
    world.settle();
    assert_eq!(world.owners("x"), ["r"]);
}

#[test]
fn what_a_dead_node_had_is_granted_and_its_new_life_is_denied() {
    let mut world = World::new();
    world.node("r").claim("x");
    world.node("r").claim("y");
    world.settle();
    world.node("a").claim("x");
    world.settle();
    for name in CORES {
        world.node(name).down("r");
    }
    world.node("r").set_lease(None, true);
    world.settle_without("r");
    assert_eq!(world.owners("x"), ["a"]);
    world.node("r").renew(2);
    for name in CORES {
        world.node(name).up("r", 2, Role::Replicant);
        world.node(name).connected("r");
        world.node("r").connected(name);
    }
    world.node("r").set_lease(Some(1), true);
    world.settle();
    assert_eq!(world.owners("x"), ["a"]);
    assert_eq!(world.owners("y"), ["r"]);
    let events: Vec<_> = core::iter::from_fn(|| world.node("r").poll()).collect();
    assert!(events.contains(&Event::Denied { client: "x".into() }));
}

#[test]
fn a_keeper_without_its_lease_grants_nothing_until_it_has_it_again() {
    let mut world = World::new();
    let client = world.kept_by("b");
    world.node("b").set_lease(None, true);
    world.node("a").claim(&client);
    world.settle();
    assert_eq!(world.owners(&client), [""; 0]);
    world.node("b").set_lease(Some(1), true);
    world.settle();
    assert_eq!(world.owners(&client), ["a"]);
}

#[test]
fn a_keeper_that_takes_over_knows_who_has_what_before_it_grants() {
    let mut world = World::new();
    let client = world.kept_by("c");
    world.node("r").claim(&client);
    world.settle();
    world.event("r");
    world.node("c").set_lease(None, true);
    world.node("a").down("c");
    world.node("b").down("c");
    // The replicant does not know it yet: nobody grants.
    world.node("a").claim(&client);
    world.settle_without("c");
    assert_eq!(world.node("a").claims(), 1);
    assert_eq!(world.owners(&client), ["r"]);
    world.node("r").down("c");
    world.settle_without("c");
    let Event::Revoke { epoch, .. } = world.event("r") else {
        panic!("not revoked");
    };
    world.node("r").revoked(&client, epoch, true);
    world.settle_without("c");
    assert_eq!(world.owners(&client), ["a"]);
}

#[test]
fn a_core_that_comes_back_keeps_again_what_it_kept() {
    let mut world = World::new();
    let client = world.kept_by("c");
    world.node("r").claim(&client);
    world.settle();
    world.event("r");
    for name in ["a", "b", "r"] {
        world.node(name).down("c");
    }
    world.settle_without("c");
    let mut again = Directory::new("c", 2, Role::Core, 3);
    again.set_lease(Some(1), true);
    world.nodes.insert("c", again);
    for name in ["a", "b", "r"] {
        let role = world.nodes[name].role;
        world.node(name).up("c", 2, Role::Core);
        world.node(name).connected("c");
        world.node("c").up(name, 1, role);
        world.node("c").connected(name);
    }
    world.settle();
    world.node("a").claim(&client);
    world.settle();
    assert!(matches!(world.event("r"), Event::Revoke { .. }));
    assert_eq!(world.owners(&client), ["r"]);
}

#[test]
fn an_identifier_that_was_released_is_free() {
    let mut world = World::new();
    world.node("a").claim("x");
    world.settle();
    world.node("a").release("x");
    world.settle();
    world.node("b").claim("x");
    world.settle();
    let former = None;
    let (client, epoch) = ("x".into(), 2);
    let granted = Event::Granted {
        client,
        epoch,
        former,
    };
    assert_eq!(world.event("b"), granted);
}

#[test]
fn cores_keep_about_the_same_number_and_a_change_moves_only_what_must_move() {
    let all: BTreeMap<Box<str>, u64> = CORES.map(|core| (core.into(), 1)).into();
    let mut fewer = all.clone();
    fewer.remove("c");
    let mut kept: BTreeMap<&str, u32> = BTreeMap::new();
    for n in 0..3000 {
        let client = format!("client-{n}");
        let before = view::keeper(&client, &all).unwrap();
        *kept.entry(before).or_insert(0) += 1;
        if before != "c" {
            assert_eq!(view::keeper(&client, &fewer), Some(before));
        }
    }
    assert!(
        kept.values().all(|count| (900..1100).contains(count)),
        "{kept:?}"
    );
}

#[test]
fn of_two_owners_that_did_not_know_each_other_the_later_one_stays() {
    let name_at = |world: &World| world.kept_by("a");
    let mut world = World::new();
    let client = name_at(&world);
    // Each is alone, and that is a majority.
    for name in ["b", "c"] {
        for other in ["a", "b", "c", "r"] {
            world.node(name).down(other);
        }
        world.node(name).set_cores(1);
    }
    for _ in 0..3 {
        world.node("c").claim("another");
        world.node("c").release("another");
    }
    for name in ["b", "c"] {
        world.node(name).claim(&client);
        while world.node(name).transmit().is_some() {}
    }
    while world.node("c").transmit().is_some() {}
    let mut owners = world.owners(&client);
    owners.sort_unstable();
    assert_eq!(owners, ["b", "c"]);
    for name in ["b", "c"] {
        let (role, others) = (Role::Core, ["a", "b", "c", "r"]);
        for other in others.into_iter().filter(|other| *other != name) {
            let other_role = world.nodes[other].role;
            world.node(other).up(name, 1, role);
            world.node(name).up(other, 1, other_role);
            world.node(other).connected(name);
            world.node(name).connected(other);
        }
    }
    world.settle();
    while let Some(event) = world.node("b").poll() {
        if let Event::Revoke { client, epoch } = event {
            world.node("b").revoked(&client, epoch, true);
        }
    }
    world.settle();
    assert_eq!(world.owners(&client), ["c"]);
}

fn granted(world: &mut World, name: &str) -> bool {
    matches!(world.event(name), Event::Granted { .. })
}

#[test]
fn what_one_holder_has_for_itself_is_granted_to_nobody_else_until_it_is_released() {
    let mut world = World::new();
    world.node("a").claim_exclusive("f", "one", false);
    world.settle();
    assert!(granted(&mut world, "a"));
    for (node, is_former) in [("b", false), ("r", true)] {
        world.node(node).claim_exclusive("f", "two", is_former);
        world.settle();
        assert!(!granted(&mut world, node));
    }
    assert_eq!(world.owners("f"), ["a"]);
    world.node("a").release("f");
    world.settle();
    world.node("b").claim_exclusive("f", "two", false);
    world.settle();
    assert!(granted(&mut world, "b"));
    assert_eq!(world.owners("f"), ["b"]);
    assert_eq!(world.node("a").holder("f"), None);
}

#[test]
fn a_holder_takes_it_along_to_another_node_and_it_is_never_free() {
    for keeper in CORES {
        let mut world = World::new();
        let name = world.kept_by(keeper);
        world.node("r").claim_exclusive(&name, "one", false);
        world.settle();
        assert!(granted(&mut world, "r"));
        // Another core keeps it from now on.
        for at in ["a", "b", "c", "r"].iter().filter(|at| **at != keeper) {
            world.node(at).down(keeper);
        }
        world.settle_without(keeper);
        let others: Vec<_> = CORES.iter().filter(|core| **core != keeper).collect();
        world.node(others[0]).claim_exclusive(&name, "one", false);
        world.node(others[1]).claim_exclusive(&name, "two", false);
        world.settle_without(keeper);
        assert!(!granted(&mut world, others[1]));
        assert_eq!(world.owners(&name), ["r"]);
        let Event::Revoke { client, epoch } = world.event("r") else {
            panic!("it was told nothing");
        };
        world.node("r").revoked(&client, epoch, true);
        world.settle_without(keeper);
        assert!(granted(&mut world, others[0]));
        world.node(others[1]).claim_exclusive(&name, "two", false);
        world.settle_without(keeper);
        assert!(!granted(&mut world, others[1]));
        // One that a node has from a former life takes it from no other node.
        world.node("r").claim_exclusive(&name, "one", true);
        world.settle_without(keeper);
        assert!(!granted(&mut world, "r"));
        assert_eq!(world.owners(&name), [*others[0]]);
    }
}

#[test]
fn what_was_owned_under_a_lease_that_ran_out_is_unconfirmed_until_its_keeper_has_answered() {
    let mut world = World::new();
    world.node("r").claim("x");
    world.settle();
    assert!(granted(&mut world, "r"));
    assert!(!world.node("r").is_unconfirmed());
    world.node("r").set_lease(None, true);
    assert!(!world.node("r").is_unconfirmed());
    world.node("r").set_lease(Some(2), true);
    assert!(world.node("r").is_unconfirmed());
    // Another one is nothing that was owned, and a client that comes back changes nothing.
    world.node("r").claim("y");
    world.node("r").claim("x");
    assert!(world.node("r").is_unconfirmed());
    world.settle();
    assert!(!world.node("r").is_unconfirmed());
    world.node("r").claim("z");
    assert!(!world.node("r").is_unconfirmed());
    assert_eq!(world.owners("x"), ["r"]);
}

#[test]
fn what_a_node_kept_for_an_owner_that_has_died_is_asked_for_by_the_next() {
    for comes_before in [true, false] {
        let mut world = World::new();
        let client = world.kept_by("a");
        world.node("r").claim(&client);
        world.settle();
        let Event::Granted { epoch, .. } = world.event("r") else {
            panic!("not granted");
        };
        world.node("b").claim(&client);
        world.settle();
        world.node("r").poll();
        world.node("r").revoked(&client, epoch, true);
        world.settle();
        assert!(granted(&mut world, "b"));
        if comes_before {
            world.node("c").claim(&client);
        }
        world.settle_without("b");
        for node in ["a", "c", "r"] {
            world.node(node).down("b");
        }
        world.settle_without("b");
        if !comes_before {
            world.node("c").claim(&client);
            world.settle_without("b");
        }
        let Event::Granted { former, .. } = world.event("c") else {
            panic!("not granted");
        };
        assert_eq!(former.as_deref(), Some("r"));
        assert_eq!(
            world
                .owners(&client)
                .iter()
                .filter(|node| **node != "b")
                .count(),
            1
        );
    }
}

#[test]
fn a_client_that_came_back_and_went_on_leaves_the_claim_from_the_former_life() {
    let mut world = World::new();
    let client = world.kept_by("b");
    // It grants nothing yet.
    world.node("b").set_lease(None, true);
    world.node("r").claim_former(&client, 1);
    world.node("r").claim(&client);
    world.settle();
    world.node("a").claim(&client);
    world.settle();
    world.node("b").set_lease(Some(1), true);
    world.settle();
    assert_eq!(world.owners(&client), ["r"]);
    assert!(matches!(world.event("r"), Event::Granted { .. }));
    assert!(matches!(world.event("r"), Event::Revoke { .. }));
}

#[test]
fn a_client_that_came_back_gets_what_another_node_has_by_now() {
    let mut world = World::new();
    let client = world.kept_by("b");
    world.node("a").claim(&client);
    world.settle();
    world.event("a");
    world.node("r").claim_former(&client, 1);
    world.node("r").claim(&client);
    world.settle();
    assert!(matches!(world.event("a"), Event::Revoke { .. }));
    assert_eq!(
        world.node("r").poll(),
        Some(Event::Drop {
            client: client.into()
        })
    );
    assert_eq!(world.node("r").poll(), None);
}

/// A session moves from `r` to `b`, which has not got it yet; `keeper` keeps its identifier.
fn moving(world: &mut World, keeper: &str) -> (String, u64) {
    let client = world.kept_by(keeper);
    world.node("r").claim(&client);
    world.settle();
    let Event::Granted { epoch, .. } = world.event("r") else {
        panic!("not granted");
    };
    world.node("b").claim(&client);
    world.settle();
    world.event("r");
    world.node("r").revoked(&client, epoch, true);
    world.settle();
    assert!(granted(world, "b"));
    (client, epoch)
}

fn dies(world: &mut World, names: &[&'static str]) {
    for name in names {
        world.nodes.remove(name);
    }
    let left: Vec<_> = world.nodes.keys().copied().collect();
    for at in left {
        names.iter().for_each(|name| world.node(at).down(name));
        // The rest is a majority of what is configured.
        world.node(at).set_cores(1);
    }
}

/// Lets everything arrive that goes to a node that lives.
fn settle_left(world: &mut World) {
    let names: Vec<_> = world.nodes.keys().copied().collect();
    loop {
        let mut sent = Vec::new();
        for from in &names {
            let node = world.node(from);
            sent.extend(
                core::iter::from_fn(|| node.transmit()).map(|(to, frame)| (*from, to, frame)),
            );
        }
        if sent.is_empty() {
            return;
        }
        for (from, to, frame) in sent {
            let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
            if let Ok(Frame::Directory(said)) = decode(kind, body)
                && let Some(node) = world.nodes.get_mut(&*to)
            {
                node.handle(from, &said);
            }
        }
    }
}

fn former_of(world: &mut World, name: &str) -> Option<Box<str>> {
    match world.event(name) {
        Event::Granted { former, .. } => former,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_node_keeps_is_found_when_its_keeper_dies_with_the_new_owner() {
    for together in [true, false] {
        let mut world = World::new();
        let (client, _) = moving(&mut world, "a");
        if together {
            dies(&mut world, &["a", "b"]);
        } else {
            dies(&mut world, &["a"]);
            settle_left(&mut world);
            dies(&mut world, &["b"]);
        }
        world.node("c").claim(&client);
        settle_left(&mut world);
        assert_eq!(former_of(&mut world, "c").as_deref(), Some("r"));
    }
}

#[test]
fn what_a_new_owner_has_got_is_not_asked_for_where_it_was() {
    for keeper_dies in [true, false] {
        let mut world = World::new();
        let (client, _) = moving(&mut world, "a");
        world.node("b").settled(&client);
        world.node("r").dropped(&client);
        settle_left(&mut world);
        dies(&mut world, if keeper_dies { &["a", "b"] } else { &["b"] });
        world.node("c").claim(&client);
        settle_left(&mut world);
        assert_eq!(former_of(&mut world, "c"), None);
    }
}

/// A node that was killed comes back with a session on its disk.
fn comes_back(world: &mut World, name: &'static str, client: &str) {
    let mut again = Directory::new(name, 2, Role::Core, 1);
    again.claim_former(client, 1);
    let others: Vec<_> = world.nodes.keys().copied().collect();
    for other in others {
        let role = world.nodes[other].role;
        world.node(other).up(name, 2, Role::Core);
        again.up(other, 1, role);
        world.node(other).connected(name);
        again.connected(other);
    }
    again.set_lease(Some(1), true);
    world.nodes.insert(name, again);
    settle_left(world);
}

#[test]
fn a_new_owner_that_comes_back_has_what_it_had_got_unless_the_former_one_keeps_it_still() {
    for is_kept in [true, false] {
        for keeper in ["a", "b"] {
            let mut world = World::new();
            let (client, _) = moving(&mut world, keeper);
            if !is_kept {
                // The keeper does not hear of it.
                world.node("r").dropped(&client);
                while world.node("r").transmit().is_some() {}
            }
            dies(&mut world, &["b"]);
            settle_left(&mut world);
            comes_back(&mut world, "b", &client);
            let denied = Event::Denied {
                client: client.as_str().into(),
            };
            let event = world.event("b");
            assert_eq!(event == denied, is_kept, "{event:?}");
            world.node("c").claim(&client);
            settle_left(&mut world);
            if is_kept {
                assert_eq!(former_of(&mut world, "c").as_deref(), Some("r"));
            }
        }
    }
}

#[test]
fn who_keeps_what_others_have_had_since_is_told_to_drop_it() {
    let mut world = World::new();
    let (client, _) = moving(&mut world, "a");
    // The former owner is given up, and the client begins anew.
    for name in CORES {
        world.node(name).down("r");
    }
    world.node("r").set_lease(None, true);
    world.settle_without("r");
    world.node("b").settled(&client);
    world.node("r").renew(2);
    for name in CORES {
        world.node(name).up("r", 2, Role::Replicant);
        world.node(name).connected("r");
        world.node("r").connected(name);
    }
    world.node("r").set_lease(Some(2), true);
    world.settle();
    let client = client.into();
    assert_eq!(world.node("r").poll(), Some(Event::Drop { client }));
}

#[test]
fn what_a_node_that_was_given_up_keeps_is_found_if_nobody_has_had_it_since() {
    let mut world = World::new();
    let (client, _) = moving(&mut world, "a");
    dies(&mut world, &["b"]);
    for name in ["a", "c"] {
        world.node(name).down("r");
    }
    world.node("r").set_lease(None, true);
    world.node("r").renew(2);
    for name in ["a", "c"] {
        world.node(name).up("r", 2, Role::Replicant);
        world.node(name).connected("r");
        world.node("r").connected(name);
    }
    world.node("r").set_lease(Some(2), true);
    settle_left(&mut world);
    world.node("c").claim(&client);
    settle_left(&mut world);
    assert_eq!(former_of(&mut world, "c").as_deref(), Some("r"));
    assert_eq!(world.node("r").poll(), None);
}
