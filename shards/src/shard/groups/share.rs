//! Which node gets a message of a group that has members on several.
//!
//! Each node tells the others how many members of a group it has, as if that were a route:
//! the logs of routes bring it to all nodes, and take it back when a node is gone. The node
//! where a message is published picks a node in proportion to its members; that one picks the
//! member.

use protocol::hash::Seed;
use protocol::subscriptions::{Occasion, Random, Strategy};

use super::super::held::SharedName;

/// How the text of a share begins. No filter that is not one of a group does.
pub(crate) const SHARE_PREFIX: &str = "$share/";

/// Bytes of a text that can be told.
const TEXT_BYTES_MAX: usize = u16::MAX as usize;

/// Members of a group on one node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Share {
    /// Those whose clients are there.
    pub(super) online: u32,
    /// Those whose sessions wait for their clients.
    pub(super) away: u32,
}

impl Share {
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// As other nodes are told; `None` if it is too long for that.
    pub(super) fn text(self, name: &SharedName) -> Option<Box<str>> {
        let Self { online, away } = self;
        let SharedName { group, filter } = name;
        let text = format!("{SHARE_PREFIX}{online}.{away}/{group}/{filter}");
        (text.len() <= TEXT_BYTES_MAX).then(|| text.into())
    }

    /// What [`Self::text`] has made.
    pub(super) fn parse(text: &str) -> Option<(Self, SharedName)> {
        let (numbers, name) = text.strip_prefix(SHARE_PREFIX)?.split_once('/')?;
        let (online, away) = numbers.split_once('.')?;
        let (group, filter) = name.split_once('/')?;
        let share = Self {
            online: online.parse().ok()?,
            away: away.parse().ok()?,
        };
        let name = SharedName {
            group: group.into(),
            filter: filter.into(),
        };
        Some((share, name))
    }
}

/// Where members are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Here,
    Node(u16),
}

/// Another node that has members.
#[derive(Debug)]
struct NodeShare {
    node: u16,
    /// A number that all nodes know this node by.
    tag: u64,
    share: Share,
    /// How much of its turns it has not had.
    credit: i64,
}

/// A place that may get the message.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    place: Place,
    tag: u64,
    weight: u32,
}

/// What a choice depends on.
pub(super) struct Wish<'a> {
    /// The members on this node, and its number.
    pub(super) own: (Share, u64),
    pub(super) occasion: Occasion<'a>,
    /// The message goes to a member whose client is away.
    pub(super) last: bool,
    /// Turns of all groups of the name, for [`Strategy::RoundRobinPerGroup`].
    pub(super) turn: u64,
}

/// The members of a group on other nodes, and whose turn it is.
#[derive(Debug)]
pub(super) struct Shares {
    strategy: Strategy,
    initial_sticky_pick: Strategy,
    /// The same on all nodes.
    key: u64,
    nodes: Vec<NodeShare>,
    own_credit: i64,
    /// Where the group stays with [`Strategy::Sticky`].
    stuck: Option<Place>,
    /// Filled anew for each message.
    candidates: Vec<Candidate>,
}

impl Shares {
    pub(super) fn new(name: &SharedName, [strategy, initial_sticky_pick]: [Strategy; 2]) -> Self {
        Self {
            strategy,
            initial_sticky_pick,
            key: name.hash(Seed::new(0)),
            nodes: Vec::new(),
            own_credit: 0,
            stuck: None,
            candidates: Vec::new(),
        }
    }

    /// A node has said what it has.
    pub(super) fn set(&mut self, node: u16, tag: u64, share: Share) {
        match self.nodes.iter_mut().find(|known| known.node == node) {
            Some(known) => known.share = share,
            None => self.nodes.push(NodeShare {
                node,
                tag,
                share,
                credit: 0,
            }),
        }
    }

    /// A node has taken back what it had said, if it has not said something else since.
    pub(super) fn remove(&mut self, node: u16, share: Share) {
        let is_it = |known: &NodeShare| known.node == node && known.share == share;
        self.nodes.retain(|known| !is_it(known));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes that have members.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u16> {
        self.nodes.iter().map(|known| known.node)
    }

    /// Members on other nodes whose clients are there.
    pub(super) fn online(&self) -> u64 {
        let online = self.nodes.iter().map(|node| u64::from(node.share.online));
        online.sum()
    }

    /// The same, on these nodes.
    pub(super) fn online_on(&self, nodes: u64) -> u64 {
        let on = |node: &&NodeShare| nodes & (1 << node.node) != 0;
        let online = self.nodes.iter().filter(on);
        online.map(|node| u64::from(node.share.online)).sum()
    }

    /// Whether the choice depends on the turns of all groups of the name.
    pub(super) fn takes_turns_per_group(&self) -> bool {
        self.strategy == Strategy::RoundRobinPerGroup
            || self.strategy == Strategy::Sticky
                && self.initial_sticky_pick == Strategy::RoundRobinPerGroup
    }

    /// The place that gets a message, among those that `may` get it: each is asked with the
    /// number of its node.
    pub(super) fn choose(
        &mut self,
        wish: &Wish<'_>,
        random: &mut Random,
        may: impl Fn(Place, u64) -> bool,
    ) -> Option<Place> {
        let (own, own_tag) = wish.own;
        let others = self.nodes.iter();
        let others = others.map(|known| (Place::Node(known.node), known.tag, known.share));
        let all = core::iter::once((Place::Here, own_tag, own)).chain(others);
        self.candidates.clear();
        for (place, tag, share) in all {
            let weight = if wish.last { share.away } else { share.online };
            if weight > 0 && may(place, tag) {
                self.candidates.push(Candidate { place, tag, weight });
            }
        }
        if self.candidates.len() < 2 {
            return self.candidates.first().map(|found| found.place);
        }
        let index = self.choose_by(self.strategy, wish, random)?;
        self.candidates.get(index).map(|found| found.place)
    }

    fn choose_by(
        &mut self,
        strategy: Strategy,
        wish: &Wish<'_>,
        random: &mut Random,
    ) -> Option<usize> {
        match strategy {
            Strategy::RoundRobin => self.in_turn(),
            Strategy::RoundRobinPerGroup => self.nth_member(wish.turn),
            Strategy::Random => self.nth_member(random.next_number()),
            Strategy::Local => self.find(Place::Here).or_else(|| self.in_turn()),
            Strategy::HashClientId => self.by_hash(wish.occasion.publisher),
            Strategy::HashTopic => self.by_hash(Seed::new(0).hash(wish.occasion.topic)),
            Strategy::Sticky => {
                let stuck = self.stuck.and_then(|place| self.find(place));
                let index = stuck.or_else(|| match self.initial_sticky_pick {
                    Strategy::Local => self.find(Place::Here).or_else(|| self.by_hash(self.key)),
                    initial @ (Strategy::HashClientId | Strategy::HashTopic) => {
                        self.choose_by(initial, wish, random)
                    }
                    // All nodes choose the same.
                    _ => self.by_hash(self.key),
                })?;
                self.stuck = self.candidates.get(index).map(|found| found.place);
                Some(index)
            }
        }
    }

    fn find(&self, place: Place) -> Option<usize> {
        let mut candidates = self.candidates.iter();
        candidates.position(|candidate| candidate.place == place)
    }

    /// Each gets as many turns as it has members, spread evenly.
    fn in_turn(&mut self) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        for index in 0..self.candidates.len() {
            let Candidate { place, weight, .. } = self.candidates[index];
            let credit = self.credit(place)?;
            *credit += i64::from(weight);
            let credit = *credit;
            if best.is_none_or(|(_, most)| credit > most) {
                best = Some((index, credit));
            }
        }
        let (index, _) = best?;
        let total = i64::try_from(self.total()).unwrap_or(i64::MAX);
        *self.credit(self.candidates[index].place)? -= total;
        Some(index)
    }

    fn credit(&mut self, place: Place) -> Option<&mut i64> {
        let Place::Node(node) = place else {
            return Some(&mut self.own_credit);
        };
        let known = self.nodes.iter_mut().find(|known| known.node == node);
        known.map(|known| &mut known.credit)
    }

    fn total(&self) -> u64 {
        let weights = self.candidates.iter();
        weights.map(|candidate| u64::from(candidate.weight)).sum()
    }

    /// Where the member with this number is, if all are counted through again and again.
    fn nth_member(&self, number: u64) -> Option<usize> {
        let mut number = number % self.total().max(1);
        self.candidates.iter().position(|candidate| {
            let weight = u64::from(candidate.weight);
            let is_here = number < weight;
            number = number.saturating_sub(weight);
            is_here
        })
    }

    /// The same place for the same key, whichever node asks; each place gets keys in
    /// proportion to its members, and when their number changes few keys move (weighted
    /// rendezvous hashing).
    fn by_hash(&self, key: u64) -> Option<usize> {
        let score = |candidate: &Candidate| {
            let hash = Random::new(key ^ Random::new(candidate.tag).next_number()).next_number();
            let fraction = ((hash >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            -fraction.ln() / f64::from(candidate.weight)
        };
        let scores = self.candidates.iter().map(score).enumerate();
        let best = scores.min_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn name(group: &str) -> SharedName {
        SharedName {
            group: group.into(),
            filter: "a/+/#".into(),
        }
    }

    fn online(online: u32) -> Share {
        Share { online, away: 0 }
    }

    /// A group as one of several nodes sees it: node `n` has the number `n`.
    struct View {
        shares: Shares,
        own: (Share, u64),
        random: Random,
        turn: u64,
    }

    impl View {
        fn new(strategy: Strategy, at: u16, members: &[u32]) -> Self {
            let by = [strategy, Strategy::Random];
            let mut shares = Shares::new(&name("g"), by);
            let mut own = (Share::default(), u64::from(at));
            for (node, count) in (0..).zip(members) {
                if node == at {
                    own.0 = online(*count);
                } else {
                    shares.set(node, node.into(), online(*count));
                }
            }
            Self {
                shares,
                own,
                random: Random::new(u64::from(at) + 9),
                turn: 0,
            }
        }

        fn choose_for(&mut self, topic: &str, publisher: u64) -> Option<u16> {
            self.choose_except(topic, publisher, None)
        }

        fn choose_except(
            &mut self,
            topic: &str,
            publisher: u64,
            except: Option<u64>,
        ) -> Option<u16> {
            self.turn += 1;
            let wish = Wish {
                own: self.own,
                occasion: Occasion {
                    topic,
                    publisher,
                    shard: 0,
                },
                last: false,
                turn: self.turn,
            };
            let may = |_, tag| Some(tag) != except;
            let place = self.shares.choose(&wish, &mut self.random, may)?;
            Some(match place {
                Place::Here => self.own.1 as u16,
                Place::Node(node) => node,
            })
        }

        fn counts(&mut self, messages: u32) -> BTreeMap<u16, u32> {
            let mut counts = BTreeMap::new();
            for number in 0..messages {
                let topic = format!("a/{number}");
                let node = self.choose_for(&topic, number.into()).unwrap();
                *counts.entry(node).or_default() += 1;
            }
            counts
        }
    }

    #[test]
    fn a_share_is_what_its_text_says() {
        for (share, group) in [(online(7), "g"), (Share { online: 0, away: 3 }, "$queue")] {
            let text = share.text(&name(group)).unwrap();
            assert_eq!(Share::parse(&text), Some((share, name(group))));
        }
        for wrong in ["a/b", "$share/g/a", "$share/1.2/g", "$share/1.x/g/a", ""] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
        let long = SharedName {
            group: "g".into(),
            filter: "x".repeat(TEXT_BYTES_MAX).into(),
        };
        assert_eq!(online(1).text(&long), None);
    }

    #[test]
    fn turns_are_fair_by_members() {
        for strategy in [Strategy::RoundRobin, Strategy::RoundRobinPerGroup] {
            for at in 0..3 {
                let counts = View::new(strategy, at, &[1, 2, 3]).counts(60);
                let expected = BTreeMap::from([(0, 10), (1, 20), (2, 30)]);
                assert_eq!(counts, expected, "{strategy:?} at {at}");
            }
        }
        for strategy in [
            Strategy::Random,
            Strategy::HashTopic,
            Strategy::HashClientId,
        ] {
            let counts = View::new(strategy, 1, &[1, 2, 3]).counts(60_000);
            for (node, count) in counts {
                let expected = (u32::from(node) + 1) * 10_000;
                assert!(count.abs_diff(expected) < 600, "{strategy:?} {count}");
            }
        }
    }

    #[test]
    fn a_hash_and_a_sticky_group_lead_to_the_same_node_from_all() {
        for strategy in [
            Strategy::HashTopic,
            Strategy::HashClientId,
            Strategy::Sticky,
        ] {
            for key in 0..200 {
                let topic = format!("a/{key}");
                let chosen = (0..3).map(|at| {
                    let mut view = View::new(strategy, at, &[2, 1, 2]);
                    view.choose_for(&topic, key).unwrap()
                });
                let chosen: Vec<u16> = chosen.collect();
                assert!(chosen.iter().all(|node| *node == chosen[0]), "{chosen:?}");
            }
        }
    }

    #[test]
    fn few_keys_move_when_a_node_has_a_member_more() {
        let mut before = View::new(Strategy::HashTopic, 0, &[5, 5, 5]);
        let mut after = View::new(Strategy::HashTopic, 0, &[5, 6, 5]);
        let mut moved = 0;
        for key in 0..10_000 {
            let topic = format!("a/{key}");
            let nodes = [before.choose_for(&topic, 0), after.choose_for(&topic, 0)];
            if nodes[0] != nodes[1] {
                assert_eq!(nodes[1], Some(1));
                moved += 1;
            }
        }
        assert!((200..800).contains(&moved), "{moved}");
    }

    #[test]
    fn a_sticky_group_stays_until_its_node_may_not() {
        let mut view = View::new(Strategy::Sticky, 0, &[1, 1, 1]);
        let first = view.choose_for("a", 1).unwrap();
        let more = View::new(Strategy::Sticky, 0, &[1, 1, 1, 50]);
        view.shares
            .nodes
            .extend(more.shares.nodes.into_iter().skip(2));
        for _ in 0..20 {
            assert_eq!(view.choose_for("b", 2), Some(first));
        }
        let second = view.choose_except("b", 2, Some(first.into()));
        assert_ne!(second, Some(first));
        assert_eq!(view.choose_for("b", 2), second);
    }

    #[test]
    fn the_publishers_node_comes_first_where_it_is_wanted() {
        let mut view = View::new(Strategy::Local, 1, &[5, 1, 5]);
        assert_eq!(view.counts(9), BTreeMap::from([(1, 9)]));
        let mut view = View::new(Strategy::Local, 1, &[5, 0, 5]);
        assert_eq!(view.counts(10), BTreeMap::from([(0, 5), (2, 5)]));
    }

    #[test]
    fn nobody_who_has_none_or_may_not_is_chosen() {
        for strategy in [
            Strategy::Random,
            Strategy::RoundRobin,
            Strategy::RoundRobinPerGroup,
            Strategy::Sticky,
            Strategy::Local,
            Strategy::HashClientId,
            Strategy::HashTopic,
        ] {
            let mut view = View::new(strategy, 2, &[0, 3, 4, 5]);
            for key in 0..50 {
                let chosen = view.choose_except("a", key, Some(3)).unwrap();
                assert!([1, 2].contains(&chosen), "{strategy:?} {chosen}");
            }
            view.shares.remove(1, online(2));
            assert_eq!(view.shares.online(), 8, "it has said something else");
            view.shares.remove(1, online(3));
            view.own.0 = Share { online: 0, away: 1 };
            assert_eq!(view.choose_except("a", 1, Some(3)), None);
        }
    }
}
