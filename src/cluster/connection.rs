//! One connection: proof, hello, then a task for each stream until one of them ends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ReadExactError, RecvStream, SendStream, WriteError};
use shard_cluster::link::Transmit;
use shard_cluster::wire::{FRAME_MAX, Frame, Reason};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::ended::Ended;
use super::frames::Frames;
use super::peer::LinkId;
use super::proof::{CHANNEL_BYTES, LABEL, PROOF_BYTES, Side};
use super::{Shared, hub::Hub, relay, rpc};

/// How long proof and hello may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait when the shards have no room for a message.
const NO_ROOM: Duration = Duration::from_millis(1);

/// The longest frame on the control stream: about 64 KiB, and one filter.
pub(super) const CONTROL_FRAME_MAX: usize = 1 << 20;

/// How much sooner the control stream is sent than others.
const CONTROL_PRIORITY: i32 = 1;

/// A connection over which both sides have said hello.
pub(super) struct Met {
    connection: Connection,
    id: LinkId,
    send: SendStream,
    frames: Frames,
}

/// Finds out who is at the other end. `expected` is who was dialed. If this node does not go on,
/// the connection is closed.
pub(super) async fn meet(
    shared: &Rc<Shared>,
    connection: Connection,
    expected: Option<&str>,
) -> Result<Met, Ended> {
    let side = match expected {
        Some(_) => Side::Dialer,
        None => Side::Acceptor,
    };
    let greeting = greet(shared, &connection, side, expected);
    let greeted = timeout(PATIENCE, greeting).await;
    let greeted = greeted.unwrap_or_else(|_| Err(Ended::Lost("it says nothing".to_owned())));
    match greeted {
        Ok((id, send, frames)) => Ok(Met {
            connection,
            id,
            send,
            frames,
        }),
        Err(why) => {
            why.close(&connection);
            Err(why)
        }
    }
}

impl Met {
    /// Serves the connection until it ends.
    pub(super) async fn serve(self, shared: &Rc<Shared>) {
        let (id, connection) = (self.id, self.connection.clone());
        let why = run(shared, self).await;
        shared.hub.borrow_mut().lost(id, &why);
        why.close(&connection);
    }
}

/// Proves the cookie, checks the other side's proof, and exchanges hellos.
async fn greet(
    shared: &Rc<Shared>,
    connection: &Connection,
    side: Side,
    expected: Option<&str>,
) -> Result<(LinkId, SendStream, Frames), Ended> {
    let (mut send, receive) = prove(shared, connection, side).await?;
    let mut hello = Vec::new();
    let said = {
        let hub = shared.hub.borrow();
        hub.put_hello(&mut hello);
        hub.incarnation()
    };
    write(&mut send, &hello).await?;
    let mut frames = Frames::new(receive, CONTROL_FRAME_MAX);
    let greeted = answer(shared, connection, &mut frames, expected).await;
    match greeted {
        Ok(id) => {
            _ = send.set_priority(CONTROL_PRIORITY);
            Ok((id, send, frames))
        }
        Err(why) => {
            if let Ended::ByPeer(Reason::Stale, by) = &why {
                shared.hub.borrow_mut().greeted_as_stale(by, said);
            }
            Err(why)
        }
    }
}

/// Proves the cookie on a new stream, and checks the other side's proof.
pub(super) async fn prove(
    shared: &Rc<Shared>,
    connection: &Connection,
    side: Side,
) -> Result<(SendStream, RecvStream), Ended> {
    let mut channel = [0; CHANNEL_BYTES];
    let exported = connection.export_keying_material(&mut channel, LABEL, &[]);
    exported.map_err(|_| Ended::Lost("the session has no keying material".to_owned()))?;
    let proof = shared.cookie.prove(&channel, side);
    let (mut send, mut receive);
    if side == Side::Dialer {
        (send, receive) = connection.open_bi().await?;
        write(&mut send, &proof).await?;
        is_proven(shared, &channel, Side::Acceptor, &mut receive).await?;
    } else {
        (send, receive) = connection.accept_bi().await?;
        is_proven(shared, &channel, Side::Dialer, &mut receive).await?;
        write(&mut send, &proof).await?;
    }
    Ok((send, receive))
}

/// Waits for the other side's hello, and says whether it is welcome.
async fn answer(
    shared: &Rc<Shared>,
    connection: &Connection,
    frames: &mut Frames,
    expected: Option<&str>,
) -> Result<LinkId, Ended> {
    loop {
        if let Some((frame, size)) = frames.next()? {
            let Frame::Hello(hello) = frame else {
                return Err(Ended::refused(Reason::Malformed, "it does not say hello"));
            };
            if let Some(expected) = expected.filter(|expected| **expected != *hello.node) {
                let text = format!("{expected} was dialed, and {} answers", hello.node);
                return Err(Ended::refused(Reason::Member, text));
            }
            let address = connection.remote_address();
            shared.relay.check(address, hello.node)?;
            let checked = shared.guard.check(connection, hello.node);
            checked.map_err(|text| Ended::refused(Reason::Member, text))?;
            let id = shared.hub.borrow_mut().greet(&hello, connection)?;
            frames.handled(size);
            return Ok(id);
        }
        frames.read().await?;
    }
}

/// Whether the other side knows the cookie.
async fn is_proven(
    shared: &Rc<Shared>,
    channel: &[u8; CHANNEL_BYTES],
    side: Side,
    receive: &mut RecvStream,
) -> Result<(), Ended> {
    let mut proof = [0; PROOF_BYTES];
    match receive.read_exact(&mut proof).await {
        Ok(()) => {}
        Err(ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error))) => {
            return Err(Ended::of(&error));
        }
        Err(error) => return Err(Ended::Lost(error.to_string())),
    }
    if shared.cookie.is_proven(channel, side, &proof) {
        Ok(())
    } else {
        Err(Ended::Cookie)
    }
}

/// Runs the tasks of a connection until one of them ends. Returns why.
async fn run(shared: &Rc<Shared>, met: Met) -> Ended {
    let Met {
        connection,
        id,
        send,
        frames,
    } = met;
    let (name, admitted) = match shared.hub.borrow().linked(id) {
        Some((name, link)) if link.is_guest => (Box::from(name), Some(Rc::clone(&link.admitted))),
        Some((name, _)) => (Box::from(name), None),
        None => return Ended::replaced(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn_local(rpc::serve(Rc::clone(shared), name, connection.clone()));
    shared.membership.wake();
    if let Some(admitted) = admitted {
        tokio::select! {
            () = admitted.notified() => {}
            Some(ended) = tasks.join_next() => return why(ended),
        }
    }
    let said = shared.hub.borrow().incarnation();
    if !start(shared, id, &connection, (send, frames), &mut tasks) {
        return Ended::replaced();
    }
    let why = match tasks.join_next().await {
        Some(ended) => why(ended),
        None => Ended::replaced(),
    };
    if why.is_stale_here() {
        shared.hub.borrow_mut().refused_as_stale(said);
    }
    why
}

/// Why a task has ended.
fn why(ended: Result<Result<(), Ended>, JoinError>) -> Ended {
    match ended {
        Ok(Err(why)) => why,
        Err(error) => Ended::Lost(error.to_string()),
        Ok(Ok(())) => Ended::Lost("a task has ended".to_owned()),
    }
}

/// Starts the tasks of a connection with a member. False if there is a newer one.
fn start(
    shared: &Rc<Shared>,
    id: LinkId,
    connection: &Connection,
    (send, frames): (SendStream, Frames),
    tasks: &mut JoinSet<Result<(), Ended>>,
) -> bool {
    let (control, streams, passed) = match shared.hub.borrow().linked(id) {
        Some((_, link)) => {
            let passed = (!link.is_relayed).then(|| Rc::clone(&link.passed.notify));
            (Rc::clone(&link.control), link.streams.clone(), passed)
        }
        None => return false,
    };
    if let Some(passed) = passed {
        let passed = relay::passed_out(Rc::clone(shared), id, connection.clone(), passed);
        tasks.spawn_local(passed);
    }
    tasks.spawn_local(control_in(Rc::clone(shared), id, frames));
    tasks.spawn_local(control_out(Rc::clone(shared), id, send, control));
    tasks.spawn_local(streams_in(Rc::clone(shared), id, connection.clone()));
    for (shard, notify) in streams.into_iter().enumerate() {
        let connection = connection.clone();
        let out = stream_out(Rc::clone(shared), id, shard as u16, connection, notify);
        tasks.spawn_local(out);
    }
    true
}

/// Takes the frames of the control stream.
async fn control_in(shared: Rc<Shared>, id: LinkId, mut frames: Frames) -> Result<(), Ended> {
    loop {
        while let Some((frame, size)) = frames.next()? {
            shared.hub.borrow_mut().control(id, &frame)?;
            frames.handled(size);
            while shared.hub.borrow().has_too_many_routes() {
                shared.hub.borrow_mut().flush();
                sleep(NO_ROOM).await;
            }
        }
        shared.hub.borrow_mut().flush();
        frames.read().await?;
    }
}

/// Sends what belongs on the control stream.
async fn control_out(
    shared: Rc<Shared>,
    id: LinkId,
    mut send: SendStream,
    notify: Rc<Notify>,
) -> Result<(), Ended> {
    let mut out = Vec::new();
    loop {
        out.clear();
        shared.hub.borrow_mut().fill_control(id, &mut out)?;
        if out.is_empty() {
            notify.notified().await;
        } else {
            write(&mut send, &out).await?;
        }
    }
}

/// Accepts the streams of the other node's shards.
async fn streams_in(shared: Rc<Shared>, id: LinkId, connection: Connection) -> Result<(), Ended> {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => {
                let frames = Frames::new(stream?, FRAME_MAX);
                streams.spawn_local(messages_in(Rc::clone(&shared), id, frames));
            }
            Some(ended) = streams.join_next() => match ended {
                Ok(ended) => ended?,
                Err(error) => return Err(Ended::Lost(error.to_string())),
            },
        }
    }
}

/// Takes the messages of one stream. While the shards have no room for one, nothing is read,
/// and so the other node sends no more.
async fn messages_in(shared: Rc<Shared>, id: LinkId, mut frames: Frames) -> Result<(), Ended> {
    loop {
        while let Some((frame, size)) = frames.next()? {
            if let Frame::Relayed(packet) = &frame {
                relay::come(&shared, id, packet)?;
                frames.handled(size);
                continue;
            }
            let taken = shared.hub.borrow_mut().messages(id, &frame)?;
            if taken {
                frames.handled(size);
            } else {
                shared.hub.borrow_mut().flush();
                sleep(NO_ROOM).await;
            }
        }
        shared.hub.borrow_mut().flush();
        frames.read().await?;
    }
}

/// The entries of a batch, which the stream shares until they are accepted.
struct Entries(Arc<Vec<u8>>);

impl AsRef<[u8]> for Entries {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Sends the messages of one shard. While QUIC has no room, they stay with the stream, and
/// once that is full with the shard.
async fn stream_out(
    shared: Rc<Shared>,
    id: LinkId,
    shard: u16,
    connection: Connection,
    notify: Rc<Notify>,
) -> Result<(), Ended> {
    let mut send = connection.open_uni().await?;
    let next = |hub: &mut Hub| hub.transmit(id, shard);
    loop {
        let transmit = next(&mut shared.hub.borrow_mut())?;
        match transmit {
            None => notify.notified().await,
            Some(Transmit::Begin(begin)) => {
                let mut frame = Vec::new();
                begin.put(&mut frame);
                write(&mut send, &frame).await?;
            }
            Some(Transmit::Messages { head, entries }) => {
                let head = Bytes::copy_from_slice(&head);
                let mut chunks = [head, Bytes::from_owner(Entries(entries))];
                written(send.write_all_chunks(&mut chunks).await)?;
            }
        }
    }
}

pub(super) async fn write(send: &mut SendStream, bytes: &[u8]) -> Result<(), Ended> {
    written(send.write_all(bytes).await)
}

fn written(result: Result<(), WriteError>) -> Result<(), Ended> {
    result.map_err(|error| match error {
        WriteError::ConnectionLost(error) => Ended::of(&error),
        error => Ended::Lost(error.to_string()),
    })
}
