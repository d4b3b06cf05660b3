use super::*;

const LEVELS: u16 = 8;

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text, LEVELS).unwrap()
}

fn filter(text: &str) -> Filter<'_> {
    Filter::parse(text, LEVELS).unwrap()
}

#[track_caller]
fn assert_matches(text: &str, topics: &[&str]) {
    for name in topics {
        assert!(filter(text).matches(topic(name)), "{text} matches {name}");
    }
}

#[track_caller]
fn assert_does_not_match(text: &str, topics: &[&str]) {
    for name in topics {
        assert!(
            !filter(text).matches(topic(name)),
            "{text} does not match {name}"
        );
    }
}

/// MQTT 5, 4.7.1.2.
#[test]
fn a_filter_that_ends_in_hash_matches_its_parent_and_all_below() {
    let player = "sport/tennis/player1";
    let below = [
        "sport/tennis/player1/ranking",
        "sport/tennis/player1/score/wimbledon",
    ];
    assert_matches("sport/tennis/player1/#", &[player, below[0], below[1]]);
    assert_does_not_match(
        "sport/tennis/player1/#",
        &["sport/tennis", "sport/tennis/player2"],
    );
    assert_matches("sport/#", &["sport", "sport/", "sport/tennis"]);
    assert_matches("#", &["a", "/", "a/b/c", "sport/tennis"]);
}

/// MQTT 5, 4.7.1.3.
#[test]
fn plus_matches_exactly_one_level() {
    assert_matches(
        "sport/tennis/+",
        &["sport/tennis/player1", "sport/tennis/player2"],
    );
    assert_does_not_match(
        "sport/tennis/+",
        &["sport/tennis/player1/ranking", "sport/tennis"],
    );
    assert_does_not_match("sport/+", &["sport"]);
    assert_matches("sport/+", &["sport/"]);
    assert_matches("+/+", &["/finance"]);
    assert_matches("/+", &["/finance"]);
    assert_does_not_match("+", &["/finance"]);
    assert_matches("+/tennis/#", &["sport/tennis", "/tennis/x"]);
    assert_matches("sport/+/player1", &["sport//player1"]);
}

/// MQTT 5, 4.7.2.
#[test]
fn filters_that_begin_with_a_wildcard_do_not_match_dollar_topics() {
    assert_does_not_match("#", &["$SYS", "$SYS/monitor/Clients"]);
    assert_does_not_match("+/monitor/Clients", &["$SYS/monitor/Clients"]);
    assert_matches("$SYS/#", &["$SYS", "$SYS/monitor/Clients"]);
    assert_matches("$SYS/monitor/+", &["$SYS/monitor/Clients"]);
    assert_matches("a/+", &["a/$SYS"]);
    assert_matches("+/#", &["a/$SYS"]);
    assert!(topic("$").is_dollar());
    assert!(!topic("a/$").is_dollar());
}

/// MQTT 5, 4.7.3.
#[test]
fn topics_are_compared_character_for_character() {
    assert_does_not_match(
        "ACCOUNTS",
        &["Accounts", "ACCOUNTS/", "/ACCOUNTS", "ACCOUNTS "],
    );
    assert_matches("Accounts payable", &["Accounts payable"]);
    assert_matches("/", &["/"]);
    assert_does_not_match("/", &["//", "a/", "/a"]);
    assert_does_not_match("\u{feff}a", &["a"]);
}

#[test]
fn wildcards_stand_alone_in_their_level_and_hash_in_the_last() {
    for valid in [
        "#",
        "+",
        "/",
        "sport/tennis/#",
        "+/tennis/#",
        "sport/+/player1",
        "+/+/+",
        "//#",
    ] {
        assert!(Filter::parse(valid, LEVELS).is_ok(), "{valid}");
    }
    for refused in [
        "sport/tennis#",
        "sport/tennis/#/ranking",
        "#/",
        "##",
        "a/#b",
        "+#",
    ] {
        assert_eq!(
            Filter::parse(refused, LEVELS),
            Err(FilterError::MultiLevelWildcard)
        );
    }
    for refused in ["sport+", "+sport/a", "a/b+/c", "++"] {
        assert_eq!(
            Filter::parse(refused, LEVELS),
            Err(FilterError::SingleLevelWildcard)
        );
    }
}

#[test]
fn a_topic_name_has_no_wildcard() {
    for refused in ["#", "a/+", "a+b", "a/b/c/d/e/f#"] {
        assert_eq!(TopicName::parse(refused, LEVELS), Err(TopicError::Wildcard));
    }
}

#[test]
fn empty_texts_and_the_null_character_are_refused() {
    assert_eq!(TopicName::parse("", LEVELS), Err(TopicError::Empty));
    assert_eq!(TopicName::parse("a\0b", LEVELS), Err(TopicError::Null));
    assert_eq!(
        TopicName::parse("long enough for a chunk\0", LEVELS),
        Err(TopicError::Null)
    );
    assert_eq!(Filter::parse("", LEVELS), Err(FilterError::Empty));
    assert_eq!(Filter::parse("\0", LEVELS), Err(FilterError::Null));
}

#[test]
fn more_levels_or_bytes_than_allowed_are_refused() {
    let deep = "/".repeat(usize::from(LEVELS));
    let deepest = &deep[1..];
    assert_eq!(
        TopicName::parse(&deep, LEVELS),
        Err(TopicError::TooManyLevels)
    );
    assert_eq!(topic(deepest).levels().count(), usize::from(LEVELS));
    assert_eq!(
        Filter::parse(&deep, LEVELS),
        Err(FilterError::TooManyLevels)
    );
    assert_eq!(filter(deepest).levels().count(), usize::from(LEVELS));

    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(TopicName::parse(&long, LEVELS), Err(TopicError::TooLong));
    assert_eq!(Filter::parse(&long, LEVELS), Err(FilterError::TooLong));
    assert_eq!(
        Subscription::parse(&long, LEVELS),
        Err(FilterError::TooLong)
    );
    assert_eq!(topic(&long[1..]).as_str().len(), TEXT_BYTES_MAX);
}

#[test]
fn empty_levels_are_levels() {
    let levels = |text| topic(text).levels().collect::<Vec<_>>();
    assert_eq!(levels("a"), ["a"]);
    assert_eq!(levels("/"), ["", ""]);
    assert_eq!(levels("//a/"), ["", "", "a", ""]);
    assert_eq!(
        levels("a level of some length/ü/b"),
        ["a level of some length", "ü", "b"]
    );
}

#[test]
fn a_filter_knows_whether_it_has_a_wildcard() {
    assert!(!filter("a/b").has_wildcard());
    assert!(filter("a/+").has_wildcard());
    assert!(filter("a long filter without any/#").has_wildcard());
}

/// MQTT 5, 4.8.2.
#[test]
fn the_group_of_a_shared_subscription_is_split_off() {
    let parsed = Subscription::parse("$share/consumer1/sport/tennis/+", LEVELS).unwrap();
    assert_eq!(
        (parsed.group, parsed.filter.as_str()),
        (Some("consumer1"), "sport/tennis/+")
    );
    let parsed = Subscription::parse("$share/consumer1//finance", LEVELS).unwrap();
    assert_eq!(
        (parsed.group, parsed.filter.as_str()),
        (Some("consumer1"), "/finance")
    );
    for plain in ["$share", "$shared/a/b", "a/$share/b"] {
        let parsed = Subscription::parse(plain, LEVELS).unwrap();
        assert_eq!((parsed.group, parsed.filter.as_str()), (None, plain));
    }
}

/// MQTT 5, 4.8.2.
#[test]
fn a_shared_subscription_needs_a_name_and_a_filter() {
    for refused in [
        "$share/",
        "$share/a",
        "$share//a",
        "$share/a+/b",
        "$share/#/b",
    ] {
        assert_eq!(
            Subscription::parse(refused, LEVELS),
            Err(FilterError::ShareName),
            "{refused}"
        );
    }
    assert_eq!(
        Subscription::parse("$share/a/", LEVELS),
        Err(FilterError::Empty)
    );
    assert_eq!(
        Subscription::parse("$share/a/b#", LEVELS),
        Err(FilterError::MultiLevelWildcard)
    );
}

#[test]
fn a_queue_is_a_shared_subscription_of_the_group_queue() {
    let parsed = Subscription::parse("$queue/a/+", LEVELS).unwrap();
    assert_eq!(
        parsed,
        Subscription::parse("$share/$queue/a/+", LEVELS).unwrap()
    );
    assert_eq!(
        (parsed.group, parsed.filter.as_str()),
        (Some("$queue"), "a/+")
    );
    assert!(Subscription::is_shared("$queue/a") && Subscription::is_shared("$share/g/a"));
    assert_eq!(
        Subscription::parse("$queue/", LEVELS),
        Err(FilterError::Empty)
    );
    for plain in ["$queue", "$queues/a", "a/$queue/b"] {
        assert_eq!(Subscription::parse(plain, LEVELS).unwrap().group, None);
        assert!(!Subscription::is_shared(plain));
    }
}

#[test]
fn an_exclusive_subscription_is_told_apart_from_its_filter() {
    let parsed = Subscription::parse("$exclusive/a/#", LEVELS).unwrap();
    assert_eq!((parsed.exclusive, parsed.filter.as_str()), (true, "a/#"));
    assert_eq!(
        Subscription::parse("$exclusive/", LEVELS),
        Err(FilterError::Empty)
    );
    for other in ["$exclusive", "a/$exclusive/b", "$share/g/$exclusive/a"] {
        assert!(!Subscription::parse(other, LEVELS).unwrap().exclusive);
    }
}
