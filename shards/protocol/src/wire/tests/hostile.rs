//! Bytes that are no packets, and packets that are nearly right.

use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::{connect, version, versioned_packet};
use crate::wire::{client, decode, decode_connect, decode_publish, fuzz, split};

/// Bytes of a packet with some of them changed, taken out, or put in.
fn mutate(mut bytes: Vec<u8>, mutations: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    for (kind, at, byte) in mutations {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match kind % 4 {
            0 => bytes[at] ^= 1 << (byte % 8),
            1 => bytes[at] = *byte,
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}

fn mutations() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, u8)>> {
    vec(any::<(u8, prop::sample::Index, u8)>(), 1..4)
}

/// A fixed header that is right for `body`, so that what is wrong is behind it.
fn with_right_length(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [first, _, body @ ..] => client::with_header(*first, body),
        _ => bytes.to_vec(),
    }
}

fn versioned(version: u8, packet: &[u8]) -> Vec<u8> {
    [&[version], packet].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(
        version in version(),
        first in any::<u8>(),
        bytes in vec(any::<u8>(), 0..400),
    ) {
        let _ = split(&bytes, u32::MAX);
        let _ = decode(version, first, &bytes);
        let _ = decode_publish(version, first, &bytes);
        let _ = decode_connect(first, &bytes);
        let _ = decode_connect(0x10, &bytes);
        fuzz::fuzz_connect(&bytes);
        fuzz::fuzz_packet(&bytes);
        fuzz::fuzz_publish_roundtrip(&bytes);
    }

    #[test]
    fn a_mutated_packet_never_panics(
        (version, packet) in versioned_packet(),
        mutations in mutations(),
        other_version in any::<u8>(),
    ) {
        let bytes = mutate(client::packet(version, &packet), &mutations);
        for bytes in [with_right_length(&bytes), bytes] {
            for version in [version as u8 % 3, other_version] {
                let bytes = versioned(version, &bytes);
                fuzz::fuzz_packet(&bytes);
                fuzz::fuzz_publish_roundtrip(&bytes);
            }
        }
    }

    #[test]
    fn a_mutated_connect_never_panics(connect in connect(), mutations in mutations()) {
        let bytes = mutate(client::connect(&connect), &mutations);
        fuzz::fuzz_connect(&bytes);
        fuzz::fuzz_connect(&with_right_length(&bytes));
    }

    #[test]
    fn a_packet_cut_short_behind_a_right_length_never_panics(
        (version, packet) in versioned_packet(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = client::packet(version, &packet);
        let cut = &bytes[..2 + cut.index(bytes.len() - 1)];
        fuzz::fuzz_packet(&versioned(version as u8 % 3, &with_right_length(cut)));
    }
}
