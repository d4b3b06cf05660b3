//! Which member of a group gets a message.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Strategy as _;

use super::super::strategy::{Strategy, mix};
use super::*;

const ALL: [Strategy; 7] = [
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::RoundRobinPerGroup,
    Strategy::Sticky,
    Strategy::Local,
    Strategy::HashClientId,
    Strategy::HashTopic,
];

/// A group with members of shard 0, and what picks from it.
struct Picker {
    tree: SubscriptionTree,
    group: GroupId,
    random: Random,
}

impl Picker {
    fn new(strategy: Strategy, members: u32) -> Self {
        Self::with(
            Strategies {
                default: strategy,
                ..Strategies::default()
            },
            members,
        )
    }

    fn with(strategies: Strategies, members: u32) -> Self {
        let mut tree = SubscriptionTree::with_strategies(7, strategies);
        let mut group = GroupId(0);
        for session in 0..members {
            group = tree
                .insert_shared("g", filter("a"), member(0, session))
                .group;
        }
        Self {
            tree,
            group,
            random: Random::new(1),
        }
    }

    fn join(&mut self, shard: u16, session: SessionKey) {
        let joining = member(shard, session);
        self.group = self.tree.insert_shared("g", filter("a"), joining).group;
    }

    fn leave(&mut self, session: SessionKey) {
        let removed = self.tree.remove_shared_by_id(self.group, 0, session);
        assert!(removed.is_some());
    }

    fn set(&mut self, session: SessionKey, ability: Ability) {
        assert!(self.tree.set_ability(self.group, 0, session, ability));
    }

    fn set_online(&mut self, session: SessionKey, online: bool) {
        assert!(self.tree.set_online(self.group, 0, session, online));
    }

    fn pick(&mut self) -> Option<(SessionKey, Resort)> {
        self.pick_for(ANY)
    }

    fn pick_for(&mut self, occasion: Occasion<'_>) -> Option<(SessionKey, Resort)> {
        let picked = self.tree.pick(self.group, occasion, &mut self.random);
        picked.map(|(member, resort)| (member.session, resort))
    }

    fn sessions(&mut self, count: usize) -> Vec<SessionKey> {
        let picks = (0..count).filter_map(|_| self.pick());
        picks.map(|(session, _)| session).collect()
    }

    fn counts(&mut self, count: usize) -> BTreeMap<SessionKey, usize> {
        let mut counts = BTreeMap::new();
        for session in self.sessions(count) {
            *counts.entry(session).or_default() += 1;
        }
        counts
    }
}

fn topic_is(topic: &str) -> Occasion<'_> {
    Occasion { topic, ..ANY }
}

#[test]
fn members_take_turns_and_who_comes_is_last() {
    let mut group = Picker::new(Strategy::RoundRobin, 3);
    assert_eq!(group.sessions(4), [0, 1, 2, 0]);
    group.join(0, 3);
    assert_eq!(group.sessions(4), [1, 2, 0, 3]);
    group.leave(2);
    assert_eq!(group.sessions(4), [1, 0, 3, 1]);
    group.set(0, Ability::Busy);
    assert_eq!(group.sessions(2), [3, 1]);
    group.set(0, Ability::Ready);
    assert_eq!(group.sessions(4), [3, 1, 0, 3]);
}

#[test]
fn who_is_away_is_asked_when_nobody_online_can_take_the_message() {
    for strategy in ALL {
        let mut group = Picker::new(strategy, 4);
        group.set_online(0, false);
        group.set_online(1, false);
        group.set(2, Ability::Busy);
        assert_eq!(group.pick(), Some((3, Resort::Send)), "{strategy:?}");
        group.set(3, Ability::Full);
        assert_eq!(group.pick(), Some((2, Resort::Queue)), "{strategy:?}");
        group.set(2, Ability::Full);
        let away = [group.pick(), group.pick()].map(|picked| picked.unwrap());
        let expected = [(0, Resort::Last), (1, Resort::Last)];
        assert_eq!(away, expected, "{strategy:?}");
        group.set(0, Ability::Full);
        assert_eq!(group.pick(), Some((1, Resort::Last)), "{strategy:?}");
        group.set(1, Ability::Full);
        assert_eq!(group.pick(), None, "{strategy:?}");
        group.set_online(1, true);
        assert_eq!(group.pick(), Some((1, Resort::Send)), "{strategy:?}");
    }
}

#[test]
fn chance_picks_everybody_about_equally_often() {
    let mut group = Picker::new(Strategy::Random, 10);
    let counts = group.counts(10_000);
    assert_eq!(counts.len(), 10);
    assert!(
        counts.values().all(|count| (900..1100).contains(count)),
        "{counts:?}"
    );
    let order = group.sessions(10);
    assert_ne!(group.sessions(10), order);
}

#[test]
fn chance_and_hashes_find_the_few_that_are_ready_among_many() {
    for strategy in ALL {
        let mut group = Picker::new(strategy, 10_000);
        for session in 2..10_000 {
            group.set(session, Ability::Busy);
        }
        for _ in 0..100 {
            let picked = group.pick();
            assert!(
                matches!(picked, Some((0 | 1, Resort::Send))),
                "{strategy:?}: {picked:?}"
            );
        }
    }
}

#[test]
fn all_filters_of_a_group_share_a_turn_if_the_strategy_says_so() {
    for (strategy, expected) in [
        (Strategy::RoundRobinPerGroup, [0, 1, 2, 0]),
        (Strategy::RoundRobin, [0, 0, 1, 1]),
    ] {
        let mut group = Picker::new(strategy, 3);
        let mut second = group.group;
        for session in 0..3 {
            let joining = member(0, session);
            second = group.tree.insert_shared("g", filter("b"), joining).group;
            group.tree.insert_shared("h", filter("b"), joining);
        }
        let first = group.group;
        let picks = [first, second, first, second].map(|id| {
            group.group = id;
            group.pick().unwrap().0
        });
        assert_eq!(picks, expected, "{strategy:?}");
    }
}

#[test]
fn a_sticky_group_stays_with_a_member_until_it_cannot_take_a_message() {
    let mut group = Picker::new(Strategy::Sticky, 5);
    let first = group.pick().unwrap().0;
    assert_eq!(group.counts(20), BTreeMap::from([(first, 20)]));
    group.set(first, Ability::Busy);
    let second = group.pick().unwrap().0;
    assert_ne!(second, first);
    group.set(first, Ability::Ready);
    assert_eq!(group.counts(20), BTreeMap::from([(second, 20)]));
    group.leave(second);
    let third = group.pick().unwrap().0;
    assert_eq!(group.counts(20), BTreeMap::from([(third, 20)]));
    for session in (0..5).filter(|session| *session != second) {
        group.set(session, Ability::Busy);
    }
    assert_eq!(group.pick(), Some((third, Resort::Queue)));
    assert_eq!(group.pick(), Some((third, Resort::Queue)));
}

#[test]
fn how_a_sticky_group_finds_its_member_is_chosen() {
    let first = |initial_sticky_pick| {
        let mut group = Picker::with(
            Strategies {
                default: Strategy::Sticky,
                initial_sticky_pick,
                groups: HashMap::new(),
            },
            4,
        );
        group.join(3, 9);
        let occasion = Occasion { shard: 3, ..ANY };
        group.pick_for(occasion).unwrap().0
    };
    assert_eq!(first(Strategy::Local), 9);
    assert_eq!(first(Strategy::RoundRobin), 0);
    assert_eq!(first(Strategy::HashTopic), first(Strategy::HashTopic));
}

#[test]
fn members_on_the_shard_of_the_publisher_come_first() {
    let mut group = Picker::new(Strategy::Local, 2);
    for (shard, session) in [(1, 10), (1, 11), (4, 40)] {
        group.join(shard, session);
    }
    let mut picks = |shard, count: usize| -> Vec<SessionKey> {
        let picks = (0..count).filter_map(|_| group.pick_for(Occasion { shard, ..ANY }));
        picks.map(|(session, _)| session).collect()
    };
    assert_eq!(picks(1, 4), [10, 11, 10, 11]);
    assert_eq!(picks(0, 3), [0, 1, 0]);
    let mut elsewhere = picks(2, 6);
    elsewhere.sort_unstable();
    assert_eq!(elsewhere, [0, 1, 10, 11, 40, 40], "shards take turns");
    assert!(group.tree.set_online(group.group, 4, 40, false));
    let picked = group.pick_for(Occasion { shard: 4, ..ANY });
    assert!(picked.is_some_and(|(session, _)| session != 40));
}

#[test]
fn a_hash_leads_to_the_same_member_and_few_move_when_one_comes_or_is_busy() {
    for strategy in [Strategy::HashTopic, Strategy::HashClientId] {
        let mut group = Picker::new(strategy, 20);
        let topics: Vec<String> = (0..1000).map(|n| format!("t/{n}")).collect();
        let all = |group: &mut Picker| -> Vec<SessionKey> {
            let pick = |(topic, number): (&String, u64)| {
                let publisher = match strategy {
                    Strategy::HashTopic => 0,
                    _ => mix(number) & 0xffff,
                };
                let occasion = Occasion {
                    publisher,
                    ..topic_is(topic)
                };
                group.pick_for(occasion).unwrap().0
            };
            topics.iter().zip(0..).map(pick).collect()
        };
        let before = all(&mut group);
        assert_eq!(all(&mut group), before, "{strategy:?}");
        let differing = |other: &[SessionKey]| {
            let pairs = before.iter().zip(other);
            pairs.filter(|(one, other)| one != other).count()
        };
        group.set(7, Ability::Busy);
        let moved = all(&mut group);
        assert!(moved.iter().all(|session| *session != 7));
        assert_eq!(all(&mut group), moved, "{strategy:?}");
        assert_eq!(
            differing(&moved),
            before.iter().filter(|s| **s == 7).count()
        );
        group.set(7, Ability::Ready);
        assert_eq!(all(&mut group), before, "{strategy:?}");
        group.join(0, 20);
        let moved = differing(&all(&mut group));
        assert!((10..120).contains(&moved), "{strategy:?}: {moved} moved");
    }
}

#[test]
fn a_hash_keeps_to_its_member_when_all_are_busy() {
    let mut group = Picker::new(Strategy::HashTopic, 6);
    let ready = ["a", "b", "c"].map(|topic| group.pick_for(topic_is(topic)).unwrap().0);
    for session in 0..6 {
        group.set(session, Ability::Busy);
    }
    for _ in 0..3 {
        let busy = ["a", "b", "c"].map(|topic| group.pick_for(topic_is(topic)).unwrap());
        assert_eq!(busy.map(|(session, _)| session), ready);
        assert!(busy.iter().all(|(_, resort)| *resort == Resort::Queue));
    }
}

/// Joining and leaving must not take longer the more members there are: with a search
/// through all of them this test takes minutes.
#[test]
fn a_group_that_is_held_stays_without_members() {
    let mut tree = SubscriptionTree::new(7);
    let (group, first) = tree.hold_group("g", filter("a"));
    assert!(first);
    assert_eq!(tree.hold_group("g", filter("a")), (group, false));
    let held = tree.find(filter("a")).unwrap();
    assert!(!tree.is_used(held));
    let joined = tree.insert_shared("g", filter("a"), member(0, 1));
    assert!(joined.group == group && !joined.first);
    assert_eq!(tree.members_of(group), 1);
    assert!(tree.is_used(held));
    let removed = tree.remove_shared("g", filter("a"), 0, 1).unwrap();
    assert!(!removed.last);
    let topic = Occasion {
        topic: "a",
        publisher: 0,
        shard: 0,
    };
    assert_eq!(tree.pick(group, topic, &mut Random::new(1)), None);
    assert_eq!((tree.members_of(group), tree.filters_len()), (0, 1));
    assert!(tree.release_group(group).unwrap().last);
    assert_eq!(tree.find_group("g", filter("a")), None);
    assert_eq!(tree.release_group(group), None);
    // With members it stays when it is not held any more.
    let (group, _) = tree.hold_group("g", filter("a"));
    tree.insert_shared("g", filter("a"), member(0, 1));
    assert!(!tree.release_group(group).unwrap().last);
    assert_eq!(tree.release_group(group), None);
    assert!(tree.remove_shared("g", filter("a"), 0, 1).unwrap().last);
    assert!(tree.is_empty() && tree.filters_len() == 0);
}

#[test]
fn a_hundred_thousand_members_come_go_and_are_picked() {
    for strategy in ALL {
        let mut group = Picker::new(strategy, 100_000);
        for session in 0..99_990 {
            group.set_online(session, false);
        }
        for _ in 0..1000 {
            let picked = group.pick();
            assert!(picked.is_some_and(|(session, _)| session >= 99_990));
        }
        for session in 0..100_000 {
            group.leave(session);
        }
        assert!(group.tree.is_empty());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(u16, SessionKey, bool),
    Leave(u16, SessionKey),
    Online(u16, SessionKey, bool),
    Ability(u16, SessionKey, Ability),
    Pick(u16, u8),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let who = || (0..3_u16, 0..9_u32);
    let ability = select(vec![Ability::Ready, Ability::Busy, Ability::Full]);
    let step = prop_oneof![
        3 => (who(), any::<bool>()).prop_map(|((shard, key), on)| Step::Join(shard, key, on)),
        2 => who().prop_map(|(shard, key)| Step::Leave(shard, key)),
        2 => (who(), any::<bool>()).prop_map(|((shard, key), on)| Step::Online(shard, key, on)),
        3 => (who(), ability).prop_map(|((shard, key), a)| Step::Ability(shard, key, a)),
        4 => (0..4_u16, 0..5_u8).prop_map(|(shard, topic)| Step::Pick(shard, topic)),
    ];
    prop::collection::vec(step, 1..200)
}

/// The best that a member can do, the lower the better; `None` for nothing.
fn rank(member: &Member) -> Option<u8> {
    match (member.online, member.ability) {
        (_, Ability::Full) => None,
        (true, Ability::Ready) => Some(0),
        (true, Ability::Busy) => Some(1),
        (false, _) => Some(2),
    }
}

proptest! {
    #[test]
    fn a_picked_member_is_one_of_those_that_can_do_best(
        strategy in select(ALL.to_vec()),
        colliding in any::<bool>(),
        steps in steps(),
    ) {
        let hash = if colliding { Hash::COLLIDING } else { Hash::new(7) };
        let strategies = Strategies { default: strategy, ..Strategies::default() };
        let mut tree = SubscriptionTree::with_hash(hash, strategies);
        let mut random = Random::new(1);
        // A member that stays, so that the group does.
        let stays = Member { ability: Ability::Full, ..member(9, 9) };
        let group = tree.insert_shared("g", filter("a"), stays).group;
        let mut model = BTreeMap::from([((9, 9), stays)]);
        for step in steps {
            match step {
                Step::Join(shard, key, online) => {
                    let joining = Member { online, ..member(shard, key) };
                    let inserted = tree.insert_shared("g", filter("a"), joining);
                    let replaced = model.insert((shard, key), joining);
                    prop_assert_eq!(inserted.replaced, replaced);
                }
                Step::Leave(shard, key) => {
                    let removed = tree.remove_shared_by_id(group, shard, key);
                    prop_assert_eq!(removed.is_some(), model.remove(&(shard, key)).is_some());
                }
                Step::Online(shard, key, online) => {
                    let known = tree.set_online(group, shard, key, online);
                    let changed = model.get_mut(&(shard, key)).map(|member| {
                        (member.online, member.ability) = (online, Ability::Ready);
                    });
                    prop_assert_eq!(known, changed.is_some());
                }
                Step::Ability(shard, key, ability) => {
                    let known = tree.set_ability(group, shard, key, ability);
                    let changed = model.get_mut(&(shard, key)).map(|m| m.ability = ability);
                    prop_assert_eq!(known, changed.is_some());
                }
                Step::Pick(shard, topic) => {
                    let topic = topic.to_string();
                    let publisher = u64::from(shard);
                    let occasion = Occasion { topic: &topic, publisher, shard };
                    let picked = tree.pick(group, occasion, &mut random);
                    let best = model.values().filter_map(rank).min();
                    prop_assert_eq!(picked.and_then(|(member, _)| rank(&member)), best);
                    let expected = best.map(|best| {
                        [Resort::Send, Resort::Queue, Resort::Last][usize::from(best)]
                    });
                    prop_assert_eq!(picked.map(|(_, resort)| resort), expected);
                    if strategy == Strategy::Local && best == Some(0) {
                        let here = |member: &&Member| member.shard == shard;
                        let ready = model.values().filter(|member| rank(member) == Some(0));
                        let local = ready.clone().any(|member| here(&member));
                        prop_assert!(!local || picked.is_some_and(|(m, _)| here(&&m)));
                    }
                }
            }
            let mut members: Vec<Member> = tree.members(group).copied().collect();
            members.sort_unstable_by_key(|member| (member.shard, member.session));
            prop_assert!(members.iter().eq(model.values()));
            let online = model.values().filter(|member| member.online).count();
            prop_assert_eq!(tree.online(group), online);
        }
    }

    /// Nobody waits longer than a round, whoever else comes, goes or is busy for a while.
    #[test]
    fn in_a_round_everybody_who_is_ready_throughout_is_picked_once(
        steps in prop::collection::vec((0..40_u32, any::<bool>()), 0..40),
    ) {
        let mut group = Picker::new(Strategy::RoundRobin, 10);
        let mut picked = Vec::new();
        for (session, busy) in steps {
            if session >= 10 {
                group.join(0, session);
            }
            // The first five are always ready.
            if session >= 5 && busy {
                group.set(session, Ability::Busy);
            } else if (5..10).contains(&session) {
                group.set(session, Ability::Ready);
            }
            picked.extend(group.pick().map(|(session, _)| session));
        }
        let steady: Vec<u32> = picked.into_iter().filter(|session| *session < 5).collect();
        let in_turn: Vec<u32> = (0..5).cycle().take(steady.len()).collect();
        prop_assert_eq!(steady, in_turn);
    }
}
