//! Packets that nodes pass on for each other, and whom a node can pass them on to.

use super::WireError;
use super::kind;
use super::reader::Reader;
use super::writer::Writer;

/// A packet of a connection between two nodes that have no direct one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Relayed<'a> {
    /// Over how many links it may still go, this one included. Never zero.
    pub links: u8,
    /// The node that sends it.
    pub from: &'a str,
    /// The node that it is for.
    pub to: &'a str,
    /// What UDP would have carried: at most 65,535 bytes.
    pub packet: &'a [u8],
}

/// A node that the sender of a heartbeat can pass packets on to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reach<'a> {
    /// The node.
    pub node: &'a str,
    /// Over how many links: one, if there is a direct one. Never zero.
    pub links: u8,
}

/// The nodes that the sender of a heartbeat can pass packets on to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reaches<'a>(Reader<'a>);

impl<'a> Relayed<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::RELAYED);
        let packet = self.packet.get(..usize::from(u16::MAX));
        let packet = packet.unwrap_or(self.packet);
        frame
            .u8(self.links)
            .short(self.from)
            .short(self.to)
            .u16(packet.len() as u16)
            .bytes(packet);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            links: links(from)?,
            from: from.name()?,
            to: from.name()?,
            packet: {
                let length = from.u16()?;
                from.bytes(usize::from(length))?
            },
        })
    }
}

impl<'a> Reaches<'a> {
    /// Nobody.
    pub const NONE: Reaches<'static> = Reaches(Reader::new(&[]));

    /// Writes those that a frame has room for.
    pub(super) fn put(frame: &mut Writer<'_>, reaches: &[Reach<'_>]) {
        let reaches = reaches.get(..usize::from(u8::MAX)).unwrap_or(reaches);
        frame.u8(reaches.len() as u8);
        for reach in reaches {
            frame.u8(reach.links).short(reach.node);
        }
    }

    /// Looks at each of them, too.
    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        let count = from.u8()?;
        let all = { *from }.rest();
        for _ in 0..count {
            Reach::read(from)?;
        }
        let length = all.len().saturating_sub({ *from }.rest().len());
        Ok(Self(Reader::new(all.get(..length).unwrap_or_default())))
    }
}

impl<'a> Reach<'a> {
    fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            links: links(from)?,
            node: from.name()?,
        })
    }
}

impl<'a> Iterator for Reaches<'a> {
    type Item = Reach<'a>;

    fn next(&mut self) -> Option<Reach<'a>> {
        // They were read when the heartbeat was.
        Reach::read(&mut self.0).ok()
    }
}

fn links(from: &mut Reader<'_>) -> Result<u8, WireError> {
    match from.u8()? {
        0 => Err(WireError::Invalid),
        links => Ok(links),
    }
}
