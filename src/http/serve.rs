//! Connections of operators, with limits for all that they can do.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use log::{debug, warn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::paths::Paths;
use super::reply::Reply;
use super::request::{Request, is_local_host};

/// Connections that one listener serves at a time. Others wait.
const CONNECTIONS_MAX: usize = 64;

/// Bytes of a request before its body.
const HEAD_MAX: usize = 16 << 10;

/// Bytes of a body: no path needs one yet.
const BODY_MAX: usize = 64 << 10;

/// How long the first request of a connection may take to come.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// How long all may take from the head of a request to the head of the next one: its body, its
/// answer, the reading of that, and the pause afterwards.
const REQUEST: Duration = Duration::from_secs(60);

/// How long an answer may take to be made: longer than joining a cluster may.
const ANSWER: Duration = Duration::from_secs(45);

/// How long accepting rests after an error, such as no descriptor being left.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that connections come from.
trait Listen {
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Whether somebody else than the owner of the data folder can reach it.
    const IS_OPEN: bool;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>>;
}

impl Listen for UnixListener {
    type Stream = tokio::net::UnixStream;
    const IS_OPEN: bool = false;

    async fn next(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listen for TcpListener {
    type Stream = tokio::net::TcpStream;
    const IS_OPEN: bool = true;

    async fn next(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves the socket in the data folder, for ever.
pub(super) async fn unix(paths: Rc<Paths>, listener: UnixListener) {
    serve(paths, listener).await;
}

/// Serves a TCP port, for ever.
pub(super) async fn tcp(paths: Rc<Paths>, listener: TcpListener) {
    serve(paths, listener).await;
}

async fn serve<L: Listen>(paths: Rc<Paths>, listener: L) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.next().await {
            Ok(stream) => {
                let paths = Rc::clone(&paths);
                spawn_local(async move {
                    connection(paths, stream, L::IS_OPEN).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!("the HTTP API cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    paths: Rc<Paths>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    is_open: bool,
) {
    let deadline = Rc::new(Cell::new(Instant::now() + FIRST_REQUEST));
    let service = service_fn(|request| {
        deadline.set(Instant::now() + REQUEST);
        let paths = Rc::clone(&paths);
        async move { Ok::<_, Infallible>(respond(paths, request, is_open).await) }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_MAX).half_close(false);
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    loop {
        let until = deadline.get();
        tokio::select! {
            result = &mut served => {
                if let Err(error) = result {
                    debug!("a connection to the HTTP API ended: {error}");
                }
                return;
            }
            () = sleep_until(until) => {
                if deadline.get() <= Instant::now() {
                    debug!("a connection to the HTTP API took too long");
                    return;
                }
            }
        }
    }
}

async fn respond(
    paths: Rc<Paths>,
    request: hyper::Request<Incoming>,
    is_open: bool,
) -> Response<Full<Bytes>> {
    let host = request.headers().get(HOST);
    let is_local = host.is_some_and(|host| host.to_str().is_ok_and(is_local_host));
    let target = request.uri().path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let parsed = Request::parse(request.method().as_str(), target);
    let body = Limited::new(request.into_body(), BODY_MAX).collect();
    let reply = match parsed {
        _ if is_open && !is_local => Reply::error(
            403,
            "FORBIDDEN",
            "the Host header must name this machine by a loopback address or localhost",
        ),
        Err(refusal) => refusal,
        Ok(request) => match timeout(FIRST_REQUEST, body).await {
            Err(_) => Reply::error(408, "REQUEST_TIMEOUT", "the body did not come in time"),
            Ok(Err(_)) => Reply::error(
                413,
                "PAYLOAD_TOO_LARGE",
                &format!("the body has more than {BODY_MAX} bytes, or was cut short"),
            ),
            Ok(Ok(body)) => {
                let body = body.to_bytes().to_vec();
                let request = Request { body, ..request };
                let answer = timeout(ANSWER, paths.answer(&request)).await;
                answer.unwrap_or_else(|_| {
                    Reply::unavailable("this took too long; what was to be changed may still be")
                })
            }
        },
    };
    response(reply)
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(reply.status);
    let is_refused = reply.status == 413 || reply.status == 408;
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if is_refused {
        // What is left of the body is not read.
        headers.insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
