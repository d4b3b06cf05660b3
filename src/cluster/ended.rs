//! Why a connection between nodes ends, for both logs.

use std::fmt;

use quinn::{Connection, ConnectionError, VarInt};
use shard_cluster::link::LinkError;
use shard_cluster::wire::{FRAME_MAX, Frame, Reason, Refused, WireError, decode, split};

/// Bytes of a reason's text.
const TEXT_MAX: usize = 240;

/// The code with which connections are closed by this node; the frame [`Refused`] is in the
/// reason that QUIC carries.
const CODE: VarInt = VarInt::from_u32(1);

/// Why a connection ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// This node refuses to go on.
    Refused(Reason, String),
    /// The other node does.
    ByPeer(Reason, String),
    /// Another connection has taken its place, or this node has a new life.
    Replaced,
    /// The dialer wanted to know who is here, and nothing else.
    Asked,
    /// The other side does not know the cookie.
    Cookie,
    /// The connection itself has failed.
    Lost(String),
}

impl Ended {
    pub(super) fn refused(reason: Reason, text: impl Into<String>) -> Self {
        Self::Refused(reason, text.into())
    }

    pub(super) const fn replaced() -> Self {
        Self::Replaced
    }

    /// What QUIC says of the end of a connection.
    pub(super) fn of(error: &ConnectionError) -> Self {
        if let ConnectionError::ApplicationClosed(close) = error
            && let Ok(Some((kind, body, _))) = split(&close.reason, FRAME_MAX)
            && let Ok(Frame::Refused(refused)) = decode(kind, body)
        {
            return match refused.reason {
                REPLACED => Self::Replaced,
                ASKED => Self::Asked,
                COOKIE => Self::Cookie,
                reason => Self::ByPeer(reason, refused.text.to_owned()),
            };
        }
        Self::Lost(match error {
            ConnectionError::TimedOut => "nothing comes from it".to_owned(),
            ConnectionError::ConnectionClosed(close) => match alert(u64::from(close.error_code)) {
                Some(text) => format!("it does not accept the certificate of this node: {text}"),
                None => error.to_string(),
            },
            ConnectionError::TransportError(error) if is_alert(u64::from(error.code)) => {
                let certificate = error.reason.strip_prefix("invalid peer certificate: ");
                let text = certificate.map(|why| format!("its certificate is not accepted: {why}"));
                text.unwrap_or_else(|| error.reason.clone())
            }
            ConnectionError::Reset => "it knows nothing of it: it has restarted".to_owned(),
            error => error.to_string(),
        })
    }

    /// Closes a connection for this reason.
    pub(super) fn close(&self, connection: &Connection) {
        let (reason, text) = match self {
            Self::Refused(reason, text) => (*reason, text.as_str()),
            Self::Replaced => (REPLACED, "there is a newer connection"),
            Self::Asked => (ASKED, "that was all"),
            Self::Cookie => (COOKIE, "the cookies differ"),
            Self::ByPeer(..) | Self::Lost(_) => return,
        };
        let ends = (0..=TEXT_MAX.min(text.len())).rev();
        let text = ends.filter_map(|end| text.get(..end)).next();
        let text = text.unwrap_or_default();
        let mut frame = Vec::new();
        Refused { reason, text }.put(&mut frame);
        connection.close(CODE, &frame);
    }

    /// Whether the other node says that this one's life is over.
    pub(super) const fn is_stale_here(&self) -> bool {
        matches!(self, Self::ByPeer(Reason::Stale, _))
    }
}

/// What TLS says of a certificate that it does not accept.
fn alert(code: u64) -> Option<&'static str> {
    Some(match code.checked_sub(ALERTS)? {
        42 => "it is bad",
        43 => "it is of a kind that is not known there",
        45 => "it has expired there, or is not valid yet",
        46 => "it cannot be used",
        48 => "no authority in cluster.ssl_options.cacertfile there has signed it",
        51 => "it is not signed with the key of the authority of that name there",
        116 => "there is none",
        _ => return None,
    })
}

/// Whether a code of QUIC is an alert of TLS.
fn is_alert(code: u64) -> bool {
    (ALERTS..ALERTS + 0x100).contains(&code)
}

/// The code of QUIC for the first of the alerts of TLS.
const ALERTS: u64 = 0x100;

/// The reasons that this version has beside those of the wire.
const REPLACED: Reason = Reason::Other(128);
const COOKIE: Reason = Reason::Other(129);
const ASKED: Reason = Reason::Other(130);

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        let reason = match error {
            LinkError::Gap { .. } => Reason::Gap,
            LinkError::Stale => Reason::Stale,
            _ => Reason::Malformed,
        };
        Self::refused(reason, error.to_string())
    }
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        Self::refused(Reason::Malformed, error.to_string())
    }
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        Self::of(&error)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer(Reason::Stopping, _) => out.write_str("it stops"),
            Self::Refused(Reason::Stale, _) => out.write_str("this life of it is over here"),
            Self::Refused(_, text) => write!(out, "refused here: {text}"),
            Self::ByPeer(Reason::Stale, _) => out.write_str("this node's life is over there"),
            Self::ByPeer(_, text) => write!(out, "refused there: {text}"),
            Self::Replaced => out.write_str("there is a newer one"),
            Self::Asked => out.write_str("it wanted to know who is here"),
            Self::Cookie => out.write_str("its node.cookie is another one"),
            Self::Lost(text) => out.write_str(text),
        }
    }
}
