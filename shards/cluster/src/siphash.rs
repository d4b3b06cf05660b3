//! SipHash-2-4 with 128 bits: strong enough that two sets of filters with the same sum do not
//! come about. The standard library has it with 64 bits only, and does not say which one.

/// The hash of `bytes` under a key.
pub(crate) fn siphash128(key: [u64; 2], bytes: &[u8]) -> u128 {
    let mut state = State([
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ]);
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk() {
        state.take(u64::from_le_bytes(*word));
        rest = tail;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    state.take(u64::from_le_bytes(last));
    let low = state.end(2, 0xee);
    let high = state.end(1, 0xdd);
    u128::from(high) << 64 | u128::from(low)
}

struct State([u64; 4]);

impl State {
    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn end(&mut self, which: usize, mark: u64) -> u64 {
        self.0[which] ^= mark;
        for _ in 0..4 {
            self.round();
        }
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the vectors of the reference implementation.
    #[test]
    fn the_hash_is_that_of_the_reference() {
        let bytes: Vec<u8> = (0..64).collect();
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let vectors = [
            (0, 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128),
            (1, 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45),
        ];
        for (length, expected) in vectors {
            let hash = siphash128(key, &bytes[..length]);
            assert_eq!(hash.to_le_bytes(), expected.to_be_bytes());
        }
    }
}
