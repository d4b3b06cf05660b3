//! When a node is to be dialed over others.

use std::collections::BTreeMap;

/// How long a link that exists and does not work is watched first: the link is not given up for
/// what a machine that stood still has missed.
const BROKEN_MS: u64 = 300;

/// How long there is no link before: the direct dial is to have its time.
const MISSING_MS: u64 = 1000;

/// Between two looks there is less time, or this process itself stood still.
const GAP_MS: u64 = 500;

/// After an attempt that failed the next one waits for so long.
const RETRY_MS: u64 = 500;

/// How a node that this one is to dial stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Its direct link does not work.
    Broken,
    /// There is no link.
    Missing,
}

/// What was seen at former looks.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Since when a node stands so.
    since: BTreeMap<String, (Standing, u64)>,
    /// Until when a node is not tried again.
    failed: BTreeMap<String, u64>,
    looked_ms: u64,
}

impl Needs {
    /// Looks at the nodes that this one is to dial, that have no link that works, and that others
    /// reach. Returns those that are to be dialed now.
    pub(super) fn look(&mut self, now_ms: u64, nodes: Vec<(String, Standing)>) -> Vec<String> {
        if now_ms.saturating_sub(self.looked_ms) > GAP_MS {
            self.since.clear();
        }
        self.looked_ms = now_ms;
        self.failed.retain(|_, until_ms| *until_ms > now_ms);
        let mut former = std::mem::take(&mut self.since);
        let mut due = Vec::new();
        for (name, standing) in nodes {
            let known = former.remove(&name).filter(|(known, _)| *known == standing);
            let (_, since_ms) = known.unwrap_or((standing, now_ms));
            let patience_ms = match standing {
                Standing::Broken => BROKEN_MS,
                Standing::Missing => MISSING_MS,
            };
            let is_old = now_ms.saturating_sub(since_ms) >= patience_ms;
            if is_old && !self.failed.contains_key(&name) {
                due.push(name.clone());
            }
            self.since.insert(name, (standing, since_ms));
        }
        due
    }

    /// An attempt has failed, or the connection that it has made has ended.
    pub(super) fn ended(&mut self, now_ms: u64, name: String) {
        self.failed.insert(name, now_ms + RETRY_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(needs: &mut Needs, now_ms: u64, standing: Standing) -> usize {
        needs.look(now_ms, vec![("b".to_owned(), standing)]).len()
    }

    /// When a node is dialed that stands so from 1,000 ms on.
    fn dialed(needs: &mut Needs, standing: Standing) -> Option<u64> {
        let mut looks = (1000..4000).step_by(100);
        looks.find(|now_ms| look(needs, *now_ms, standing) == 1)
    }

    #[test]
    fn a_link_that_does_not_work_is_replaced_sooner_than_one_that_is_missing() {
        assert_eq!(dialed(&mut Needs::default(), Standing::Broken), Some(1300));
        assert_eq!(dialed(&mut Needs::default(), Standing::Missing), Some(2000));
    }

    #[test]
    fn one_that_works_in_between_begins_anew() {
        let mut needs = Needs::default();
        assert_eq!(look(&mut needs, 1000, Standing::Broken), 0);
        assert_eq!(needs.look(1200, Vec::new()).len(), 0);
        assert_eq!(look(&mut needs, 1400, Standing::Broken), 0);
        assert_eq!(look(&mut needs, 1700, Standing::Broken), 1);
        assert_eq!(look(&mut needs, 1800, Standing::Missing), 0);
    }

    #[test]
    fn a_process_that_stood_still_has_seen_nothing() {
        let mut needs = Needs::default();
        assert_eq!(look(&mut needs, 1000, Standing::Broken), 0);
        assert_eq!(look(&mut needs, 9000, Standing::Broken), 0);
        assert_eq!(look(&mut needs, 9300, Standing::Broken), 1);
    }

    #[test]
    fn after_an_attempt_that_failed_there_is_a_pause() {
        let mut needs = Needs::default();
        needs.ended(1000, "b".to_owned());
        assert_eq!(dialed(&mut needs, Standing::Broken), Some(1500));
    }
}
