//! JSON objects for events. Made field by field: no tree, no dependency.

use std::fmt::Write as _;

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        write_text(&mut self.0, value);
        self
    }

    /// A text, or `null`.
    pub(crate) fn text_or_null(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub(crate) fn number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        _ = write!(self.0, "{value}");
        self
    }

    pub(crate) fn boolean(self, key: &str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    /// An object within this one.
    pub(crate) fn object(mut self, key: &str, value: Self) -> Self {
        self.key(key);
        self.0.push_str(&value.0);
        self.0.push('}');
        self
    }

    /// A payload: as text where it is text, else in Base64, which a field beside it says.
    pub(crate) fn payload(self, bytes: &[u8]) -> Self {
        match core::str::from_utf8(bytes) {
            Ok(text) => self.text("payload", text),
            Err(_) => self
                .text("payload", &base64(bytes))
                .text("payload_encoding", "base64"),
        }
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }

    fn raw(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push_str(value);
        self
    }

    /// Keys are ours and need no escape.
    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' => _ = write!(out, "\\u{:04x}", character as u32),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Base64 of RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_needs_it_is_escaped() {
        let object = Object::new()
            .text("a", "\"\\\n\r\t\u{1}\u{7f}ü€")
            .text_or_null("b", None)
            .number("c", u64::MAX)
            .object("d", Object::new().boolean("e", true))
            .object("f", Object::new());
        let expected = "{\"a\":\"\\\"\\\\\\n\\r\\t\\u0001\\u007fü€\",\"b\":null,\
                        \"c\":18446744073709551615,\"d\":{\"e\":true},\"f\":{}}";
        assert_eq!(String::from_utf8(object.end()).unwrap(), expected);
    }

    #[test]
    fn a_payload_that_is_no_text_is_in_base64() {
        let object = |bytes| String::from_utf8(Object::new().payload(bytes).end()).unwrap();
        assert_eq!(object(b"x"), "{\"payload\":\"x\"}");
        let other = "{\"payload\":\"/w==\",\"payload_encoding\":\"base64\"}";
        assert_eq!(object(b"\xff"), other);
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
