//! CONNECT: from a connection to a session.

use std::hash::{DefaultHasher, Hasher};
use std::num::{NonZeroU16, NonZeroU32};

use protocol::message::MessageRef;
use protocol::session::Outflow;
use protocol::topic::TopicName;
use protocol::wire::encode::{self, ConnAck};
use protocol::wire::{self, Connect, ConnectError, ProtocolError, ReasonCode, Version};

use crate::settings::Mqtt;

use super::common::is_brokers_own;
use super::connection::{End, Phase};
use super::events::Arrival;
use super::input::Flow;
use super::session::{Session, Will};
use super::stats::packet;
use super::template::Facts;
use super::texts;
use super::{Handover, NONE, Shard};

/// What assigned client identifiers begin with.
const ASSIGNED_PREFIX: &str = "auto-";

/// Why a CONNECT is refused, and what may be said about it.
struct Refusal<'a> {
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&'a str>,
    server_reference: Option<&'a str>,
    maximum_packet_size: u32,
}

impl Refusal<'_> {
    fn new(version: Version, reason: ReasonCode) -> Self {
        Self {
            version,
            reason,
            reason_string: None,
            server_reference: None,
            maximum_packet_size: u32::MAX,
        }
    }
}

/// The refusal of a CONNECT that could be decoded: a client that does not want reasons gets
/// none.
fn refusal_of(connect: &Connect<'_>, reason: ReasonCode) -> Refusal<'static> {
    let explains = connect.request_problem_information;
    Refusal {
        reason_string: texts::of(reason).filter(|_| explains),
        maximum_packet_size: connect
            .maximum_packet_size
            .map_or(u32::MAX, NonZeroU32::get),
        ..Refusal::new(connect.version, reason)
    }
}

/// Response Information, for a client that asks for it and if there is some
/// [MQTT-3.1.2-28].
fn response_information<'a>(limits: &'a Mqtt, connect: &Connect<'_>) -> Option<&'a str> {
    let wanted = connect.request_response_information && !limits.response_information.is_empty();
    wanted.then_some(&*limits.response_information)
}

/// Decodes CONNECT, of `size` bytes.
fn decode(size: usize, first: u8, body: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let connect = wire::decode_connect(first, body)?;
    let version = connect.version;
    let checked = wire::check_length(version, body, size);
    checked.map_err(|error| ConnectError {
        version: Some(version),
        error,
    })?;
    Ok(connect)
}

impl Mqtt {
    /// Bytes of the largest packet of somebody who has not been let in.
    pub(super) fn early_packet_size(&self) -> u32 {
        self.max_connect_size.min(self.max_packet_size)
    }
}

impl Shard {
    /// Handles CONNECT, of `size` bytes. `input` is everything read so far, CONNECT first: it
    /// goes along when the session belongs to another shard.
    pub(super) fn handle_connect(
        &mut self,
        key: u32,
        size: usize,
        (first, body): (u8, &[u8]),
        input: &[u8],
    ) -> Flow {
        let connect = match decode(size, first, body) {
            Ok(connect) => connect,
            Err(error) => return self.refuse_undecoded(key, &error),
        };
        if let Err(reason) = self.check_connect(&connect) {
            self.client_connack(key, &connect, connect.client_id, reason);
            return self.refuse_connect(key, &refusal_of(&connect, reason));
        }
        if let Some((reference, permanently)) = self.elsewhere() {
            return self.redirect(key, &connect, &reference, permanently);
        }
        // A client without a name gets one that belongs to this shard.
        if !connect.client_id.is_empty() {
            let target = self.shard_of(connect.client_id);
            if target != self.id {
                return self.hand_over(key, target, input);
            }
        }
        if connect.authentication_method.is_some() {
            return self.authenticate(key, &connect, (first, body));
        }
        self.admit(key, connect, None, (first, body))
    }

    /// Lets in a client of this shard, who it says it is, as soon as its client identifier is
    /// this node's. `data` is what its authentication says at the end, `raw` its CONNECT.
    pub(super) fn admit(
        &mut self,
        key: u32,
        connect: Connect<'_>,
        data: Option<&[u8]>,
        raw: (u8, &[u8]),
    ) -> Flow {
        let assigned;
        let client_id = if connect.client_id.is_empty() {
            assigned = self.assign_client_id();
            assigned.as_str()
        } else {
            connect.client_id
        };
        if self.owners.is_some() {
            return self.claim_client(key, &connect, client_id, raw, data);
        }
        self.let_in(key, connect, client_id, data)
    }

    /// Lets in a client whose client identifier is this node's.
    pub(super) fn let_in(
        &mut self,
        key: u32,
        connect: Connect<'_>,
        client_id: &str,
        data: Option<&[u8]>,
    ) -> Flow {
        let mut connect = connect;
        if self.store_is_full() && self.would_be_stored(&connect, client_id) {
            let reason = match connect.version {
                Version::V5 => ReasonCode::QUOTA_EXCEEDED,
                Version::V31 | Version::V311 => ReasonCode::SERVER_UNAVAILABLE,
            };
            return self.refuse_connect(key, &refusal_of(&connect, reason));
        }
        let will_topic = match self.rewritten_will(&connect, client_id) {
            Ok(topic) => topic,
            Err(reason) => return self.refuse_connect(key, &refusal_of(&connect, reason)),
        };
        if let (Some(will), Some(topic)) = (&mut connect.will, &will_topic) {
            will.topic = topic;
        }
        let Ok(takeovers) = self.pay_takeover(client_id) else {
            let reason = ReasonCode::CONNECTION_RATE_EXCEEDED;
            return self.refuse_connect(key, &refusal_of(&connect, reason));
        };
        self.stats
            .count_packet_received((packet::CONNECT << 4) as u8);
        let (session, present) = self.attach(key, &connect, client_id);
        self.accept_connect(key, &connect, client_id, present, data);
        self.limit_rates(key);
        self.keep_takeovers(key, takeovers);
        let connected = |session: &Session| session.connection == key;
        if present && self.sessions.get(session).is_some_and(connected) {
            self.send_queued(session);
            self.announce_presence(session, true);
        }
        self.auto_subscribe(key);
        Flow::Continue
    }

    /// Whether a new session would have to be stored.
    fn would_be_stored(&self, connect: &Connect<'_>, client_id: &str) -> bool {
        let known = self.find_session(client_id).is_some() && !connect.clean_start;
        connect.session_expiry.min(self.limits.session_expiry_max_s) > 0 && !known
    }

    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        // [MQTT-4.12.0-1]
        if let Some(method) = connect.authentication_method
            && self.common.mechanism(method).is_none()
        {
            return Err(ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        if connect.client_id.len() > usize::from(self.limits.max_clientid_len) {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        // 3.1 asks for a name; 3.1.1 has no way to tell the client which one it got, so
        // without it no session can be kept [MQTT-3.1.3-8] (3.1.1).
        let must_have_name = match connect.version {
            Version::V31 => true,
            Version::V311 => !connect.clean_start,
            Version::V5 => false,
        };
        if must_have_name && connect.client_id.is_empty() {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        if connect.user_properties.len() > usize::from(self.limits.max_user_properties) {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        if let Some(will) = &connect.will {
            if self.has_too_many_properties(&will.properties) {
                return Err(ReasonCode::QUOTA_EXCEEDED);
            }
            if let Some(reason) = self.is_will_unavailable(connect) {
                return Err(reason);
            }
            self.check_will_topic(will.topic)?;
        }
        Ok(())
    }

    /// What the topic of a will becomes by the rules for PUBLISH; `None` if it stays.
    fn rewritten_will(
        &self,
        connect: &Connect<'_>,
        client_id: &str,
    ) -> Result<Option<String>, ReasonCode> {
        let Some((rewrites, will)) = self.common.rewrites.as_ref().zip(connect.will.as_ref())
        else {
            return Ok(None);
        };
        let facts = || Facts {
            client_id: client_id.into(),
            username: connect.username.map(Into::into),
            ..Facts::default()
        };
        let Some(topic) = rewrites.topic(will.topic, facts) else {
            return Ok(None);
        };
        let topic = topic.map_err(|_| ReasonCode::TOPIC_NAME_INVALID)?;
        self.check_will_topic(&topic)?;
        Ok(Some(topic))
    }

    fn check_will_topic(&self, topic: &str) -> Result<(), ReasonCode> {
        if TopicName::parse(topic, self.limits.max_topic_levels).is_err() {
            return Err(ReasonCode::TOPIC_NAME_INVALID);
        }
        if is_brokers_own(topic) {
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        Ok(())
    }

    /// Refuses a CONNECT whose authentication has failed; what is wrong is not said.
    pub(super) fn refuse_authentication(
        &mut self,
        key: u32,
        connect: &Connect<'_>,
        reason: ReasonCode,
    ) -> Flow {
        self.client_connack(key, connect, connect.client_id, reason);
        let refusal = Refusal {
            reason_string: None,
            ..refusal_of(connect, reason)
        };
        self.refuse_connect(key, &refusal)
    }

    /// Refuses a CONNECT that is too large, as soon as its length is known: nothing more of it
    /// is kept. A 5.0 client is told, if what has arrived says that it is one.
    pub(super) fn refuse_too_large(&mut self, key: u32, input: &[u8]) {
        // The fixed header has two to five bytes: the last one of the length is below 0x80.
        let length = input.iter().skip(1).position(|byte| *byte < 0x80);
        let begun = length.and_then(|last| input.get(last + 2..));
        let first = input.first().copied().unwrap_or_default();
        let version = match wire::decode_connect(first, begun.unwrap_or_default()) {
            Ok(connect) => Some(connect.version),
            Err(error) => error.version,
        };
        let error = ConnectError {
            version,
            error: ProtocolError::PacketTooLarge.into(),
        };
        self.refuse_undecoded(key, &error);
    }

    pub(super) fn refuse_undecoded(&mut self, key: u32, error: &ConnectError) -> Flow {
        self.stats.protocol_errors.add(1);
        match error.answer() {
            Some((version, reason)) => {
                // How large a packet the client takes is not known: the shortest.
                self.refuse_connect(key, &Refusal::new(version, reason))
            }
            None => {
                self.close_silently(key);
                Flow::Stop
            }
        }
    }

    /// Refuses a CONNECT.
    pub(super) fn refuse(&mut self, key: u32, connect: &Connect<'_>, reason: ReasonCode) {
        self.client_connack(key, connect, connect.client_id, reason);
        self.refuse_connect(key, &refusal_of(connect, reason));
    }

    /// Answers CONNACK with a reason and closes [MQTT-3.2.2-7].
    fn refuse_connect(&mut self, key: u32, refusal: &Refusal<'_>) -> Flow {
        if let Some(connection) = self.connections.get_mut(key) {
            self.outbox.mark(connection, key);
            let connack = ConnAck {
                reason: refusal.reason,
                reason_string: refusal.reason_string,
                server_reference: refusal.server_reference,
                ..ConnAck::default()
            };
            let output = &mut connection.output.bytes;
            let size_max = refusal.maximum_packet_size;
            encode::connack_within(output, refusal.version, &connack, size_max);
            self.stats
                .count_packet_received((packet::CONNECT << 4) as u8);
            self.stats.count_packet_sent(packet::CONNACK);
            self.stats.connect_errors.add(1);
        }
        self.close_silently(key);
        Flow::Stop
    }

    /// Where clients are sent instead of being let in, and whether for good. Where it is not
    /// known the text is empty.
    fn elsewhere(&self) -> Option<(String, bool)> {
        if self.common.drain.is_on() {
            return Some((self.common.drain.reference(), false));
        }
        let to = &self.limits.redirect_to;
        (!to.is_empty()).then(|| (to.clone(), self.limits.redirect_permanently))
    }

    /// Sends a client to another server instead of letting it in.
    fn redirect(
        &mut self,
        key: u32,
        connect: &Connect<'_>,
        reference: &str,
        permanently: bool,
    ) -> Flow {
        let reason = if permanently {
            ReasonCode::SERVER_MOVED
        } else {
            ReasonCode::USE_ANOTHER_SERVER
        };
        let refusal = Refusal {
            server_reference: (!reference.is_empty()).then_some(reference),
            ..refusal_of(connect, reason)
        };
        self.refuse_connect(key, &refusal)
    }

    fn hand_over(&mut self, key: u32, target: u16, input: &[u8]) -> Flow {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.phase = Phase::Gone;
        }
        self.handovers.push(Handover {
            connection: key,
            target,
            input: input.to_vec(),
        });
        Flow::Stop
    }

    /// A client identifier that belongs to this shard and that nobody can guess.
    fn assign_client_id(&mut self) -> String {
        loop {
            let number = self.next_serial();
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.id_secret[0]);
            hasher.write_u64(self.id_secret[1]);
            hasher.write_u32(number);
            hasher.write_u16(self.id);
            let id = format!("{ASSIGNED_PREFIX}{:016x}{number:08x}", hasher.finish());
            if self.shard_of(&id) == self.id {
                return id;
            }
        }
    }

    /// Finds or makes the session and ties the connection to it. Also says whether the
    /// session was there before.
    fn attach(&mut self, key: u32, connect: &Connect<'_>, client_id: &str) -> (u32, bool) {
        let old = self.find_session(client_id);
        let old_is_stored = old.is_some_and(|old| self.is_durable(old));
        if let Some(old) = old {
            self.take_over(old, connect.clean_start);
        }
        let resumed = old
            .filter(|_| !connect.clean_start)
            .filter(|old| self.is_alive(*old));
        let session_key = match resumed {
            Some(session) => {
                self.stats.session_resumed.add(1);
                session
            }
            None => self.open_session(connect, client_id),
        };
        let window = self.window(connect);
        let will = self.will(session_key, connect);
        let expiry_s = connect.session_expiry.min(self.limits.session_expiry_max_s);
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.connection = key;
            session.outflow.resume(window);
            session.expiry_s = expiry_s;
            session.will = will;
            if let Some(timer) = session.timer.take() {
                self.wheel.cancel(timer);
            }
        }
        let ended_stored = old_is_stored && resumed.is_none();
        self.record_connected(session_key, key, ended_stored);
        (session_key, resumed.is_some())
    }

    /// Ends the connection that a session has [MQTT-3.1.4-3], and, for a clean start, the
    /// session itself [MQTT-3.1.2-4].
    pub(super) fn take_over(&mut self, session_key: u32, clean_start: bool) {
        let connection = self
            .sessions
            .get(session_key)
            .map_or(NONE, |session| session.connection);
        if clean_start && let Some(connection) = self.connections.get_mut(connection) {
            connection.end = End::Discarded;
        }
        if connection != NONE {
            self.disconnect(connection, ReasonCode::SESSION_TAKEN_OVER);
            self.stats.session_takenover.add(1);
        }
        if clean_start && self.is_alive(session_key) {
            self.stats.session_discarded.add(1);
            self.remove_session(session_key);
        }
    }

    fn open_session(&mut self, connect: &Connect<'_>, client_id: &str) -> u32 {
        let serial = self.next_serial();
        let expiry_s = connect.session_expiry.min(self.limits.session_expiry_max_s);
        let outflow = Outflow::new(self.window(connect), expiry_s > 0);
        let key = self.insert_session(Session {
            expiry_s,
            ..Session::new(client_id.into(), serial, outflow)
        });
        self.stats.session_created.add(1);
        key
    }

    /// Enters a session into the tables, under a client identifier that has none.
    pub(super) fn insert_session(&mut self, session: Session) -> u32 {
        let hash = self.seed.hash(&session.client_id);
        let key = self.sessions.insert(session);
        let (sessions, seed) = (&self.sessions, self.seed);
        self.clients.insert_unique(hash, key, |key| {
            sessions
                .get(*key)
                .map_or(0, |session| seed.hash(&session.client_id))
        });
        self.stats.sessions.set(self.sessions.len() as u64);
        key
    }

    pub(super) fn find_session(&self, client_id: &str) -> Option<u32> {
        let hash = self.seed.hash(client_id);
        let named = |key: &u32| {
            self.sessions
                .get(*key)
                .is_some_and(|session| *session.client_id == *client_id)
        };
        self.clients.find(hash, named).copied()
    }

    fn window(&self, connect: &Connect<'_>) -> NonZeroU16 {
        let own = NonZeroU16::new(self.limits.max_inflight).unwrap_or(NonZeroU16::MIN);
        connect.receive_maximum.min(own)
    }

    fn will(&self, session: u32, connect: &Connect<'_>) -> Option<Box<Will>> {
        let will = connect.will.as_ref()?;
        let mut properties = Vec::new();
        will.properties.forwarded_into(&mut properties);
        let message = MessageRef {
            topic: will.topic,
            properties: &properties,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_ms: u64::MAX,
            publisher: self.publisher(session),
        };
        Some(Box::new(Will {
            message: message.to_message(),
            delay_s: will.delay,
            expiry_s: will.properties.message_expiry(),
            due_ms: u64::MAX,
        }))
    }

    /// Brings the connection to life and answers CONNACK.
    fn accept_connect(
        &mut self,
        key: u32,
        connect: &Connect<'_>,
        client_id: &str,
        session_present: bool,
        data: Option<&[u8]>,
    ) {
        let session = self.find_session(client_id).unwrap_or(NONE);
        let keep_alive_s = self.keep_alive(connect);
        let expiry_s = connect.session_expiry.min(self.limits.session_expiry_max_s);
        let connack = ConnAck {
            session_present,
            session_expiry: (expiry_s != connect.session_expiry).then_some(expiry_s),
            receive_maximum: Some(self.limits.receive_maximum),
            maximum_qos: self.limits.maximum_qos(),
            retain_available: self.limits.retain_available,
            wildcard_subscription_available: self.limits.wildcard_subscription,
            shared_subscription_available: self.limits.shared_subscription,
            response_information: response_information(&self.limits, connect),
            maximum_packet_size: Some(self.limits.max_packet_size),
            topic_alias_maximum: self.limits.topic_alias_maximum,
            assigned_client_id: connect.client_id.is_empty().then_some(client_id),
            server_keep_alive: (keep_alive_s != connect.keep_alive).then_some(keep_alive_s),
            authentication_method: connect.authentication_method,
            authentication_data: data,
            ..ConnAck::default()
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.phase = Phase::Live;
        connection.session = session;
        connection.version = connect.version;
        connection.connected_unix_ms = self.epoch_ms + self.now_ms;
        connection.username = connect.username.map(Into::into);
        connection.maximum_packet_size = connect
            .maximum_packet_size
            .map_or(u32::MAX, NonZeroU32::get);
        connection.topic_alias_maximum = connect
            .topic_alias_maximum
            .min(self.limits.topic_alias_maximum_out);
        connection.explains = connect.version == Version::V5 && connect.request_problem_information;
        // One and a half times the keep alive [MQTT-3.1.2-22].
        let percent = u32::from(self.limits.keepalive_multiplier_percent);
        connection.silence_ms_max = u32::from(keep_alive_s) * 10 * percent;
        self.stats.connections.add(1);
        self.stats.connected.add(1);
        self.stats.count_packet_sent(packet::CONNACK);
        self.outbox.mark(connection, key);
        encode::connack(&mut connection.output.bytes, connect.version, &connack);
        if connection.output.len() > connection.maximum_packet_size as usize {
            connection.output.clear();
            // Not even CONNACK fits: nothing can be said [MQTT-3.1.2-24].
            self.close_silently(key);
            return;
        }
        self.watch_silence(key);
        let arrival = Arrival {
            connect,
            client_id,
            keep_alive_s,
            expiry_s,
        };
        self.client_connected(key, &arrival);
    }

    /// The keep alive in force: a 5.0 client can be told another than it asked for
    /// [MQTT-3.2.2-21].
    fn keep_alive(&self, connect: &Connect<'_>) -> u16 {
        if connect.version == Version::V5 && self.limits.server_keepalive_s > 0 {
            return self.limits.server_keepalive_s;
        }
        let max = self.limits.max_keep_alive_s;
        let unlimited = max == u16::MAX;
        if connect.version != Version::V5 || unlimited {
            return connect.keep_alive;
        }
        match connect.keep_alive {
            0 => max,
            asked => asked.min(max),
        }
    }
}
