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
    /// Where in the topic the text begins.
    start: u32,
    /// How many pieces the word has from this one on.
    count: u16,
    /// Bytes of the text.
    length: u8,
    /// Whether the word ends with this piece.
    is_last: bool,
}

impl Piece {
    /// A piece outside [`Pieces`]. `text` is at most [`PIECE_BYTES`] long.
    pub(super) fn new(seed: &Seed, text: &[u8], is_last: bool) -> Self {
        Self::within(seed, text, 0, usize::from(is_last))
    }

    /// A piece of a topic: `count` pieces of its word are left. `text` is at most
    /// [`PIECE_BYTES`] long.
    fn within(seed: &Seed, text: &[u8], start: u32, count: usize) -> Self {
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
            start,
            count: count as u16,
            length: text.len() as u8,
            is_last: count == 1,
        }
    }

    /// How long the first piece of a text is, which begins with a word or within one, and
    /// whether the word ends with it.
    pub(super) fn measure(text: &[u8]) -> (usize, bool) {
        let mut bytes = text.iter().take(PIECE_BYTES + 1);
        match bytes.position(|byte| *byte == b'/') {
            Some(end) => (end, true),
            None => (text.len().min(PIECE_BYTES), text.len() <= PIECE_BYTES),
        }
    }

    /// The piece that has these words, if its text does not end with a zero byte.
    pub(super) fn of(seed: &Seed, words: &[u64; PIECE_WORDS], is_last: bool) -> Self {
        let length = length_of(words);
        Self {
            words: *words,
            hash: seed.text(&words[..length.div_ceil(8)], length),
            start: 0,
            count: is_last.into(),
            length: length as u8,
            is_last,
        }
    }

    /// The bytes of a text that does not end with a zero byte, and how many they are.
    pub(super) fn bytes_of(words: &[u64; PIECE_WORDS]) -> ([u8; PIECE_WORDS * 8], usize) {
        let mut bytes = [0; PIECE_WORDS * 8];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        (bytes, length_of(words))
    }

    /// The length of the text.
    pub(super) fn len(&self) -> usize {
        self.length.into()
    }

    /// What is left of a topic from this piece on.
    pub(super) fn rest<'t>(&self, topic: &'t [u8]) -> &'t [u8] {
        &topic[self.start as usize..]
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
        let mut start = 0;
        for word in topic.split(|byte| *byte == b'/') {
            self.cut_word(seed, word, start);
            start += word.len() as u32 + 1;
        }
        self.hash(seed)
    }

    /// The pieces of the word that begins at `start`.
    pub(super) fn word(&self, start: u32) -> &[Piece] {
        &self.pieces[start as usize..self.next_word(start) as usize]
    }

    /// Whether the topic begins with `$`.
    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Where the word after the one at `start` begins.
    pub(super) fn next_word(&self, start: u32) -> u32 {
        start + u32::from(self.pieces[start as usize].count)
    }

    /// What is left of the topic from the word at `start` on.
    pub(super) fn rest<'t>(&self, topic: &'t [u8], start: u32) -> &'t [u8] {
        self.pieces[start as usize].rest(topic)
    }

    /// Whether no word begins at `start` because the topic has ended.
    pub(super) fn ends_at(&self, start: u32) -> bool {
        start as usize == self.pieces.len()
    }

    /// Cuts a word that begins at `start` in the topic.
    fn cut_word(&mut self, seed: &Seed, word: &[u8], start: u32) {
        let (mut rest, mut start) = (word, start);
        while rest.len() > PIECE_BYTES {
            let (text, after) = rest.split_at(PIECE_BYTES);
            let count = rest.len().div_ceil(PIECE_BYTES);
            self.pieces.push(Piece::within(seed, text, start, count));
            start += PIECE_BYTES as u32;
            rest = after;
        }
        self.pieces.push(Piece::within(seed, rest, start, 1));
    }

    fn hash(&self, seed: &Seed) -> u64 {
        self.pieces
            .iter()
            .fold(seed.start(), |hash, piece| seed.then(hash, piece.hash))
    }
}

/// The length of a text that does not end with a zero byte.
fn length_of(words: &[u64; PIECE_WORDS]) -> usize {
    let used = words.iter().rposition(|word| *word != 0);
    used.map_or(0, |last| {
        last * 8 + 8 - words[last].leading_zeros() as usize / 8
    })
}
