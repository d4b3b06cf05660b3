//! The hash of words, edges and topics.
//!
//! Folded multiplication (as in wyhash), keyed with three secrets. It is fast on a few bytes
//! and not predictable without the secrets; a collision costs time only, because whatever is
//! found by a hash is then compared.

/// The secrets of one index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    text: u64,
    edge: u64,
    factor: u64,
}

impl Seed {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed(state)
        };
        Self {
            text: draw(),
            edge: draw(),
            factor: draw() | 1,
        }
    }

    /// The hash of a text of `length` bytes.
    pub(super) fn text(&self, words: &[u64], length: usize) -> u64 {
        let start = folded(self.text ^ length as u64, self.factor);
        words
            .iter()
            .fold(start, |hash, word| folded(hash ^ word, self.factor))
    }

    /// The hash of the edge that leaves the node `parent` with a text of the hash `text`.
    pub(super) fn edge(&self, parent: u32, text: u64) -> u64 {
        let parent = u64::from(parent).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        folded(text ^ parent ^ self.edge, self.factor)
    }

    /// The hash of a sequence of texts, one after the other; [`Self::start`] is that of none.
    pub(super) fn then(&self, hash: u64, text: u64) -> u64 {
        folded(hash ^ text, self.factor)
    }

    pub(super) fn start(&self) -> u64 {
        self.edge
    }
}

/// All bits of the product in 64.
fn folded(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// The output function of SplitMix64.
fn mixed(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}
