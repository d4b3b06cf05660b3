//! Sets of small numbers in one word.

/// The positions of the bits that are set.
pub(crate) fn bits(mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as u16;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}
