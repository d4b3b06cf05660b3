use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::hash::Seed;

/// A client: what it knows, and what a PUBLISH means to it.
#[derive(Default)]
struct Client {
    known: HashMap<u16, String>,
}

impl Client {
    /// The topic of a PUBLISH as the client understands it.
    fn resolve(&mut self, topic: &str, alias: Alias) -> String {
        match alias {
            Alias::None => topic.to_owned(),
            Alias::Set(alias) => {
                self.known.insert(alias.get(), topic.to_owned());
                topic.to_owned()
            }
            Alias::Known(alias) => self.known[&alias.get()].clone(),
        }
    }
}

fn table(maximum: u16) -> TopicAliases {
    TopicAliases::new(NonZeroU16::new(maximum).unwrap())
}

/// Sends a topic; returns the alias it was sent with.
fn send(table: &mut TopicAliases, topic: &str) -> Alias {
    let hash = Seed::new(1).hash(topic);
    let alias = table.offer(hash, topic);
    if let Alias::Set(alias) = alias {
        table.sent(alias, hash, topic);
    }
    alias
}

fn alias(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

proptest! {
    /// [MQTT-3.1.2-27], [MQTT-3.3.2-8]: also when packets that would have set an alias are
    /// dropped on the way, and when topics have the same hash.
    #[test]
    fn a_client_resolves_what_was_published(
        maximum in 1_u16..8,
        packets in prop::collection::vec((0_u8..24, any::<bool>()), 0..400),
        hashes in 1_u64..24,
    ) {
        let (mut table, mut client) = (table(maximum), Client::default());
        for (number, dropped) in packets {
            let topic = format!("topic/{number}");
            let hash = (u64::from(number) % hashes).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let alias = table.offer(hash, &topic);
            if dropped {
                continue;
            }
            if let Alias::Set(alias) = alias {
                table.sent(alias, hash, &topic);
            }
            if let Alias::Set(alias) | Alias::Known(alias) = alias {
                prop_assert!(alias.get() <= maximum);
            }
            prop_assert_eq!(client.resolve(&topic, alias), topic);
            prop_assert!(table.entries.len() <= usize::from(maximum));
            prop_assert_eq!(table.entries.len(), table.places.len());
        }
    }
}

#[test]
fn a_topic_gets_an_alias_at_once_while_there_are_some_and_later_when_it_repeats() {
    let mut table = table(2);
    assert_eq!(send(&mut table, "a/topic"), Alias::Set(alias(1)));
    assert_eq!(send(&mut table, "a/topic"), Alias::Known(alias(1)));
    assert_eq!(send(&mut table, "another"), Alias::Set(alias(2)));
    for _ in 0..5 {
        assert_eq!(send(&mut table, "a/topic"), Alias::Known(alias(1)));
    }
    assert_eq!(send(&mut table, "a third"), Alias::None);
    let sent: Vec<_> = (0..5).map(|_| send(&mut table, "a third")).collect();
    assert_eq!(sent.last(), Some(&Alias::Known(alias(2))), "{sent:?}");
}

#[test]
fn a_topic_that_gains_nothing_or_is_too_long_gets_none() {
    let mut table = table(4);
    let long = "x".repeat(TOPIC_BYTES_MAX + 1);
    for topic in ["a", "ab", &long] {
        for _ in 0..5 {
            assert_eq!(send(&mut table, topic), Alias::None);
        }
    }
}

#[test]
fn an_alias_that_was_not_sent_is_offered_again() {
    let mut table = table(1);
    let hash = Seed::new(1).hash("a/topic");
    table.offer(hash, "a/topic");
    for _ in 0..3 {
        assert_eq!(table.offer(hash, "a/topic"), Alias::Set(alias(1)));
    }
}

#[test]
fn topics_that_are_used_often_keep_their_alias() {
    let mut table = table(4);
    let (mut known, mut all) = (0, 0);
    for round in 0..2000 {
        for topic in ["busy/1", "busy/2", "busy/3"] {
            all += 1;
            known += u32::from(matches!(send(&mut table, topic), Alias::Known(_)));
        }
        let rare = format!("rare/{}", round / 2);
        send(&mut table, &rare);
    }
    assert!(known > all * 9 / 10, "{known} of {all}");
}

#[test]
fn a_topic_that_is_not_used_any_more_loses_its_alias() {
    let mut table = table(2);
    for topic in ["first/1", "first/2", "second/1", "second/2"] {
        for _ in 0..50 {
            send(&mut table, topic);
        }
    }
    assert!(matches!(send(&mut table, "second/2"), Alias::Known(_)));
    assert!(matches!(send(&mut table, "second/1"), Alias::Known(_)));
    assert!(!matches!(send(&mut table, "first/1"), Alias::Known(_)));
}
