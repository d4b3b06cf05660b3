//! The levels of a topic name or a topic filter.

/// 1 in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The levels of a text, from left to right. Adjacent separators, and one at the
/// beginning or the end, enclose an empty level.
#[derive(Clone, Debug)]
pub struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Levels<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        match separator(text.as_bytes()) {
            Some(end) => {
                self.rest = Some(&text[end + 1..]);
                Some(&text[..end])
            }
            None => {
                self.rest = None;
                Some(text)
            }
        }
    }
}

/// Where the first `/` is. Looks at eight bytes at a time.
#[inline]
fn separator(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        let zero_where_found = u64::from_le_bytes(*eight) ^ (u64::from(b'/') * ONES);
        // The lowest byte whose high bit is set is the first that was zero.
        let found = zero_where_found.wrapping_sub(ONES) & !zero_where_found & (ONES << 7);
        if found != 0 {
            return Some(text.len() - rest.len() + found.trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    let place = rest.iter().position(|byte| *byte == b'/')?;
    Some(text.len() - rest.len() + place)
}

/// Whether `text` has no more than `levels_max` levels.
pub(super) fn within(text: &str, levels_max: u16) -> bool {
    let separators = text.bytes().filter(|byte| *byte == b'/').count();
    separators < usize::from(levels_max)
}
