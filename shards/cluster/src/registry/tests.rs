use proptest::prelude::*;

use super::*;

fn add(name: &str, id: u64, role: Role) -> Command {
    Command::Add {
        name: name.into(),
        id,
        address: format!("{name}:4370").into(),
        role,
    }
}

fn remove(name: &str, id: u64) -> Command {
    Command::Remove {
        name: name.into(),
        id,
        removal: Removal::Left,
    }
}

fn registry(commands: &[Command]) -> Registry {
    let mut registry = Registry::default();
    for command in commands {
        assert_eq!(registry.apply(command), Ok(()), "{command:?}");
    }
    registry
}

#[test]
fn a_name_that_comes_again_with_another_log_takes_its_place() {
    let mut cluster = registry(&[add("a", 1, Role::Core), add("b", 2, Role::Core)]);
    let activate = Command::Activate {
        name: "b".into(),
        id: 2,
    };
    assert_eq!(cluster.apply(&activate), Ok(()));
    assert_eq!(cluster.apply(&add("b", 2, Role::Core)), Ok(()));
    assert_eq!(cluster.get("b").unwrap().state, State::Active);
    assert_eq!(cluster.apply(&add("b", 3, Role::Core)), Ok(()));
    assert_eq!(cluster.get("b").unwrap().state, State::Joining);
    assert_eq!(cluster.removal(2), Some(Removal::Replaced));
    assert_eq!(cluster.apply(&activate), Err(Refusal::NoMember));
    // The former one cannot be put back, and does not remove the new one.
    assert_eq!(
        cluster.apply(&add("b", 2, Role::Core)),
        Err(Refusal::UsedId)
    );
    assert_eq!(cluster.apply(&remove("b", 2)), Err(Refusal::NoMember));
    assert_eq!(cluster.len(), 2);
}

#[test]
fn a_cluster_keeps_a_core() {
    let mut cluster = registry(&[add("a", 1, Role::Core), add("r", 2, Role::Replicant)]);
    let to_replicant = Command::SetRole {
        name: "a".into(),
        role: Role::Replicant,
    };
    assert_eq!(cluster.apply(&to_replicant), Err(Refusal::LastCore));
    assert_eq!(cluster.apply(&remove("a", 1)), Err(Refusal::LastCore));
    let again = add("a", 3, Role::Replicant);
    assert_eq!(cluster.apply(&again), Err(Refusal::LastCore));
    let to_core = Command::SetRole {
        name: "r".into(),
        role: Role::Core,
    };
    assert_eq!(cluster.apply(&to_core), Ok(()));
    assert_eq!(cluster.apply(&remove("a", 1)), Ok(()));
    let mut none = Registry::default();
    assert_eq!(
        none.apply(&add("r", 1, Role::Replicant)),
        Err(Refusal::LastCore)
    );
}

fn command() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    let role = prop_oneof![Just(Role::Core), Just(Role::Replicant)];
    (0..5_u8, name, 0..12_u64, role).prop_map(|(kind, name, id, role)| match kind {
        0 => remove(name, id),
        1 => Command::Activate {
            name: name.into(),
            id,
        },
        2 => Command::SetRole {
            name: name.into(),
            role,
        },
        3 => Command::SetAddress {
            name: name.into(),
            address: format!("{name}:{id}").into(),
        },
        _ => add(name, id, role),
    })
}

proptest! {
    #[test]
    fn whatever_is_commanded_the_members_stay_sound_and_replicas_agree(
        commands in prop::collection::vec(command(), 0..60),
        cut in 0..60_usize,
    ) {
        let mut one = Registry::default();
        let mut from_snapshot = Registry::default();
        let mut ever_removed = std::collections::BTreeSet::new();
        for (number, command) in commands.iter().enumerate() {
            let before = one.clone();
            let outcome = one.apply(command);
            if outcome.is_err() {
                prop_assert_eq!(&one, &before);
            } else {
                prop_assert_eq!(one.version(), before.version() + 1);
            }
            if number >= cut {
                prop_assert_eq!(from_snapshot.apply(command), outcome);
            } else {
                from_snapshot = Registry::decode(&one.encode().unwrap()).unwrap();
            }
            prop_assert_eq!(&from_snapshot, &one);
            let ids: std::collections::BTreeSet<u64> =
                one.members().map(|(_, member)| member.id).collect();
            prop_assert_eq!(ids.len(), one.len());
            let gone = before.members().filter(|(_, member)| !ids.contains(&member.id));
            ever_removed.extend(gone.map(|(_, member)| member.id));
            prop_assert!(ids.is_disjoint(&ever_removed));
            prop_assert!(one.is_empty() || one.cores() > 0);
        }
    }

    /// Whatever the registry says, the leader's steps come to an end with exactly its cores as
    /// voters, and never change more than one voter at once.
    #[test]
    fn the_steps_make_the_consensus_what_the_registry_says(
        commands in prop::collection::vec(command(), 1..40),
    ) {
        let mut cluster = registry(&[add("first", 100, Role::Core)]);
        let mut progress = Progress {
            own: 100,
            voters: [100].into(),
            is_settled: true,
            ..Progress::default()
        };
        for command in &commands {
            let _ = cluster.apply(command);
            follow(&mut cluster, &mut progress, 3)?;
        }
        let left = follow(&mut cluster, &mut progress, 200)?;
        prop_assert!(left > 0, "no end");
        let of_role = |role| {
            let members = cluster.members().filter(move |(_, member)| member.role == role);
            members.map(|(_, member)| member.id).collect::<std::collections::BTreeSet<u64>>()
        };
        prop_assert_eq!(&progress.voters, &of_role(Role::Core));
        prop_assert_eq!(&progress.learners, &of_role(Role::Replicant));
        prop_assert!(cluster.members().all(|(_, member)| member.state == State::Active));
    }
}

/// Does up to so many steps, all of whom succeed. Returns how many were not needed.
fn follow(
    cluster: &mut Registry,
    progress: &mut Progress,
    mut steps: usize,
) -> Result<usize, TestCaseError> {
    while steps > 0 {
        progress.caught_up = &progress.voters | &progress.learners;
        let Some(step) = next_step(cluster, progress) else {
            break;
        };
        steps -= 1;
        match step {
            Step::AddLearner { id, .. } => prop_assert!(progress.learners.insert(id)),
            Step::AddVoter { id } => {
                prop_assert!(progress.learners.remove(&id));
                progress.voters.insert(id);
            }
            Step::Demote { id } => {
                prop_assert!(progress.voters.remove(&id) && id != progress.own);
                progress.learners.insert(id);
            }
            Step::Remove { id } => {
                prop_assert!(id != progress.own);
                prop_assert!(progress.voters.remove(&id) | progress.learners.remove(&id));
            }
            Step::HandOver { to } => {
                prop_assert!(progress.voters.contains(&to) && to != progress.own);
                progress.own = to;
            }
            Step::Activate { name, id } => {
                prop_assert_eq!(cluster.apply(&Command::Activate { name, id }), Ok(()));
            }
        }
        prop_assert!(!progress.voters.is_empty());
    }
    Ok(steps)
}

#[test]
fn voters_do_not_change_before_the_last_change_has_settled() {
    let cluster = registry(&[add("a", 1, Role::Core), add("b", 2, Role::Core)]);
    let mut progress = Progress {
        own: 1,
        voters: [1, 3].into(),
        learners: [2].into(),
        caught_up: [1, 2, 3].into(),
        is_settled: false,
    };
    let activate = Step::Activate {
        name: "a".into(),
        id: 1,
    };
    assert_eq!(next_step(&cluster, &progress), Some(activate));
    progress.is_settled = true;
    assert_eq!(next_step(&cluster, &progress), Some(Step::Remove { id: 3 }));
}

fn alone(name: &str, role: Role) -> Standing {
    let cores = u32::from(role == Role::Core);
    Standing {
        name: name.into(),
        role,
        cluster: u64::from(name.as_bytes()[0]) * u64::from(cores),
        members: 1,
        cores,
    }
}

#[test]
fn who_is_alone_joins_others_and_of_two_alone_the_larger_name() {
    let (a, b) = (alone("a", Role::Core), alone("b", Role::Core));
    assert_eq!(decide(&a, &b), Decision::Stay);
    assert_eq!(decide(&b, &a), Decision::Join);
    let many = Standing {
        members: 2,
        cores: 2,
        ..b.clone()
    };
    assert_eq!(decide(&a, &many), Decision::Join);
    assert_eq!(decide(&many, &a), Decision::Stay);
    let other = Standing {
        cluster: 7,
        ..many.clone()
    };
    assert_eq!(decide(&many, &other), Decision::Foreign);
    assert_eq!(decide(&many, &b), Decision::Stay);
}

#[test]
fn a_replicant_joins_cores_and_nobody_joins_it() {
    let (r, s) = (alone("a", Role::Replicant), alone("s", Role::Replicant));
    let core = alone("c", Role::Core);
    assert_eq!(decide(&r, &core), Decision::Join);
    assert_eq!(decide(&core, &r), Decision::Stay);
    assert_eq!(decide(&r, &s), Decision::Stay);
    assert_eq!(decide(&s, &r), Decision::Stay);
}

/// A core with replicants.
fn with_replicants(name: &str, replicants: u32) -> Standing {
    Standing {
        members: 1 + replicants,
        ..alone(name, Role::Core)
    }
}

#[test]
fn the_only_core_of_a_cluster_joins_a_larger_one() {
    let (a, c) = (alone("a", Role::Core), with_replicants("c", 1));
    assert_eq!(decide(&a, &c), Decision::Join);
    assert_eq!(decide(&c, &a), Decision::Stay);
    let b = with_replicants("b", 1);
    assert_eq!(decide(&c, &b), Decision::Join);
    assert_eq!(decide(&b, &c), Decision::Stay);
    let cores = Standing {
        members: 2,
        cores: 2,
        ..alone("d", Role::Core)
    };
    let large = with_replicants("a", 7);
    assert_eq!(decide(&large, &cores), Decision::Join);
    assert_eq!(decide(&cores, &large), Decision::Stay);
    // A replicant of another cluster says nothing about its core.
    let replicant = Standing {
        role: Role::Replicant,
        name: "r".into(),
        ..with_replicants("c", 3)
    };
    assert_eq!(decide(&a, &replicant), Decision::Stay);
    assert_eq!(decide(&replicant, &cores), Decision::Stay);
}

#[test]
fn a_replicant_follows_the_only_core_that_it_had() {
    let members = registry(&[add("c", 1, Role::Core), add("r", 2, Role::Replicant)]);
    let own = Standing {
        role: Role::Replicant,
        name: "r".into(),
        ..with_replicants("c", 1)
    };
    let gone = Standing {
        cluster: 7,
        members: 3,
        cores: 2,
        ..alone("c", Role::Core)
    };
    assert!(follows(&own, &members, &gone));
    let still_here = with_replicants("c", 1);
    let another = Standing {
        name: "d".into(),
        ..gone.clone()
    };
    let not_there_yet = Standing {
        cores: 0,
        ..gone.clone()
    };
    for other in [still_here, another, not_there_yet] {
        assert!(!follows(&own, &members, &other), "{other:?}");
    }
    let commands = [
        add("c", 1, Role::Core),
        add("d", 3, Role::Core),
        add("r", 2, Role::Replicant),
    ];
    assert!(!follows(&own, &registry(&commands), &gone));
}

/// Three cores and three replicants. The cluster of each has the number of the core that founded
/// it; 0 is none.
struct Meeting([u64; 6]);

impl Meeting {
    const NAMES: [&str; 6] = ["a", "b", "c", "r", "s", "t"];

    fn role(node: usize) -> Role {
        match node < 3 {
            true => Role::Core,
            false => Role::Replicant,
        }
    }

    /// What a node knows: of a cluster whose core has gone what it was before.
    fn members(&self, node: usize) -> Registry {
        let cluster = self.0[node];
        let is_in = |other: usize| self.0[other] == cluster || other as u64 + 1 == cluster;
        let members = (0..6).filter(|other| cluster > 0 && is_in(*other));
        let add = |at: usize| add(Self::NAMES[at], at as u64 + 1, Self::role(at));
        registry(&members.map(add).collect::<Vec<_>>())
    }

    fn standing(&self, node: usize) -> Standing {
        let members = self.members(node);
        Standing {
            name: Self::NAMES[node].into(),
            role: Self::role(node),
            cluster: self.0[node],
            members: members.len().max(1) as u32,
            cores: members.cores() as u32,
        }
    }

    fn ask(&mut self, node: usize, other: usize) {
        let (own, others) = (self.standing(node), self.standing(other));
        assert_ne!(decide(&own, &others), Decision::Foreign);
        if follows(&own, &self.members(node), &others) || decide(&own, &others) == Decision::Join {
            self.0[node] = self.0[other];
        }
    }
}

#[test]
fn of_nodes_that_start_together_comes_one_cluster() {
    for seed in 1..150_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut any = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % 6) as usize
        };
        let mut meeting = Meeting([1, 2, 3, 0, 0, 0]);
        for _ in 0..600 {
            let (node, other) = (any(), any());
            if node != other {
                meeting.ask(node, other);
            }
        }
        let Meeting(all) = meeting;
        assert!(
            all.iter().all(|cluster| *cluster == all[0]),
            "seed {seed}: {all:?}"
        );
    }
}

#[test]
fn a_core_that_was_taken_in_and_has_not_come_does_not_count() {
    let mut members = registry(&[add("a", 1, Role::Core), add("b", 2, Role::Core)]);
    assert_eq!((members.cores(), members.active_cores()), (2, 0));
    let activate = Command::Activate {
        name: "a".into(),
        id: 1,
    };
    assert_eq!(members.apply(&activate), Ok(()));
    assert_eq!((members.cores(), members.active_cores()), (2, 1));
}

#[test]
fn who_is_taken_in_by_a_core_that_goes_elsewhere_is_left_behind_unless_others_are_there() {
    let standing = |name: &str, cluster| Standing {
        name: name.into(),
        role: Role::Core,
        cluster,
        members: 1,
        cores: 1,
    };
    let own = standing("c", 2);
    let is_left = |here: &[Standing]| is_left_behind(&own, "b", here);
    assert!(is_left(&[standing("a", 1), standing("b", 1)]));
    // It is there, on its way, or not heard.
    assert!(!is_left(&[standing("a", 1), standing("b", 2)]));
    assert!(!is_left(&[standing("a", 1), standing("b", 0)]));
    assert!(!is_left(&[standing("a", 1)]));
    // Another core of that cluster is there.
    assert!(!is_left(&[standing("b", 1), standing("d", 2)]));
}
