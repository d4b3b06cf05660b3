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
