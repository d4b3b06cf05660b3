//! The levels of a topic name or a topic filter.

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
        match text.bytes().position(|byte| byte == b'/') {
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

/// Whether `text` has no more than `levels_max` levels.
pub(super) fn within(text: &str, levels_max: u16) -> bool {
    let separators = text.bytes().filter(|byte| *byte == b'/').count();
    separators < usize::from(levels_max)
}
