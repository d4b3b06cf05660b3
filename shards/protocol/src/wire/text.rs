//! UTF-8 Encoded Strings: valid UTF-8 (so no surrogates) without U+0000
//! [MQTT-1.5.4-1], [MQTT-1.5.4-2]. Everything else, a byte order mark included,
//! stays as it is [MQTT-1.5.4-3].

use super::{DecodeError, Malformed, ProtocolError};

/// The bytes as a UTF-8 Encoded String.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
    if bytes.contains(&0) {
        return Err(Malformed::NullCharacter);
    }
    Ok(text)
}

/// The bytes as a Topic Name: also free of wildcards [MQTT-3.3.2-2].
#[inline]
pub(super) fn topic_name(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
    if is_plain(bytes) {
        Ok(text)
    } else {
        Err(why_not_plain(bytes))
    }
}

/// Whether the text is a Topic Filter rather than a Topic Name.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether there is no U+0000, `+` or `#`, eight bytes at a time.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    let marked = words.iter().fold(0, |marked, word| marked | special(*word));
    if marked != 0 {
        return false;
    }
    match bytes.last_chunk::<8>() {
        Some(last) => special(*last) == 0,
        None => tail.iter().all(|byte| !matches!(byte, 0 | b'+' | b'#')),
    }
}

/// Not zero exactly if one of the eight bytes is U+0000, `+` or `#`.
#[inline]
const fn special(word: [u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(word);
    zero(word) | zero(word ^ every(b'+')) | zero(word ^ every(b'#'))
}

/// Not zero exactly if one of the eight bytes is zero.
#[inline]
const fn zero(word: u64) -> u64 {
    word.wrapping_sub(every(0x01)) & !word & every(0x80)
}

/// A word of eight times `byte`.
#[inline]
const fn every(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

#[cold]
fn why_not_plain(bytes: &[u8]) -> DecodeError {
    if bytes.contains(&0) {
        Malformed::NullCharacter.into()
    } else {
        ProtocolError::TopicNameWildcard.into()
    }
}
