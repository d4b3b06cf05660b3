//! The table against lists that are searched from end to end.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Strategy;

use super::*;

const GROUPS: [&str; 2] = ["g", "a group with a long name"];

/// Session and shard numbers are small so that everything happens to the same few.
#[derive(Clone, Debug)]
enum Step {
    Insert(String, SessionKey, u32),
    Remove(String, SessionKey),
    InsertShared(&'static str, String, u16, SessionKey, bool),
    RemoveShared(&'static str, String, u16, SessionKey),
    SetOnline(&'static str, String, u16, SessionKey, bool),
}

#[derive(Default)]
struct Model {
    subscribers: Vec<(String, Subscriber)>,
    members: Vec<(&'static str, String, Member)>,
}

impl Model {
    fn has(&self, text: &str) -> bool {
        self.subscribers.iter().any(|(filter, _)| filter == text)
            || self.members.iter().any(|(_, filter, _)| filter == text)
    }

    fn take(&mut self, text: &str, session: SessionKey) -> Option<Subscriber> {
        let is_it = |(filter, subscriber): &(String, Subscriber)| {
            filter == text && subscriber.session == session
        };
        let place = self.subscribers.iter().position(is_it)?;
        Some(self.subscribers.swap_remove(place).1)
    }

    fn take_member(
        &mut self,
        name: &str,
        text: &str,
        shard: u16,
        session: SessionKey,
    ) -> Option<Member> {
        let place = self.members.iter().position(|(group, filter, member)| {
            (*group, filter.as_str()) == (name, text)
                && (member.shard, member.session) == (shard, session)
        })?;
        Some(self.members.swap_remove(place).2)
    }

    /// What matches of all topics depend on.
    fn visible(&self) -> BTreeSet<String> {
        let subscribers = self.subscribers.iter().map(|entry| format!("{entry:?}"));
        let groups = self
            .members
            .iter()
            .map(|(group, filter, _)| format!("{group} {filter}"));
        subscribers.chain(groups).collect()
    }

    fn sessions(&self, name: &str) -> Vec<SessionKey> {
        let matching = self
            .subscribers
            .iter()
            .filter(|(text, _)| filter(text).matches(topic(name)));
        let mut sessions: Vec<_> = matching.map(|(_, subscriber)| subscriber.session).collect();
        sessions.sort_unstable();
        sessions
    }

    fn groups(&self, name: &str) -> BTreeSet<(&str, &str)> {
        let matching = self
            .members
            .iter()
            .filter(|(_, text, _)| filter(text).matches(topic(name)));
        matching
            .map(|(group, text, _)| (*group, text.as_str()))
            .collect()
    }
}

fn hash() -> impl Strategy<Value = Hash> {
    select(vec![Hash::new(7), Hash::COLLIDING])
}

fn level() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "b",
        "",
        "$a",
        "exactly-16-bytes",
        "seventeen-bytes-!",
    ])
}

fn topic_text() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("topics are not empty", |text| !text.is_empty())
}

fn filter_text() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![2 => level(), 1 => Just("+")], 0..5);
    (levels, any::<bool>())
        .prop_map(|(mut levels, below)| {
            levels.extend(below.then_some("#"));
            levels.join("/")
        })
        .prop_filter("filters are not empty", |text| !text.is_empty())
}

fn step(filters: Vec<String>) -> impl Strategy<Value = Step> {
    let who = || (select(filters.clone()), 0..2_u16, 0..3_u32);
    let group = || select(GROUPS.to_vec());
    prop_oneof![
        3 => (who(), 0..2_u32).prop_map(|((text, _, session), id)| Step::Insert(text, session, id)),
        3 => who().prop_map(|(text, _, session)| Step::Remove(text, session)),
        2 => (group(), who(), any::<bool>()).prop_map(|(group, (text, shard, session), online)| {
            Step::InsertShared(group, text, shard, session, online)
        }),
        2 => (group(), who()).prop_map(|(group, (text, shard, session))| {
            Step::RemoveShared(group, text, shard, session)
        }),
        1 => (group(), who(), any::<bool>()).prop_map(|(group, (text, shard, session), online)| {
            Step::SetOnline(group, text, shard, session, online)
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(filter_text(), 1..12)
        .prop_flat_map(|filters| prop::collection::vec(step(filters), 1..80))
}

/// Does the same to both and compares what they say.
fn take(step: Step, tree: &mut SubscriptionTree, model: &mut Model) {
    match step {
        Step::Insert(text, session, identifier) => {
            let subscriber = Subscriber {
                identifier,
                ..subscriber(session)
            };
            let first = !model.has(&text);
            let replaced = model.take(&text, session);
            let inserted = tree.insert(filter(&text), subscriber);
            assert_eq!((inserted.first, inserted.replaced), (first, replaced));
            assert_eq!(tree.text(inserted.filter), text);
            model.subscribers.push((text, subscriber));
        }
        Step::Remove(text, session) => {
            let expected = model.take(&text, session).map(|_| !model.has(&text));
            let removed = tree.remove(filter(&text), session);
            assert_eq!(removed.map(|removed| removed.last), expected);
        }
        Step::InsertShared(group, text, shard, session, online) => {
            let member = Member {
                online,
                ..member(shard, session)
            };
            let first = !model.has(&text);
            let replaced = model.take_member(group, &text, shard, session);
            let inserted = tree.insert_shared(group, filter(&text), member);
            assert_eq!((inserted.first, inserted.replaced), (first, replaced));
            model.members.push((group, text, member));
        }
        Step::RemoveShared(group, text, shard, session) => {
            let taken = model.take_member(group, &text, shard, session);
            let removed = tree.remove_shared(group, filter(&text), shard, session);
            let expected = taken.map(|_| !model.has(&text));
            assert_eq!(removed.map(|removed| removed.last), expected);
        }
        Step::SetOnline(group, text, shard, session, online) => {
            let taken = model.take_member(group, &text, shard, session);
            let id = tree.find(filter(&text)).and_then(|id| {
                tree.groups(id)
                    .iter()
                    .copied()
                    .find(|id| tree.group_name(*id) == group)
            });
            let known = id.is_some_and(|id| tree.set_online(id, shard, session, online));
            assert_eq!(known, taken.is_some());
            model
                .members
                .extend(taken.map(|member| (group, text, Member { online, ..member })));
        }
    }
}

fn compare(name: &str, tree: &SubscriptionTree, model: &Model) {
    let told = told(tree, name);
    assert_eq!(told.sessions, model.sessions(name));
    let groups: Vec<(&str, String)> = told
        .groups
        .iter()
        .map(|id| {
            (
                tree.group_name(*id),
                tree.text(tree.group_filter(*id).unwrap()),
            )
        })
        .collect();
    let known: BTreeSet<_> = groups
        .iter()
        .map(|(group, text)| (*group, text.as_str()))
        .collect();
    assert_eq!((known.len(), &known), (groups.len(), &model.groups(name)));
    for id in told.groups {
        let text = tree.text(tree.group_filter(id).unwrap());
        let expected = model
            .members
            .iter()
            .filter(|(group, filter, _)| (*group, filter) == (tree.group_name(id), &text));
        let mut expected: Vec<String> = expected
            .map(|(_, _, member)| format!("{member:?}"))
            .collect();
        let mut listed: Vec<String> = tree
            .members(id)
            .map(|member| format!("{member:?}"))
            .collect();
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
}

proptest! {
    #[test]
    fn the_table_tells_what_lists_tell(
        hash in hash(),
        steps in steps(),
        topics in prop::collection::vec(topic_text(), 4),
    ) {
        let mut tree = SubscriptionTree::with_hash(hash, Strategies::default());
        let mut model = Model::default();
        for step in steps {
            let (visible, generation) = (model.visible(), tree.generation());
            take(step, &mut tree, &mut model);
            prop_assert_eq!(visible == model.visible(), generation == tree.generation());
            prop_assert_eq!(tree.len(), model.subscribers.len() + model.members.len());
            for name in &topics {
                compare(name, &tree, &model);
            }
        }
    }

    #[test]
    fn nothing_is_left_when_everything_is_removed(hash in hash(), steps in steps()) {
        let mut tree = SubscriptionTree::with_hash(hash, Strategies::default());
        let start = (tree.filters.counts(), tree.bytes());
        let mut model = Model::default();
        for step in steps {
            take(step, &mut tree, &mut model);
        }
        let subscribers: Vec<_> =
            model.subscribers.iter().map(|(text, one)| (text.clone(), one.session)).collect();
        for (text, session) in subscribers {
            take(Step::Remove(text, session), &mut tree, &mut model);
        }
        let members: Vec<_> = model.members.clone();
        for (group, text, member) in members {
            let step = Step::RemoveShared(group, text, member.shard, member.session);
            take(step, &mut tree, &mut model);
        }
        prop_assert!(tree.is_empty());
        prop_assert_eq!(tree.filters_len(), 0);
        prop_assert_eq!((tree.filters.counts(), tree.bytes()), start);
    }

    #[test]
    fn a_set_of_subscribers_is_a_map_by_session(
        steps in prop::collection::vec((any::<bool>(), 0..40_u32, 0..2_u32), 0..300),
    ) {
        let mut receivers = Receivers::None;
        let mut model = std::collections::BTreeMap::new();
        for (insert, session, identifier) in steps {
            if insert {
                let subscriber = Subscriber { identifier, ..subscriber(session) };
                prop_assert_eq!(receivers.insert(subscriber), model.insert(session, subscriber));
            } else {
                prop_assert_eq!(receivers.remove(session), model.remove(&session));
            }
            let mut listed = receivers.subscribers().to_vec();
            listed.sort_unstable_by_key(|subscriber| subscriber.session);
            prop_assert!(listed.iter().eq(model.values()));
            prop_assert_eq!(receivers.is_empty(), model.is_empty());
        }
    }
}
