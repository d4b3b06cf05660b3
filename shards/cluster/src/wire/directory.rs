//! Who has the session of a client identifier.

use super::reader::Reader;
use super::writer::Writer;
use super::{WireError, kind};

/// What nodes say to each other about the owners of client identifiers: see
/// [`directory`](crate::directory).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Directory<'a> {
    /// The sender wants a client identifier.
    Claim {
        /// The client identifier.
        client: &'a str,
        /// A number for the answer.
        ticket: u64,
        /// Zero for a client that has connected; the former epoch of a session that the
        /// sender has from a former life, and wants only if nobody else has it now.
        epoch: u64,
        /// For whom, if it is something that one holder has for itself: the sender wants it only
        /// if nobody else has it now, or if this holder has it on another node. Else nothing.
        holder: &'a str,
    },
    /// It has it.
    Granted {
        /// The client identifier.
        client: &'a str,
        /// The number of the claim.
        ticket: u64,
        /// The epoch of its ownership.
        epoch: u64,
        /// The node that had it before and gave it up for this, or nothing.
        former: &'a str,
    },
    /// It does not get it.
    Denied {
        /// The client identifier.
        client: &'a str,
        /// The number of the claim.
        ticket: u64,
    },
    /// The receiver is to give a client identifier up.
    Revoke {
        /// The client identifier.
        client: &'a str,
        /// The epoch of its ownership.
        epoch: u64,
    },
    /// The sender has given it up, and keeps the state until the next owner has that. Said again
    /// to a core that keeps the identifier from now on.
    Revoked {
        /// The client identifier.
        client: &'a str,
        /// The epoch of its ownership; zero if others may have had it since.
        epoch: u64,
    },
    /// The session has ended, or what the sender kept of it.
    Release {
        /// The client identifier.
        client: &'a str,
        /// The epoch of its ownership.
        epoch: u64,
    },
    /// The sender has a client identifier.
    Register {
        /// The client identifier.
        client: &'a str,
        /// The epoch of its ownership.
        epoch: u64,
        /// Who holds it, as in a claim.
        holder: &'a str,
        /// The node that the sender is still to get the state from, or nothing.
        former: &'a str,
    },
    /// The receiver keeps the state of a client identifier of which others have a later one.
    Drop {
        /// The client identifier.
        client: &'a str,
        /// The epoch of its ownership.
        epoch: u64,
    },
    /// The receiver wants the sender to give up what that does not have.
    Absent {
        /// The client identifier.
        client: &'a str,
        /// The epoch of its ownership.
        epoch: u64,
    },
    /// The sender wants to be told views with this number from now on: its own has changed.
    Ask {
        /// The number.
        generation: u64,
    },
    /// All that the sender has is registered where it belongs.
    View {
        /// The number that the receiver has asked with; zero if it has not.
        generation: u64,
        /// The hash of the cores that it knows alive.
        view: u128,
        /// The highest epoch that it knows.
        epoch: u64,
        /// All nodes that it knows alive.
        nodes: Lives<'a>,
    },
}

/// Nodes and their lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lives<'a>(Reader<'a>);

impl<'a> Lives<'a> {
    /// Nobody.
    pub const NONE: Self = Self(Reader::new(&[]));

    fn one(from: &mut Reader<'a>) -> Result<(&'a str, u64), WireError> {
        let name = from.name()?;
        Ok((name, from.u64()?))
    }
}

impl<'a> Iterator for Lives<'a> {
    type Item = (&'a str, u64);

    fn next(&mut self) -> Option<(&'a str, u64)> {
        // They were read when the frame was.
        Self::one(&mut self.0).ok()
    }
}

impl<'a> Directory<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        if let Self::View {
            generation,
            view,
            epoch,
            nodes,
        } = *self
        {
            return Self::put_view(out, (generation, view, epoch), nodes);
        }
        let mut frame = Writer::begin(out, kind::DIRECTORY);
        match *self {
            Self::Claim {
                client,
                ticket,
                epoch,
                holder,
            } => {
                frame.u8(1).long(client).u64(ticket).u64(epoch);
                frame.long(holder)
            }
            Self::Granted {
                client,
                ticket,
                epoch,
                former,
            } => {
                frame.u8(2).long(client).u64(ticket).u64(epoch);
                frame.short(former)
            }
            Self::Denied { client, ticket } => frame.u8(3).long(client).u64(ticket),
            Self::Revoke { client, epoch } => frame.u8(4).long(client).u64(epoch),
            Self::Revoked { client, epoch } => frame.u8(5).long(client).u64(epoch),
            Self::Release { client, epoch } => frame.u8(6).long(client).u64(epoch),
            Self::Register {
                client,
                epoch,
                holder,
                former,
            } => {
                frame.u8(7).long(client).u64(epoch).long(holder);
                frame.short(former)
            }
            Self::Drop { client, epoch } => frame.u8(10).long(client).u64(epoch),
            Self::Absent { client, epoch } => frame.u8(11).long(client).u64(epoch),
            Self::Ask { generation } => frame.u8(9).u64(generation),
            Self::View { .. } => &mut frame,
        };
        frame.end();
    }

    /// Writes a [`Directory::View`] to the end of a buffer.
    pub fn put_view<'n>(
        out: &mut Vec<u8>,
        (generation, view, epoch): (u64, u128, u64),
        nodes: impl Iterator<Item = (&'n str, u64)>,
    ) {
        let mut frame = Writer::begin(out, kind::DIRECTORY);
        frame.u8(8).u64(generation).u128(view).u64(epoch);
        for (name, incarnation) in nodes {
            frame.short(name).u64(incarnation);
        }
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        let what = from.u8()?;
        if what == 8 {
            return Self::read_view(from);
        }
        if what == 9 {
            let generation = from.u64()?;
            return Ok(Self::Ask { generation });
        }
        let client = from.long()?;
        Ok(match what {
            1 => Self::Claim {
                client,
                ticket: from.u64()?,
                epoch: from.u64()?,
                holder: from.long()?,
            },
            2 => Self::Granted {
                client,
                ticket: from.u64()?,
                epoch: from.u64()?,
                former: from.short()?,
            },
            3 => {
                let ticket = from.u64()?;
                Self::Denied { client, ticket }
            }
            4..=7 | 10 | 11 => {
                let epoch = from.u64()?;
                match what {
                    4 => Self::Revoke { client, epoch },
                    5 => Self::Revoked { client, epoch },
                    6 => Self::Release { client, epoch },
                    10 => Self::Drop { client, epoch },
                    11 => Self::Absent { client, epoch },
                    _ => Self::Register {
                        client,
                        epoch,
                        holder: from.long()?,
                        former: from.short()?,
                    },
                }
            }
            _ => return Err(WireError::Invalid),
        })
    }

    fn read_view(from: &mut Reader<'a>) -> Result<Self, WireError> {
        let (generation, view, epoch) = (from.u64()?, from.u128()?, from.u64()?);
        let nodes = Lives(Reader::new(from.rest()));
        let mut rest = nodes.0;
        while !rest.is_empty() {
            Lives::one(&mut rest)?;
        }
        Ok(Self::View {
            generation,
            view,
            epoch,
            nodes,
        })
    }
}
