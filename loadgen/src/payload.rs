//! What every message carries, so that its receiver can judge it.
//!
//! | bytes | content (little-endian) |
//! |---|---|
//! | 0..4 | run: messages of other runs are not counted |
//! | 4..8 | publisher, its number in the whole run |
//! | 8..16 | sequence, from 0, without gaps per publisher |
//! | 16..24 | due time, nanoseconds of the run's clock |
//! | 24..28 | digest of the topic it was published to |
//! | 28..32 | length of the whole payload |
//! | 32.. | filler, the same in every message |

/// The smallest payload: the stamp alone.
pub const STAMP_LENGTH: usize = 32;

/// The identity of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The publisher's number in the run.
    pub publisher: u32,
    /// The message's number at its publisher, from 0.
    pub sequence: u64,
    /// When it was due (open loop) or handed to the socket (closed loop), in nanoseconds.
    pub due_ns: u64,
}

/// Why a payload is not one of this run's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It belongs to another run, or to something else.
    Foreign,
    /// Its length, topic or filler is not what was sent.
    Altered,
}

/// Writes and reads the payloads of one run.
#[derive(Debug, Clone)]
pub struct Payloads {
    run: u32,
    length: u32,
    filler: Box<[u8]>,
}

impl Payloads {
    /// Payloads of `length` bytes (at least [`STAMP_LENGTH`]) for the run `run`.
    pub fn new(run: u32, length: u32) -> Self {
        let filler_length = (length as usize).saturating_sub(STAMP_LENGTH);
        let filler = (0..filler_length)
            .map(|index| b'a' + (index % 26) as u8)
            .collect();
        Self {
            run,
            length,
            filler,
        }
    }

    /// Appends the payload of one message.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, stamp: Stamp, topic_digest: u32) {
        let mut head = [0; STAMP_LENGTH];
        head[0..4].copy_from_slice(&self.run.to_le_bytes());
        head[4..8].copy_from_slice(&stamp.publisher.to_le_bytes());
        head[8..16].copy_from_slice(&stamp.sequence.to_le_bytes());
        head[16..24].copy_from_slice(&stamp.due_ns.to_le_bytes());
        head[24..28].copy_from_slice(&topic_digest.to_le_bytes());
        head[28..32].copy_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.filler);
    }

    /// Reads the stamp of a payload that arrived under `topic`, and checks all the rest of it.
    #[inline]
    pub fn read(&self, topic: &[u8], payload: &[u8]) -> Result<Stamp, Fault> {
        let Some((head, filler)) = payload.split_first_chunk::<STAMP_LENGTH>() else {
            return Err(Fault::Foreign);
        };
        if word(head, 0) != self.run {
            return Err(Fault::Foreign);
        }
        let intact = word(head, 28) == self.length
            && word(head, 24) == digest(topic)
            && filler == &*self.filler;
        if !intact {
            return Err(Fault::Altered);
        }
        Ok(Stamp {
            publisher: word(head, 4),
            sequence: u64::from(word(head, 8)) | u64::from(word(head, 12)) << 32,
            due_ns: u64::from(word(head, 16)) | u64::from(word(head, 20)) << 32,
        })
    }
}

#[inline]
fn word(head: &[u8; STAMP_LENGTH], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// A digest of a topic name; tells topics of a run apart, resists no attacker.
#[inline]
pub fn digest(topic: &[u8]) -> u32 {
    let mut state = topic.len() as u64;
    let (words, rest) = topic.as_chunks::<8>();
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word));
    }
    let mut last = 0;
    for &byte in rest {
        last = last << 8 | u64::from(byte);
    }
    mix(state ^ last) as u32
}

/// Every bit of the result depends on every bit of `state`.
#[inline]
fn mix(state: u64) -> u64 {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
    let product = (u128::from(state) ^ 0x2d35_8dcc_aa6c_78a5) * FACTOR;
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        publisher: 7,
        sequence: 1 << 40,
        due_ns: 5 << 50,
    };

    fn written(payloads: &Payloads, topic: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        payloads.write(&mut out, STAMP, digest(topic));
        out
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let payloads = Payloads::new(3, 64);
        let bytes = written(&payloads, b"fleet/7/telemetry");
        assert_eq!(bytes.len(), 64);
        assert_eq!(payloads.read(b"fleet/7/telemetry", &bytes), Ok(STAMP));
    }

    #[test]
    fn a_payload_of_another_run_is_foreign() {
        let bytes = written(&Payloads::new(3, 64), b"t");
        assert_eq!(Payloads::new(4, 64).read(b"t", &bytes), Err(Fault::Foreign));
        assert_eq!(
            Payloads::new(3, 64).read(b"t", b"hello"),
            Err(Fault::Foreign)
        );
    }

    #[test]
    fn every_change_of_topic_length_or_filler_is_noticed() {
        let payloads = Payloads::new(3, 64);
        let bytes = written(&payloads, b"fleet/7");
        assert_eq!(payloads.read(b"fleet/8", &bytes), Err(Fault::Altered));
        assert_eq!(payloads.read(b"fleet/7", &bytes[..63]), Err(Fault::Altered));
        for at in STAMP_LENGTH..64 {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(payloads.read(b"fleet/7", &changed), Err(Fault::Altered));
        }
    }

    #[test]
    fn neighbouring_topics_have_different_digests() {
        let mut seen: Vec<u32> = (0..100_000)
            .map(|index| digest(format!("fleet/{index}/t").as_bytes()))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 99_950, "{} digests", seen.len());
    }
}
