//! Connections between nodes: several streams each, in order within a stream and in no order
//! between them. A direction that is cut lets nothing through until it is mended or the
//! connection dies of silence; with a connection everything dies that is under way on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::random::Random;

/// A connection that is silent for longer in one direction is dead.
const IDLE_MS: u64 = 3000;

/// Both nodes of a connection, the lower one first.
type Pair = (usize, usize);

/// Frames on their way, and when they arrive.
type Queue = VecDeque<(u64, Vec<u8>)>;

/// What has arrived: from, to, on which channel, what, and over which connection.
pub(crate) struct Arrival {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) channel: u16,
    pub(crate) frame: Vec<u8>,
    pub(crate) connection: u64,
}

struct Connection {
    number: u64,
    /// By sender and channel.
    under_way: BTreeMap<(usize, u16), Queue>,
    /// When something last came from each node.
    heard_ms: BTreeMap<usize, u64>,
}

#[derive(Default)]
pub(crate) struct Net {
    connections: BTreeMap<Pair, Connection>,
    cut: BTreeSet<(usize, usize)>,
    made: u64,
}

fn pair(a: usize, b: usize) -> Pair {
    (a.min(b), a.max(b))
}

impl Net {
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: usize, to: usize) {
        self.cut.remove(&(from, to));
    }

    pub(crate) fn mend_all(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn is_connected(&self, a: usize, b: usize) -> bool {
        self.connections.contains_key(&pair(a, b))
    }

    /// Connects two nodes, if both directions work.
    pub(crate) fn connect(&mut self, now_ms: u64, a: usize, b: usize) -> bool {
        let works = !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a));
        if works {
            self.made += 1;
            let connection = Connection {
                number: self.made,
                under_way: BTreeMap::new(),
                heard_ms: BTreeMap::from([(a, now_ms), (b, now_ms)]),
            };
            self.connections.insert(pair(a, b), connection);
        }
        works
    }

    pub(crate) fn disconnect(&mut self, a: usize, b: usize) -> bool {
        self.connections.remove(&pair(a, b)).is_some()
    }

    /// The number of the connection between two nodes.
    pub(crate) fn number(&self, a: usize, b: usize) -> Option<u64> {
        Some(self.connections.get(&pair(a, b))?.number)
    }

    pub(crate) fn send(
        &mut self,
        (from, to, channel): (usize, usize, u16),
        frame: Vec<u8>,
        now_ms: u64,
        random: &mut Random,
    ) {
        let Some(connection) = self.connections.get_mut(&pair(from, to)) else {
            return;
        };
        let queue = connection.under_way.entry((from, channel)).or_default();
        let earliest_ms = queue.back().map_or(0, |(at_ms, _)| *at_ms);
        let delay_ms = if random.one_in(20) {
            random.below(400)
        } else {
            random.below(30)
        };
        queue.push_back((earliest_ms.max(now_ms + delay_ms), frame));
    }

    /// What arrives now, on channels that the receiver is `ready` for.
    pub(crate) fn arrivals(
        &mut self,
        now_ms: u64,
        ready: impl Fn(usize, usize, u16) -> bool,
    ) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for ((a, b), connection) in &mut self.connections {
            for ((from, channel), queue) in &mut connection.under_way {
                let to = if from == a { *b } else { *a };
                if self.cut.contains(&(*from, to)) || !ready(*from, to, *channel) {
                    continue;
                }
                while let Some((at_ms, _)) = queue.front()
                    && *at_ms <= now_ms
                    && let Some((_, frame)) = queue.pop_front()
                {
                    connection.heard_ms.insert(*from, now_ms);
                    arrivals.push(Arrival {
                        from: *from,
                        to,
                        channel: *channel,
                        frame,
                        connection: connection.number,
                    });
                }
            }
        }
        arrivals
    }

    /// Connections that die of silence.
    pub(crate) fn silent(&self, now_ms: u64) -> Vec<Pair> {
        let is_silent = |connection: &Connection| {
            let heard = connection.heard_ms.values();
            heard.min().is_some_and(|heard| now_ms - heard > IDLE_MS)
        };
        let silent = self.connections.iter().filter(|(_, it)| is_silent(it));
        silent.map(|(pair, _)| *pair).collect()
    }

    /// All connections of a node.
    pub(crate) fn of(&self, node: usize) -> Vec<Pair> {
        let pairs = self.connections.keys();
        pairs
            .filter(|(a, b)| *a == node || *b == node)
            .copied()
            .collect()
    }
}
