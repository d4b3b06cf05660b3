//! The proof that a node knows the cookie.
//!
//! Each side of a connection sends a proof before anything else: a keyed hash of keying
//! material that only the two ends of this TLS session have. So the cookie itself is never
//! sent, a proof is good for one connection and one direction, and somebody in between has
//! other keying material with each side and cannot pass a proof on.

use ring::hmac;

/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 32;

/// Bytes of keying material that a proof is made of.
pub(super) const CHANNEL_BYTES: usize = 32;

/// What the keying material is exported for.
pub(super) const LABEL: &[u8] = b"EXPORTER-shardmq-cluster-cookie";

/// Which side of a connection proves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// The one that has connected.
    Dialer,
    /// The one that was connected to.
    Acceptor,
}

/// The cookie of the cluster.
pub(super) struct Cookie(hmac::Key);

impl Cookie {
    pub(super) fn new(cookie: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes()))
    }

    /// The key with which a node tells others that it knows nothing of a connection: the same
    /// in each life of the node, so that they learn at once that a former one is over.
    pub(super) fn reset_key(&self, name: &str) -> hmac::Key {
        let key = hmac::sign(&self.0, &[b"reset ", name.as_bytes()].concat());
        hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
    }

    /// What `side` sends.
    pub(super) fn prove(&self, channel: &[u8; CHANNEL_BYTES], side: Side) -> [u8; PROOF_BYTES] {
        let tag = hmac::sign(&self.0, &message(channel, side));
        let mut proof = [0; PROOF_BYTES];
        let bytes = proof.iter_mut().zip(tag.as_ref());
        bytes.for_each(|(to, from)| *to = *from);
        proof
    }

    /// Whether `side` knows the cookie.
    pub(super) fn is_proven(
        &self,
        channel: &[u8; CHANNEL_BYTES],
        side: Side,
        proof: &[u8; PROOF_BYTES],
    ) -> bool {
        hmac::verify(&self.0, &message(channel, side), proof).is_ok()
    }
}

fn message(channel: &[u8; CHANNEL_BYTES], side: Side) -> Vec<u8> {
    let role: &[u8] = match side {
        Side::Dialer => b"dialer",
        Side::Acceptor => b"acceptor",
    };
    [channel, role].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_one_cookie_one_channel_and_one_side() {
        let (cookie, channel) = (Cookie::new("cookie"), [7; CHANNEL_BYTES]);
        let proof = cookie.prove(&channel, Side::Dialer);
        assert!(cookie.is_proven(&channel, Side::Dialer, &proof));
        assert!(!cookie.is_proven(&channel, Side::Acceptor, &proof));
        assert!(!cookie.is_proven(&[8; CHANNEL_BYTES], Side::Dialer, &proof));
        assert!(!Cookie::new("cookies").is_proven(&channel, Side::Dialer, &proof));
    }
}
