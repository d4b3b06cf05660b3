//! Variable byte integers, the length encoding of MQTT.

/// The largest value four bytes can carry.
pub(super) const MAX: usize = 268_435_455;

/// What [`read`] found at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// The value, and how many bytes it took.
    Value(usize, usize),
    /// The bytes end before the integer does.
    Incomplete,
    /// More than four bytes, or more bytes than the value needs (`[MQTT-1.5.5-1]`).
    Malformed,
}

/// Reads a variable byte integer.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Length {
    let mut value = 0usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(index) else {
            return Length::Incomplete;
        };
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && byte == 0 {
                return Length::Malformed;
            }
            return Length::Value(value, index + 1);
        }
    }
    Length::Malformed
}

/// Appends a variable byte integer. Values above [`MAX`] cannot be represented; callers bound
/// payload and topic lengths where the options are read.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= MAX);
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
