//! PUBLISH from a client, and the way of a message to everybody it is for.

use std::rc::Rc;

use protocol::hash::Seed;
use protocol::message::MessageRef;
use protocol::topic::TopicName;
use protocol::wire::{PacketId, Publish, PublishProperties, QoS, ReasonCode, Version};
use shard_store::Change;

use shard_sync::RouteReader;

use super::common::is_brokers_own;
use super::connection::AckKind;
use super::events::Event;
use super::input::Flow;
use super::plan::{Generations, Plan};
use super::replay::Retained;
use super::session::Session;
use super::transaction::{Later, Then, Touched, Waiting};
use super::{NONE, Shard};
use crate::routes::RouteCopy;

/// What became of a message.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// Somebody subscribes to its topic.
    pub(super) matched: bool,
    /// The retained messages are at their limit, so it was not retained.
    pub(super) retain_refused: bool,
    /// Shards that have to accept it, and up to which of the publishes sent to them.
    pub(super) waits: Vec<(u16, u64)>,
    /// What it has led to in the store.
    pub(super) touched: Touched,
}

/// How far a message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    Everywhere,
    /// It came from another node, with its version if it is to be retained, or 0.
    ThisNode {
        version: u64,
    },
}

impl Shard {
    pub(super) fn handle_publish(
        &mut self,
        key: u32,
        version: Version,
        publish: &Publish<'_>,
    ) -> Flow {
        self.stats.received[publish.qos as usize].add(1);
        if let Some(reason) = self.is_unavailable(publish) {
            return self.broke_protocol(key, reason);
        }
        let alias = publish.properties.topic_alias();
        let aliased;
        let topic = if alias.is_none() {
            publish.topic
        } else {
            match self.resolve_alias(key, publish) {
                Ok(topic) => {
                    aliased = topic;
                    &aliased
                }
                Err(reason) => return self.broke_protocol(key, reason),
            }
        };
        let rewritten;
        let topic = match self.rewritten_topic(key, topic) {
            None => topic,
            Some(Ok(topic)) => {
                rewritten = topic;
                &rewritten
            }
            Some(Err(_)) => {
                return self.refuse_publish(key, publish, ReasonCode::TOPIC_NAME_INVALID);
            }
        };
        let (delay_s, topic) = match self.delay_of(topic) {
            Ok(delay) => delay,
            Err(reason) => return self.refuse_delayed(key, version, publish, reason),
        };
        let Some(plan) = self.plan_for(topic) else {
            return self.refuse_publish(key, publish, ReasonCode::TOPIC_NAME_INVALID);
        };
        if let Some(reason) = self.misfit(publish, topic) {
            return self.refuse_publish(key, publish, reason);
        }
        let session = self.session_of(key);
        if publish.qos != QoS::AtMostOnce
            && let Some(flow) = self.is_out_of_turn(key, version, session, publish)
        {
            return flow;
        }
        let mut storage = Vec::new();
        let message = MessageRef {
            topic,
            properties: forwarded(&publish.properties, &mut storage),
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_ms: self.expiry_deadline(publish.properties.message_expiry()),
            publisher: self.publisher(session),
        };
        if let Some(delay_s) = delay_s {
            return self.take_delayed(key, version, publish, delay_s, &message);
        }
        self.take(key, session, publish, (&plan, &message))
    }

    /// Brings a client's message to all who get it, and acknowledges it.
    fn take(
        &mut self,
        key: u32,
        session: u32,
        publish: &Publish<'_>,
        (plan, message): (&Plan, &MessageRef<'_>),
    ) -> Flow {
        if publish.qos != QoS::AtMostOnce && self.store_is_full() && self.stores(plan, message) {
            return self.refuse_unstored(key, publish);
        }
        if publish.qos == QoS::ExactlyOnce {
            self.begin_exactly_once(key, session, publish, (plan, message.topic));
        }
        let routed = self.follow(plan, message, Reach::Everywhere);
        if !routed.matched {
            self.matched_nobody(key, message);
        }
        if self.slow_node != 0 {
            self.wait_for_node(key);
        }
        self.acknowledge(key, session, publish, routed)
    }

    /// What is done with a QoS 1 or 2 message that came before, or that the client must not
    /// send yet.
    #[inline]
    fn is_out_of_turn(
        &mut self,
        key: u32,
        version: Version,
        session: u32,
        publish: &Publish<'_>,
    ) -> Option<Flow> {
        if publish.qos == QoS::ExactlyOnce && self.is_repeated(session, publish.packet_id) {
            return Some(self.repeat_pubrec(key, publish));
        }
        if self.exceeds_receive_maximum(key, session, version) {
            return Some(self.broke_protocol(key, ReasonCode::RECEIVE_MAXIMUM_EXCEEDED));
        }
        if publish.qos == QoS::ExactlyOnce && self.awaits_too_many_releases(session) {
            return Some(self.refuse_release(key, version, publish));
        }
        None
    }

    fn matched_nobody(&mut self, key: u32, message: &MessageRef<'_>) {
        self.stats.no_subscribers.add(1);
        if self.wants(Event::MessageDropped) {
            self.message_dropped(key, message, "no_subscribers");
        }
    }

    /// Why a message is not taken although the connection goes on.
    #[inline]
    fn misfit(&self, publish: &Publish<'_>, topic: &str) -> Option<ReasonCode> {
        if self.has_too_many_properties(&publish.properties) {
            Some(ReasonCode::QUOTA_EXCEEDED)
        } else if is_brokers_own(topic) {
            Some(ReasonCode::NOT_AUTHORIZED)
        } else if self.has_wrong_payload(publish.properties.payload_is_utf8(), publish.payload) {
            Some(ReasonCode::PAYLOAD_FORMAT_INVALID)
        } else {
            None
        }
    }

    /// The plan for a topic of a client; `None` if it is not a topic that is taken.
    #[inline]
    pub(super) fn plan_for(&mut self, topic: &str) -> Option<Rc<Plan>> {
        if let Some(plan) = self.known_plan(topic) {
            return Some(plan);
        }
        let topic = TopicName::parse(topic, self.limits.max_topic_levels).ok()?;
        Some(self.make_plan(topic))
    }

    /// Makes a QoS 2 message of a stored session part of the commit that has its packet
    /// identifier, also where other shards store it.
    fn begin_exactly_once(
        &mut self,
        key: u32,
        session_key: u32,
        publish: &Publish<'_>,
        (plan, topic): (&Plan, &str),
    ) {
        let alone = plan.peers.is_empty() && plan.groups.is_empty();
        let retained_here = !publish.retain || self.shard_of(topic) == self.id;
        // Nor may a message overtake one that waits for other shards.
        let is_first = self.transactions.len() == 0;
        let durable = self.durable(session_key).map(|(_, session)| session);
        if is_first && (alone && retained_here || durable.is_none()) {
            return;
        }
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let serial = self.connections.get(key).map_or(0, |found| found.serial);
        let then = Then::Acknowledge(Waiting {
            key,
            serial,
            packet_id,
            kind: AckKind::PubRec,
        });
        let hold = durable.map(|session| Change::HoldPacketId { session, packet_id });
        self.begin_atomic(then, hold.into_iter().collect());
    }

    /// Whether a message is to be stored on this shard, or retained.
    fn stores(&self, plan: &Plan, message: &MessageRef<'_>) -> bool {
        let durable = |key| self.sessions.get(key).is_some_and(|s: &Session| s.durable);
        let retained = message.retain && !message.payload.is_empty();
        retained || plan.targets.iter().any(|target| durable(target.session))
    }

    /// The moment at which a message with this Message Expiry Interval expires.
    pub(super) fn expiry_deadline(&self, expiry_s: Option<u32>) -> u64 {
        let default_s = self.limits.message_expiry_interval_s;
        let expiry_s = expiry_s.or_else(|| (default_s > 0).then_some(default_s));
        expiry_s.map_or(u64::MAX, |seconds| self.now_ms + u64::from(seconds) * 1000)
    }

    /// A session of this shard, as publisher of a message.
    #[inline]
    pub(super) fn publisher(&self, session: u32) -> u64 {
        let number = u64::from(self.id) << 32 | u64::from(session);
        if !self.hashes_publishers {
            return number;
        }
        let client_id = self.sessions.get(session).map_or("", |s| &s.client_id);
        // The same on all nodes.
        Seed::new(0).hash(client_id) << 48 | number
    }

    /// Whether a session of this shard has published a message.
    #[inline]
    pub(super) fn is_publisher(&self, session: u32, publisher: u64) -> bool {
        publisher << 16 == (u64::from(self.id) << 32 | u64::from(session)) << 16
    }

    /// Brings a message that is not a client's PUBLISH, a will, to all who get it.
    pub(super) fn route(&mut self, topic: TopicName<'_>, message: &MessageRef<'_>) {
        let plan = self.plan(topic);
        let Routed { touched, .. } = self.follow(&plan, message, Reach::Everywhere);
        if touched.transaction != NONE {
            self.answered(touched.transaction);
        }
    }

    /// Like [`Shard::route`]; `last` is stored in the same commit as the message.
    pub(super) fn route_with(
        &mut self,
        topic: TopicName<'_>,
        message: &MessageRef<'_>,
        last: Vec<Change>,
    ) {
        if !last.is_empty() {
            self.begin_atomic(Then::Nothing, last);
        }
        self.route(topic, message);
    }

    /// Retains a message if it asks for that, and brings it to all sessions that subscribe
    /// to its topic, on this and on other shards.
    pub(super) fn follow(&mut self, plan: &Plan, message: &MessageRef<'_>, reach: Reach) -> Routed {
        let mut routed = Routed {
            matched: !plan.is_empty(),
            ..Routed::default()
        };
        self.is_foreign = reach != Reach::Everywhere;
        if message.retain {
            self.retain(message, reach, &mut routed);
        }
        if self.is_clustered() && reach == Reach::Everywhere {
            self.send_to_nodes(plan, message, &mut routed.waits);
        }
        self.spread(plan, message, &mut routed.waits);
        routed.touched = core::mem::take(&mut self.touched);
        routed
    }

    /// Brings a message to the sessions of this node that subscribe to its topic.
    #[inline]
    pub(super) fn spread(
        &mut self,
        plan: &Plan,
        message: &MessageRef<'_>,
        waits: &mut Vec<(u16, u64)>,
    ) {
        for &peer in &plan.peers {
            if peer < self.count {
                self.send_publish(peer, message, waits);
            }
        }
        self.deliver_plan(plan, message);
    }

    /// A message that another shard has routed here. False if there is no room for it in the
    /// store.
    pub(super) fn route_arrived(&mut self, message: &MessageRef<'_>) -> bool {
        let Ok(topic) = TopicName::parse(message.topic, u16::MAX) else {
            return true;
        };
        let plan = self.plan(topic);
        let acknowledged = message.qos != QoS::AtMostOnce;
        if acknowledged && self.store_is_full() && self.stores(&plan, message) {
            return false;
        }
        self.deliver_plan(&plan, message);
        true
    }

    /// Whether a message to this topic reaches anybody.
    pub(super) fn has_receivers(&mut self, topic: &str) -> bool {
        let topic = TopicName::parse(topic, u16::MAX);
        topic.is_ok_and(|topic| !self.plan(topic).is_empty())
    }

    pub(super) fn plan(&mut self, topic: TopicName<'_>) -> Rc<Plan> {
        let known = self.known_plan(topic.as_str());
        known.unwrap_or_else(|| self.make_plan(topic))
    }

    #[inline]
    fn known_plan(&self, topic: &str) -> Option<Rc<Plan>> {
        self.plans.known(topic, self.generations())
    }

    fn generations(&self) -> Generations {
        Generations {
            subscriptions: self.subscriptions.generation(),
            routes: self.routes.as_ref().map_or(0, RouteReader::generation),
        }
    }

    fn make_plan(&mut self, topic: TopicName<'_>) -> Rc<Plan> {
        let tables = self.generations();
        let (own, count, destinations) = (self.id, self.count, &mut self.destinations);
        let routes = self.routes.as_mut();
        self.plans
            .make(topic, &self.subscriptions, tables, |peers| {
                let Some(routes) = routes else { return };
                routes.matches(topic.as_str(), destinations);
                let shards = destinations.shards().map(u16::from);
                peers.extend(shards.filter(|shard| *shard != own));
                for number in destinations.nodes() {
                    let peer = count + RouteCopy::node(*number);
                    // A node whose routes come anew has two copies of them.
                    if !peers.contains(&peer) {
                        peers.push(peer);
                    }
                }
            })
    }

    pub(super) fn send_publish(
        &mut self,
        peer: u16,
        message: &MessageRef<'_>,
        waits: &mut Vec<(u16, u64)>,
    ) {
        let Some(target) = self.peers.get_mut(usize::from(peer)) else {
            return;
        };
        if message.qos == QoS::AtMostOnce && target.is_full() {
            self.stats.dropped.add(1);
            return;
        }
        let Touched {
            transaction,
            atomic,
            ..
        } = self.touched;
        let sent = target.publish(message, atomic, self.retaining);
        if self.is_foreign {
            target.mark_foreign();
        }
        if atomic {
            target.wait_later(sent, Later::Transaction(transaction));
            self.expect_answer();
        }
        if message.qos != QoS::AtMostOnce {
            waits.push((peer, sent));
        }
    }

    /// Sets or forgets the retained message of a topic, on the shard that the topic hashes
    /// to.
    fn retain(&mut self, message: &MessageRef<'_>, reach: Reach, routed: &mut Routed) {
        let owner = self.shard_of(message.topic);
        self.retaining = match reach {
            Reach::ThisNode { version } if version > 0 => version,
            _ => self.next_version(),
        };
        let version = self.retaining;
        let waits = message.qos != QoS::AtMostOnce || reach != Reach::Everywhere;
        // What the other nodes retain is not dropped here.
        let may_drop = !waits && !self.is_clustered();
        let retained = |message: &MessageRef<'_>| Retained {
            message: message.to_message(),
            version,
        };
        if owner == self.id {
            routed.retain_refused = !self.store_retained(retained(message));
            return;
        }
        if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
            if may_drop && peer.is_full() {
                self.stats.dropped.add(1);
                return;
            }
            let sent = peer.retain(retained(message));
            if waits {
                if self.touched.atomic {
                    let later = Later::Transaction(self.touched.transaction);
                    peer.wait_later(sent, later);
                    self.expect_answer();
                }
                routed.waits.push((owner, sent));
            }
        }
    }

    /// The topic of a PUBLISH with a topic alias, and the alias remembered
    /// [MQTT-3.3.2-7], [MQTT-3.3.2-9].
    fn resolve_alias(&mut self, key: u32, publish: &Publish<'_>) -> Result<Rc<str>, ReasonCode> {
        let alias = publish
            .properties
            .topic_alias()
            .ok_or(ReasonCode::TOPIC_ALIAS_INVALID)?;
        if alias.get() > self.limits.topic_alias_maximum {
            return Err(ReasonCode::TOPIC_ALIAS_INVALID);
        }
        let connection = self
            .connections
            .get_mut(key)
            .ok_or(ReasonCode::UNSPECIFIED_ERROR)?;
        let aliases = &mut connection.extras.get_or_insert_default().aliases;
        if !publish.topic.is_empty() {
            aliases.set(alias, publish.topic);
        }
        aliases.topic(alias).ok_or(ReasonCode::PROTOCOL_ERROR)
    }

    #[inline]
    pub(super) fn has_too_many_properties(&self, properties: &PublishProperties<'_>) -> bool {
        !properties.is_empty()
            && properties.user_properties().len() > usize::from(self.limits.max_user_properties)
    }

    fn is_repeated(&self, session: u32, id: Option<PacketId>) -> bool {
        match (self.sessions.get(session), id) {
            (Some(session), Some(id)) => session.inflow.holds(id),
            _ => false,
        }
    }

    /// One QoS 2 message more than may wait for PUBREL.
    fn refuse_release(&mut self, key: u32, version: Version, publish: &Publish<'_>) -> Flow {
        match version {
            Version::V5 => self.refuse_publish(key, publish, ReasonCode::QUOTA_EXCEEDED),
            // It cannot be told, and PUBREC would say that the message is taken.
            _ => self.broke_protocol(key, ReasonCode::QUOTA_EXCEEDED),
        }
    }

    /// Whether the session holds as many QoS 2 messages without PUBREL as it may.
    fn awaits_too_many_releases(&self, session: u32) -> bool {
        let session = self.sessions.get(session);
        session.is_some_and(|s| s.inflow.len() >= usize::from(self.limits.max_awaiting_rel))
    }

    /// [MQTT-3.3.4-7] binds 5.0 clients; those of 3.x were never told the number.
    fn exceeds_receive_maximum(&self, key: u32, session: u32, version: Version) -> bool {
        if version != Version::V5 {
            return false;
        }
        let held = self
            .sessions
            .get(session)
            .map_or(0, |session| session.inflow.len());
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let maximum = usize::from(self.limits.receive_maximum);
        held + connection.pending_acks() >= maximum && held + connection.pending_unheld() >= maximum
    }
}

/// The properties to forward as one slice; copied only if some must be left out.
fn forwarded<'a>(properties: &PublishProperties<'a>, storage: &'a mut Vec<u8>) -> &'a [u8] {
    match properties.forwarded() {
        Some(slice) => slice,
        None => {
            properties.forwarded_into(storage);
            storage
        }
    }
}
