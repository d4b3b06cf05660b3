use super::*;

const PINGREQ: [u8; 2] = [0xC0, 0];

fn header(length: &[u8]) -> Vec<u8> {
    [&[0x30], length].concat()
}

#[test]
fn nothing_is_known_before_the_length_is_complete() {
    let unknown = Ok(Split::Incomplete { needed: None });
    assert_eq!(split(&[], 100), unknown);
    assert_eq!(split(&[0xC0], 100), unknown);
    assert_eq!(split(&[0x30, 0x80], 100), unknown);
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF], 100), unknown);
}

#[test]
fn what_a_packet_needs_is_known_from_its_length() {
    let needed = |needed| {
        Ok(Split::Incomplete {
            needed: Some(needed),
        })
    };
    assert_eq!(split(&[0x30, 5, 1, 2], 100), needed(7));
    assert_eq!(split(&[0x30, 0x80, 0x01, 1, 2], 1000), needed(131));
}

#[test]
fn a_packet_ends_where_its_length_says_and_the_next_begins() {
    let input = [&[0x40, 2, 0, 1][..], &PINGREQ].concat();
    let packet = Split::Packet {
        first: 0x40,
        body: &[0, 1],
        size: 4,
    };
    assert_eq!(split(&input, 100), Ok(packet));
    let ping = Split::Packet {
        first: 0xC0,
        body: &[],
        size: 2,
    };
    assert_eq!(split(&input[4..], 100), Ok(ping));
}

/// Table 2-1 of the specification: the least and the greatest length for each size.
#[test]
fn lengths_of_one_to_four_bytes_are_read() {
    let lengths: [(&[u8], usize); 8] = [
        (&[0x00], 0),
        (&[0x7F], 127),
        (&[0x80, 0x01], 128),
        (&[0xFF, 0x7F], 16_383),
        (&[0x80, 0x80, 0x01], 16_384),
        (&[0xFF, 0xFF, 0x7F], 2_097_151),
        (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
        (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
    ];
    for (bytes, length) in lengths {
        let size = 1 + bytes.len() + length;
        match split(&header(bytes), u32::MAX) {
            Ok(Split::Packet { size: 2, .. }) => assert_eq!(length, 0),
            Ok(Split::Incomplete { needed }) => assert_eq!(needed, Some(size)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_length_of_five_bytes_is_malformed_at_its_fourth() {
    let error = Err(Malformed::LengthTooLong.into());
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], u32::MAX), error);
    assert_eq!(
        split(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x00], u32::MAX),
        error
    );
}

/// [MQTT-3.2.2-15]
#[test]
fn a_packet_above_the_maximum_is_refused_by_its_length_alone() {
    let error = Err(ProtocolError::PacketTooLarge.into());
    assert_eq!(split(&header(&[0xFF, 0xFF, 0xFF, 0x7F]), 1 << 20), error);
    assert_eq!(split(&[0x30, 9], 10), error);
    assert_eq!(split(&[0xC0, 0], 1), error);
    let needed = Some(10);
    assert_eq!(split(&[0x30, 8], 10), Ok(Split::Incomplete { needed }));
}

/// [MQTT-1.5.5-1]; 3.1.1 has no such statement.
#[test]
fn a_length_in_more_bytes_than_needed_is_malformed_in_5_only() {
    for input in [
        &[0xC0, 0x80, 0x00][..],
        &[0xC0, 0x80, 0x80, 0x80, 0x00],
        &[0xC0, 0x81, 0x80, 0x00, 7],
    ] {
        let Ok(Split::Packet { body, size, .. }) = split(input, 100) else {
            panic!("{input:?}")
        };
        assert_eq!(size, input.len());
        assert_eq!(check_length(Version::V31, body, size), Ok(()));
        assert_eq!(check_length(Version::V311, body, size), Ok(()));
        let error = Err(Malformed::LengthNotMinimal.into());
        assert_eq!(check_length(Version::V5, body, size), error);
    }
}

#[test]
fn a_length_in_as_few_bytes_as_possible_is_right_in_5() {
    for (length, header) in [(0, 2), (127, 2), (128, 3), (16_383, 3), (16_384, 4)] {
        let body = vec![0; length];
        assert_eq!(check_length(Version::V5, &body, length + header), Ok(()));
    }
}
