//! Packets to bytes and back.

use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::{connect, message_properties, packet, publish, version, versioned_packet};
use crate::wire::properties::{Carrier, Section};
use crate::wire::{
    Packet, PublishProperties, Split, Version, check_length, client, decode, decode_connect,
    decode_publish, fuzz, split,
};

/// Type and body of the one packet that `bytes` are.
fn only_packet(version: Version, bytes: &[u8]) -> (u8, &[u8]) {
    match split(bytes, u32::MAX) {
        Ok(Split::Packet { first, body, size }) => {
            assert_eq!(size, bytes.len());
            assert_eq!(check_length(version, body, size), Ok(()));
            (first, body)
        }
        other => panic!("{other:?}"),
    }
}

/// The packets of a stream that comes in pieces of at most `piece` bytes, as a
/// connection would read it: what is incomplete is kept.
fn packets_in_pieces(version: Version, stream: &[u8], piece: usize) -> Vec<String> {
    let mut packets = Vec::new();
    let mut kept = Vec::new();
    for piece in stream.chunks(piece) {
        kept.extend_from_slice(piece);
        loop {
            let used = match split(&kept, u32::MAX).unwrap() {
                Split::Incomplete { .. } => break,
                Split::Packet { first, body, size } => {
                    packets.push(format!("{:?}", decode(version, first, body).unwrap()));
                    size
                }
            };
            kept.drain(..used);
        }
    }
    assert!(kept.is_empty());
    packets
}

proptest! {
    #[test]
    fn a_connect_is_decoded_to_what_was_encoded(connect in connect()) {
        let bytes = client::connect(&connect);
        let (first, body) = only_packet(connect.version, &bytes);
        prop_assert_eq!(decode_connect(first, body), Ok(connect));
    }

    #[test]
    fn a_packet_is_decoded_to_what_was_encoded((version, packet) in versioned_packet()) {
        let bytes = client::packet(version, &packet);
        let (first, body) = only_packet(version, &bytes);
        prop_assert_eq!(decode(version, first, body), Ok(packet));
    }

    #[test]
    fn a_publish_is_the_same_by_its_own_function(
        (version, publish) in version().prop_flat_map(|version| (Just(version), publish(version))),
    ) {
        let bytes = client::packet(version, &Packet::Publish(publish));
        let (first, body) = only_packet(version, &bytes);
        prop_assert_eq!(decode_publish(version, first, body), Ok(publish));
        let version_and_packet = [&[version as u8 % 3, first], body].concat();
        fuzz::fuzz_publish_roundtrip(&version_and_packet);
    }

    #[test]
    fn every_prefix_of_a_packet_is_incomplete((version, packet) in versioned_packet()) {
        let bytes = client::packet(version, &packet);
        for end in 0..bytes.len() {
            match split(&bytes[..end], u32::MAX) {
                Ok(Split::Incomplete { needed: None }) => prop_assert!(end < 5),
                Ok(Split::Incomplete { needed }) => prop_assert_eq!(needed, Some(bytes.len())),
                other => prop_assert!(false, "{:?} of {} bytes", other, end),
            }
        }
    }

    #[test]
    fn packets_do_not_depend_on_how_their_bytes_arrive(
        (version, packets) in version().prop_flat_map(|version| {
            (Just(version), vec(packet(version), 1..6))
        }),
        piece in 1..64_usize,
    ) {
        let stream: Vec<u8> =
            packets.iter().flat_map(|packet| client::packet(version, packet)).collect();
        let whole: Vec<String> = packets.iter().map(|packet| format!("{packet:?}")).collect();
        prop_assert_eq!(&packets_in_pieces(version, &stream, stream.len()), &whole);
        prop_assert_eq!(&packets_in_pieces(version, &stream, piece), &whole);
        prop_assert_eq!(&packets_in_pieces(version, &stream, 1), &whole);
    }

    #[test]
    fn forwarded_properties_are_the_others_in_their_order(
        section in message_properties(Version::V5, Carrier::PUBLISH),
    ) {
        let (properties, _) = PublishProperties::parse(section, Carrier::PUBLISH).unwrap();
        let expected: Vec<u8> = Section::new(section, Carrier::PUBLISH)
            .filter(|property| ![0x02, 0x23].contains(&property.id))
            .flat_map(|property| property.bytes.to_vec())
            .collect();
        let mut forwarded = Vec::new();
        properties.forwarded_into(&mut forwarded);
        prop_assert_eq!(&forwarded, &expected);
        prop_assert!(properties.forwarded().is_none_or(|bytes| bytes == expected));
        let whole = section.windows(expected.len().max(1)).any(|window| window == expected);
        prop_assert_eq!(properties.forwarded().is_some(), whole || expected.is_empty());
    }
}
