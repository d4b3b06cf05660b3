use proptest::prelude::*;

use super::*;

/// [MQTT-1.5.4-1]
#[test]
fn surrogates_overlong_forms_and_stray_bytes_are_not_utf8() {
    for bytes in [
        &b"a\xED\xA0\x80"[..],
        b"a\xED\xBF\xBF",
        b"\xC0\x80",
        b"\xC0\xAF",
        b"\xE0\x80\xAF",
        b"\xF4\x90\x80\x80",
        b"abc\xFF",
        b"\xC3",
    ] {
        assert_eq!(text(bytes), Err(Malformed::NotUtf8));
        assert_eq!(topic_name(bytes), Err(Malformed::NotUtf8.into()));
    }
}

/// [MQTT-1.5.4-2]
#[test]
fn the_null_character_is_malformed() {
    assert_eq!(text(b"a\0b"), Err(Malformed::NullCharacter));
    assert_eq!(topic_name(b"a\0b"), Err(Malformed::NullCharacter.into()));
    assert_eq!(topic_name(b"\0"), Err(Malformed::NullCharacter.into()));
}

/// [MQTT-1.5.4-3]
#[test]
fn a_byte_order_mark_stays() {
    assert_eq!(text(b"\xEF\xBB\xBFa"), Ok("\u{FEFF}a"));
    assert_eq!(topic_name(b"a/\xEF\xBB\xBF"), Ok("a/\u{FEFF}"));
}

#[test]
fn control_characters_and_noncharacters_stay() {
    assert_eq!(
        text(b"\x01\x7F\xC2\x80\xEF\xBF\xBF"),
        Ok("\x01\x7F\u{80}\u{FFFF}")
    );
}

/// [MQTT-3.3.2-2]
#[test]
fn a_wildcard_at_any_place_of_a_topic_name_is_found() {
    for length in 0..70 {
        let plain = vec![b'a'; length];
        assert!(topic_name(&plain).is_ok());
        for at in 0..length {
            for special in [0, b'+', b'#'] {
                let mut topic = plain.clone();
                topic[at] = special;
                assert!(topic_name(&topic).is_err(), "{special} at {at} of {length}");
            }
            let neighbours = [1, b'*', b',', b'"', b'$', 0x7F];
            for neighbour in neighbours {
                let mut topic = plain.clone();
                topic[at] = neighbour;
                assert!(
                    topic_name(&topic).is_ok(),
                    "{neighbour} at {at} of {length}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn a_topic_name_is_a_string_without_wildcards(topic in "[a-c+#\0é€😀]{0,40}") {
        let plain = !topic.contains(['\0', '+', '#']);
        prop_assert_eq!(topic_name(topic.as_bytes()).ok(), plain.then_some(topic.as_str()));
        prop_assert_eq!(text(topic.as_bytes()).is_ok(), !topic.contains('\0'));
    }
}
