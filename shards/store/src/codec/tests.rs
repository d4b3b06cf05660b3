//! What is written comes back, and no bytes make the reader fall over.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol::message::{Message, MessageRef};
use protocol::session::{Identifiers, Membership};
use protocol::wire::{PacketId, QoS, RetainHandling, SubscriptionOptions};

use super::key::{Key, Record, parse};
use super::record::EntryBody;
use super::*;
use crate::change::{Body, Division, Sent, SessionNumber, SessionRecord, Will};
use crate::clock::{Clock, Reading};

fn clock() -> Clock {
    let reading = Reading {
        wall_ms: u64::MAX,
        stored_ms: 1_700_000_000_000,
    };
    Clock::new(Instant::now(), Some(reading))
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0..1_u64 << 50,]
}

prop_compose! {
    fn message()(
        topic in "[a-z/ü]{0,200}",
        properties in vec(any::<u8>(), 0..40),
        payload in vec(any::<u8>(), 0..300),
        qos in qos(),
        retain: bool,
        expires_ms in time(),
    ) -> Arc<Message> {
        MessageRef {
            topic: &topic,
            properties: &properties,
            payload: &payload,
            qos,
            retain,
            expires_ms,
            publisher: u64::MAX,
        }
        .to_message()
    }
}

prop_compose! {
    fn sent()(id in 1_u16.., received: bool) -> Sent {
        Sent { packet_id: PacketId(id.try_into().unwrap()), received }
    }
}

prop_compose! {
    fn will()(
        message in message(),
        delay_s: u32,
        expiry_s: Option<u32>,
        due_ms in option::of(time()),
    ) -> Will {
        Will { message, delay_s, expiry_s, due_ms }
    }
}

prop_compose! {
    fn session()(
        client_id in "\\PC{0,30}",
        expiry_s: u32,
        ends_ms in option::of(time()),
        will in option::of(will()),
        perhaps_sent: u64,
    ) -> SessionRecord {
        SessionRecord { client_id: client_id.into(), expiry_s, ends_ms, will, perhaps_sent }
    }
}

fn membership() -> impl Strategy<Value = Option<Membership>> {
    any::<u32>().prop_map(|number| NonZeroU32::new(number / 2).map(Membership))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

proptest! {
    #[test]
    fn a_message_comes_back(message in message(), version in any::<u64>()) {
        let clock = clock();
        let bytes = written(|out| write_message(out, clock, &message));
        prop_assert_eq!(read_message(&bytes, clock), Ok(Arc::clone(&message)));
        let topic = message.topic().as_bytes();
        // Without a version it is written as before there were versions.
        for version in [0, version] {
            let bytes = written(|out| write_retained(out, clock, &message, version));
            let expected = Ok((Arc::clone(&message), version));
            prop_assert_eq!(read_retained(topic, &bytes, clock), expected);
            prop_assert_eq!(bytes[0] & 1 << 4 != 0, version != 0);
        }
    }

    #[test]
    fn a_delayed_message_comes_back(message in message(), due in time()) {
        let clock = clock();
        let bytes = written(|out| write_delayed(out, clock, due, &message));
        prop_assert_eq!(read_delayed(&bytes, clock), Ok((due, message)));
    }

    #[test]
    fn an_entry_comes_back(
        message in message(),
        shared: Option<u64>,
        qos in qos(),
        retain: bool,
        identifiers in vec(0..1_u32 << 28, 0..4),
        sent in option::of(sent()),
        membership in option::of(membership()),
    ) {
        let membership = membership.flatten();
        let identifiers = Identifiers::from(identifiers.as_slice());
        let body = shared.map_or_else(|| Body::Own(Arc::clone(&message)), Body::Shared);
        let value = EntryValue {
            body: &body, qos, retain, identifiers: &identifiers, sent, membership,
        };
        let bytes = written(|out| write_entry(out, clock(), &value));
        let message = shared.is_none().then_some(message);
        let expected = EntryBody {
            shared, message, qos, retain, identifiers: identifiers.clone(), sent, membership,
        };
        prop_assert_eq!(read_entry(&bytes, clock()), Ok(expected));
    }

    #[test]
    fn a_session_comes_back(record in session()) {
        let clock = clock();
        let bytes = written(|out| write_session(out, clock, &record));
        prop_assert_eq!(read_session(&bytes, clock), Ok(record));
    }

    #[test]
    fn a_subscription_and_a_mark_come_back(
        qos in qos(), no_local: bool, retain_as_published: bool, handling in 0..3, id: u32,
        sent in sent(), membership in option::of(membership()),
    ) {
        let membership = membership.flatten();
        let retain_handling = match handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DontSend,
        };
        let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
        let bytes = written(|out| write_subscription(out, options, id, membership));
        prop_assert_eq!(read_subscription(&bytes), Ok((options, id, membership)));
        let bytes = written(|out| write_mark(out, sent));
        prop_assert_eq!(read_mark(&bytes), Ok(sent));
    }

    #[test]
    fn how_far_a_stream_is_received_and_how_sessions_are_divided_come_back(
        boot: u64, number: u64, seed: u64, shards: u16,
    ) {
        let bytes = written(|out| write_received(out, boot, number));
        prop_assert_eq!(read_received(&bytes), Ok((boot, number)));
        let division = Division { seed, shards };
        let bytes = written(|out| write_division(out, division));
        prop_assert_eq!(read_division(&bytes), Ok(division));
    }

    #[test]
    fn a_key_comes_back_and_sorts_by_its_numbers(
        a in (any::<u64>(), any::<u64>()), b in (any::<u64>(), any::<u64>()),
        filter in "\\PC{0,40}", id in 1_u16..,
    ) {
        let key = |(session, entry)| Key::entry(SessionNumber(session), entry);
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        let (session, packet_id) = (SessionNumber(a.0), PacketId(id.try_into().unwrap()));
        for (key, record) in [
            (Key::entry(session, a.1), Record::Entry(session, a.1)),
            (Key::mark(session, a.1), Record::Mark(session, a.1)),
            (Key::session(session), Record::Session(session)),
            (Key::subscription(session, &filter), Record::Subscription(session, &filter)),
            (Key::held(session, packet_id), Record::Held(session, packet_id)),
            (Key::retained(&filter), Record::Retained(&filter)),
            (Key::message(a.1), Record::Message(a.1)),
            (Key::delayed(a.1), Record::Delayed(a.1)),
            (Key::clock(), Record::Clock),
            (Key::format(), Record::Format),
            (Key::division(), Record::Division),
            (Key::received(id, 1, &filter), Record::Received(id, 1, &filter)),
        ] {
            prop_assert_eq!(parse(key.as_slice()), Ok(record));
        }
        for (first, end) in Key::with_session(session) {
            prop_assert!(first < end);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(input in vec(any::<u8>(), 0..200)) {
        crate::fuzz::fuzz_record(&input);
    }
}

#[test]
fn what_goes_with_a_session_lies_between_its_keys() {
    for number in [0, 1, 255, u64::MAX - 1, u64::MAX] {
        let session = SessionNumber(number);
        let ranges = Key::with_session(session);
        let packet_id = PacketId(7.try_into().unwrap());
        for key in [
            Key::subscription(session, "\u{10ffff}\u{10ffff}"),
            Key::held(session, packet_id),
            Key::mark(session, u64::MAX),
            Key::entry(session, u64::MAX),
        ] {
            let inside = |(first, end): &(Key, Key)| *first <= key && key < *end;
            assert_eq!(
                ranges.iter().filter(|range| inside(range)).count(),
                1,
                "{key:?}"
            );
        }
    }
}
