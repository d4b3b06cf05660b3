//! An answer that goes on, line by line.

/// Bytes of the longest line: the events of one moment.
const LINE_MAX: usize = 4 << 20;

/// Bytes that have come and are no whole line yet.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > LINE_MAX && !self.0.contains(&b'\n') {
            return Err("its answer is too long".to_owned());
        }
        Ok(())
    }

    /// The next whole line that is not empty.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.0.iter().position(|byte| *byte == b'\n')?;
            let mut line: Vec<u8> = self.0.drain(..=end).collect();
            line.pop();
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_any_pieces() {
        let mut lines = Lines::default();
        lines.push(b"one\n\ntw").unwrap();
        assert_eq!(lines.next().unwrap(), b"one");
        assert_eq!(lines.next(), None);
        lines.push(b"o\n").unwrap();
        assert_eq!(lines.next().unwrap(), b"two");
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        assert!(lines.push(&vec![b'x'; LINE_MAX]).is_ok());
        assert!(lines.push(b"x").is_err());
    }
}
