//! Who a node is, that it lives, and why it is not spoken with.

use serde::{Deserialize, Serialize};

use super::reader::Reader;
use super::relay::{Reach, Reaches};
use super::writer::Writer;
use super::{VERSION_MAX, VERSION_MIN, WireError, kind};

/// What a connection between nodes begins with.
const MAGIC: u32 = u32::from_le_bytes(*b"SHMQ");

/// Who speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello<'a> {
    /// Lowest version it speaks.
    pub version_min: u16,
    /// Highest version it speaks.
    pub version_max: u16,
    /// The cluster it belongs to.
    pub cluster: &'a str,
    /// Its name, such as `shardmq@10.0.0.1`.
    pub node: &'a str,
    /// Its life: grows with every start of the node, and when others have given it up. Never
    /// zero.
    pub incarnation: u64,
    /// The life with which its process began: as long as the process runs, the numbers of its
    /// streams of messages go on.
    pub boot: u64,
    /// What it is in the cluster.
    pub role: Role,
    /// How many streams of messages it may open: one for each of its shards.
    pub shards: u16,
    /// Where others reach its links, as `address:port`.
    pub address: &'a str,
}

/// What a node is in the cluster.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Role {
    /// Votes on who is alive, keeps everything, forwards routes.
    Core,
    /// Serves clients. Its number may change at any time.
    Replicant,
}

/// Why a connection is refused or ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// No version is spoken by both.
    Version,
    /// It belongs to another cluster.
    Cluster,
    /// It has the receiver's own name, or says it is a core and is not configured as one.
    Member,
    /// It was given up, or is older than what is known: it must take a new incarnation.
    Stale,
    /// A frame could not be read.
    Malformed,
    /// Messages of a stream are missing.
    Gap,
    /// The node stops.
    Stopping,
    /// A reason of a later version.
    Other(u8),
}

/// The last frame of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused<'a> {
    /// Why.
    pub reason: Reason,
    /// For the log of the other node.
    pub text: &'a str,
}

/// The sender is alive, and what it thinks of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heartbeat<'a> {
    /// The sender's clock.
    pub time_ms: u64,
    /// `time_ms` of the last heartbeat that came from the receiver, or zero: up to there the
    /// sender knows the receiver to be alive.
    pub echo_ms: u64,
    /// How long ago that one came.
    pub held_ms: u32,
    /// Which cores the sender counts: grows with every change of them.
    pub cores_version: u64,
    /// Nodes that the sender can pass packets on to.
    pub reaches: Reaches<'a>,
    /// Nodes that the sender does not think alive; and itself, if it goes.
    pub views: Views<'a>,
}

/// How far a node is given up.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Health {
    /// Alive; it is the sender itself and about to stop.
    Going = 0,
    /// Not heard for the lease.
    Suspect = 1,
    /// The sender will never again answer this incarnation.
    Condemned = 2,
    /// A majority of the cores will not, or it is the sender itself, whose life is over.
    Gone = 3,
}

/// What the sender of a heartbeat thinks of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct View<'a> {
    /// The node.
    pub node: &'a str,
    /// Which of its lives.
    pub incarnation: u64,
    /// How far it is given up.
    pub health: Health,
}

/// The views in a heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Views<'a>(Reader<'a>);

/// The version to use between two that speak the given ranges, lowest and highest.
#[must_use]
pub fn agree(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let highest = ours.1.min(theirs.1);
    (highest >= ours.0 && highest >= theirs.0).then_some(highest)
}

impl<'a> Hello<'a> {
    /// The version to use with the sender.
    #[must_use]
    pub fn version(&self) -> Option<u16> {
        agree(
            (VERSION_MIN, VERSION_MAX),
            (self.version_min, self.version_max),
        )
    }

    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::HELLO);
        frame
            .u32(MAGIC)
            .u16(self.version_min)
            .u16(self.version_max)
            .short(self.cluster)
            .short(self.node)
            .u64(self.incarnation)
            .u64(self.boot)
            .u8(self.role as u8)
            .u16(self.shards)
            .short(self.address);
        frame.end();
    }

    /// What follows is of a later version, and skipped.
    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        if from.u32()? != MAGIC {
            return Err(WireError::Invalid);
        }
        let hello = Self {
            version_min: from.u16()?,
            version_max: from.u16()?,
            cluster: from.name()?,
            node: from.name()?,
            incarnation: from.u64()?,
            boot: from.u64()?,
            role: match from.u8()? {
                0 => Role::Core,
                1 => Role::Replicant,
                _ => return Err(WireError::Invalid),
            },
            shards: from.u16()?,
            address: from.short()?,
        };
        let lives = hello.boot > 0 && hello.boot <= hello.incarnation;
        let valid = hello.version_min <= hello.version_max && lives;
        valid.then_some(hello).ok_or(WireError::Invalid)
    }
}

impl Reason {
    const fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Cluster => 2,
            Self::Member => 3,
            Self::Stale => 4,
            Self::Malformed => 5,
            Self::Gap => 6,
            Self::Stopping => 7,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Cluster,
            3 => Self::Member,
            4 => Self::Stale,
            5 => Self::Malformed,
            6 => Self::Gap,
            7 => Self::Stopping,
            code => Self::Other(code),
        }
    }
}

impl<'a> Refused<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::REFUSED);
        frame.u8(self.reason.code()).short(self.text);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            reason: Reason::of(from.u8()?),
            text: from.short()?,
        })
    }
}

impl<'a> Heartbeat<'a> {
    /// Writes a heartbeat to the end of a buffer.
    pub fn put<'v>(
        out: &mut Vec<u8>,
        (time_ms, echo_ms, held_ms): (u64, u64, u32),
        cores_version: u64,
        reaches: &[Reach<'_>],
        views: impl Iterator<Item = View<'v>>,
    ) {
        let mut frame = Writer::begin(out, kind::HEARTBEAT);
        frame
            .u64(time_ms)
            .u64(echo_ms)
            .u32(held_ms)
            .u64(cores_version);
        Reaches::put(&mut frame, reaches);
        for view in views {
            frame
                .u8(view.health as u8)
                .u64(view.incarnation)
                .short(view.node);
        }
        frame.end();
    }

    /// Looks at all views, too: there are few.
    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        let heartbeat = Self {
            time_ms: from.u64()?,
            echo_ms: from.u64()?,
            held_ms: from.u32()?,
            cores_version: from.u64()?,
            reaches: Reaches::read(from)?,
            views: Views(Reader::new(from.rest())),
        };
        let mut views = heartbeat.views.0;
        while !views.is_empty() {
            View::read(&mut views)?;
        }
        Ok(heartbeat)
    }
}

impl<'a> View<'a> {
    fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            health: match from.u8()? {
                0 => Health::Going,
                1 => Health::Suspect,
                2 => Health::Condemned,
                3 => Health::Gone,
                _ => return Err(WireError::Invalid),
            },
            incarnation: from.u64()?,
            node: from.name()?,
        })
    }
}

impl<'a> Iterator for Views<'a> {
    type Item = View<'a>;

    fn next(&mut self) -> Option<View<'a>> {
        // They were read when the heartbeat was.
        View::read(&mut self.0).ok()
    }
}
