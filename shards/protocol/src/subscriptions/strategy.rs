//! How the members of a share group take turns.

use std::collections::HashMap;

/// Which member of a share group gets a message.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Strategy {
    /// Any.
    Random,
    /// One after the other, whoever publishes: a turn for each group and filter.
    #[default]
    RoundRobin,
    /// As `RoundRobin`, with one turn for all filters of the group.
    RoundRobinPerGroup,
    /// The same as before, until it leaves or cannot take a message.
    Sticky,
    /// One on the publisher's shard, if there is one, in turn.
    Local,
    /// The same for each publisher, by its client identifier.
    HashClientId,
    /// The same for each topic.
    HashTopic,
}

/// The strategy of each group.
#[derive(Clone, Debug)]
pub struct Strategies {
    /// That of groups that have none of their own.
    pub default: Strategy,
    /// How a group with [`Strategy::Sticky`] finds the member to stay with; not `Sticky`.
    pub initial_sticky_pick: Strategy,
    /// Those of groups that have one, by the name of the group.
    pub groups: HashMap<String, Strategy>,
}

impl Default for Strategies {
    fn default() -> Self {
        Self {
            default: Strategy::default(),
            initial_sticky_pick: Strategy::Random,
            groups: HashMap::new(),
        }
    }
}

impl Strategies {
    /// The strategy of the group with this name.
    #[must_use]
    pub fn of(&self, group: &str) -> Strategy {
        self.groups.get(group).copied().unwrap_or(self.default)
    }

    /// Whether some group may use it.
    #[must_use]
    pub fn use_strategy(&self, strategy: Strategy) -> bool {
        let sticky = |used: &Strategy| *used == Strategy::Sticky;
        let mut used = core::iter::once(&self.default).chain(self.groups.values());
        used.clone().any(|used| *used == strategy)
            || (self.initial_sticky_pick == strategy && used.any(sticky))
    }
}

/// What the choice of a member may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The topic that is published to.
    pub topic: &'a str,
    /// The publisher's client identifier, hashed.
    pub publisher: u64,
    /// The shard of the publisher's session.
    pub shard: u16,
}

/// Numbers in an order that only who knows the seed can tell.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// A number that differs in half of its bits when one bit of `number` differs.
pub(super) fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below `count`, at least 1: the same for the same key, and for as many keys as
/// possible the same when `count` changes (Lamping and Veach, 2014).
pub(super) fn consistent(mut key: u64, count: usize) -> usize {
    let (mut place, mut next) = (0, 0.0_f64);
    while next < count as f64 {
        place = next as usize;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let fraction = ((key >> 33) + 1) as f64 / (1_u64 << 31) as f64;
        next = (place as f64 + 1.0) / fraction;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_own_strategy_or_that_of_all() {
        let strategies = Strategies {
            default: Strategy::Local,
            groups: HashMap::from([("g".to_owned(), Strategy::Sticky)]),
            ..Strategies::default()
        };
        assert_eq!(strategies.of("g"), Strategy::Sticky);
        assert_eq!(strategies.of("h"), Strategy::Local);
        assert!(strategies.use_strategy(Strategy::Random), "for the sticky");
        assert!(strategies.use_strategy(Strategy::Local));
        assert!(!strategies.use_strategy(Strategy::HashTopic));
        assert!(!Strategies::default().use_strategy(Strategy::Random));
    }

    #[test]
    fn few_keys_move_when_there_is_a_place_more() {
        let keys = || (0..10_000_u64).map(mix);
        for count in 1..20_usize {
            let mut counts = vec![0_usize; count];
            let mut moved = 0;
            for key in keys() {
                let place = consistent(key, count);
                counts[place] += 1;
                let later = consistent(key, count + 1);
                assert!(later == place || later == count);
                moved += usize::from(later != place);
            }
            let expected = 10_000 / count;
            assert!(
                counts
                    .iter()
                    .all(|n| n.abs_diff(expected) < expected / 5 + 50)
            );
            assert!(moved < 10_000 / (count + 1) + 300, "{moved} of {count}");
        }
    }
}
