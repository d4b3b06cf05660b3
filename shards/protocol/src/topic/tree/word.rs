//! One level's text in 16 bytes.

use super::hash::{Hash, padded};
use super::slab::Slab;
use super::table::Table;

/// Bytes of the longest word that is kept in place.
const SHORT: usize = 16;

/// The last byte of a word that is kept in [`LongWords`]. UTF-8 has no such byte.
const LONG: u8 = 0xff;

/// A level's text: itself and zeros behind it (a topic contains no U+0000), or the
/// number of a longer text. Two words of one tree are equal exactly when their texts
/// are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Word([u8; SHORT]);

impl Word {
    /// The word for a text that fits in place.
    #[inline]
    pub(crate) fn short(text: &str) -> Option<Self> {
        (text.len() <= SHORT).then(|| Self(padded(text.as_bytes())))
    }

    fn long(number: u32) -> Self {
        let mut bytes = padded(&number.to_le_bytes());
        bytes[SHORT - 1] = LONG;
        Self(bytes)
    }

    /// The number of a long text.
    fn number(&self) -> Option<u32> {
        let [a, b, c, d, .., LONG] = self.0 else {
            return None;
        };
        Some(u32::from_le_bytes([a, b, c, d]))
    }

    #[inline]
    pub(crate) fn hash(&self, hash: &Hash) -> u64 {
        hash.word(&self.0)
    }

    /// Whether the text begins with `$`.
    pub(crate) fn is_dollar(&self, long_words: &LongWords) -> bool {
        match self.number() {
            Some(number) => long_words.text(number).starts_with('$'),
            None => self.0[0] == b'$',
        }
    }
}

/// The texts that do not fit into a [`Word`], each once, with a count of its uses.
#[derive(Debug)]
pub(crate) struct LongWords {
    texts: Slab<LongWord>,
    numbers: Table,
    text_bytes: usize,
}

#[derive(Debug, Default)]
struct LongWord {
    text: Box<str>,
    uses: u32,
}

impl LongWords {
    pub(crate) fn new() -> Self {
        Self {
            texts: Slab::new(),
            numbers: Table::default(),
            text_bytes: 0,
        }
    }

    /// The word for `text`, if it is in use.
    #[inline]
    pub(crate) fn find(&self, hash: &Hash, text: &str) -> Option<Word> {
        self.number_of(hash.text(text), text).map(Word::long)
    }

    /// The word for `text`, used once more.
    pub(crate) fn acquire(&mut self, hash: &Hash, text: &str) -> Word {
        let text_hash = hash.text(text);
        if let Some(number) = self.number_of(text_hash, text) {
            self.texts.get_mut(number).uses += 1;
            return Word::long(number);
        }
        let number = self.texts.insert(LongWord {
            text: text.into(),
            uses: 1,
        });
        self.text_bytes += text.len();
        self.numbers.insert(text_hash, number);
        Word::long(number)
    }

    /// Ends one use of `word`; nothing where it is a short one.
    pub(crate) fn release(&mut self, hash: &Hash, word: Word) {
        let Some(number) = word.number() else {
            return;
        };
        let entry = self.texts.get_mut(number);
        entry.uses -= 1;
        if entry.uses == 0 {
            let text_hash = hash.text(&entry.text);
            self.text_bytes -= entry.text.len();
            self.texts.remove(number);
            self.numbers.remove(text_hash, number);
        }
    }

    /// Appends the text of `word` to `out`.
    pub(crate) fn append(&self, word: &Word, out: &mut String) {
        match word.number() {
            Some(number) => out.push_str(self.text(number)),
            None => {
                let end = word.0.iter().position(|byte| *byte == 0).unwrap_or(SHORT);
                out.push_str(core::str::from_utf8(&word.0[..end]).unwrap_or_default());
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes of memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.texts.bytes() + self.numbers.bytes() + self.text_bytes
    }

    fn text(&self, number: u32) -> &str {
        &self.texts.get(number).text
    }

    fn number_of(&self, hash: u64, text: &str) -> Option<u32> {
        self.numbers.find(hash, |number| self.text(number) == text)
    }
}
