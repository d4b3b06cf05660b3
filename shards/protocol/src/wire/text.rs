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

/// Whether there is a `+` or a `#`, as in no Topic Name.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether there is no U+0000, `+` or `#`: in pieces of 16 bytes, which a compiler
/// turns into vector instructions, and the last 16 or 8 once more where they overlap.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(tail) = bytes.last_chunk::<16>() {
        let (pieces, _) = bytes.as_chunks::<16>();
        return pieces.iter().all(is_plain_piece) && is_plain_piece(tail);
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(head), Some(tail)) => is_plain_piece(head) && is_plain_piece(tail),
        _ => bytes.iter().all(|byte| is_plain_byte(*byte)),
    }
}

#[inline]
fn is_plain_piece<const N: usize>(piece: &[u8; N]) -> bool {
    // Loops without an early exit, one for each byte, are what becomes vector operations.
    let lacks = |special| {
        piece
            .iter()
            .fold(true, |lacks, byte| lacks & (*byte != special))
    };
    lacks(0) & lacks(b'+') & lacks(b'#')
}

#[inline]
const fn is_plain_byte(byte: u8) -> bool {
    !matches!(byte, 0 | b'+' | b'#')
}

#[cold]
fn why_not_plain(bytes: &[u8]) -> DecodeError {
    if bytes.contains(&0) {
        Malformed::NullCharacter.into()
    } else {
        ProtocolError::TopicNameWildcard.into()
    }
}

#[cfg(test)]
mod tests;
