//! Requests between two linked nodes, and their answers.
//!
//! Each is a bidirectional stream of its own on the connection that is there, so none waits for
//! another. The first one of a connection is the control stream; all others are requests.
//!
//! ```text
//!   request:  kind: u8    length: u32  body
//!   answer:   status: u8  length: u32  body: what was asked for, or why it is refused
//! ```
//!
//! Integers are little-endian. Who asks decides how long it waits; when it gives up, the stream
//! ends, and so does the work for it at the other end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use quinn::{Connection, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::ended::Ended;

/// Bytes of the longest body.
pub(super) const BODY_MAX: usize = 4 << 20;

/// Requests that a node may have under way with another one.
pub(super) const UNDER_WAY_MAX: u32 = 64;

/// How long a request may take to come in.
const COMING: Duration = Duration::from_secs(10);

/// Like the control stream: before messages.
const PRIORITY: i32 = 1;

/// Bytes before the body.
const HEAD: usize = 5;

/// The kinds of requests. They are never given to something else.
pub(super) mod kind {
    /// Entries of the consensus log.
    pub(in crate::cluster) const APPEND: u8 = 1;
    /// A core wants to lead.
    pub(in crate::cluster) const VOTE: u8 = 2;
    /// A core asks whether it could.
    pub(in crate::cluster) const PRE_VOTE: u8 = 3;
    /// All that the consensus log has made.
    pub(in crate::cluster) const SNAPSHOT: u8 = 4;
    /// The receiver is to lead.
    pub(in crate::cluster) const HAND_OVER: u8 = 5;
    /// What cluster the receiver is in, and what it knows of the sender.
    pub(in crate::cluster) const WHO: u8 = 8;
    /// The leader is to change the members.
    pub(in crate::cluster) const CHANGE: u8 = 9;
}

const DONE: u8 = 0;
const REFUSED: u8 = 1;
const UNKNOWN_KIND: u8 = 2;

/// What is asked by whom.
#[derive(Debug)]
pub(super) struct Request {
    /// The node that asks.
    pub(super) from: Box<str>,
    pub(super) body: Vec<u8>,
}

/// The answer that a handler gives, or why it gives none, for the log of who asked.
type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>>>>;
type Handler = Rc<dyn Fn(Request) -> Answer>;

/// Who answers which kind of request.
#[derive(Default)]
pub(super) struct Handlers(RefCell<BTreeMap<u8, Handler>>);

impl Handlers {
    /// Requests of a kind are answered by `handler` from now on.
    pub(super) fn on<F>(&self, kind: u8, handler: impl Fn(Request) -> F + 'static)
    where
        F: Future<Output = Result<Vec<u8>, String>> + 'static,
    {
        let handler: Handler = Rc::new(move |request| Box::pin(handler(request)));
        self.0.borrow_mut().insert(kind, handler);
    }

    fn of(&self, kind: u8) -> Option<Handler> {
        self.0.borrow().get(&kind).cloned()
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum CallError {
    /// There is no connection with that node.
    NotConnected,
    /// No answer came in time.
    TimedOut,
    /// The connection was lost meanwhile.
    Lost(String),
    /// The node does not know this kind of request: it is of another version.
    UnknownKind,
    /// The node refuses, for this reason.
    Refused(String),
    /// The request or its answer is longer than 4 MiB.
    TooLong,
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => out.write_str("there is no connection with it"),
            Self::TimedOut => out.write_str("it does not answer in time"),
            Self::Lost(text) => write!(out, "the connection was lost: {text}"),
            Self::UnknownKind => out.write_str("its version does not know what it was asked"),
            Self::Refused(text) => out.write_str(text),
            Self::TooLong => out.write_str("what was to be sent is longer than 4 MiB"),
        }
    }
}

/// Asks a node.
pub(super) async fn call(
    shared: &Shared,
    node: &str,
    kind: u8,
    body: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, CallError> {
    let connection = shared.hub.borrow().connection(node);
    let connection = connection.ok_or(CallError::NotConnected)?;
    let exchange = timeout(patience, exchange(&connection, kind, body)).await;
    exchange.unwrap_or(Err(CallError::TimedOut))
}

async fn exchange(connection: &Connection, kind: u8, body: &[u8]) -> Result<Vec<u8>, CallError> {
    let lost = |error: Ended| CallError::Lost(error.to_string());
    let opened = connection.open_bi().await;
    let (mut send, mut receive) = opened.map_err(|error| lost(Ended::of(&error)))?;
    _ = send.set_priority(PRIORITY);
    put(&mut send, kind, body).await?;
    match take(&mut receive).await? {
        (DONE, body) => Ok(body),
        (UNKNOWN_KIND, _) => Err(CallError::UnknownKind),
        (_, text) => Err(CallError::Refused(
            String::from_utf8_lossy(&text).into_owned(),
        )),
    }
}

/// Answers the requests that come over a connection, until it ends.
pub(super) async fn serve(
    shared: Rc<Shared>,
    from: Box<str>,
    connection: Connection,
) -> Result<(), Ended> {
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            streams = connection.accept_bi() => {
                let answer = answer(Rc::clone(&shared), from.clone(), streams?);
                answers.spawn_local(answer);
            }
            Some(_) = answers.join_next() => {}
        }
    }
}

/// Answers one request. Who asked sees what goes wrong on the way.
async fn answer(
    shared: Rc<Shared>,
    from: Box<str>,
    (mut send, mut receive): (SendStream, RecvStream),
) {
    _ = send.set_priority(PRIORITY);
    let Ok(Ok((kind, body))) = timeout(COMING, take(&mut receive)).await else {
        _ = send.reset(VarInt::from_u32(0));
        return;
    };
    let (status, body) = match shared.handlers.of(kind) {
        None => (UNKNOWN_KIND, Vec::new()),
        Some(handler) => {
            let stopped = send.stopped();
            tokio::select! {
                _ = stopped => return,
                answer = handler(Request { from, body }) => match answer {
                    Ok(body) => (DONE, body),
                    Err(text) => (REFUSED, text.into_bytes()),
                },
            }
        }
    };
    if body.len() > BODY_MAX {
        _ = put(&mut send, REFUSED, b"its answer is longer than 4 MiB").await;
    } else {
        _ = put(&mut send, status, &body).await;
    }
}

/// Writes a request or an answer, the only one of its stream.
async fn put(send: &mut SendStream, first: u8, body: &[u8]) -> Result<(), CallError> {
    if body.len() > BODY_MAX {
        return Err(CallError::TooLong);
    }
    let lost = |error: WriteError| {
        CallError::Lost(match error {
            WriteError::ConnectionLost(error) => Ended::of(&error).to_string(),
            error => error.to_string(),
        })
    };
    let [a, b, c, d] = (body.len() as u32).to_le_bytes();
    send.write_all(&[first, a, b, c, d]).await.map_err(lost)?;
    send.write_all(body).await.map_err(lost)?;
    _ = send.finish();
    Ok(())
}

/// Reads a request or an answer.
async fn take(receive: &mut RecvStream) -> Result<(u8, Vec<u8>), CallError> {
    let lost = |error: ReadExactError| {
        CallError::Lost(match error {
            ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error)) => {
                Ended::of(&error).to_string()
            }
            error => error.to_string(),
        })
    };
    let mut head = [0; HEAD];
    receive.read_exact(&mut head).await.map_err(lost)?;
    let [first, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > BODY_MAX {
        return Err(CallError::TooLong);
    }
    let mut body = vec![0; length];
    receive.read_exact(&mut body).await.map_err(lost)?;
    Ok((first, body))
}
