//! Writes frames to the end of a buffer.

/// A frame that is being written. Its length is filled in by [`Writer::end`].
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Begins a frame.
    pub(super) fn begin(out: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self { out, start }
    }

    /// Bytes of the frame so far.
    pub(super) fn len(&self) -> usize {
        self.out.len().saturating_sub(self.start)
    }

    /// Ends the frame.
    pub(super) fn end(self) {
        let length = self.len().saturating_sub(4);
        self.set_u32(0, u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Fills in a number at a place of the frame that was written before.
    fn set_u32(self, at: usize, value: u32) {
        let at = self.start.saturating_add(at);
        if let Some(place) = self.out.get_mut(at..at.saturating_add(4)) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Ends a batch: fills in the number of its entries, too.
    pub(super) fn end_batch(self, count_at: usize, count: u32) {
        let Self { out, start } = self;
        Writer { out, start }.set_u32(count_at, count);
        Writer { out, start }.end();
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A text of at most 255 bytes; what is longer is cut at a character.
    pub(super) fn short(&mut self, text: &str) -> &mut Self {
        let text = cut(text, usize::from(u8::MAX));
        self.u8(text.len() as u8).bytes(text.as_bytes())
    }

    /// A text of at most 65,535 bytes; what is longer is cut at a character.
    pub(super) fn long(&mut self, text: &str) -> &mut Self {
        let text = cut(text, usize::from(u16::MAX));
        self.u16(text.len() as u16).bytes(text.as_bytes())
    }
}

fn cut(text: &str, max: usize) -> &str {
    let mut ends = (0..=max.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}
