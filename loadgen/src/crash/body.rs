//! What messages carry: who sent them, their number, and bytes that show any change.

/// Run, stream, sequence and length, four bytes each.
const HEAD: usize = 16;

/// The payload of a message, with about `filler` bytes beyond its head.
pub(super) fn write(run: u32, stream: usize, sequence: u32, filler: usize) -> Vec<u8> {
    let length = HEAD + filler;
    let mut out = Vec::with_capacity(length);
    for word in [run, stream as u32, sequence, length as u32] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend((0..filler).map(|at| pattern(stream, sequence, at)));
    out
}

/// The stream and the sequence of a payload of this run that nothing has changed.
pub(super) fn read(run: u32, payload: &[u8]) -> Option<(usize, u32)> {
    let (head, filler) = payload.split_first_chunk::<HEAD>()?;
    let (words, _) = head.as_chunks::<4>();
    let word = |at: usize| u32::from_le_bytes(words[at]);
    let (stream, sequence) = (word(1) as usize, word(2));
    let mut numbered = filler.iter().enumerate();
    let is_intact = word(0) == run
        && word(3) as usize == payload.len()
        && numbered.all(|(at, byte)| *byte == pattern(stream, sequence, at));
    is_intact.then_some((stream, sequence))
}

fn pattern(stream: usize, sequence: u32, at: usize) -> u8 {
    (stream as u8)
        .wrapping_mul(31)
        .wrapping_add((sequence as u8).wrapping_mul(7))
        .wrapping_add((at % 251) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written_and_every_change_is_seen() {
        let body = write(5, 3, 1000, 40);
        assert_eq!(read(5, &body), Some((3, 1000)));
        assert_eq!(read(6, &body), None);
        assert_eq!(read(5, &body[..body.len() - 1]), None);
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_ne!(read(5, &changed), Some((3, 1000)));
        }
    }
}
