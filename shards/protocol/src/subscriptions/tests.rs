use super::*;
use crate::session::Membership;
use crate::wire::{QoS, RetainHandling};

mod groups;
mod model;

/// What a match tells, in order.
#[derive(Debug, Default, Eq, PartialEq)]
struct Told {
    sessions: Vec<SessionKey>,
    groups: Vec<GroupId>,
}

impl Visitor for Told {
    fn subscribers(&mut self, subscribers: &[Subscriber]) {
        assert!(!subscribers.is_empty());
        self.sessions
            .extend(subscribers.iter().map(|subscriber| subscriber.session));
        self.sessions.sort_unstable();
    }

    fn group(&mut self, group: GroupId) {
        self.groups.push(group);
        self.groups.sort_unstable();
    }
}

fn filter(text: &str) -> Filter<'_> {
    Filter::parse(text, 128).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text, 128).unwrap()
}

fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    }
}

fn subscriber(session: SessionKey) -> Subscriber {
    Subscriber {
        session,
        options: options(QoS::AtMostOnce),
        identifier: 0,
    }
}

fn member(shard: u16, session: SessionKey) -> Member {
    Member {
        shard,
        online: true,
        ability: Ability::Ready,
        serial: 0,
        session,
        options: options(QoS::AtMostOnce),
        identifier: 0,
        membership: Membership(core::num::NonZeroU32::MIN),
    }
}

/// An occasion on which nothing matters.
const ANY: Occasion<'_> = Occasion {
    topic: "t",
    publisher: 0,
    shard: u16::MAX,
};

fn pick(tree: &mut SubscriptionTree, group: GroupId) -> Option<(Member, Resort)> {
    tree.pick(group, ANY, &mut Random::new(1))
}

fn told(tree: &SubscriptionTree, text: &str) -> Told {
    let mut told = Told::default();
    tree.matches(topic(text), &mut told);
    told
}

/// A tree in which session n subscribes to the nth filter.
fn tree_of(filters: &[&str]) -> SubscriptionTree {
    let mut tree = SubscriptionTree::new(7);
    for (session, text) in filters.iter().enumerate() {
        tree.insert(filter(text), subscriber(session as SessionKey));
    }
    tree
}

#[test]
fn a_topic_reaches_every_kind_of_filter_that_matches_it() {
    let tree = tree_of(&[
        "a/b", "a/+", "a/#", "+/b", "#", "a/b/#", "+/+", "a", "a/+/c", "+", "b/#",
    ]);
    assert_eq!(told(&tree, "a/b").sessions, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(told(&tree, "a").sessions, [2, 4, 7, 9]);
    assert_eq!(told(&tree, "a/x/c").sessions, [2, 4, 8]);
}

#[test]
fn filters_that_begin_with_a_wildcard_do_not_see_dollar_topics() {
    let tree = tree_of(&["#", "+", "+/#", "+/a", "$SYS/#", "$SYS/+", "$SYS/a", "$SYS"]);
    assert_eq!(told(&tree, "$SYS/a").sessions, [4, 5, 6]);
    assert_eq!(told(&tree, "$SYS").sessions, [4, 7]);
    assert_eq!(told(&tree, "x/$SYS").sessions, [0, 2]);
}

#[test]
fn empty_levels_are_matched_like_others() {
    let tree = tree_of(&["/", "+/+", "/+", "+/", "//", "/#", "+"]);
    assert_eq!(told(&tree, "/").sessions, [0, 1, 2, 3, 5]);
    assert_eq!(told(&tree, "//").sessions, [4, 5]);
}

#[test]
fn long_words_are_told_apart() {
    let long = [
        "temperature-of-the-hall/+",
        "temperature-of-the-yard/+",
        "+/temperature-of-the-hall",
    ];
    let tree = tree_of(&long);
    assert_eq!(told(&tree, "temperature-of-the-hall/x").sessions, [0]);
    assert_eq!(told(&tree, "x/temperature-of-the-hall").sessions, [2]);
    assert_eq!(told(&tree, "temperature-of-the-roof/x"), Told::default());
}

#[test]
fn the_deepest_filters_are_matched() {
    let deep = "a/".repeat(126) + "a";
    let plus = "+/".repeat(126) + "+";
    let tree = tree_of(&[&deep, &plus, &(plus.clone() + "/#")]);
    assert_eq!(told(&tree, &deep).sessions, [0, 1, 2]);
    assert_eq!(told(&tree, &deep[2..]), Told::default());
}

#[test]
fn the_first_subscriber_and_the_last_are_reported() {
    let mut tree = SubscriptionTree::new(7);
    let first = tree.insert(filter("a/+"), subscriber(1));
    assert_eq!((first.first, first.replaced), (true, None));
    let second = tree.insert(filter("a/+"), subscriber(2));
    assert_eq!((second.first, second.filter), (false, first.filter));
    let id = first.filter;
    assert_eq!(tree.remove(filter("a/+"), 3), None);
    assert_eq!(
        tree.remove(filter("a/+"), 1),
        Some(Removed {
            filter: id,
            last: false
        })
    );
    assert_eq!(
        tree.remove_by_id(id, 2),
        Some(Removed {
            filter: id,
            last: true
        })
    );
    assert_eq!(tree.remove_by_id(id, 2), None);
    assert_eq!(tree.find(filter("a/+")), None);
}

#[test]
fn a_session_that_subscribes_again_replaces_its_subscription() {
    let mut tree = tree_of(&["a/#"]);
    let again = Subscriber {
        identifier: 9,
        ..subscriber(0)
    };
    let inserted = tree.insert(filter("a/#"), again);
    assert_eq!(
        (inserted.first, inserted.replaced),
        (false, Some(subscriber(0)))
    );
    assert_eq!(tree.subscribers(inserted.filter), [again]);
    assert_eq!(tree.len(), 1);
}

#[test]
fn first_and_last_count_groups_and_subscribers_together() {
    let mut tree = SubscriptionTree::new(7);
    let shared = tree.insert_shared("g", filter("a"), member(0, 1));
    assert!(shared.first);
    assert!(!tree.insert(filter("a"), subscriber(1)).first);
    assert!(!tree.insert_shared("h", filter("a"), member(0, 1)).first);
    let removed = |last| {
        Some(Removed {
            filter: shared.filter,
            last,
        })
    };
    assert_eq!(tree.remove(filter("a"), 1), removed(false));
    assert_eq!(tree.remove_shared("g", filter("a"), 0, 1), removed(false));
    assert_eq!(tree.remove_shared("g", filter("a"), 0, 1), None);
    assert_eq!(tree.remove_shared("h", filter("a"), 0, 1), removed(true));
}

#[test]
fn a_filter_is_found_by_text_and_gives_it_back() {
    let texts = [
        "a/b",
        "+",
        "#",
        "+/#",
        "a/+/#",
        "/",
        "//+",
        "a/b/#",
        "a-word-of-some-length/+/ü",
    ];
    let tree = tree_of(&texts);
    for text in texts {
        assert_eq!(tree.text(tree.find(filter(text)).unwrap()), text);
    }
    let mut listed: Vec<String> = tree.filters().map(|id| tree.text(id)).collect();
    listed.sort_unstable();
    let mut expected = texts.map(str::to_owned);
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(tree.filters_len(), texts.len());
    for absent in ["b", "a", "a/#", "+/+", "a/+", "a-word-of-some-length/+"] {
        assert_eq!(tree.find(filter(absent)), None);
    }
}

#[test]
fn all_filters_come_part_by_part_each_once() {
    let texts: Vec<String> = (0..40)
        .map(|number| match number % 3 {
            0 => format!("a/{number}/#"),
            _ => format!("a/{number}"),
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut tree = tree_of(&texts);
    tree.remove(filter("a/1"), 1);
    tree.remove(filter("a/3/#"), 3);
    let mut expected: Vec<&str> = texts.clone();
    expected.retain(|text| !["a/1", "a/3/#"].contains(text));
    expected.sort_unstable();
    for most in [1, 7, 1000] {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (part, next) = tree.filters_part(at, most);
            assert!(part.len() <= most as usize);
            found.extend(part.iter().map(|id| tree.text(*id)));
            from = next;
        }
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    assert_eq!(tree.filters_part(u32::MAX, u32::MAX), (Vec::new(), None));
}

#[test]
fn a_session_s_subscription_is_found_among_few_and_many() {
    let mut tree = tree_of(&["one"]);
    let id = tree.find(filter("one")).unwrap();
    assert_eq!(tree.subscriber(id, 0).unwrap().session, 0);
    assert_eq!(tree.subscriber(id, 1), None);
    for session in 1..100 {
        let identifier = session;
        let one = subscriber(session);
        tree.insert(filter("one"), Subscriber { identifier, ..one });
    }
    assert_eq!(tree.subscriber(id, 57).unwrap().identifier, 57);
    assert_eq!(tree.subscriber(id, 100), None);
}

#[test]
fn numbers_of_nothing_are_harmless() {
    let mut tree = tree_of(&["a", "+"]);
    let ids = [
        tree.find(filter("a")).unwrap(),
        tree.find(filter("+")).unwrap(),
    ];
    tree.remove(filter("a"), 0);
    tree.remove(filter("+"), 1);
    let unknown = [FilterId(99), FilterId(99 | 1 << 31), FilterId(u32::MAX)];
    for id in ids.into_iter().chain(unknown) {
        assert_eq!(tree.remove_by_id(id, 0), None);
        assert_eq!(
            (tree.text(id).as_str(), tree.subscribers(id).len()),
            ("", 0)
        );
        assert!(tree.groups(id).is_empty());
    }
    let group = GroupId(3);
    assert_eq!(pick(&mut tree, group), None);
    assert_eq!(tree.remove_shared_by_id(group, 0, 0), None);
    assert!(!tree.set_online(group, 0, 0, true));
    assert_eq!(
        (tree.group_name(group), tree.group_filter(group)),
        ("", None)
    );
}

#[test]
fn the_generation_changes_exactly_with_what_a_match_tells() {
    let mut tree = SubscriptionTree::new(7);
    let mut last = tree.generation();
    let mut changed = |tree: &SubscriptionTree| {
        let before = core::mem::replace(&mut last, tree.generation());
        before != tree.generation()
    };
    tree.insert(filter("a/+"), subscriber(1));
    assert!(changed(&tree));
    tree.insert(filter("a/+"), subscriber(1));
    assert!(!changed(&tree), "the same again");
    tree.insert(
        filter("a/+"),
        Subscriber {
            identifier: 1,
            ..subscriber(1)
        },
    );
    assert!(changed(&tree), "another identifier");
    let group = tree.insert_shared("g", filter("a"), member(0, 1)).group;
    assert!(changed(&tree), "a group");
    tree.insert_shared("g", filter("a"), member(0, 2));
    tree.set_online(group, 0, 1, false);
    pick(&mut tree, group);
    tree.remove_shared_by_id(group, 0, 1);
    assert!(!changed(&tree), "the members of a group");
    tree.remove_shared_by_id(group, 0, 2);
    assert!(changed(&tree), "the last member");
    tree.remove(filter("a/+"), 2);
    assert!(!changed(&tree), "not subscribed");
    tree.remove(filter("a/+"), 1);
    assert!(changed(&tree), "the last subscriber");
}

#[test]
fn a_member_that_subscribes_again_is_in_the_group_once() {
    let mut tree = SubscriptionTree::new(7);
    let offline = Member {
        online: false,
        ..member(0, 1)
    };
    let group = tree.insert_shared("g", filter("a"), offline).group;
    let again = Member {
        identifier: 5,
        ..member(0, 1)
    };
    let inserted = tree.insert_shared("g", filter("a"), again);
    assert_eq!((inserted.group, inserted.replaced), (group, Some(offline)));
    assert!(tree.members(group).eq([&again]));
    assert_eq!(pick(&mut tree, group), Some((again, Resort::Send)));
    assert_eq!(tree.len(), 1);
    assert!(
        tree.remove_shared_by_id(group, 0, 1)
            .is_some_and(|removed| removed.last)
    );
}

#[test]
fn groups_are_known_by_name_and_filter() {
    let mut tree = SubscriptionTree::new(7);
    let groups = [("g", "a/+"), ("h", "a/+"), ("g", "a/b")].map(|(name, text)| {
        let inserted = tree.insert_shared(name, filter(text), member(0, 1));
        assert_eq!(tree.group_name(inserted.group), name);
        assert_eq!(tree.group_filter(inserted.group), Some(inserted.filter));
        inserted.group
    });
    assert_eq!(
        told(&tree, "a/b"),
        Told {
            sessions: vec![],
            groups: groups.to_vec()
        }
    );
    assert_eq!(told(&tree, "a/c").groups, groups[..2]);
    assert_eq!(tree.groups(tree.find(filter("a/+")).unwrap()), &groups[..2]);
}

#[test]
fn a_subscriber_takes_12_bytes_the_receivers_of_a_filter_16_a_member_36() {
    assert_eq!(size_of::<Subscriber>(), 12);
    assert_eq!(size_of::<Receivers>(), 16);
    assert_eq!(size_of::<group::Place>(), 36);
}

#[test]
fn a_filter_with_one_subscriber_costs_at_most_150_bytes() {
    let texts: [fn(u32) -> String; 4] = [
        |n| format!("bench/{}/dev/{n}/temp", n % 100),
        |n| format!("bench/+/dev/{n}/temp"),
        |n| format!("bench/{}/dev/{n}/+", n % 100),
        |n| format!("bench/{}/dev/{n}/#", n % 100),
    ];
    for text in texts {
        let mut tree = SubscriptionTree::new(7);
        for n in 0..20_000 {
            tree.insert(filter(&text(n)), subscriber(n));
        }
        assert!(
            tree.bytes() / 20_000 <= 150,
            "{}: {}",
            text(0),
            tree.bytes() / 20_000
        );
    }
}

#[test]
fn many_subscribers_of_one_filter_come_and_go_in_any_order() {
    const MANY: u32 = 100_000;
    let mut tree = SubscriptionTree::new(7);
    let start = tree.bytes();
    for session in 0..MANY {
        tree.insert(filter("a/+"), subscriber(session));
    }
    assert_eq!(told_len(&tree), MANY as usize);
    let id = tree.find(filter("a/+")).unwrap();
    for step in 0..MANY {
        let session = step * 7919 % MANY;
        let removed = tree.remove_by_id(id, session).unwrap();
        assert_eq!(removed.last, step == MANY - 1);
    }
    assert_eq!((tree.len(), tree.bytes()), (0, start));
}

fn told_len(tree: &SubscriptionTree) -> usize {
    struct Count(usize);
    impl Visitor for Count {
        fn subscribers(&mut self, subscribers: &[Subscriber]) {
            self.0 += subscribers.len();
        }
        fn group(&mut self, _: GroupId) {}
    }
    let mut count = Count(0);
    tree.matches(topic("a/b"), &mut count);
    count.0
}
