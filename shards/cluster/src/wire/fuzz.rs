//! The body of the fuzz target: hostile bytes in, and what must hold for whatever comes out.
//! The tests run it, too.

use super::{
    Changes, Forward, Frame, Heartbeat, MESSAGES_HEAD, Messages, SnapshotPart, decode, put_changes,
    put_forward, put_snapshot_part, split,
};

/// Frames of at most this many bytes.
const MAX: usize = 1 << 16;

/// A stream of frames. Whatever can be read is the same when it is written and read again.
pub fn fuzz_frames(mut input: &[u8]) {
    while let Ok(Some((kind, body, size))) = split(input, MAX) {
        assert!(size <= input.len() && body.len() < size);
        let shorter = input.get(..size.saturating_sub(1)).unwrap_or_default();
        assert_eq!(split(shorter, MAX), Ok(None));
        if let Ok(frame) = decode(kind, body) {
            written_again(&frame);
        }
        input = input.get(size..).unwrap_or_default();
    }
}

fn written_again(frame: &Frame<'_>) {
    let mut out = Vec::new();
    match frame {
        Frame::Hello(hello) => hello.put(&mut out),
        Frame::Refused(refused) => refused.put(&mut out),
        Frame::Heartbeat(beat) => {
            let times = (beat.time_ms, beat.echo_ms, beat.held_ms);
            let reaches: Vec<_> = beat.reaches.collect();
            Heartbeat::put(&mut out, times, beat.cores_version, &reaches, beat.views);
        }
        Frame::Resume(resume) => resume.put(&mut out),
        Frame::Changes(changes) => return changes_again(changes),
        Frame::SnapshotBegin(begin) => begin.put(&mut out),
        Frame::SnapshotPart(part) => return part_again(part),
        Frame::SnapshotEnd(end) => end.put(&mut out),
        Frame::Digest(digest) => digest.put(&mut out),
        Frame::Begin(begin) => begin.put(&mut out),
        Frame::Messages(messages) => return messages_again(messages),
        Frame::Accepted(accepted) => accepted.put(&mut out),
        Frame::Directory(said) => said.put(&mut out),
        Frame::Relayed(relayed) => relayed.put(&mut out),
    }
    assert_eq!(read(&out), *frame);
}

#[track_caller]
fn read(bytes: &[u8]) -> Frame<'_> {
    let frame = match split(bytes, usize::MAX) {
        Ok(Some((kind, body, size))) if size == bytes.len() => decode(kind, body),
        other => panic!("{other:?} of a frame that was written"),
    };
    frame.unwrap_or_else(|error| panic!("{error} in a frame that was written"))
}

fn changes_again(changes: &Changes<'_>) {
    let entries: Vec<_> = changes
        .entries()
        .take_while(Result::is_ok)
        .flatten()
        .collect();
    assert!(entries.len() <= changes.count as usize);
    let mut out = Vec::new();
    let head = (changes.owner, changes.incarnation, changes.first);
    put_changes(&mut out, usize::MAX, head, entries.iter().copied());
    let Frame::Changes(again) = read(&out) else {
        panic!("changes became something else");
    };
    assert!(again.entries().eq(entries.into_iter().map(Ok)));
}

fn part_again(part: &SnapshotPart<'_>) {
    let filters: Vec<_> = part.filters().take_while(Result::is_ok).flatten().collect();
    let mut out = Vec::new();
    put_snapshot_part(&mut out, usize::MAX, part.owner, filters.iter().copied());
    let Frame::SnapshotPart(again) = read(&out) else {
        panic!("a part of a snapshot became something else");
    };
    assert!(again.filters().eq(filters.into_iter().map(Ok)));
}

fn messages_again(messages: &Messages<'_>) {
    let entries: Vec<Forward<'_>> = messages
        .entries()
        .take_while(Result::is_ok)
        .flatten()
        .collect();
    assert!(entries.len() <= messages.count as usize);
    let mut bytes = Vec::new();
    entries
        .iter()
        .for_each(|entry| put_forward(&mut bytes, entry));
    let count = entries.len() as u32;
    let mut out = Vec::with_capacity(MESSAGES_HEAD);
    out.extend(Messages::head(
        messages.stream,
        messages.first,
        0,
        count,
        bytes.len(),
    ));
    out.extend(bytes);
    let Frame::Messages(again) = read(&out) else {
        panic!("messages became something else");
    };
    assert!(again.entries().eq(entries.into_iter().map(Ok)));
}
