//! The filters that somebody subscribes to, and which of them match a topic.

use core::cell::Cell;
use core::mem;

use super::set::SubscriberSet;
use super::{FilterId, GroupId, Visitor};
use crate::topic::tree::NONE;
use crate::topic::tree::slab::Slab;
use crate::topic::tree::table::Table;
use crate::topic::tree::trie::{ROOT, Trie};
use crate::topic::{Filter, TopicName};

/// Nodes that the memory kept for walking may have room for between two matches.
const WALK_KEPT: usize = 4096;

/// A filter and who subscribes to it.
#[derive(Debug, Default)]
pub(super) struct Record {
    place: Place,
    pub(super) subscribers: SubscriberSet,
    groups: Option<Box<GroupList>>,
}

#[derive(Debug, Default)]
struct GroupList {
    ids: Vec<GroupId>,
}

/// Where a filter's text is.
#[derive(Debug, Default)]
enum Place {
    /// Nowhere: the record is vacant.
    #[default]
    Vacant,
    /// Here: it has no wildcard.
    Exact(Box<str>),
    /// It leads to this node.
    Node(u32),
    /// It leads to this node and ends with `#`.
    Below(u32),
}

/// What a node of the tree knows beside its edges.
#[derive(Debug)]
struct Branch {
    /// The child by `+`.
    any: u32,
    /// The record of the filter that ends here.
    here: u32,
    /// The record of the filter that ends with `#` below this node.
    below: u32,
}

/// The filters of one shard.
pub(super) struct Filters {
    records: Slab<Record>,
    exact: Table,
    exact_text_bytes: usize,
    wildcards: Trie<Branch>,
    /// Memory for [`Self::matches`], kept from one to the next.
    walk: Cell<Vec<u32>>,
}

impl Filters {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            records: Slab::new(),
            exact: Table::default(),
            exact_text_bytes: 0,
            wildcards: Trie::new(seed),
            walk: Cell::default(),
        }
    }

    /// Tells `visitor` everything whose filter matches `topic`.
    pub(super) fn matches(&self, topic: TopicName<'_>, visitor: &mut impl Visitor) {
        if let Some(record) = self.find_exact(topic.as_str()) {
            self.visit(record, visitor);
        }
        let mut walk = self.walk.take();
        self.walk(topic, &mut walk, visitor);
        if walk.capacity() <= WALK_KEPT {
            walk.clear();
            self.walk.set(walk);
        }
    }

    /// Follows all branches level by level. `nodes` ends with those of the level at hand.
    fn walk(&self, topic: TopicName<'_>, nodes: &mut Vec<u32>, visitor: &mut impl Visitor) {
        nodes.push(ROOT);
        let mut start = 0;
        let mut wildcards_match = !topic.is_dollar();
        for level in topic.levels() {
            let end = nodes.len();
            if start == end {
                return;
            }
            let key = self.wildcards.key(level);
            for index in start..end {
                let number = nodes[index];
                let node = self.wildcards.node(number);
                if wildcards_match && node.value.below != NONE {
                    self.visit(node.value.below, visitor);
                }
                if let Some(key) = &key
                    && node.has_children()
                    && let Some(child) = self.wildcards.child(number, key)
                {
                    nodes.push(child);
                }
                if wildcards_match && node.value.any != NONE {
                    nodes.push(node.value.any);
                }
            }
            start = end;
            wildcards_match = true;
        }
        for number in &nodes[start..] {
            let branch = self.wildcards.value(*number);
            for record in [branch.here, branch.below] {
                if record != NONE {
                    self.visit(record, visitor);
                }
            }
        }
    }

    fn visit(&self, record: u32, visitor: &mut impl Visitor) {
        let record = self.records.get(record);
        let subscribers = record.subscribers.as_slice();
        if !subscribers.is_empty() {
            visitor.subscribers(subscribers);
        }
        for group in record.groups() {
            visitor.group(*group);
        }
    }

    pub(super) fn find(&self, filter: Filter<'_>) -> Option<FilterId> {
        if !filter.has_wildcard() {
            return self.find_exact(filter.as_str()).map(FilterId);
        }
        let mut node = ROOT;
        for level in filter.levels() {
            node = match level {
                "#" => return id(self.wildcards.value(node).below),
                "+" => Some(self.wildcards.value(node).any).filter(|any| *any != NONE)?,
                word => self.wildcards.child(node, &self.wildcards.key(word)?)?,
            };
        }
        id(self.wildcards.value(node).here)
    }

    /// The number of a filter, which gets one if it has none.
    pub(super) fn obtain(&mut self, filter: Filter<'_>) -> FilterId {
        if filter.has_wildcard() {
            self.obtain_wildcard(filter)
        } else {
            self.obtain_exact(filter.as_str())
        }
    }

    fn obtain_exact(&mut self, text: &str) -> FilterId {
        if let Some(record) = self.find_exact(text) {
            return FilterId(record);
        }
        let number = self.add_record(Place::Exact(text.into()));
        self.exact_text_bytes += text.len();
        self.exact.insert(self.wildcards.hash().text(text), number);
        FilterId(number)
    }

    fn obtain_wildcard(&mut self, filter: Filter<'_>) -> FilterId {
        let mut node = ROOT;
        for level in filter.levels() {
            node = match level {
                "#" => {
                    let below = self.wildcards.value(node).below;
                    return id(below).unwrap_or_else(|| {
                        let number = self.add_record(Place::Below(node));
                        self.wildcards.value_mut(node).below = number;
                        FilterId(number)
                    });
                }
                "+" => self.obtain_any(node),
                word => {
                    let key = self.wildcards.key(word);
                    let child = key.and_then(|key| self.wildcards.child(node, &key));
                    child.unwrap_or_else(|| self.wildcards.add_child(node, word))
                }
            };
        }
        id(self.wildcards.value(node).here).unwrap_or_else(|| {
            let number = self.add_record(Place::Node(node));
            self.wildcards.value_mut(node).here = number;
            FilterId(number)
        })
    }

    fn obtain_any(&mut self, node: u32) -> u32 {
        let any = self.wildcards.value(node).any;
        if any != NONE {
            return any;
        }
        let any = self.wildcards.add_unlisted(node, "+");
        self.wildcards.value_mut(node).any = any;
        any
    }

    fn add_record(&mut self, place: Place) -> u32 {
        self.records.insert(Record {
            place,
            ..Record::default()
        })
    }

    /// Forgets a filter that nobody subscribes to any more.
    pub(super) fn remove(&mut self, filter: FilterId) {
        match self.records.remove(filter.0).place {
            Place::Vacant => {}
            Place::Exact(text) => {
                self.exact_text_bytes -= text.len();
                self.exact
                    .remove(self.wildcards.hash().text(&text), filter.0);
            }
            Place::Node(node) => {
                self.wildcards.value_mut(node).here = NONE;
                self.prune(node);
            }
            Place::Below(node) => {
                self.wildcards.value_mut(node).below = NONE;
                self.prune(node);
            }
        }
    }

    /// Removes a node and those above it, as far as they lead to no filter.
    fn prune(&mut self, mut number: u32) {
        while number != ROOT {
            let node = self.wildcards.node(number);
            let Branch { any, here, below } = node.value;
            if node.has_children() || [any, here, below] != [NONE; 3] {
                return;
            }
            let parent = node.parent();
            if self.wildcards.value(parent).any == number {
                self.wildcards.value_mut(parent).any = NONE;
                self.wildcards.remove_unlisted(number);
            } else {
                self.wildcards.remove_child(number);
            }
            number = parent;
        }
    }

    /// The record of a filter whose number is valid.
    pub(super) fn record_mut(&mut self, filter: FilterId) -> &mut Record {
        self.records.get_mut(filter.0)
    }

    /// The record of a filter, vacant where nobody subscribes to it any more.
    pub(super) fn find_record(&self, filter: FilterId) -> Option<&Record> {
        self.records.find(filter.0)
    }

    pub(super) fn text(&self, filter: FilterId) -> String {
        match self.find_record(filter).map(|record| &record.place) {
            None | Some(Place::Vacant) => String::new(),
            Some(Place::Exact(text)) => text.to_string(),
            Some(Place::Node(node)) => self.wildcards.text(*node),
            Some(Place::Below(ROOT)) => "#".to_owned(),
            Some(Place::Below(node)) => self.wildcards.text(*node) + "/#",
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = FilterId> {
        let numbers = 0..self.records.numbers_end();
        let used = |number: &u32| !matches!(self.records.get(*number).place, Place::Vacant);
        numbers.filter(used).map(FilterId)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory it holds, without what records point to.
    pub(super) fn bytes(&self) -> usize {
        let tables = self.exact.bytes() + self.wildcards.bytes();
        self.records.bytes() + tables + self.exact_text_bytes
    }

    fn find_exact(&self, text: &str) -> Option<u32> {
        let hash = self.wildcards.hash().text(text);
        self.exact
            .find(hash, |number| match &self.records.get(number).place {
                Place::Exact(other) => **other == *text,
                _ => false,
            })
    }
}

impl Record {
    /// Whether it has neither a subscriber nor a group.
    pub(super) fn is_unused(&self) -> bool {
        self.subscribers.as_slice().is_empty() && self.groups.is_none()
    }

    pub(super) fn groups(&self) -> &[GroupId] {
        self.groups.as_ref().map_or(&[], |list| &list.ids)
    }

    pub(super) fn add_group(&mut self, group: GroupId) {
        self.groups.get_or_insert_default().ids.push(group);
    }

    pub(super) fn remove_group(&mut self, group: GroupId) {
        if let Some(mut list) = mem::take(&mut self.groups) {
            list.ids.retain(|id| *id != group);
            self.groups = (!list.ids.is_empty()).then_some(list);
        }
    }
}

impl Default for Branch {
    fn default() -> Self {
        Self {
            any: NONE,
            here: NONE,
            below: NONE,
        }
    }
}

fn id(record: u32) -> Option<FilterId> {
    (record != NONE).then_some(FilterId(record))
}
