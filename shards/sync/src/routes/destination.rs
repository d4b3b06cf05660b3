//! Where messages go.

/// Shards that a node can have.
const SHARDS_MAX: usize = 256;

/// Bits of one word of the bitmap of shards.
const WORD_BITS: usize = 64;

/// A place that a message can go to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Destination {
    /// A shard of this node.
    Shard(u8),
    /// Another node of the cluster.
    Node(u32),
}

impl Destination {
    /// A number for each destination: shards first, then nodes.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Shard(shard) => u64::from(shard),
            Self::Node(node) => SHARDS_MAX as u64 + u64::from(node),
        }
    }

    /// The destination with a number that [`Self::number`] gave.
    pub(super) fn from_number(number: u64) -> Self {
        match number.checked_sub(SHARDS_MAX as u64) {
            None => Self::Shard(number as u8),
            Some(node) => Self::Node(node as u32),
        }
    }
}

/// The places that one message goes to, each once.
///
/// It belongs to the caller of [`RouteReader::matches`](super::RouteReader::matches), who
/// keeps it for the next message: its memory grows to what the widest one needed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DestinationSet {
    shards: [u64; SHARDS_MAX / WORD_BITS],
    /// In the order in which they were found. A cluster has few nodes.
    nodes: Vec<u32>,
}

impl DestinationSet {
    /// A set of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the message goes nowhere.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.shards.iter().all(|word| *word == 0)
    }

    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.shards = [0; SHARDS_MAX / WORD_BITS];
        self.nodes.clear();
    }

    /// Adds one destination.
    pub fn insert(&mut self, destination: Destination) {
        match destination {
            Destination::Shard(shard) => {
                let shard = usize::from(shard);
                self.shards[shard / WORD_BITS] |= 1 << (shard % WORD_BITS);
            }
            Destination::Node(node) if !self.nodes.contains(&node) => self.nodes.push(node),
            Destination::Node(_) => {}
        }
    }

    /// Whether the message goes there.
    pub fn contains(&self, destination: Destination) -> bool {
        match destination {
            Destination::Shard(shard) => {
                let shard = usize::from(shard);
                self.shards[shard / WORD_BITS] >> (shard % WORD_BITS) & 1 == 1
            }
            Destination::Node(node) => self.nodes.contains(&node),
        }
    }

    /// The shards of this node, in ascending order.
    pub fn shards(&self) -> impl Iterator<Item = u8> + '_ {
        self.shards.iter().enumerate().flat_map(|(index, word)| {
            ones(*word).map(move |bit| (index * WORD_BITS + bit as usize) as u8)
        })
    }

    /// The other nodes, in no order.
    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// Adds those of the first 64 shards whose bits are set.
    pub(super) fn insert_first_shards(&mut self, bitmap: u64) {
        self.shards[0] |= bitmap;
    }
}

/// The positions of the bits that are set, in ascending order.
pub fn ones(word: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
        .take_while(|rest| *rest != 0)
        .map(u64::trailing_zeros)
}
