//! A checksum that only this store can make: SipHash-2-4.
//!
//! A file of the log is written again and again from its beginning, so that behind the last
//! record there may be any bytes that a client has once sent. Without the key nobody can send
//! bytes that pass for a record.

/// The secret of a log.
pub(crate) type Secret = [u64; 2];

/// The checksum of `bytes`.
pub(super) fn mac(secret: Secret, bytes: &[u8]) -> u64 {
    let mut state = State([
        secret[0] ^ 0x736f_6d65_7073_6575,
        secret[1] ^ 0x646f_7261_6e64_6f6d,
        secret[0] ^ 0x6c79_6765_6e65_7261,
        secret[1] ^ 0x7465_6462_7974_6573,
    ]);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.take(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    state.take(u64::from_le_bytes(last));
    state.0[2] ^= 0xff;
    for _ in 0..4 {
        state.round();
    }
    state.0.iter().fold(0, |all, word| all ^ word)
}

struct State([u64; 4]);

impl State {
    #[inline]
    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash_2_4() {
        // From the paper of Aumasson and Bernstein.
        let secret = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(mac(secret, &bytes), 0xa129_ca61_49be_45e5);
    }
}
