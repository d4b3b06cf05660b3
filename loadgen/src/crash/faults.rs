//! What was found wrong.

use std::collections::BTreeMap;

/// Examples kept of each kind.
const EXAMPLES: usize = 4;

/// Counts and examples of every kind of fault.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    kinds: BTreeMap<&'static str, (u64, Vec<String>)>,
}

impl Faults {
    /// Takes note of a fault.
    pub fn add(&mut self, kind: &'static str, what: String) {
        let (count, examples) = self.kinds.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(what);
        }
    }

    /// Adds those of another part.
    pub fn merge(&mut self, other: Self) {
        for (kind, (count, examples)) in other.kinds {
            let own = self.kinds.entry(kind).or_default();
            own.0 += count;
            own.1.extend(examples);
            own.1.truncate(EXAMPLES);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).map_or(0, |(count, _)| *count)
    }

    /// One line for each kind, and its examples.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, (count, examples)) in &self.kinds {
            lines.push(format!("FAULT {kind}: {count}"));
            lines.extend(examples.iter().map(|example| format!("      {example}")));
        }
        lines
    }
}
