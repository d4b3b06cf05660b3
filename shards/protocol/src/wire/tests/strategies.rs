//! Arbitrary packets of clients.
//!
//! What they borrow is leaked: some megabytes in a run of the tests.

use core::num::{NonZeroU16, NonZeroU32};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::wire::encode::sink::property;
use crate::wire::properties::{Carrier, Value, id};
use crate::wire::{
    Ack, Auth, Connect, Disconnect, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe, UserProperties, Version, Will,
    client,
};

pub(in crate::wire) fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

/// Any packet that may follow CONNECT in that version.
pub(in crate::wire) fn packet(version: Version) -> BoxedStrategy<Packet<'static>> {
    let common = prop_oneof![
        disconnect(version).prop_map(Packet::Disconnect),
        Just(Packet::PingReq),
        ack(version, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x97]).prop_map(Packet::PubAck),
        ack(version, &[0x00, 0x92]).prop_map(Packet::PubComp),
        publish(version).prop_map(Packet::Publish),
        ack(version, &[0x00, 0x90, 0x91, 0x99]).prop_map(Packet::PubRec),
        ack(version, &[0x00, 0x92]).prop_map(Packet::PubRel),
        subscribe(version).prop_map(Packet::Subscribe),
        unsubscribe(version).prop_map(Packet::Unsubscribe),
    ];
    match version {
        Version::V31 | Version::V311 => common.boxed(),
        Version::V5 => prop_oneof![9 => common, 1 => auth().prop_map(Packet::Auth)].boxed(),
    }
}

pub(in crate::wire) fn versioned_packet() -> impl Strategy<Value = (Version, Packet<'static>)> {
    version().prop_flat_map(|version| (Just(version), packet(version)))
}

pub(in crate::wire) fn connect() -> impl Strategy<Value = Connect<'static>> {
    version().prop_flat_map(|version| {
        let will = option::of(will(version));
        let fields = (
            any::<bool>(),
            any::<u16>(),
            text(),
            will,
            credentials(version),
        );
        (fields, connect_properties()).prop_map(move |(fields, properties)| {
            let (clean_start, keep_alive, client_id, will, (username, password)) = fields;
            let connect = Connect {
                version,
                clean_start,
                keep_alive,
                client_id,
                will,
                username,
                password,
                ..properties
            };
            match version {
                Version::V31 | Version::V311 => without_properties(connect),
                Version::V5 => connect,
            }
        })
    })
}

/// A CONNECT of which only the properties count.
fn connect_properties() -> impl Strategy<Value = Connect<'static>> {
    let maximum_packet_size = option::of(1..=u32::MAX);
    let limits = (
        any::<u32>(),
        1..=u16::MAX,
        maximum_packet_size,
        any::<u16>(),
    );
    let authentication = option::of((text(), option::of(binary())));
    let flags = (any::<bool>(), any::<bool>());
    let fields = (limits, flags, authentication, user_properties(Version::V5));
    fields.prop_map(|(limits, flags, authentication, user_properties)| {
        let (session_expiry, receive_maximum, maximum_packet_size, topic_alias_maximum) = limits;
        Connect {
            session_expiry,
            receive_maximum: NonZeroU16::new(receive_maximum).unwrap(),
            maximum_packet_size: maximum_packet_size.and_then(NonZeroU32::new),
            topic_alias_maximum,
            request_response_information: flags.0,
            request_problem_information: flags.1,
            authentication_method: authentication.map(|(method, _)| method),
            authentication_data: authentication.and_then(|(_, data)| data),
            user_properties,
            ..bare_connect()
        }
    })
}

/// A 3.x packet has what stands for absent properties.
fn without_properties(connect: Connect<'static>) -> Connect<'static> {
    Connect {
        version: connect.version,
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        will: connect.will,
        username: connect.username,
        password: connect.password,
        session_expiry: if connect.clean_start { 0 } else { u32::MAX },
        ..bare_connect()
    }
}

fn bare_connect() -> Connect<'static> {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 0,
        client_id: "",
        will: None,
        username: None,
        password: None,
        session_expiry: 0,
        receive_maximum: NonZeroU16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: UserProperties::default(),
    }
}

type Credentials = (Option<&'static str>, Option<&'static [u8]>);

fn credentials(version: Version) -> impl Strategy<Value = Credentials> {
    (option::of(text()), option::of(binary())).prop_map(move |(username, password)| {
        let password = password.filter(|_| version == Version::V5 || username.is_some());
        (username, password)
    })
}

fn will(version: Version) -> impl Strategy<Value = Will<'static>> {
    let fields = (qos(), any::<bool>(), topic(), binary());
    let section = message_properties(version, Carrier::WILL);
    (fields, section).prop_map(|((qos, retain, topic, payload), section)| {
        let (properties, delay) = PublishProperties::parse(section, Carrier::WILL).unwrap();
        Will {
            qos,
            retain,
            delay,
            topic,
            payload,
            properties,
        }
    })
}

pub(in crate::wire) fn publish(version: Version) -> impl Strategy<Value = Publish<'static>> {
    let fields = (qos(), any::<[bool; 3]>(), topic(), packet_id(), binary());
    let section = message_properties(version, Carrier::PUBLISH);
    (fields, section).prop_map(|((qos, flags, topic, packet_id, payload), section)| {
        let (properties, _) = PublishProperties::parse(section, Carrier::PUBLISH).unwrap();
        let [dup, retain, aliased] = flags;
        let above_zero = qos != QoS::AtMostOnce;
        let aliased = aliased && properties.topic_alias().is_some();
        Publish {
            dup: dup && above_zero,
            qos,
            retain,
            topic: if aliased { "" } else { topic },
            packet_id: above_zero.then_some(packet_id),
            properties,
            payload,
        }
    })
}

/// Properties of PUBLISH or of a will, in any order.
pub(in crate::wire) fn message_properties(
    version: Version,
    carrier: Carrier,
) -> BoxedStrategy<&'static [u8]> {
    if version != Version::V5 {
        return Just::<&[u8]>(&[]).boxed();
    }
    let own = if carrier.meets(Carrier::WILL) {
        option::of(
            any::<u32>().prop_map(|delay| encoded(id::WILL_DELAY_INTERVAL, Value::Four(delay))),
        )
        .boxed()
    } else {
        option::of((1..=u16::MAX).prop_map(|alias| encoded(id::TOPIC_ALIAS, Value::Two(alias))))
            .boxed()
    };
    let fixed = (
        option::of(
            any::<bool>().prop_map(|flag| encoded(id::PAYLOAD_FORMAT_INDICATOR, Value::Flag(flag))),
        ),
        option::of(
            any::<u32>()
                .prop_map(|seconds| encoded(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds))),
        ),
        option::of(text().prop_map(|text| encoded(id::CONTENT_TYPE, Value::Text(text)))),
        option::of(topic().prop_map(|topic| encoded(id::RESPONSE_TOPIC, Value::Text(topic)))),
        option::of(binary().prop_map(|data| encoded(id::CORRELATION_DATA, Value::Binary(data)))),
        own,
    );
    let pair = |(name, value)| encoded(id::USER_PROPERTY, Value::Pair(name, value));
    let pairs = vec((text(), text()).prop_map(pair), 0..4);
    (fixed, pairs)
        .prop_map(|((a, b, c, d, e, f), mut list)| {
            list.extend([a, b, c, d, e, f].into_iter().flatten());
            list
        })
        .prop_shuffle()
        .prop_map(|list| leak(list.concat()))
        .boxed()
}

fn encoded(id: u8, value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    property(&mut out, id, value);
    out
}

fn ack(version: Version, reasons: &'static [u8]) -> impl Strategy<Value = Ack<'static>> {
    let reason = prop::sample::select(reasons);
    let reason_string = option::of(text());
    let fields = (packet_id(), reason, reason_string, user_properties(version));
    fields.prop_map(move |(packet_id, reason, reason_string, user_properties)| {
        let is_v5 = version == Version::V5;
        Ack {
            packet_id,
            reason: ReasonCode(if is_v5 { reason } else { 0 }),
            reason_string: reason_string.filter(|_| is_v5),
            user_properties,
        }
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe<'static>> {
    let identifier = option::of(1..=268_435_455_u32);
    let filters = vec((filter(), options(version)), 1..5);
    let fields = (packet_id(), identifier, filters, user_properties(version));
    fields.prop_map(
        move |(packet_id, identifier, filters, user_properties)| Subscribe {
            packet_id,
            identifier: identifier
                .and_then(NonZeroU32::new)
                .filter(|_| version == Version::V5),
            user_properties,
            version,
            count: filters.len(),
            payload: leak(client::subscriptions(filters)),
        },
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe<'static>> {
    let filters = vec(filter(), 1..5);
    let fields = (packet_id(), filters, user_properties(version));
    fields.prop_map(|(packet_id, filters, user_properties)| Unsubscribe {
        packet_id,
        user_properties,
        count: filters.len(),
        payload: leak(client::filters(filters)),
    })
}

fn options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    let handling = prop_oneof![
        Just(RetainHandling::Send),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DontSend),
    ];
    let fields = (qos(), any::<bool>(), any::<bool>(), handling);
    fields.prop_map(move |(qos, no_local, retain_as_published, handling)| {
        let is_v5 = version == Version::V5;
        SubscriptionOptions {
            qos,
            no_local: is_v5 && no_local,
            retain_as_published: is_v5 && retain_as_published,
            retain_handling: if is_v5 {
                handling
            } else {
                RetainHandling::Send
            },
        }
    })
}

fn disconnect(version: Version) -> impl Strategy<Value = Disconnect<'static>> {
    let reason = prop::sample::select(&[0x00, 0x04, 0x80, 0x83, 0x90, 0x93, 0x99][..]);
    let optional = (option::of(any::<u32>()), option::of(text()));
    let fields = (reason, optional, user_properties(version));
    fields.prop_map(
        move |(reason, (session_expiry, reason_string), user_properties)| {
            let is_v5 = version == Version::V5;
            Disconnect {
                reason: ReasonCode(if is_v5 { reason } else { 0 }),
                session_expiry: session_expiry.filter(|_| is_v5),
                reason_string: reason_string.filter(|_| is_v5),
                user_properties,
            }
        },
    )
}

fn auth() -> impl Strategy<Value = Auth<'static>> {
    let reason = prop_oneof![Just(0x18), Just(0x19)];
    let fields = (text(), option::of(binary()), option::of(text()));
    (reason, fields, user_properties(Version::V5)).prop_map(|(reason, fields, user_properties)| {
        let (method, data, reason_string) = fields;
        Auth {
            reason: ReasonCode(reason),
            method: Some(method),
            data,
            reason_string,
            user_properties,
        }
    })
}

fn user_properties(version: Version) -> impl Strategy<Value = UserProperties<'static>> {
    vec((text(), text()), 0..4).prop_map(move |pairs| {
        if version != Version::V5 {
            return UserProperties::default();
        }
        let count = pairs.len() as u32;
        UserProperties::new(leak(client::user_properties(pairs)), count)
    })
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId(NonZeroU16::new(id).unwrap()))
}

pub(in crate::wire) fn text() -> impl Strategy<Value = &'static str> {
    "[^\0]{0,12}".prop_map(leak_text)
}

fn topic() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        "[^\0+#]{1,40}".prop_map(leak_text),
        "[a-z0-9/]{1,70}".prop_map(leak_text),
    ]
}

fn filter() -> impl Strategy<Value = &'static str> {
    "[^\0$][^\0]{0,20}".prop_map(leak_text)
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..200).prop_map(leak)
}

fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

fn leak_text(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
