//! What two nodes say to each other about a session that moves, as messages of `$cluster/`.
//!
//! ```text
//!   kind u8 | epoch of the new owner u64 | length u16, client identifier | the rest
//! ```

/// Who says what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What<'a> {
    /// The new owner wants the session.
    Fetch,
    /// The new owner's client begins anew: the session is to end.
    Discard,
    /// The former owner: a part of the session.
    Part(&'a [u8]),
    /// The former owner: that was all; or there was no session.
    End { is_there: bool },
    /// The new owner has stored it.
    Taken,
    /// The former owner: a message that has come for the session since.
    Late(&'a [u8]),
    /// The new owner gets all that follows from elsewhere.
    Done,
    /// The owner goes, and the other node may have the session. The epoch says nothing.
    Offer,
}

/// What is said of a client identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Said<'a> {
    pub(super) client: &'a str,
    /// That with which the new owner owns it.
    pub(super) epoch: u64,
    pub(super) what: What<'a>,
}

impl<'a> Said<'a> {
    pub(super) fn write(&self) -> Vec<u8> {
        let (kind, rest): (u8, &[u8]) = match self.what {
            What::Fetch => (1, &[]),
            What::Discard => (2, &[]),
            What::Part(bytes) => (3, bytes),
            What::End { is_there: false } => (4, &[0]),
            What::End { is_there: true } => (4, &[1]),
            What::Taken => (5, &[]),
            What::Late(bytes) => (6, bytes),
            What::Done => (7, &[]),
            What::Offer => (8, &[]),
        };
        let mut out = Vec::with_capacity(11 + self.client.len() + rest.len());
        out.push(kind);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&(self.client.len() as u16).to_le_bytes());
        out.extend_from_slice(self.client.as_bytes());
        out.extend_from_slice(rest);
        out
    }

    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (client, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let what = match (kind, rest) {
            (1, []) => What::Fetch,
            (2, []) => What::Discard,
            (3, bytes) => What::Part(bytes),
            (4, [is_there]) => What::End {
                is_there: *is_there != 0,
            },
            (5, []) => What::Taken,
            (6, bytes) => What::Late(bytes),
            (7, []) => What::Done,
            (8, []) => What::Offer,
            _ => return None,
        };
        Some(Self {
            client: core::str::from_utf8(client).ok()?,
            epoch: u64::from_le_bytes(*epoch),
            what,
        })
    }
}
