//! The words of a topic, cut to the size that a node of the trie holds.
//!
//! A word of up to [`PIECE_BYTES`] bytes is one piece, and nearly every word is. A longer one
//! is several pieces, each an edge of the trie of its own, so that a node needs no memory
//! beside its cache line.

use super::hash::Seed;

/// The longest piece in bytes. A UUID has 36.
pub(super) const PIECE_BYTES: usize = 36;

/// The size of a piece in 64-bit words, of which the last one is half used.
pub(super) const PIECE_WORDS: usize = PIECE_BYTES.div_ceil(8);

/// A word of a topic or filter, or a part of a long one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The text. What is not used is zero, which no text contains [MQTT-1.5.4-2].
    words: [u64; PIECE_WORDS],
    /// Of text and length.
    hash: u64,
    /// Where in [`Pieces`] the word after this one begins.
    next_word: u32,
    /// Whether the word ends with this piece.
    is_last: bool,
}

impl Piece {
    /// `text` is at most [`PIECE_BYTES`] long.
    fn new(seed: &Seed, text: &[u8], is_last: bool, next_word: u32) -> Self {
        let mut bytes = [0; PIECE_WORDS * 8];
        bytes[..text.len()].copy_from_slice(text);
        let mut words = [0; PIECE_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let hash = seed.text(&words[..text.len().div_ceil(8)], text.len());
        Self {
            words,
            hash,
            next_word,
            is_last,
        }
    }

    /// The piece that has these words, if its text does not end with a zero byte.
    pub(super) fn of(seed: &Seed, words: &[u64; PIECE_WORDS], is_last: bool) -> Self {
        let used = words.iter().rposition(|word| *word != 0);
        let length = used.map_or(0, |last| {
            last * 8 + 8 - words[last].leading_zeros() as usize / 8
        });
        Self {
            words: *words,
            hash: seed.text(&words[..length.div_ceil(8)], length),
            next_word: 0,
            is_last,
        }
    }

    /// The text.
    pub(super) fn words(&self) -> &[u64; PIECE_WORDS] {
        &self.words
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether the word ends with this piece.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }
}

/// A topic cut into pieces. Its memory is kept for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    is_reserved: bool,
}

impl Pieces {
    /// Cuts `topic`, and returns the hash of the whole.
    pub(super) fn cut(&mut self, seed: &Seed, topic: &str) -> u64 {
        self.cut_bytes(seed, topic.as_bytes())
    }

    /// The same for the bytes of a topic.
    pub(super) fn cut_bytes(&mut self, seed: &Seed, topic: &[u8]) -> u64 {
        self.pieces.clear();
        self.is_reserved = topic.starts_with(b"$");
        for word in topic.split(|byte| *byte == b'/') {
            self.cut_word(seed, word);
        }
        self.hash(seed)
    }

    /// Cuts one word and nothing else.
    pub(super) fn cut_only_word(&mut self, seed: &Seed, word: &str) -> &[Piece] {
        self.pieces.clear();
        self.cut_word(seed, word.as_bytes());
        &self.pieces
    }

    /// The pieces of the word that begins at `start`.
    pub(super) fn word(&self, start: u32) -> &[Piece] {
        let start = start as usize;
        &self.pieces[start..self.pieces[start].next_word as usize]
    }

    /// Whether the topic begins with `$`.
    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Where the word after the one at `start` begins.
    pub(super) fn next_word(&self, start: u32) -> u32 {
        self.pieces[start as usize].next_word
    }

    /// Whether no word begins at `start` because the topic has ended.
    pub(super) fn ends_at(&self, start: u32) -> bool {
        start as usize == self.pieces.len()
    }

    fn cut_word(&mut self, seed: &Seed, word: &[u8]) {
        let count = word.len().div_ceil(PIECE_BYTES).max(1);
        let next_word = (self.pieces.len() + count) as u32;
        let mut rest = word;
        while rest.len() > PIECE_BYTES {
            let (piece, after) = rest.split_at(PIECE_BYTES);
            self.pieces.push(Piece::new(seed, piece, false, next_word));
            rest = after;
        }
        self.pieces.push(Piece::new(seed, rest, true, next_word));
    }

    fn hash(&self, seed: &Seed) -> u64 {
        self.pieces
            .iter()
            .fold(seed.start(), |hash, piece| seed.then(hash, piece.hash))
    }
}
