//! Who gets the messages of a topic, worked out once and kept while nothing changes.

use std::rc::Rc;

use protocol::hash::Seed;
use protocol::subscriptions::{GroupId, Subscriber, SubscriptionTree, Visitor};
use protocol::topic::TopicName;
use protocol::wire::QoS;

/// Targets that a plan may have room for to be filled again.
const SPARE_TARGETS_MAX: usize = 1024;

/// Topics remembered by a shard, a power of two. 24 bytes each, and for a topic that was
/// published to twice in a row its plan: about 150 bytes and 12 bytes a receiver.
const SLOTS: usize = 8192;

/// One receiving session, its overlapping subscriptions merged: it gets one copy with the
/// highest QoS of them [MQTT-3.3.4-2].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) session: u32,
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    /// Every matching subscription is No Local.
    pub(crate) no_local: bool,
    /// Number of subscription identifiers, at `identifiers` in the plan's list.
    identifiers_len: u8,
    identifiers: u32,
}

/// The state of the tables that a plan was made from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Generations {
    /// Of this shard's subscription table.
    pub(crate) subscriptions: u64,
    /// Of the route index.
    pub(crate) routes: u64,
}

/// Where a message of one topic goes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) topic: Box<str>,
    tables: Generations,
    /// Sessions of this shard.
    pub(crate) targets: Vec<Target>,
    identifiers: Vec<u32>,
    /// Shared subscription groups that this shard owns.
    pub(crate) groups: Vec<GroupId>,
    /// Other shards with subscribers.
    pub(crate) peers: Vec<u16>,
}

impl Plan {
    /// The subscription identifiers of a target.
    #[inline]
    pub(crate) fn identifiers(&self, target: &Target) -> &[u32] {
        let start = target.identifiers as usize;
        &self.identifiers[start..start + usize::from(target.identifiers_len)]
    }

    /// Empties the plan and keeps its memory.
    fn clear(&mut self) {
        self.targets.clear();
        self.identifiers.clear();
        self.groups.clear();
        self.peers.clear();
    }

    /// Whether nobody, here or on another shard, is to get the message.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty() && self.peers.is_empty()
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// The hash of the topic that was asked for last.
    seen: u64,
    /// The hash of the plan's topic.
    hash: u64,
    plan: Option<Rc<Plan>>,
}

/// Plans by topic. A topic gets a place when it is asked for twice with no other topic of
/// the same place in between, so topics that are published to once do not drive out those
/// that are busy. Owned by one shard.
#[derive(Debug)]
pub(crate) struct Plans {
    slots: Box<[Slot]>,
    seed: Seed,
    found: Found,
    /// The last plan that was not kept, to be filled again.
    spare: Rc<Plan>,
}

impl Plans {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            seed,
            found: Found::default(),
            spare: Rc::default(),
        }
    }

    /// The plan for a topic, if it is known and still holds. That a topic is known also means
    /// that it is a valid topic name.
    #[inline]
    pub(crate) fn known(&self, topic: &str, tables: Generations) -> Option<Rc<Plan>> {
        let hash = self.seed.hash(topic);
        let slot = &self.slots[hash as usize % SLOTS];
        if slot.hash != hash {
            return None;
        }
        let plan = slot.plan.as_ref()?;
        (plan.tables == tables && *plan.topic == *topic).then(|| Rc::clone(plan))
    }

    /// Works out the plan for a topic. `peers` says which other shards have subscribers,
    /// given the list to fill.
    pub(crate) fn make(
        &mut self,
        topic: TopicName<'_>,
        tree: &SubscriptionTree,
        tables: Generations,
        peers: impl FnOnce(&mut Vec<u16>),
    ) -> Rc<Plan> {
        let mut shared = core::mem::take(&mut self.spare);
        if Rc::get_mut(&mut shared).is_none() {
            shared = Rc::default();
        }
        let Some(plan) = Rc::get_mut(&mut shared) else {
            return shared;
        };
        plan.clear();
        plan.tables = tables;
        self.found.subscribers.clear();
        self.found.lists = 0;
        let (found, groups) = (&mut self.found, &mut plan.groups);
        tree.matches(topic, &mut Matching { found, groups });
        merge(&mut self.found, plan);
        peers(&mut plan.peers);
        let hash = self.seed.hash(topic.as_str());
        let slot = &mut self.slots[hash as usize % SLOTS];
        if core::mem::replace(&mut slot.seen, hash) == hash {
            plan.topic = topic.as_str().into();
            slot.hash = hash;
            slot.plan = Some(Rc::clone(&shared));
        } else if plan.targets.capacity() <= SPARE_TARGETS_MAX {
            self.spare = Rc::clone(&shared);
        }
        shared
    }
}

/// What the subscription table found, before it is merged.
#[derive(Debug, Default)]
struct Found {
    subscribers: Vec<Subscriber>,
    /// Filters that matched: within one filter a session is found once.
    lists: usize,
}

struct Matching<'a> {
    found: &'a mut Found,
    groups: &'a mut Vec<GroupId>,
}

impl Visitor for Matching<'_> {
    fn subscribers(&mut self, subscribers: &[Subscriber]) {
        self.found.subscribers.extend_from_slice(subscribers);
        self.found.lists += 1;
    }

    fn group(&mut self, group: GroupId) {
        self.groups.push(group);
    }
}

fn merge(found: &mut Found, plan: &mut Plan) {
    if found.lists > 1 {
        found
            .subscribers
            .sort_by_key(|subscriber| subscriber.session);
    }
    plan.targets.reserve(found.subscribers.len());
    for subscriber in &found.subscribers {
        let last = plan.targets.last_mut();
        let target = match last.filter(|target| target.session == subscriber.session) {
            Some(target) => {
                target.qos = target.qos.max(subscriber.options.qos);
                target.retain_as_published |= subscriber.options.retain_as_published;
                target.no_local &= subscriber.options.no_local;
                target
            }
            None => {
                plan.targets.push(Target {
                    session: subscriber.session,
                    qos: subscriber.options.qos,
                    retain_as_published: subscriber.options.retain_as_published,
                    no_local: subscriber.options.no_local,
                    identifiers_len: 0,
                    identifiers: plan.identifiers.len() as u32,
                });
                let Some(target) = plan.targets.last_mut() else {
                    continue;
                };
                target
            }
        };
        if subscriber.identifier != 0 && target.identifiers_len < u8::MAX {
            target.identifiers_len += 1;
            plan.identifiers.push(subscriber.identifier);
        }
    }
}
