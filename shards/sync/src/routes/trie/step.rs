//! The way of a filter through the trie, one word or piece of a long word at a time.

use super::{Edge, Ends, Piece, Seed, Text};

/// A step from a node on the way of a filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'f> {
    pub(super) parent: u32,
    /// What is left of the filter, from this step's piece on.
    pub(super) text: &'f [u8],
    /// Bytes of the piece.
    length: usize,
    /// `None` for `+`.
    piece: Option<Piece>,
    /// The hash of the edge. Of no use for `+`.
    hash: u64,
    /// Whether a word ends with the piece.
    ends_word: bool,
}

/// What is left of a filter behind a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'f> {
    /// `None` at the end. It differs from an empty word.
    pub(super) text: Option<&'f [u8]>,
    /// Whether it begins with a word, and not within one.
    pub(super) is_word: bool,
}

impl<'f> Rest<'f> {
    pub(super) fn all(filter: &'f str) -> Self {
        Self {
            text: Some(filter.as_bytes()),
            is_word: true,
        }
    }

    /// The step that comes next, or where at the node the filter ends.
    pub(super) fn step(self, seed: &Seed, parent: u32) -> Result<Step<'f>, Ends> {
        match self.text {
            None => Err(Ends::Here),
            Some(b"#") if self.is_word => Err(Ends::Below),
            Some(text) => Ok(Step::new(seed, parent, text, self.is_word)),
        }
    }
}

impl<'f> Step<'f> {
    /// The first step of a text, which begins with a word or within one.
    pub(super) fn new(seed: &Seed, parent: u32, text: &'f [u8], is_word: bool) -> Self {
        let (length, ends_word) = Piece::measure(text);
        let is_plus = is_word && ends_word && text[..length] == *b"+";
        let piece = (!is_plus).then(|| Piece::new(seed, &text[..length], ends_word));
        let edge = piece.as_ref().map(|piece| Edge::new(seed, parent, piece));
        let hash = edge.map_or(0, |edge| edge.hash);
        Self {
            parent,
            text,
            length,
            piece,
            hash,
            ends_word,
        }
    }

    /// The edge, if it is a literal one and not that of `+`.
    pub(super) fn edge(&self) -> Option<Edge<'_>> {
        let piece = self.piece.as_ref()?;
        Some(Edge {
            key: Edge::key(self.parent, piece),
            piece,
            hash: self.hash,
        })
    }

    /// The hash of that edge.
    pub(super) fn literal(&self) -> Option<u64> {
        self.piece.is_some().then_some(self.hash)
    }

    /// What comes after this step.
    pub(super) fn rest(&self) -> Rest<'f> {
        self.rest_of(self.text)
    }

    /// What comes after this step in a text that begins with the same piece.
    pub(super) fn rest_of<'t>(&self, text: &'t [u8]) -> Rest<'t> {
        // Behind a `/`, if there is one, or within the word.
        let start = self.length + usize::from(self.ends_word);
        Rest {
            text: text.get(start..),
            is_word: self.ends_word,
        }
    }

    /// Whether another step from the same node leads to the same place.
    pub(super) fn is_same(&self, other: &Step<'_>) -> bool {
        (self.length, self.ends_word) == (other.length, other.ends_word)
            && self.text[..self.length] == other.text[..self.length]
    }

    /// Whether a leaf begins with the same piece.
    pub(super) fn is_first_of(&self, leaf: &Text) -> bool {
        let rest = self.piece.as_ref().and_then(|piece| leaf.after(piece));
        rest.is_some_and(|rest| match rest.first() {
            Some(byte) => (*byte == b'/') == self.ends_word,
            None => self.ends_word,
        })
    }
}
