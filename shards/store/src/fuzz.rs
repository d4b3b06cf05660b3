//! The body of the fuzz target: hostile bytes in, and what must hold for whatever comes out.

use std::time::Instant;

use crate::clock::{Clock, Reading};
use crate::codec::key::parse;
use crate::load::Loader;

/// Records, each a length of its key, its key, a length of its value and its value.
pub fn fuzz_record(mut input: &[u8]) {
    let reading = Reading {
        wall_ms: 0,
        stored_ms: 1_700_000_000_000,
    };
    let clock = Clock::new(Instant::now(), Some(reading));
    let mut loader = Loader::new(clock);
    while let (Some(key), Some(value)) = (piece(&mut input), piece(&mut input)) {
        // A second key of the same kind: the first one tells which.
        let _ = parse(key).map(|record| format!("{record:?}"));
        let _ = loader.take(key, value);
    }
    let loaded = loader.finish();
    let stored = loaded.stored;
    for session in &stored.sessions {
        assert!(session.number.0 < stored.next_number || session.number.0 == u64::MAX);
    }
}

fn piece<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_first()?;
    let (piece, rest) = rest.split_at_checked(usize::from(*length).min(rest.len()))?;
    *input = rest;
    Some(piece)
}
