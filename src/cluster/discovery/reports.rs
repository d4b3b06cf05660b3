//! What a strategy tells: the nodes that it finds, and whether it works. What stays as it is is
//! said once.

use std::collections::BTreeSet;

use log::{info, warn};

use super::found::Found;

/// So many at once at most. More is no cluster, but somebody else's name.
const FOUND_MAX: usize = 256;

/// Where a strategy tells what it does.
pub(super) struct Reports<F> {
    log: Log,
    found: F,
}

impl<F: Fn(&[Found])> Reports<F> {
    pub(super) fn new(strategy: &'static str, found: F) -> Self {
        Self {
            log: Log::new(strategy),
            found,
        }
    }

    /// Everything that is there.
    pub(super) fn found(&mut self, mut all: Vec<Found>) {
        let count = all.len();
        all.truncate(FOUND_MAX);
        for line in self.log.works(&all, count) {
            info!("{line}");
        }
        (self.found)(&all);
    }

    /// It could not be asked.
    pub(super) fn failed(&mut self, error: &str) {
        if let Some(line) = self.log.failed(error) {
            warn!("{line}");
        }
    }
}

/// What is in the log already.
struct Log {
    strategy: &'static str,
    is_failing: bool,
    has_too_many: bool,
    known: BTreeSet<String>,
}

impl Log {
    fn new(strategy: &'static str) -> Self {
        Self {
            strategy,
            is_failing: false,
            has_too_many: false,
            known: BTreeSet::new(),
        }
    }

    /// What is to be said when it works: that it does again, and what is new.
    fn works(&mut self, all: &[Found], count: usize) -> Vec<String> {
        let strategy = self.strategy;
        let mut lines = Vec::new();
        if std::mem::take(&mut self.is_failing) {
            lines.push(format!("discovery by {strategy} works again"));
        }
        let names: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        let new = names.difference(&self.known);
        lines.extend(new.map(|name| format!("discovery by {strategy} has found {name}")));
        self.known = names;
        let has_too_many = count > all.len();
        if has_too_many && !self.has_too_many {
            lines.push(format!(
                "discovery by {strategy} has found {count} places, which cannot be one cluster: \
                 the first {FOUND_MAX} are looked at"
            ));
        }
        self.has_too_many = has_too_many;
        lines
    }

    /// What is to be said when it does not work: nothing while it stays so.
    fn failed(&mut self, error: &str) -> Option<String> {
        let was_failing = std::mem::replace(&mut self.is_failing, true);
        (!was_failing).then(|| {
            format!(
                "discovery by {} does not work: {error}. It is tried again; nodes that are known \
                 stay connected",
                self.strategy
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::Place;
    use super::*;

    fn place(host: &str) -> Found {
        let host = host.to_owned();
        Found::Place(Place { host, port: 1 })
    }

    #[test]
    fn each_node_is_said_once_while_it_is_there() {
        let mut log = Log::new("dns");
        let one = [place("10.0.0.1")];
        assert_eq!(
            log.works(&one, 1),
            ["discovery by dns has found 10.0.0.1:1"]
        );
        assert!(log.works(&one, 1).is_empty());
        let both = [place("10.0.0.1"), place("::2")];
        assert_eq!(log.works(&both, 2), ["discovery by dns has found [::2]:1"]);
        assert!(log.works(&one, 1).is_empty());
        assert_eq!(log.works(&both, 2).len(), 1);
    }

    #[test]
    fn a_failure_is_said_when_it_begins_and_when_it_is_over() {
        let mut log = Log::new("dns");
        assert!(log.failed("this").unwrap().contains("this"));
        assert_eq!(log.failed("this"), None);
        assert_eq!(log.failed("that"), None);
        assert_eq!(log.works(&[], 0), ["discovery by dns works again"]);
        assert!(log.works(&[], 0).is_empty());
        assert!(log.failed("that").is_some());
    }

    #[test]
    fn more_than_can_be_a_cluster_is_said_once() {
        let mut log = Log::new("dns");
        assert!(log.works(&[], 300)[0].contains("300 places"));
        assert!(log.works(&[], 300).is_empty());
    }
}
