//! Looking for single bytes, eight at a time.

/// 1 in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// All bits but the highest in each byte.
const LOW: u64 = ONES * 0x7f;

/// The bytes of a text, eight at a time with the first one lowest. What is missing at
/// the end is filled up with a byte that UTF-8 does not have.
#[inline]
pub(super) fn eights(text: &[u8]) -> impl Iterator<Item = u64> {
    let (eights, rest) = text.as_chunks::<8>();
    let last = rest
        .iter()
        .rev()
        .fold(u64::MAX, |eight, byte| eight << 8 | u64::from(*byte));
    let last = (!rest.is_empty()).then_some(last);
    eights
        .iter()
        .map(|eight| u64::from_le_bytes(*eight))
        .chain(last)
}

/// Where the first `byte` is.
#[inline]
pub(super) fn position(text: &[u8], byte: u8) -> Option<usize> {
    let mut rest = text;
    while let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        let found = equal(u64::from_le_bytes(*eight), byte);
        if found != 0 {
            return Some(text.len() - rest.len() + found.trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    let place = rest.iter().position(|other| *other == byte)?;
    Some(text.len() - rest.len() + place)
}

/// The highest bit of each of eight bytes that is `byte`.
#[inline]
pub(super) fn equal(eight: u64, byte: u8) -> u64 {
    let zero_where_equal = eight ^ (ONES * u64::from(byte));
    // A sum carries into the highest bit unless the lower ones are zero, and never beyond.
    !(((zero_where_equal & LOW) + LOW) | zero_where_equal | LOW)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_a_byte_is_found_wherever_it_is(
            text in prop::collection::vec(0x2d_u8..0x32, 0..40),
        ) {
            let expected = text.iter().position(|byte| *byte == b'/');
            prop_assert_eq!(position(&text, b'/'), expected);
        }

        #[test]
        fn each_equal_byte_is_marked_once(
            text in prop::collection::vec(prop_oneof![0x2d_u8..0x32, any::<u8>()], 0..40),
        ) {
            let expected = text.iter().filter(|byte| **byte == b'/').count();
            let marked: u32 = eights(&text).map(|eight| equal(eight, b'/').count_ones()).sum();
            prop_assert_eq!(marked as usize, expected);
        }
    }
}
