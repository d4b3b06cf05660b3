//! A seeded hash of words, texts and edges.
//!
//! Each step multiplies 64 by 64 bits and folds the product's halves together, as
//! wyhash and foldhash do. Whoever does not know the seed cannot aim for
//! collisions; nothing relies on their absence but speed.

/// Constants that the seed is turned into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    start: u64,
    odd: u64,
    edge: u64,
}

impl Hash {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Self {
            start: next(),
            odd: next() | 1,
            edge: next() | 1,
        }
    }

    /// A hash of which nearly all values are equal, to test that keys are compared.
    #[cfg(test)]
    pub(crate) const COLLIDING: Self = Self {
        start: 0,
        odd: 0,
        edge: 0,
    };

    /// The hash of a text.
    #[inline]
    pub(crate) fn text(&self, text: &str) -> u64 {
        let mut state = self.start ^ (text.len() as u64);
        let mut rest = text.as_bytes();
        while let Some((block, tail)) = rest.split_first_chunk::<16>() {
            state = self.block(state, block);
            rest = tail;
        }
        self.block(state, &padded(rest))
    }

    /// The hash of 16 bytes.
    #[inline]
    pub(crate) fn word(&self, word: &[u8; 16]) -> u64 {
        self.block(self.start, word)
    }

    /// The hash of `number` beside something that has the hash `hash`.
    #[inline]
    pub(crate) fn with(&self, hash: u64, number: u32) -> u64 {
        fold(hash ^ u64::from(number), self.edge)
    }

    #[inline]
    fn block(&self, state: u64, block: &[u8; 16]) -> u64 {
        let value = u128::from_le_bytes(*block);
        fold(value as u64 ^ state, (value >> 64) as u64 ^ self.odd)
    }
}

/// Up to 16 bytes, followed by zeros.
#[inline]
pub(crate) fn padded(bytes: &[u8]) -> [u8; 16] {
    let length = bytes.len() as u32;
    let value = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        overlapped(first, last, length, 64)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        overlapped(first.into(), last.into(), length, 32)
    } else {
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u128::from(*byte))
    };
    value.to_le_bytes()
}

/// `length` bytes as a number, by their first and their last `bits` bits.
#[inline]
fn overlapped(first: u64, last: u64, length: u32, bits: u32) -> u128 {
    u128::from(first) | u128::from(last) << (length * 8 - bits)
}

#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}
