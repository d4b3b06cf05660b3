//! Where encoded bytes go: to a buffer, or only to a count of them. So the size of a
//! packet is computed by the code that writes it, and cannot differ.

use crate::wire::properties::{Value, id};

/// The greatest remaining length (section 2.1.4).
const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Takes encoded bytes.
pub(in crate::wire) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes.
#[derive(Default)]
struct Count(usize);

impl Sink for Count {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// Something with an encoded form.
pub(in crate::wire) trait Part {
    fn write(&self, sink: &mut impl Sink);

    /// How many bytes [`Self::write`] puts.
    fn size(&self) -> usize {
        let mut count = Count::default();
        self.write(&mut count);
        count.0
    }
}

/// Properties, behind their length.
pub(in crate::wire) struct Properties<P>(pub(in crate::wire) P);

impl<P: Part> Part for Properties<P> {
    fn write(&self, sink: &mut impl Sink) {
        variable(sink, self.0.size());
        self.0.write(sink);
    }
}

/// Appends a packet.
pub(in crate::wire) fn packet(out: &mut Vec<u8>, first: u8, body: &impl Part) {
    let length = body.size();
    if length > REMAINING_LENGTH_MAX {
        return;
    }
    out.reserve(packet_size(length));
    fixed_header(out, first, length);
    body.write(out);
}

/// The size of a packet of that remaining length.
#[inline]
pub(in crate::wire) const fn packet_size(length: usize) -> usize {
    length
        .saturating_add(variable_size(length))
        .saturating_add(1)
}

/// Whether a packet may have that remaining length.
#[inline]
pub(in crate::wire) const fn is_sendable(length: usize) -> bool {
    length <= REMAINING_LENGTH_MAX
}

#[inline]
pub(in crate::wire) fn fixed_header(sink: &mut impl Sink, first: u8, length: usize) {
    sink.put(&[first]);
    variable(sink, length);
}

/// The size of a Variable Byte Integer.
#[inline]
pub(in crate::wire) const fn variable_size(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// A Variable Byte Integer; `value` is at most 268,435,455.
#[inline]
pub(in crate::wire) fn variable(sink: &mut impl Sink, value: usize) {
    match value {
        0..0x80 => sink.put(&[value as u8]),
        _ => variable_long(sink, value),
    }
}

fn variable_long(sink: &mut impl Sink, value: usize) {
    const MORE: u8 = 0x80;
    let [a, b, c, d] = [value, value >> 7, value >> 14, value >> 21].map(|bits| bits as u8 & 0x7f);
    match variable_size(value) {
        2 => sink.put(&[a | MORE, b]),
        3 => sink.put(&[a | MORE, b | MORE, c]),
        _ => sink.put(&[a | MORE, b | MORE, c | MORE, d]),
    }
}

/// A UTF-8 Encoded String, cut at 65,535 bytes or before the character there.
#[inline]
pub(in crate::wire) fn text(sink: &mut impl Sink, text: &str) {
    let head = [0xFFFF, 0xFFFE, 0xFFFD, 0xFFFC].map(|end| text.get(..end));
    let head = match text.len() {
        0..=0xFFFF => Some(text),
        _ => head.into_iter().flatten().next(),
    };
    binary(sink, head.unwrap_or_default().as_bytes());
}

/// Binary Data, cut at 65,535 bytes.
#[inline]
pub(in crate::wire) fn binary(sink: &mut impl Sink, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    sink.put(&length.to_be_bytes());
    sink.put(bytes.get(..usize::from(length)).unwrap_or_default());
}

/// A property.
pub(in crate::wire) fn property(sink: &mut impl Sink, id: u8, value: Value<'_>) {
    sink.put(&[id]);
    match value {
        Value::Binary(bytes) => binary(sink, bytes),
        Value::Flag(flag) => sink.put(&[u8::from(flag)]),
        Value::Four(value) => sink.put(&value.to_be_bytes()),
        Value::Pair(name, value) => {
            text(sink, name);
            text(sink, value);
        }
        Value::Text(value) => text(sink, value),
        Value::Two(value) => sink.put(&value.to_be_bytes()),
        Value::Variable(value) => variable(sink, value as usize),
    }
}

/// The same, where there is a value.
pub(in crate::wire) fn property_if(sink: &mut impl Sink, id: u8, value: Option<Value<'_>>) {
    if let Some(value) = value {
        property(sink, id, value);
    }
}

/// Reason String and Server Reference, which CONNACK and DISCONNECT share.
pub(in crate::wire) fn reason(
    sink: &mut impl Sink,
    reason: Option<&str>,
    server_reference: Option<&str>,
) {
    property_if(sink, id::REASON_STRING, reason.map(Value::Text));
    property_if(
        sink,
        id::SERVER_REFERENCE,
        server_reference.map(Value::Text),
    );
}
