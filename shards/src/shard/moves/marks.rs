//! What nodes say to each other about where messages go while sessions move, for many sessions
//! at once, as messages of `$cluster/`.
//!
//! ```text
//!   kind u8 | two numbers u64 | for each session: epoch of the new owner u64, tag of the former
//!   one u64, length u16, client identifier
//! ```

use crate::nodes::RoutesAt;

/// The topic.
pub(in crate::shard) const MARKS: &str = "$cluster/marks";

/// What is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::shard) enum About {
    /// The new owner, to every node: tell where each of your shards' messages turn, when my
    /// routes up to this place are in force there.
    Turn(RoutesAt),
    /// A shard of a node, to the former owner and the new one, behind its messages: from here on
    /// the new owner gets mine. The node has so many shards.
    Turned { shards: u16 },
    /// The former owner, to the new one: you have all that came from this shard of the node with
    /// this tag before it turned.
    Passed { node: u64, shard: u16 },
    /// A node, to another one: say when my routes up to this place are in force there.
    Reach(RoutesAt),
    /// They are.
    Reached(RoutesAt),
}

/// A session that moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::shard) struct Move<'a> {
    pub(super) client: &'a str,
    /// With which the new owner owns it.
    pub(super) epoch: u64,
    /// All nodes know the former owner by it.
    pub(super) former: u64,
}

/// A message to be written.
#[derive(Clone, Debug)]
pub(in crate::shard) struct Writer(Vec<u8>);

impl Writer {
    pub(in crate::shard) fn new(about: About) -> Self {
        let (kind, one, two) = match about {
            About::Turn(at) => (1, at.incarnation, at.sequence),
            About::Turned { shards } => (2, u64::from(shards), 0),
            About::Passed { node, shard } => (3, node, u64::from(shard)),
            About::Reach(at) => (4, at.incarnation, at.sequence),
            About::Reached(at) => (5, at.incarnation, at.sequence),
        };
        let mut out = Vec::with_capacity(64);
        out.push(kind);
        for number in [one, two] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        Self(out)
    }

    pub(super) fn add(&mut self, each: Move<'_>) {
        let out = &mut self.0;
        out.extend_from_slice(&each.epoch.to_le_bytes());
        out.extend_from_slice(&each.former.to_le_bytes());
        out.extend_from_slice(&(each.client.len() as u16).to_le_bytes());
        out.extend_from_slice(each.client.as_bytes());
    }

    pub(in crate::shard) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A message as it has come.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Marks<'a> {
    pub(in crate::shard) about: About,
    rest: &'a [u8],
}

impl<'a> Marks<'a> {
    pub(in crate::shard) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (one, rest) = number(rest)?;
        let (two, rest) = number(rest)?;
        let at = RoutesAt {
            incarnation: one,
            sequence: two,
        };
        let about = match kind {
            1 => About::Turn(at),
            2 => About::Turned {
                shards: u16::try_from(one).ok()?,
            },
            3 => About::Passed {
                node: one,
                shard: u16::try_from(two).ok()?,
            },
            4 => About::Reach(at),
            5 => About::Reached(at),
            _ => return None,
        };
        Some(Self { about, rest })
    }

    /// The sessions, up to one that cannot be read.
    pub(super) fn moves(&self) -> impl Iterator<Item = Move<'a>> + use<'a> {
        let mut rest = self.rest;
        core::iter::from_fn(move || {
            let next;
            (next, rest) = one(rest)?;
            Some(next)
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn one(bytes: &[u8]) -> Option<(Move<'_>, &[u8])> {
    let (epoch, rest) = number(bytes)?;
    let (former, rest) = number(rest)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (client, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let found = Move {
        client: core::str::from_utf8(client).ok()?,
        epoch,
        former,
    };
    Some((found, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_short_is_not_taken_for_more() {
        let at = RoutesAt {
            incarnation: 3,
            sequence: u64::MAX,
        };
        let all = [
            About::Turn(at),
            About::Turned { shards: 256 },
            About::Passed { node: 9, shard: 65 },
            About::Reach(at),
            About::Reached(at),
        ];
        let moves = ["", "äö", "client"].map(|client| Move {
            client,
            epoch: 1 << 40,
            former: 7,
        });
        for about in all {
            let mut writer = Writer::new(about);
            moves.iter().for_each(|each| writer.add(*each));
            let bytes = writer.finish();
            let marks = Marks::read(&bytes).unwrap();
            assert_eq!(marks.about, about);
            assert!(marks.moves().eq(moves));
            for length in 0..bytes.len() {
                let cut = Marks::read(&bytes[..length]);
                let count = cut.map_or(0, |marks| marks.moves().count());
                assert!(count < moves.len());
            }
        }
        assert!(Marks::read(&[0; 20]).is_none());
    }
}
