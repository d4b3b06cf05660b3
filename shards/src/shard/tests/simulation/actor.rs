//! A client that obeys the protocol, checks what it gets, and remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::wire::Version;

use super::super::node::{Client, Node};
use super::super::packet::{self, Publish};
use super::super::received::{Delivery, Received};
use super::ledger::Ledger;
use super::matching::matches;

/// Filters of plain subscriptions. The Subscription Identifier is the place in the list,
/// counted from 1.
pub(super) const FILTERS: [&str; 12] = [
    "#",
    "t/#",
    "t/+",
    "t/1",
    "t/2",
    "+/1",
    "+/+",
    "will/#",
    "r/+",
    "t/1/#",
    // Nobody has these as plain ones: they would take each other's place.
    "$exclusive/t/2/#",
    "$exclusive/+/1/+",
];

/// Filters of shared subscriptions; the identifiers go on from those of the plain ones.
pub(super) const SHARED: [&str; 5] = [
    "$share/g/t/#",
    "$share/g/t/1",
    "$share/h/t/+",
    "$share/h/#",
    "$share/i/t/2",
];

/// Packet identifiers of SUBSCRIBE and UNSUBSCRIBE begin here.
const SUBSCRIBE_IDS: u16 = 50_000;

/// A client.
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) version: Version,
    /// Has shared subscriptions only, else plain ones only.
    pub(super) shares: bool,
    pub(super) connection: Option<Connection>,
    pub(super) session: Option<Session>,
    /// A CONNECT was not answered: what session there is, is not known.
    pub(super) uncertain: bool,
    pub(super) next_id: u16,
    /// Groups that it joins or leaves; their owners may not have heard of it.
    pub(super) unsettled: BTreeSet<&'static str>,
    /// A will that must not appear any more, once the node has come to rest.
    pub(super) leaving: Option<usize>,
}

/// A connection that is open as far as the client knows.
pub(super) struct Connection {
    pub(super) client: Client,
    /// CONNACK has come.
    pub(super) accepted: bool,
    pub(super) expiry_s: u32,
    /// CONNACK must say this of the session, if it is known.
    pub(super) expects_present: Option<bool>,
    pub(super) will: Option<usize>,
    /// Answers at once, else when it pleases.
    pub(super) prompt: bool,
    /// Answers that are not sent.
    pub(super) answers: VecDeque<Vec<u8>>,
    /// Filters of SUBSCRIBE packets without SUBACK.
    pub(super) subscribing: BTreeMap<u16, (&'static str, u8)>,
}

/// A session of one client, from its beginning to its end.
#[derive(Default)]
pub(super) struct Session {
    pub(super) expiry_s: u32,
    /// When it ends, while the client is away.
    pub(super) ends_ms: Option<u64>,
    /// Messages with QoS 1 and 2 whose exchange is not over, in the order sent.
    pub(super) unacknowledged: VecDeque<Outgoing>,
    /// QoS 2 messages between PUBLISH and PUBREL: packet identifier and message.
    held: BTreeMap<u16, usize>,
    pub(super) subscriptions: BTreeMap<&'static str, Subscription>,
    /// All filters ever subscribed to.
    filters: BTreeSet<&'static str>,
    /// How often each message came by each shared subscription, or, under 0, by plain ones,
    /// not counting what was sent again.
    seen: BTreeMap<(u32, usize), usize>,
    /// What came by shared subscriptions with QoS 1.
    shared_1: Vec<(&'static str, usize)>,
    /// The last message by publisher, topic, QoS sent and QoS received.
    last: BTreeMap<(usize, String, u8, u8), usize>,
}

pub(super) struct Subscription {
    pub(super) qos: u8,
    /// When SUBACK came, on the clock of events.
    pub(super) since: Option<u64>,
}

/// A message on its way to the broker.
pub(super) struct Outgoing {
    pub(super) id: u16,
    pub(super) number: usize,
    pub(super) qos: u8,
    /// PUBREC has come.
    pub(super) released: bool,
}

impl Session {
    /// Whether a message came by a plain subscription.
    pub(super) fn has_got(&self, number: usize) -> bool {
        self.seen.contains_key(&(0, number))
    }
}

impl Actor {
    pub(super) fn is_ready(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.accepted)
    }

    /// A packet identifier that is not in use.
    fn fresh_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 1000 + 1;
            let id = self.next_id;
            let session = self.session.as_ref();
            if session.is_none_or(|s| s.unacknowledged.iter().all(|o| o.id != id)) {
                return id;
            }
        }
    }

    /// Publishes a message of the ledger.
    pub(super) fn publish(&mut self, node: &mut Node, ledger: &Ledger, number: usize) {
        let entry = &ledger.entries[number];
        let id = self.fresh_id();
        let mut message = Publish::new(&entry.topic, number.to_string()).qos(entry.qos, id);
        if entry.retain {
            message = message.retain();
        }
        let (Some(connection), Some(session)) = (&self.connection, &mut self.session) else {
            return;
        };
        node.publish(connection.client, &message);
        if entry.qos > 0 {
            session.unacknowledged.push_back(Outgoing {
                id,
                number,
                qos: entry.qos,
                released: false,
            });
        }
    }

    /// Subscribes to a filter.
    pub(super) fn subscribe(
        &mut self,
        node: &mut Node,
        ledger: &mut Ledger,
        filter: &'static str,
        options: u8,
    ) {
        let (Some(connection), Some(session)) = (&mut self.connection, &mut self.session) else {
            return;
        };
        let id = SUBSCRIBE_IDS + ledger.tick() as u16 % 10_000;
        let qos = options & 3;
        connection.subscribing.insert(id, (filter, qos));
        session.filters.insert(filter);
        let subscription = Subscription { qos, since: None };
        session.subscriptions.insert(filter, subscription);
        if self.shares {
            self.unsettled.insert(filter);
            ledger.groups.entry(filter).or_default().lossy |= qos == 0;
        }
        let identifier = identifier(filter);
        let packet = packet::subscribe(self.version, id, identifier, &[(filter, options)]);
        node.send(connection.client, &packet);
    }

    pub(super) fn unsubscribe(
        &mut self,
        node: &mut Node,
        ledger: &mut Ledger,
        filter: &'static str,
    ) {
        let (Some(connection), Some(session)) = (&mut self.connection, &mut self.session) else {
            return;
        };
        let id = SUBSCRIBE_IDS + ledger.tick() as u16 % 10_000;
        session.subscriptions.remove(filter);
        // A SUBACK that is still to come says nothing any more.
        connection
            .subscribing
            .retain(|_, (other, _)| *other != filter);
        if self.shares {
            self.unsettled.insert(filter);
        }
        let packet = packet::unsubscribe(self.version, id, &[filter]);
        node.send(connection.client, &packet);
    }

    /// Sends up to `count` answers that wait.
    pub(super) fn answer(&mut self, node: &mut Node, count: usize) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        for _ in 0..count {
            let Some(answer) = connection.answers.pop_front() else {
                return;
            };
            node.send(connection.client, &answer);
        }
    }

    /// Reads what has come. False when nothing has.
    pub(super) fn read(&mut self, node: &mut Node, ledger: &mut Ledger) -> bool {
        let Some(connection) = &self.connection else {
            return false;
        };
        let client = connection.client;
        let packets = node.take(client);
        assert!(!node.is_closed(client), "closed for no reason: {packets:?}");
        let something = !packets.is_empty();
        for packet in packets {
            self.handle(node, ledger, packet);
        }
        if self.connection.as_ref().is_some_and(|c| c.prompt) {
            self.answer(node, usize::MAX);
        }
        something
    }

    fn handle(&mut self, node: &mut Node, ledger: &mut Ledger, packet: Received) {
        match packet {
            Received::ConnAck { present, reason } => {
                assert_eq!(reason, 0, "a refusal");
                self.accepted(node, ledger, present);
            }
            Received::Publish(delivery) => self.got(ledger, &delivery),
            Received::PubAck { id, reason } => self.acknowledged(ledger, id, 1, reason),
            Received::PubRec { id, reason } => {
                self.acknowledged(ledger, id, 2, reason);
                self.reply(packet::pubrel(id));
            }
            Received::PubRel { id, reason } => {
                assert_eq!(reason, 0, "PUBREL {id}");
                if let Some(session) = &mut self.session {
                    session.held.remove(&id);
                }
                self.reply(packet::pubcomp(id));
            }
            Received::PubComp { id, .. } => self.completed(id),
            Received::SubAck { id, codes } => self.subscribed(ledger, id, &codes),
            Received::UnsubAck { .. } => {}
            other => panic!("{} got {other:?}", self.name),
        }
    }

    fn reply(&mut self, packet: Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            connection.answers.push_back(packet);
        }
    }

    /// CONNACK: takes up the session, and sends again what it owes; or begins a session.
    fn accepted(&mut self, node: &mut Node, ledger: &mut Ledger, present: bool) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.accepted = true;
        if let Some(expected) = connection.expects_present {
            assert_eq!(present, expected, "the session of {}", self.name);
        }
        self.uncertain = false;
        let (client, expiry_s) = (connection.client, connection.expiry_s);
        if !present {
            self.end_session(ledger);
            self.session = Some(Session::default());
        }
        let Some(session) = &mut self.session else {
            panic!("{} has a session it does not know of", self.name);
        };
        session.expiry_s = expiry_s;
        session.ends_ms = None;
        for outgoing in &session.unacknowledged {
            let entry = &mut ledger.entries[outgoing.number];
            if outgoing.released {
                node.send(client, &packet::pubrel(outgoing.id));
                continue;
            }
            entry.repeats += usize::from(outgoing.qos == 1);
            let message = Publish::new(&entry.topic, outgoing.number.to_string());
            let message = message.qos(outgoing.qos, outgoing.id).dup();
            let message = if entry.retain {
                message.retain()
            } else {
                message
            };
            node.publish(client, &message);
        }
    }

    /// The session is over, or will be when the broker hears of it.
    pub(super) fn end_session(&mut self, ledger: &mut Ledger) {
        if let Some(session) = self.session.take()
            && self.shares
        {
            for (group, number) in session.shared_1 {
                ledger.return_to_group(group, number);
            }
            self.unsettled.extend(session.filters);
        }
    }

    /// Its session may be over, or be another.
    pub(super) fn lose_sight(&mut self, ledger: &mut Ledger) {
        self.uncertain = true;
        if let Some(session) = &mut self.session {
            for (group, number) in std::mem::take(&mut session.shared_1) {
                ledger.return_to_group(group, number);
            }
        }
    }

    /// Whether it has been a member of a group for a while.
    pub(super) fn is_steady_in(&self, group: &str) -> bool {
        let session = self.session.as_ref().filter(|_| !self.uncertain);
        let subscription = session.and_then(|session| session.subscriptions.get(group));
        !self.unsettled.contains(group) && subscription.is_some_and(|s| s.since.is_some())
    }

    /// Whether a session that it does not know may be a member of a group.
    pub(super) fn may_be_in(&self, group: &str) -> bool {
        let session = self.session.as_ref();
        self.unsettled.contains(group) || session.is_some_and(|s| s.filters.contains(group))
    }

    /// All that it has asked for has taken effect everywhere.
    pub(super) fn settle(&mut self, ledger: &mut Ledger, steady: &BTreeSet<&'static str>) {
        for group in std::mem::take(&mut self.unsettled) {
            ledger.change_group(group, !steady.contains(group));
        }
    }

    fn subscribed(&mut self, ledger: &mut Ledger, id: u16, codes: &[u8]) {
        let (Some(connection), Some(session)) = (&mut self.connection, &mut self.session) else {
            return;
        };
        let Some((filter, qos)) = connection.subscribing.remove(&id) else {
            return;
        };
        let refused = codes == [0x80] || codes == [0x97];
        let is_exclusive = filter.starts_with("$exclusive/");
        assert!(
            codes == [qos] || (is_exclusive && refused),
            "SUBACK for {filter}"
        );
        let superseded = connection
            .subscribing
            .values()
            .any(|(other, _)| *other == filter);
        if refused {
            if !superseded {
                session.subscriptions.remove(filter);
            }
        } else if let Some(subscription) = session.subscriptions.get_mut(filter)
            && !superseded
        {
            subscription.since = Some(ledger.tick());
        }
    }

    /// PUBACK or PUBREC.
    fn acknowledged(&mut self, ledger: &mut Ledger, id: u16, qos: u8, reason: u8) {
        assert!(reason < 0x80, "the message {id} was refused: {reason:#x}");
        let Some(session) = &mut self.session else {
            return;
        };
        // In the order of the messages [MQTT-4.6.0-2], [MQTT-4.6.0-3].
        let mut sent = session.unacknowledged.iter_mut();
        let next = sent.find(|outgoing| !outgoing.released);
        let Some(outgoing) = next.filter(|outgoing| (outgoing.id, outgoing.qos) == (id, qos))
        else {
            panic!("{}: not the acknowledgement that is due: {id}", self.name);
        };
        outgoing.released = true;
        ledger.entries[outgoing.number].acknowledged = true;
        if qos == 1 {
            session.unacknowledged.retain(|outgoing| outgoing.id != id);
        }
    }

    fn completed(&mut self, id: u16) {
        if let Some(session) = &mut self.session {
            session.unacknowledged.retain(|outgoing| outgoing.id != id);
        }
    }

    /// A message.
    fn got(&mut self, ledger: &mut Ledger, delivery: &Delivery) {
        let number: usize = delivery.text().parse().expect("a number");
        let Some(session) = &mut self.session else {
            panic!("{} got {delivery:?} before CONNACK", self.name);
        };
        check_match(&self.name, session, delivery);
        let known = delivery.qos == 2 && session.held.contains_key(&delivery.id);
        if delivery.qos == 2 {
            let held = *session.held.entry(delivery.id).or_insert(number);
            assert_eq!(
                held, number,
                "another message under identifier {}",
                delivery.id
            );
        }
        match delivery.qos {
            0 => {}
            1 => self.reply(packet::puback(delivery.id)),
            _ => self.reply(packet::pubrec(delivery.id)),
        }
        if !known {
            self.count(ledger, number, delivery);
        }
    }

    /// Counts a message that was not already held.
    fn count(&mut self, ledger: &mut Ledger, number: usize, delivery: &Delivery) {
        let entry = ledger.entries[number].clone();
        assert_eq!(delivery.topic, entry.topic, "the topic of {number}");
        assert!(delivery.qos <= entry.qos, "{delivery:?} is {entry:?}");
        assert!(
            !entry.forbidden,
            "{number} is the will of a client that said good-bye"
        );
        let Some(session) = &mut self.session else {
            return;
        };
        if delivery.retain {
            assert!(entry.retain && !self.shares, "{delivery:?} is {entry:?}");
            return;
        }
        let by = if self.shares {
            delivery.identifiers[0]
        } else {
            0
        };
        let times = session.seen.get(&(by, number)).copied().unwrap_or(0);
        let again = times > 0 && delivery.dup && delivery.qos == 1;
        if again {
            return;
        }
        session.seen.insert((by, number), times + 1);
        if self.shares {
            let filter = filter_of(by);
            if delivery.qos == 1 {
                session.shared_1.push((filter, number));
            }
            ledger.deliver_to_group(filter, number);
            return;
        }
        assert!(
            times < 1 + entry.repeats,
            "{} got {number} {} times: {entry:?}",
            self.name,
            times + 1
        );
        if times == 0 && entry.repeats == 0 && !entry.will {
            check_order(&self.name, session, number, &entry, delivery);
        }
    }
}

/// Order per publisher, topic and QoS.
fn check_order(
    name: &str,
    session: &mut Session,
    number: usize,
    entry: &super::ledger::Entry,
    delivery: &Delivery,
) {
    let key = (
        entry.publisher,
        entry.topic.clone(),
        entry.qos,
        delivery.qos,
    );
    let last = session.last.insert(key, number);
    assert!(
        last < Some(number),
        "{name} got {number} after {last:?}: {entry:?} as {delivery:?}"
    );
}

/// Only what was subscribed to, with the identifiers of what matches.
fn check_match(name: &str, session: &Session, delivery: &Delivery) {
    let mut filters = session.filters.iter();
    let matching = |filter: &str| matches(plain(filter), &delivery.topic);
    assert!(
        filters.any(|filter| matching(filter)),
        "{name} never asked for {delivery:?}"
    );
    let mut identifiers = delivery.identifiers.iter();
    assert!(
        identifiers.all(|identifier| matching(filter_of(*identifier))),
        "{name} got identifiers of other filters: {delivery:?}"
    );
}

/// The filter without `$share/name/` or `$exclusive/`.
pub(super) fn plain(filter: &str) -> &str {
    let filter = filter.strip_prefix("$exclusive/").unwrap_or(filter);
    let shared = filter.strip_prefix("$share/");
    shared.map_or(filter, |rest| rest.split_once('/').map_or(rest, |(_, f)| f))
}

fn identifier(filter: &str) -> u32 {
    let mut all = FILTERS.iter().chain(&SHARED);
    all.position(|other| *other == filter).expect("a filter") as u32 + 1
}

fn filter_of(identifier: u32) -> &'static str {
    let mut all = FILTERS.iter().chain(&SHARED);
    all.nth(identifier as usize - 1).expect("an identifier")
}
