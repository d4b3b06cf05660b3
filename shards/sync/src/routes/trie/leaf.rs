//! The rest of a filter from where no other filter goes the same way.

use super::{NOWHERE, Piece, Record};
use crate::shim::{AtomicU32, AtomicU64, Ordering};

/// The longest text of a leaf, in bytes: a UUID and 15 bytes more, such as `/+/+/telemetry`.
pub(super) const LEAF_BYTES: usize = 51;

/// The part of a leaf that holds its text, in 64-bit words.
const TEXT_WORDS: usize = 6;

/// The bit of [`Leaf::edge`] that says that the filter has moved to another record.
const MOVED: u32 = 1 << 31;

/// The end of one filter: one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Leaf {
    destinations: AtomicU64,
    /// The text, which begins with the word, or the piece of a long one, that leads here.
    text: [AtomicU64; TEXT_WORDS],
    /// The last three bytes of the text, and its length in the highest byte.
    text_end: AtomicU32,
    /// The node above, and [`MOVED`].
    edge: AtomicU32,
}

// SAFETY: it consists of atomic integers only.
unsafe impl Record for Leaf {}

/// The text of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    bytes: [u8; LEAF_BYTES + 1],
    length: usize,
}

impl Leaf {
    pub(super) fn write(&self, parent: u32, text: &Text, destinations: u64) {
        self.destinations.store(destinations, Ordering::Relaxed);
        let (words, end) = text.bytes.as_chunks();
        for (stored, word) in self.text.iter().zip(words) {
            stored.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        let end = [end[0], end[1], end[2], text.length as u8];
        self.text_end
            .store(u32::from_le_bytes(end), Ordering::Relaxed);
        self.edge.store(parent, Ordering::Relaxed);
    }

    pub(super) fn destinations(&self) -> &AtomicU64 {
        &self.destinations
    }

    /// The node above.
    #[inline]
    pub(super) fn parent(&self) -> u32 {
        self.edge.load(Ordering::Relaxed) & !MOVED
    }

    pub(super) fn text(&self) -> Text {
        let mut bytes = [0; LEAF_BYTES + 1];
        let (words, end) = bytes.as_chunks_mut();
        for (word, stored) in words.iter_mut().zip(&self.text) {
            *word = stored.load(Ordering::Relaxed).to_le_bytes();
        }
        let text_end = self.text_end.load(Ordering::Relaxed).to_le_bytes();
        end.copy_from_slice(&text_end);
        let length = usize::from(text_end[3]).min(LEAF_BYTES);
        Text { bytes, length }
    }

    /// Whether the filter that ends here matches what is left of a topic.
    #[inline]
    pub(super) fn matches(&self, topic: &[u8]) -> bool {
        covers(self.text().as_bytes(), topic)
    }

    /// Whether the filter that ends here matches what is left of a topic from this piece on.
    #[inline]
    pub(super) fn matches_from(&self, piece: &Piece, topic: &[u8]) -> bool {
        let text = self.text();
        let rest = text.after(piece);
        rest.is_some_and(|rest| covers(rest, &piece.rest(topic)[piece.len()..]))
    }

    /// Says that another record has this filter now. Readers may still be here.
    pub(super) fn mark_moved(&self) {
        let edge = self.edge.load(Ordering::Relaxed);
        self.edge.store(edge | MOVED, Ordering::Relaxed);
    }

    pub(super) fn has_moved(&self) -> bool {
        self.edge.load(Ordering::Relaxed) & MOVED != 0
    }

    pub(super) fn leads_nowhere(&self) -> bool {
        self.destinations.load(Ordering::Relaxed) == NOWHERE
    }
}

impl Text {
    /// The parts one after the other, if they fit.
    pub(super) fn of(parts: &[&[u8]]) -> Option<Self> {
        let mut text = Self {
            bytes: [0; LEAF_BYTES + 1],
            length: 0,
        };
        for part in parts {
            let end = text.length + part.len();
            if end > LEAF_BYTES {
                return None;
            }
            text.bytes[text.length..end].copy_from_slice(part);
            text.length = end;
        }
        Some(text)
    }

    /// What comes after a piece, if the text begins with it.
    #[inline]
    pub(super) fn after(&self, piece: &Piece) -> Option<&[u8]> {
        let mut rest = piece.len();
        for (bytes, word) in self.bytes.as_chunks().0.iter().zip(piece.words()) {
            // The bytes that are not of the piece are shifted out.
            let differing = u64::from_le_bytes(*bytes) ^ word;
            if rest < 8 {
                let is_equal = rest == 0 || differing << (64 - 8 * rest) == 0;
                return self.as_bytes().get(piece.len()..).filter(|_| is_equal);
            }
            if differing != 0 {
                return None;
            }
            rest -= 8;
        }
        None
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Whether a filter matches a topic, both from the same word on.
fn covers(filter: &[u8], topic: &[u8]) -> bool {
    let mut rest = topic;
    for (position, byte) in filter.iter().enumerate() {
        match (byte, rest) {
            (b'+', _) => {
                let end = rest.iter().position(|byte| *byte == b'/');
                rest = &rest[end.unwrap_or(rest.len())..];
            }
            (b'#', _) => return true,
            (_, [same, after @ ..]) if same == byte => rest = after,
            // `a/#` matches `a` as well.
            _ => return rest.is_empty() && filter[position..] == *b"/#",
        }
    }
    rest.is_empty()
}
