//! For tests: what a client sends, from the packets that decoding gives.

use super::encode::sink::{Sink, binary, fixed_header, property, property_if, text, variable};
use super::properties::{Value, id};
use super::{
    Ack, Auth, Connect, Disconnect, Packet, PacketId, Publish, ReasonCode, Subscribe,
    SubscriptionOptions, Unsubscribe, Version,
};

/// The bytes of any packet but CONNECT.
pub(super) fn packet(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    match packet {
        Packet::Auth(packet) => auth(packet),
        Packet::Disconnect(packet) => disconnect(version, packet),
        Packet::PingReq => vec![0xC0, 0],
        Packet::PubAck(ack) => acknowledge(0x40, version, ack),
        Packet::PubComp(ack) => acknowledge(0x70, version, ack),
        Packet::PubRec(ack) => acknowledge(0x50, version, ack),
        Packet::PubRel(ack) => acknowledge(0x62, version, ack),
        Packet::Publish(packet) => publish(version, packet),
        Packet::Subscribe(packet) => subscribe(version, packet),
        Packet::Unsubscribe(packet) => unsubscribe(version, packet),
    }
}

/// The bytes of CONNECT.
pub(super) fn connect(connect: &Connect<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let name = if connect.version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    text(&mut body, name);
    body.put(&[connect.version as u8, connect_flags(connect)]);
    body.put(&connect.keep_alive.to_be_bytes());
    let is_v5 = connect.version == Version::V5;
    if is_v5 {
        properties(&mut body, &connect_properties(connect));
    }
    text(&mut body, connect.client_id);
    if let Some(will) = &connect.will {
        if is_v5 {
            properties(&mut body, will.properties.section());
        }
        text(&mut body, will.topic);
        binary(&mut body, will.payload);
    }
    if let Some(username) = connect.username {
        text(&mut body, username);
    }
    if let Some(password) = connect.password {
        binary(&mut body, password);
    }
    with_header(0x10, &body)
}

/// A fixed header before `body`.
pub(super) fn with_header(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    fixed_header(&mut out, first, body.len());
    out.put(body);
    out
}

/// The length of `section`, and `section`.
pub(super) fn properties(out: &mut Vec<u8>, section: &[u8]) {
    variable(out, section.len());
    out.put(section);
}

/// User properties as they stand in a packet.
pub(super) fn user_properties<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut section = Vec::new();
    for (name, value) in pairs {
        property(&mut section, id::USER_PROPERTY, Value::Pair(name, value));
    }
    section
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| {
        0b100 | (will.qos as u8) << 3 | u8::from(will.retain) << 5
    });
    will | u8::from(connect.clean_start) << 1
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7
}

fn connect_properties(connect: &Connect<'_>) -> Vec<u8> {
    let mut section = user_properties(connect.user_properties.iter());
    let out = &mut section;
    property(
        out,
        id::SESSION_EXPIRY_INTERVAL,
        Value::Four(connect.session_expiry),
    );
    property(
        out,
        id::RECEIVE_MAXIMUM,
        Value::Two(connect.receive_maximum.get()),
    );
    let maximum = connect
        .maximum_packet_size
        .map(|size| Value::Four(size.get()));
    property_if(out, id::MAXIMUM_PACKET_SIZE, maximum);
    property(
        out,
        id::TOPIC_ALIAS_MAXIMUM,
        Value::Two(connect.topic_alias_maximum),
    );
    let response = Value::Flag(connect.request_response_information);
    property(out, id::REQUEST_RESPONSE_INFORMATION, response);
    let problem = Value::Flag(connect.request_problem_information);
    property(out, id::REQUEST_PROBLEM_INFORMATION, problem);
    let method = connect.authentication_method.map(Value::Text);
    property_if(out, id::AUTHENTICATION_METHOD, method);
    let data = connect.authentication_data.map(Value::Binary);
    property_if(out, id::AUTHENTICATION_DATA, data);
    section
}

fn publish(version: Version, publish: &Publish<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, publish.topic);
    if let Some(PacketId(id)) = publish.packet_id {
        body.put(&id.get().to_be_bytes());
    }
    if version == Version::V5 {
        properties(&mut body, publish.properties.section());
    }
    body.put(publish.payload);
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    with_header(0x30 | flags, &body)
}

fn acknowledge(first: u8, version: Version, ack: &Ack<'_>) -> Vec<u8> {
    let mut body = ack.packet_id.0.get().to_be_bytes().to_vec();
    let mut section = user_properties(ack.user_properties.iter());
    let reason_string = ack.reason_string.map(Value::Text);
    property_if(&mut section, id::REASON_STRING, reason_string);
    if version == Version::V5 {
        reason_and_properties(&mut body, ack.reason, &section);
    }
    with_header(first, &body)
}

/// In the shortest form.
fn reason_and_properties(body: &mut Vec<u8>, reason: ReasonCode, section: &[u8]) {
    if reason != ReasonCode::SUCCESS || !section.is_empty() {
        body.put(&[reason.0]);
    }
    if !section.is_empty() {
        properties(body, section);
    }
}

fn subscribe(version: Version, subscribe: &Subscribe<'_>) -> Vec<u8> {
    let mut body = subscribe.packet_id.0.get().to_be_bytes().to_vec();
    if version == Version::V5 {
        let mut section = user_properties(subscribe.user_properties.iter());
        let identifier = subscribe.identifier.map(|id| Value::Variable(id.get()));
        property_if(&mut section, id::SUBSCRIPTION_IDENTIFIER, identifier);
        properties(&mut body, &section);
    }
    body.put(&subscriptions(subscribe.filters()));
    with_header(0x82, &body)
}

/// The payload of SUBSCRIBE.
pub(super) fn subscriptions<'a>(
    filters: impl IntoIterator<Item = (&'a str, SubscriptionOptions)>,
) -> Vec<u8> {
    let mut payload = Vec::new();
    for (filter, options) in filters {
        text(&mut payload, filter);
        payload.push(
            options.qos as u8
                | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | (options.retain_handling as u8) << 4,
        );
    }
    payload
}

fn unsubscribe(version: Version, unsubscribe: &Unsubscribe<'_>) -> Vec<u8> {
    let mut body = unsubscribe.packet_id.0.get().to_be_bytes().to_vec();
    if version == Version::V5 {
        let section = user_properties(unsubscribe.user_properties.iter());
        properties(&mut body, &section);
    }
    body.put(&filters(unsubscribe.filters()));
    with_header(0xA2, &body)
}

/// The payload of UNSUBSCRIBE.
pub(super) fn filters<'a>(filters: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut payload = Vec::new();
    for filter in filters {
        text(&mut payload, filter);
    }
    payload
}

fn disconnect(version: Version, disconnect: &Disconnect<'_>) -> Vec<u8> {
    let mut section = user_properties(disconnect.user_properties.iter());
    let expiry = disconnect.session_expiry.map(Value::Four);
    property_if(&mut section, id::SESSION_EXPIRY_INTERVAL, expiry);
    let reason_string = disconnect.reason_string.map(Value::Text);
    property_if(&mut section, id::REASON_STRING, reason_string);
    let mut body = Vec::new();
    if version == Version::V5 {
        reason_and_properties(&mut body, disconnect.reason, &section);
    }
    with_header(0xE0, &body)
}

fn auth(auth: &Auth<'_>) -> Vec<u8> {
    let mut section = user_properties(auth.user_properties.iter());
    property_if(
        &mut section,
        id::AUTHENTICATION_METHOD,
        auth.method.map(Value::Text),
    );
    property_if(
        &mut section,
        id::AUTHENTICATION_DATA,
        auth.data.map(Value::Binary),
    );
    property_if(
        &mut section,
        id::REASON_STRING,
        auth.reason_string.map(Value::Text),
    );
    let mut body = vec![auth.reason.0];
    properties(&mut body, &section);
    with_header(0xF0, &body)
}
