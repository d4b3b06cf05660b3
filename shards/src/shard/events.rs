//! What happens, as messages for clients that subscribe to it: `$events/client/connected` and
//! the others, and what `$SYS` says of clients. Names and fields are EMQX's.
//!
//! Nothing is made while nobody subscribes. What is made waits for the end of the turn, so
//! that nothing is published in the middle of something else.

use protocol::message::MessageRef;
use protocol::wire::{Connect, PacketId, QoS, ReasonCode, SubscriptionOptions, Version};

use super::common::{SYS_PREFIX, is_brokers_own};
use super::connection::{End, Remote};
use super::json::Object;
use super::{NONE, Shard};

/// Bytes of events of one turn. What is beyond is dropped and counted.
const RAISED_BYTES_MAX: usize = 8 << 20;

/// Something that happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    ClientConnected,
    ClientDisconnected,
    ClientConnack,
    ClientPing,
    SessionSubscribed,
    SessionUnsubscribed,
    MessageDelivered,
    MessageAcked,
    MessageDropped,
    DeliveryDropped,
}

impl Event {
    /// Its topic, its former topic, and its name within the message.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::ClientConnected => [
                "$events/client/connected",
                "$events/client_connected",
                "client.connected",
            ],
            Self::ClientDisconnected => [
                "$events/client/disconnected",
                "$events/client_disconnected",
                "client.disconnected",
            ],
            Self::ClientConnack => [
                "$events/client/connack",
                "$events/client_connack",
                "client.connack",
            ],
            Self::ClientPing => ["$events/client/ping", "$events/client_ping", "client.ping"],
            Self::SessionSubscribed => [
                "$events/session/subscribed",
                "$events/session_subscribed",
                "session.subscribed",
            ],
            Self::SessionUnsubscribed => [
                "$events/session/unsubscribed",
                "$events/session_unsubscribed",
                "session.unsubscribed",
            ],
            Self::MessageDelivered => [
                "$events/message/delivered",
                "$events/message_delivered",
                "message.delivered",
            ],
            Self::MessageAcked => [
                "$events/message/acked",
                "$events/message_acked",
                "message.acked",
            ],
            Self::MessageDropped => [
                "$events/message/dropped",
                "$events/message_dropped",
                "message.dropped",
            ],
            Self::DeliveryDropped => [
                "$events/message/delivery_dropped",
                "$events/delivery_dropped",
                "delivery.dropped",
            ],
        }
    }
}

/// What is to be published at the end of the turn. Owned by one shard.
#[derive(Debug, Default)]
pub(super) struct Raised {
    messages: Vec<(Topic, Vec<u8>)>,
    bytes: usize,
}

#[derive(Debug)]
enum Topic {
    Event(Event),
    Sys(String),
}

/// A client that was let in.
pub(super) struct Arrival<'a> {
    pub(super) connect: &'a Connect<'a>,
    pub(super) client_id: &'a str,
    pub(super) keep_alive_s: u16,
    pub(super) expiry_s: u32,
}

impl Shard {
    /// Whether anybody could get this event. The first test is all that it costs where nobody
    /// subscribes to events.
    #[inline]
    pub(super) fn wants(&self, event: Event) -> bool {
        self.common.interest.in_events() && self.is_enabled(event)
    }

    fn is_enabled(&self, event: Event) -> bool {
        let on = &self.common.events;
        match event {
            Event::ClientConnected => on.client_connected,
            Event::ClientDisconnected => on.client_disconnected,
            Event::ClientConnack => on.client_connack,
            Event::ClientPing => on.client_ping,
            Event::SessionSubscribed => on.session_subscribed,
            Event::SessionUnsubscribed => on.session_unsubscribed,
            Event::MessageDelivered => on.message_delivered,
            Event::MessageAcked => on.message_acked,
            Event::MessageDropped => on.message_dropped,
            Event::DeliveryDropped => on.message_delivery_dropped,
        }
    }

    /// Publishes what has happened in this turn.
    pub(super) fn publish_raised(&mut self) {
        if self.raised.messages.is_empty() {
            return;
        }
        let raised = core::mem::take(&mut self.raised);
        for (topic, payload) in raised.messages {
            match topic {
                Topic::Sys(topic) => self.publish_own(&topic, &payload, false),
                Topic::Event(event) => {
                    let [topic, old_topic, _] = event.names();
                    self.publish_own(topic, &payload, false);
                    if self.common.interest.in_old_events() {
                        self.publish_own(old_topic, &payload, false);
                    }
                }
            }
        }
    }

    fn raise(&mut self, topic: Topic, object: Object) {
        let payload = object.end();
        if self.raised.bytes + payload.len() > RAISED_BYTES_MAX {
            self.stats.dropped.add(1);
            return;
        }
        self.raised.bytes += payload.len();
        self.raised.messages.push((topic, payload));
    }

    /// The beginning of an event; `None` when nobody is to get it.
    fn begin(&mut self, event: Event) -> Option<Object> {
        if !self.wants(event) {
            return None;
        }
        let [topic, old_topic, name] = event.names();
        if !self.has_receivers(topic) && !self.has_receivers(old_topic) {
            return None;
        }
        let object = Object::new()
            .text("event", name)
            .number("timestamp", self.unix_ms())
            .text("node", &self.common.node);
        Some(object)
    }

    /// Says who a client of this shard is.
    fn about_client(&self, object: Object, session: u32, connection: u32) -> Object {
        let client_id = self
            .sessions
            .get(session)
            .map(|session| &*session.client_id);
        let connection = self.connections.get(connection);
        let username = connection.and_then(|connection| connection.username.as_deref());
        let peer = connection.map(|connection| connection.remote.to_string());
        object
            .text_or_null("clientid", client_id)
            .text_or_null("username", username)
            .text_or_null("peername", peer.as_deref())
    }

    /// A CONNECT was accepted.
    pub(super) fn client_connected(&mut self, key: u32, arrival: &Arrival<'_>) {
        if self.common.interest.in_sys() && self.common.sys_event_messages.client_connected {
            let object = self.about_sys_client(key, arrival.client_id, arrival.connect.version);
            let object = object
                .number("keepalive", arrival.keep_alive_s.into())
                .boolean("clean_start", arrival.connect.clean_start)
                .number("expiry_interval", u64::from(arrival.expiry_s) * 1000);
            self.raise_sys(arrival.client_id, "connected", object);
        }
        self.client_connack(key, arrival.connect, arrival.client_id, ReasonCode::SUCCESS);
        let Some(object) = self.begin(Event::ClientConnected) else {
            return;
        };
        let session = self.session_of(key);
        let object = self.about_client(object, session, key);
        let connect = arrival.connect;
        let object = about_protocol(object, connect.version)
            .number("keepalive", arrival.keep_alive_s.into())
            .boolean("clean_start", connect.clean_start)
            .number("receive_maximum", connect.receive_maximum.get().into())
            .number("expiry_interval", arrival.expiry_s.into())
            .number("connected_at", self.unix_ms());
        self.raise(Topic::Event(Event::ClientConnected), object);
    }

    /// A CONNECT was answered.
    pub(super) fn client_connack(
        &mut self,
        key: u32,
        connect: &Connect<'_>,
        client_id: &str,
        reason: ReasonCode,
    ) {
        let Some(object) = self.begin(Event::ClientConnack) else {
            return;
        };
        let connection = self.connections.get(key);
        let peer = connection.map(|connection| connection.remote.to_string());
        let object = object
            .text("reason_code", &reason_text(reason))
            .text("clientid", client_id)
            .text_or_null("username", connect.username)
            .text_or_null("peername", peer.as_deref());
        let object = about_protocol(object, connect.version)
            .number("keepalive", connect.keep_alive.into())
            .boolean("clean_start", connect.clean_start)
            .number("expiry_interval", connect.session_expiry.into());
        self.raise(Topic::Event(Event::ClientConnack), object);
    }

    /// A client that was let in is gone. Its session is still there.
    pub(super) fn client_disconnected(&mut self, key: u32, session_key: u32) {
        let in_sys =
            self.common.interest.in_sys() && self.common.sys_event_messages.client_disconnected;
        if !in_sys && !self.wants(Event::ClientDisconnected) {
            return;
        }
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (version, connected_at) = (connection.version, connection.connected_unix_ms);
        let reason = end_text(connection.end);
        if in_sys && let Some(session) = self.sessions.get(session_key) {
            let client_id = session.client_id.clone();
            let object = self
                .about_sys_client(key, &client_id, version)
                .text("reason", &reason)
                .number("disconnected_at", self.unix_ms());
            self.raise_sys(&client_id, "disconnected", object);
        }
        let Some(object) = self.begin(Event::ClientDisconnected) else {
            return;
        };
        let object = self.about_client(object, session_key, key);
        let object = about_protocol(object, version)
            .text("reason", &reason)
            .number("connected_at", connected_at)
            .number("disconnected_at", self.unix_ms());
        self.raise(Topic::Event(Event::ClientDisconnected), object);
    }

    /// PINGREQ came.
    pub(super) fn client_ping(&mut self, key: u32) {
        if let Some(object) = self.begin(Event::ClientPing) {
            let object = self.about_client(object, self.session_of(key), key);
            self.raise(Topic::Event(Event::ClientPing), object);
        }
    }

    /// A client has subscribed.
    pub(super) fn session_subscribed(
        &mut self,
        key: u32,
        filter: &str,
        options: SubscriptionOptions,
    ) {
        if self.common.interest.in_sys() && self.common.sys_event_messages.client_subscribed {
            let subopts = Object::new()
                .number("qos", options.qos as u64)
                .number("rh", options.retain_handling as u64)
                .number("rap", options.retain_as_published.into())
                .number("nl", options.no_local.into());
            self.raise_sys_subscription(key, "subscribed", filter, Some(subopts));
        }
        if let Some(object) = self.begin(Event::SessionSubscribed) {
            let object = self.about_client(object, self.session_of(key), key);
            let object = object
                .text("topic", filter)
                .number("qos", options.qos as u64);
            self.raise(Topic::Event(Event::SessionSubscribed), object);
        }
    }

    /// A client has unsubscribed.
    pub(super) fn session_unsubscribed(&mut self, key: u32, filter: &str) {
        if self.common.interest.in_sys() && self.common.sys_event_messages.client_unsubscribed {
            self.raise_sys_subscription(key, "unsubscribed", filter, None);
        }
        if let Some(object) = self.begin(Event::SessionUnsubscribed) {
            let object = self.about_client(object, self.session_of(key), key);
            let object = object.text("topic", filter);
            self.raise(Topic::Event(Event::SessionUnsubscribed), object);
        }
    }

    /// A client's message reaches nobody.
    pub(super) fn message_dropped(&mut self, key: u32, message: &MessageRef<'_>, reason: &str) {
        if is_brokers_own(message.topic) {
            return;
        }
        if let Some(object) = self.begin(Event::MessageDropped) {
            let object = self.about_client(object, self.session_of(key), key);
            let object = about_message(object.text("reason", reason), message);
            self.raise(Topic::Event(Event::MessageDropped), object);
        }
    }

    /// A message was sent to a client, or was not.
    pub(super) fn message_event(
        &mut self,
        event: Event,
        session: u32,
        message: &MessageRef<'_>,
        reason: Option<&str>,
    ) {
        if is_brokers_own(message.topic) {
            return;
        }
        let Some(mut object) = self.begin(event) else {
            return;
        };
        let connection = self.sessions.get(session);
        let connection = connection.map_or(NONE, |session| session.connection);
        object = self.about_client(object, session, connection);
        if let Some(reason) = reason {
            object = object.text("reason", reason);
        }
        self.raise(Topic::Event(event), about_message(object, message));
    }

    /// A client acknowledges a message. Which one it is, is known where it was kept: in a
    /// session that outlives its connection.
    pub(super) fn message_acked(&mut self, key: u32, id: PacketId, qos: QoS) {
        let session_key = self.session_of(key);
        let session = self.sessions.get(session_key);
        let Some(session) = session.filter(|session| session.outflow.awaits(id, qos)) else {
            return;
        };
        let kept = session.outflow.kept(id).map(|kept| kept.message.clone());
        if let Some(message) = kept {
            let message = MessageRef {
                qos,
                ..message.by_ref()
            };
            self.message_event(Event::MessageAcked, session_key, &message, None);
            return;
        }
        if let Some(object) = self.begin(Event::MessageAcked) {
            let object = self.about_client(object, session_key, key);
            let object = object.number("qos", qos as u64);
            self.raise(Topic::Event(Event::MessageAcked), object);
        }
    }

    pub(super) fn session_of(&self, key: u32) -> u32 {
        let connection = self.connections.get(key);
        connection.map_or(NONE, |connection| connection.session)
    }

    /// The fields that all `$SYS` messages about connections have.
    fn about_sys_client(&self, key: u32, client_id: &str, version: Version) -> Object {
        let connection = self.connections.get(key);
        let username = connection.and_then(|connection| connection.username.as_deref());
        let connected_at = connection.map_or(0, |connection| connection.connected_unix_ms);
        let remote = connection.map_or_else(Remote::default, |connection| connection.remote);
        let object = Object::new()
            .text("clientid", client_id)
            // As EMQX writes that there is none.
            .text("username", username.unwrap_or("undefined"))
            .text("ipaddress", &remote.host())
            .number("sockport", remote.listener_port.into())
            .text("protocol", "mqtt");
        about_protocol(object, version)
            .number("connected_at", connected_at)
            .number("ts", self.unix_ms())
    }

    fn raise_sys_subscription(
        &mut self,
        key: u32,
        what: &str,
        filter: &str,
        subopts: Option<Object>,
    ) {
        let Some(session) = self.sessions.get(self.session_of(key)) else {
            return;
        };
        let client_id = session.client_id.clone();
        let connection = self.connections.get(key);
        let username = connection.and_then(|connection| connection.username.as_deref());
        let mut object = Object::new()
            .text("clientid", &client_id)
            .text("username", username.unwrap_or("undefined"))
            .text("protocol", "mqtt")
            .text("topic", filter)
            .number("ts", self.unix_ms());
        if let Some(subopts) = subopts {
            object = object.object("subopts", subopts);
        }
        self.raise_sys(&client_id, what, object);
    }

    fn raise_sys(&mut self, client_id: &str, what: &str, object: Object) {
        let node = &self.common.node;
        let topic = format!("{SYS_PREFIX}brokers/{node}/clients/{client_id}/{what}");
        self.raise(Topic::Sys(topic), object);
    }
}

fn about_protocol(object: Object, version: Version) -> Object {
    let name = if version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    object
        .text("proto_name", name)
        .number("proto_ver", version as u64)
}

fn about_message(object: Object, message: &MessageRef<'_>) -> Object {
    object
        .text("topic", message.topic)
        .number("qos", message.qos as u64)
        .object("flags", Object::new().boolean("retain", message.retain))
        .payload(message.payload)
}

/// How a connection ended, in EMQX's words.
fn end_text(end: End) -> String {
    match end {
        End::Open => "tcp_closed".to_owned(),
        End::Discarded => "discarded".to_owned(),
        End::ByClient(ReasonCode::NORMAL_DISCONNECTION) => "normal".to_owned(),
        End::ByServer(ReasonCode::SESSION_TAKEN_OVER) => "takenover".to_owned(),
        End::ByClient(reason) | End::ByServer(reason) => reason_text(reason),
    }
}

/// A reason code as EMQX writes it: its name in lower case with underscores.
pub(super) fn reason_text(reason: ReasonCode) -> String {
    match reason {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => "bad_username_or_password".to_owned(),
        ReasonCode::KEEP_ALIVE_TIMEOUT => "keepalive_timeout".to_owned(),
        reason => {
            let name = reason.name().to_ascii_lowercase();
            name.replace([' ', '-'], "_")
        }
    }
}
