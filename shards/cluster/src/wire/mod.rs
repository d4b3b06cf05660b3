//! Frames between two nodes.
//!
//! ```text
//!   length: u32   of what follows
//!   kind:   u8
//!   body
//! ```
//!
//! All integers are little-endian. Text is UTF-8 behind its length (`u8` for names, `u16` for
//! filters and topics). A batch is one frame; its entries are read one after the other with
//! an iterator that says where they are wrong, so that a batch is gone through once.
//!
//! [`split`] finds the next frame and applies the bound on its length before it is there;
//! [`decode`] gives it meaning. Both are total: whatever the bytes are, they answer. What is
//! decoded borrows from the input.
//!
//! **Versions.** [`Hello`] is the first frame in each direction of a connection. Its layout
//! never changes, but what follows its last known field is skipped. Each side tells the range
//! of versions that it speaks; both then use the highest that both speak ([`agree`]). Every
//! other frame must be exactly as long as its fields.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod directory;
#[doc(hidden)]
pub mod fuzz;
mod hello;
mod link;
mod reader;
mod relay;
mod route;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{Directory, Lives};
pub use hello::{Health, Heartbeat, Hello, Reason, Refused, Role, View, Views, agree};
pub use link::{Accepted, Begin, Forward, Forwards, MESSAGES_HEAD, Messages, put_forward};
pub use relay::{Reach, Reaches, Relayed};
pub use route::{Change, Changes, ChangesIn, Digest, Filters, Resume, SnapshotBegin};
pub use route::{SnapshotEnd, SnapshotPart, put_changes, put_snapshot_part};

use self::reader::Reader;

/// Lowest version of the frames that is spoken here.
pub const VERSION_MIN: u16 = 1;

/// Highest version of the frames that is spoken here.
pub const VERSION_MAX: u16 = 1;

/// Bytes of the longest name of a node or cluster, and of an address.
pub const NAME_MAX: usize = 255;

/// Bytes of a frame before its body.
pub const HEAD: usize = 5;

/// Bytes of the longest frame that anybody needs: one message of the longest packet of MQTT.
/// A node usually bounds its peers to its own largest message and a batch.
pub const FRAME_MAX: usize = 269 << 20;

/// What is wrong with a frame. The connection is to be dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WireError {
    /// A field has a value that it cannot have.
    Invalid,
    /// The frame is longer than the bound.
    TooLong,
    /// Bytes follow the last field.
    TrailingBytes,
    /// The frame ends within a field.
    Truncated,
    /// There is no such frame.
    UnknownKind(u8),
}

impl core::fmt::Display for WireError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Invalid => out.write_str("a field has a value that it cannot have"),
            Self::TooLong => out.write_str("the frame is too long"),
            Self::TrailingBytes => out.write_str("bytes follow the last field"),
            Self::Truncated => out.write_str("the frame ends within a field"),
            Self::UnknownKind(kind) => write!(out, "no frame has the kind {kind}"),
        }
    }
}

impl core::error::Error for WireError {}

/// A frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// Who speaks: the first frame of a connection.
    Hello(Hello<'a>),
    /// The last frame: why the connection ends.
    Refused(Refused<'a>),
    /// The sender is alive.
    Heartbeat(Heartbeat<'a>),
    /// What the receiver is to send of a node's routes.
    Resume(Resume<'a>),
    /// Changes of a node's routes.
    Changes(Changes<'a>),
    /// All routes of a node follow.
    SnapshotBegin(SnapshotBegin<'a>),
    /// Some of them.
    SnapshotPart(SnapshotPart<'a>),
    /// That was all.
    SnapshotEnd(SnapshotEnd<'a>),
    /// What a node's routes are, in short.
    Digest(Digest<'a>),
    /// Where a stream of messages goes on.
    Begin(Begin),
    /// Messages of a stream.
    Messages(Messages<'a>),
    /// Messages of a stream are accepted.
    Accepted(Accepted),
    /// Who has the session of a client identifier.
    Directory(Directory<'a>),
    /// A packet between two nodes that have no direct connection.
    Relayed(Relayed<'a>),
}

/// The kinds as they are written. They are never given to something else.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const REFUSED: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 3;
    pub(super) const RESUME: u8 = 16;
    pub(super) const CHANGES: u8 = 17;
    pub(super) const SNAPSHOT_BEGIN: u8 = 18;
    pub(super) const SNAPSHOT_PART: u8 = 19;
    pub(super) const SNAPSHOT_END: u8 = 20;
    pub(super) const DIGEST: u8 = 21;
    pub(super) const BEGIN: u8 = 32;
    pub(super) const MESSAGES: u8 = 33;
    pub(super) const ACCEPTED: u8 = 34;
    pub(super) const DIRECTORY: u8 = 48;
    pub(super) const RELAYED: u8 = 64;
}

/// The next frame in a stream of bytes: its kind, its body and its whole size. Nothing if
/// it is not complete yet.
///
/// # Errors
/// The frame has more than `max` bytes behind its length, or not even a kind.
#[expect(clippy::type_complexity, reason = "three parts, named above")]
pub fn split(input: &[u8], max: usize) -> Result<Option<(u8, &[u8], usize)>, WireError> {
    let Some((length, rest)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > max {
        return Err(WireError::TooLong);
    }
    if length == 0 {
        return Err(WireError::Truncated);
    }
    let Some(frame) = rest.get(..length) else {
        return Ok(None);
    };
    let Some((kind, body)) = frame.split_first() else {
        return Err(WireError::Truncated);
    };
    Ok(Some((*kind, body, length.saturating_add(4))))
}

/// Reads a frame.
///
/// # Errors
/// The body is not what the kind asks for. The entries of batches are not looked at yet.
pub fn decode(kind: u8, body: &[u8]) -> Result<Frame<'_>, WireError> {
    let mut reader = Reader::new(body);
    let from = &mut reader;
    let frame = match kind {
        kind::HELLO => return Ok(Frame::Hello(Hello::read(from)?)),
        kind::REFUSED => Frame::Refused(Refused::read(from)?),
        kind::HEARTBEAT => Frame::Heartbeat(Heartbeat::read(from)?),
        kind::RESUME => Frame::Resume(Resume::read(from)?),
        kind::CHANGES => Frame::Changes(Changes::read(from)?),
        kind::SNAPSHOT_BEGIN => Frame::SnapshotBegin(SnapshotBegin::read(from)?),
        kind::SNAPSHOT_PART => Frame::SnapshotPart(SnapshotPart::read(from)?),
        kind::SNAPSHOT_END => Frame::SnapshotEnd(SnapshotEnd::read(from)?),
        kind::DIGEST => Frame::Digest(Digest::read(from)?),
        kind::BEGIN => Frame::Begin(Begin::read(from)?),
        kind::MESSAGES => Frame::Messages(Messages::read(from)?),
        kind::ACCEPTED => Frame::Accepted(Accepted::read(from)?),
        kind::DIRECTORY => Frame::Directory(Directory::read(from)?),
        kind::RELAYED => Frame::Relayed(Relayed::read(from)?),
        unknown => return Err(WireError::UnknownKind(unknown)),
    };
    reader.finish()?;
    Ok(frame)
}
