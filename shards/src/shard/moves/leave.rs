//! The former owner's side.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use protocol::session::{Delivery, Inflow, Outflow};
use protocol::wire::QoS;

use super::Source;
use super::marks::{About, Move, Writer};
use super::pack::Packer;
use super::said::What;
use super::settle::Shards;
use crate::nodes::OwnerRequest;
use crate::shard::deliver::Receiver;
use crate::shard::durable::EXCLUSIVE_PREFIX;
use crate::shard::session::Session;
use crate::shard::{NONE, Shard};

/// Bytes of a session in one message.
const PART_BYTES: usize = 32 << 10;

/// A session that is kept for another node.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    to: Option<To>,
    /// Who has come for it and is not up here yet, and the epoch: it has met this node before this
    /// one has met it.
    early: Option<(u16, u64)>,
}

impl Leaving {
    /// Whether somebody has come for it.
    pub(super) fn is_under_way(&self) -> bool {
        self.to.is_some() || self.early.is_some()
    }
}

/// Who has come for it.
#[derive(Debug)]
struct To {
    node: u16,
    life: u32,
    epoch: u64,
    /// The session, and how much of it is sent.
    packed: Vec<u8>,
    sent: usize,
    is_sent: bool,
    /// What has come since, as long as the session itself is not sent.
    late: VecDeque<Vec<u8>>,
    /// It is stored there; no copy is kept here.
    taken: bool,
    /// The shards that have turned to the new owner, by node.
    turned: BTreeMap<u16, Shards>,
    /// Those of them behind whose messages some are on their way to the disk.
    unpassed: Vec<Source>,
}

impl To {
    /// Whether something is to be sent as soon as there is room, or said.
    fn has_work(&self) -> bool {
        !self.is_sent || !self.late.is_empty() || !self.unpassed.is_empty()
    }
}

impl Shard {
    /// A client identifier is to be another node's: its session stays as it is until somebody
    /// comes for it.
    pub(in crate::shard) fn give_up(&mut self, client: Box<str>, epoch: u64) {
        let is_there = self.find_session(&client).is_some();
        let Some(owners) = &mut self.owners else {
            return;
        };
        let known = client.clone();
        owners.request(OwnerRequest::Revoked {
            client,
            epoch,
            keeps: is_there,
        });
        if is_there {
            let leaving = owners.moves.leaving.entry(known);
            leaving.or_default();
        }
        self.note_moves();
    }

    /// The identifier is this node's again, and nobody has taken the session.
    pub(in crate::shard) fn keep_after_all(&mut self, client: &str) {
        let left = self.stop_leaving(client);
        match left.and_then(|left| left.to) {
            Some(to) if to.taken => self.drop_session_silently(client),
            Some(_) => self.let_time_go_on(client),
            None => {}
        }
        if let Some(session) = self.find_session(client) {
            self.hold_filters_again(session);
        }
        self.note_moves();
    }

    /// A session that was given up has moved on.
    pub(in crate::shard) fn drop_given_up(&mut self, client: &str) {
        self.stop_leaving(client);
        self.drop_session_silently(client);
        self.note_moves();
    }

    /// Others have had a session since it was this node's.
    pub(in crate::shard) fn drop_out_of_date(&mut self, client: &str) {
        self.stop_fetching(client);
        if let Some(session) = self.find_session(client) {
            self.take_over(session, false);
        }
        self.drop_given_up(client);
    }

    /// Nothing is kept for another node any more.
    pub(super) fn stop_leaving(&mut self, client: &str) -> Option<Leaving> {
        let owners = self.owners.as_mut()?;
        let left = owners.moves.leaving.remove(client)?;
        let client = client.into();
        owners.request(OwnerRequest::Dropped { client });
        Some(left)
    }

    fn let_time_go_on(&mut self, client: &str) {
        if let Some(session) = self.find_session(client) {
            self.watch_absence(session);
        }
    }

    /// The new owner asks for the session.
    pub(super) fn fetched(&mut self, node: u16, client: &str, epoch: u64) {
        let leaving = self.moves().and_then(|moves| moves.leaving.get(client));
        let is_taken = |left: &Leaving| left.to.as_ref().is_some_and(|to| to.taken);
        let is_kept = leaving.is_some_and(|left| !is_taken(left));
        let session = self.find_session(client).filter(|_| is_kept);
        let Some(session) = session else {
            return self.say(node, client, epoch, What::End { is_there: false });
        };
        let life = self.life_of(node);
        if let Some(left) = self.moves().and_then(|moves| moves.leaving.get_mut(client)) {
            left.early = life.is_none().then_some((node, epoch));
        }
        let Some(life) = life else {
            return self.note_moves();
        };
        let packed = self.pack(session);
        if let Some(session) = self.sessions.get_mut(session)
            && let Some(timer) = session.timer.take()
        {
            // Its will and its end are the new owner's from here on.
            self.wheel.cancel(timer);
        }
        let to = To {
            node,
            life,
            epoch,
            packed,
            sent: 0,
            is_sent: false,
            late: VecDeque::new(),
            taken: false,
            turned: BTreeMap::new(),
            unpassed: Vec::new(),
        };
        if let Some(left) = self.moves().and_then(|moves| moves.leaving.get_mut(client)) {
            left.to = Some(to);
        }
        self.note_moves();
    }

    /// The client begins anew elsewhere: what is kept for it ends [MQTT-3.1.2-4].
    pub(super) fn discarded(&mut self, node: u16, client: &str, epoch: u64) {
        let kept = self.stop_leaving(client);
        if kept.is_some()
            && let Some(session) = self.find_session(client)
        {
            self.take_over(session, true);
        }
        self.say(node, client, epoch, What::End { is_there: false });
        self.note_moves();
    }

    /// The new owner has stored the session: what is here of it goes, but for its
    /// subscriptions.
    pub(super) fn taken(&mut self, node: u16, client: &str, epoch: u64) {
        let Some(to) = self.leaving_to(node, client, epoch) else {
            return;
        };
        if core::mem::replace(&mut to.taken, true) {
            return;
        }
        to.packed = Vec::new();
        if let Some(owners) = &mut self.owners {
            let client = client.into();
            owners.request(OwnerRequest::Dropped { client });
        }
        let Some(to) = self.leaving_to(node, client, epoch) else {
            return;
        };
        for late in core::mem::take(&mut to.late) {
            self.say(node, client, epoch, What::Late(&late));
        }
        let Some(key) = self.find_session(client) else {
            return;
        };
        let window = NonZeroU16::new(self.limits.max_inflight).unwrap_or(NonZeroU16::MIN);
        let serial = self.next_serial();
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let outflow = Outflow::new(window, true);
        let outflow = core::mem::replace(&mut session.outflow, outflow);
        let stored = Session {
            number: core::mem::take(&mut session.number),
            durable: core::mem::take(&mut session.durable),
            ..Session::new(client.into(), serial, outflow)
        };
        session.inflow = Inflow::default();
        session.will = None;
        session.ends_ms = u64::MAX;
        if self.journal.is_some() {
            self.drop_stored_session(&stored, None, NONE);
        }
    }

    /// A shard of a node has turned to the new owner: what follows from there is not passed on.
    /// If the new owner can be told that all before it was, returns which node that is.
    pub(super) fn turns_away(&mut self, client: &str, epoch: u64, source: Source) -> Option<u16> {
        let left = self.moves()?.leaving.get_mut(client)?;
        let to = left.to.as_mut().filter(|to| to.epoch == epoch)?;
        let node = to.node;
        to.turned.entry(source.node).or_default().set(source.shard);
        // The new owner has stored it before it has asked anybody to turn, whatever overtakes what.
        self.taken(node, client, epoch);
        if self.is_part_of_transaction(client) {
            self.leaving_to(node, client, epoch)?.unpassed.push(source);
            return None;
        }
        Some(node)
    }

    /// Whether a message for the session is being stored together with others, and comes later.
    fn is_part_of_transaction(&self, client: &str) -> bool {
        let key = self.find_session(client);
        key.is_some_and(|key| self.has_staged(key))
    }

    /// Whether a shard that publishes has turned to the new owner.
    pub(super) fn has_passed(&self, client: &str, source: Source) -> bool {
        let leaving = self.owners.as_ref().map(|owners| &owners.moves.leaving);
        let left = leaving.and_then(|leaving| leaving.get(client));
        let to = left.and_then(|left| left.to.as_ref());
        let turned = to.and_then(|to| to.turned.get(&source.node));
        turned.is_some_and(|turned| turned.has(source.shard))
    }

    /// The process of a node is gone: what it had turned has not turned any more.
    pub(super) fn forget_turned_away(&mut self, node: u16, shard: u16) {
        let count = self.count;
        let Some(moves) = self.moves() else { return };
        for to in moves
            .leaving
            .values_mut()
            .filter_map(|left| left.to.as_mut())
        {
            if let Some(turned) = to.turned.get_mut(&node) {
                turned.forget(shard, count);
            }
        }
    }

    /// Says that what came from a source was passed on, as soon as that is so.
    fn pass_turned(&mut self, client: &str, to: &mut To) {
        if to.unpassed.is_empty() || self.is_part_of_transaction(client) {
            return;
        }
        for source in core::mem::take(&mut to.unpassed) {
            let mut writer = Writer::new(About::Passed {
                node: self.common.tag_of(source.node),
                shard: source.shard,
            });
            writer.add(Move {
                client,
                epoch: to.epoch,
                former: 0,
            });
            self.say_marks(to.node, &writer.finish());
        }
    }

    /// The new owner needs nothing more.
    pub(super) fn done_with(&mut self, node: u16, client: &str, epoch: u64) {
        if self.leaving_to(node, client, epoch).is_some() {
            self.drop_given_up(client);
        }
    }

    fn leaving_to(&mut self, node: u16, client: &str, epoch: u64) -> Option<&mut To> {
        let to = self.moves()?.leaving.get_mut(client)?.to.as_mut()?;
        (to.node == node && to.epoch == epoch).then_some(to)
    }

    fn pack(&self, key: u32) -> Vec<u8> {
        let mut packer = Packer::new(self.now_ms);
        let Some(session) = self.sessions.get(key) else {
            return Vec::new();
        };
        packer.u32(session.expiry_s);
        packer.time(session.ends_ms);
        let will = session.will.as_ref();
        packer.will(will.map(|will| (&*will.message, will.delay_s, will.expiry_s, will.due_ms)));
        self.pack_subscriptions(&mut packer, key, session);
        packer.u32(session.inflow.len() as u32);
        session.inflow.iter().for_each(|id| packer.packet_id(id));
        let outflow = &session.outflow;
        let count = outflow.kept_in_flight().count() + outflow.in_queue().count();
        packer.u32(count as u32);
        for (id, delivery) in outflow.kept_in_flight() {
            match delivery {
                Some(delivery) => packer.entry(delivery, Some(id)),
                None => packer.received(id),
            }
        }
        outflow
            .in_queue()
            .for_each(|delivery| packer.entry(delivery, None));
        packer.finish()
    }

    fn pack_subscriptions(&self, packer: &mut Packer, key: u32, session: &Session) {
        let held = &session.subscriptions;
        let plain = held.plain().filter_map(|filter| {
            let mut subscribers = self.subscriptions.subscribers(filter).iter();
            let own = subscribers.find(|subscriber| subscriber.session == key)?;
            let text = self.subscriptions.text(filter);
            let text = match held.is_exclusive(filter) {
                true => format!("{EXCLUSIVE_PREFIX}{text}"),
                false => text,
            };
            Some((text, own.options, own.identifier))
        });
        let plain: Vec<_> = plain.collect();
        let shared: Vec<_> = held.shared_with_terms().collect();
        packer.u32((plain.len() + shared.len()) as u32);
        for (filter, options, identifier) in &plain {
            packer.subscription(filter, *options, *identifier, None);
        }
        for (name, number, options, identifier) in shared {
            let filter = format!("$share/{}/{}", name.group, name.filter);
            packer.subscription(&filter, options, identifier, Some(number));
        }
    }

    /// Like [`Shard::pass_on`], for a message that is being routed. One that is stored together
    /// with others is passed on when it is, and only then; so is what follows it, for a session
    /// of which nothing is stored here any more.
    pub(in crate::shard) fn pass_on_in_order(
        &mut self,
        to: &Receiver<'_>,
        delivery: &mut dyn FnMut() -> Delivery,
    ) -> bool {
        if self.touched.atomic
            && to.qos != QoS::AtMostOnce
            && let Some(session) = self.sessions.get(to.session)
        {
            if session.durable {
                return false;
            }
            let moves = self.owners.as_ref().map(|owners| &owners.moves);
            let is_leaving = moves.is_some_and(|moves| moves.is_leaving(&session.client_id));
            if is_leaving && self.has_staged(to.session) {
                self.stage(to.session, delivery(), Vec::new());
                return true;
            }
        }
        self.pass_on(to.session, delivery)
    }

    /// A message for a session: if that is on its way to another node, the message goes after
    /// it. True if nothing is kept of it here.
    pub(in crate::shard) fn pass_on(
        &mut self,
        key: u32,
        delivery: &mut dyn FnMut() -> Delivery,
    ) -> bool {
        let (Some(session), Some(owners)) = (self.sessions.get(key), &mut self.owners) else {
            return false;
        };
        let left = owners.moves.leaving.get_mut(&session.client_id);
        let Some(to) = left.and_then(|left| left.to.as_mut()) else {
            return false;
        };
        let client = session.client_id.clone();
        let mut packer = Packer::new(self.now_ms);
        packer.entry(&delivery(), None);
        let late = packer.finish();
        let (node, epoch, taken) = (to.node, to.epoch, to.taken);
        if to.is_sent && to.late.is_empty() {
            self.say(node, &client, epoch, What::Late(&late));
        } else {
            to.late.push_back(late);
        }
        taken
    }

    /// Sends what is to be sent, as far as there is room, and looks who is still there.
    pub(super) fn go_on_leaving(&mut self, others_have_changed: bool) {
        if others_have_changed {
            self.meet_new_owners();
        }
        let Some(moves) = self.moves() else { return };
        let has_work = |to: &To| others_have_changed || to.has_work();
        let leaving = moves.leaving.iter();
        let clients = leaving.filter(|(_, left)| left.to.as_ref().is_some_and(has_work));
        let clients: Vec<Box<str>> = clients.map(|(client, _)| client.clone()).collect();
        for client in clients {
            let left = self
                .moves()
                .and_then(|moves| moves.leaving.get_mut(&client));
            let Some(mut to) = left.and_then(|left| left.to.take()) else {
                continue;
            };
            if self.life_of(to.node) != Some(to.life) {
                self.new_owner_is_gone(&client, &to);
                continue;
            }
            self.send_parts(&client, &mut to);
            self.pass_turned(&client, &mut to);
            if let Some(left) = self
                .moves()
                .and_then(|moves| moves.leaving.get_mut(&client))
            {
                left.to = Some(to);
            }
        }
    }

    /// Those who have come early are up by now.
    fn meet_new_owners(&mut self) {
        let Some(owners) = &self.owners else { return };
        let leaving = owners.moves.leaving.iter();
        let met = leaving.filter_map(|(client, left)| {
            let (node, epoch) = left
                .early
                .filter(|(node, _)| self.life_of(*node).is_some())?;
            Some((client.clone(), node, epoch))
        });
        for (client, node, epoch) in met.collect::<Vec<_>>() {
            self.fetched(node, &client, epoch);
        }
    }

    /// If it has not stored the session, that is still here.
    fn new_owner_is_gone(&mut self, client: &str, to: &To) {
        if to.taken {
            self.drop_given_up(client);
        } else {
            self.let_time_go_on(client);
        }
    }

    fn send_parts(&mut self, client: &str, to: &mut To) {
        while self.can_take(to.node) {
            if !to.is_sent {
                let rest = to.packed.get(to.sent..).unwrap_or_default();
                let part = rest.get(..PART_BYTES).unwrap_or(rest);
                if part.is_empty() {
                    to.is_sent = true;
                    to.packed = Vec::new();
                    self.say(to.node, client, to.epoch, What::End { is_there: true });
                    continue;
                }
                to.sent += part.len();
                self.say(to.node, client, to.epoch, What::Part(part));
            } else if let Some(late) = to.late.pop_front() {
                self.say(to.node, client, to.epoch, What::Late(&late));
            } else {
                return;
            }
        }
    }

    pub(super) fn may_send_parts(&self) -> bool {
        let owners = self.owners.as_ref();
        owners.is_some_and(|owners| {
            let mut leaving = owners.moves.leaving.values();
            leaving.any(|left| {
                let to = left.to.as_ref();
                to.is_some_and(|to| (!to.is_sent || !to.late.is_empty()) && self.can_take(to.node))
            })
        })
    }
}
