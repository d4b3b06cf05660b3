//! Requests over HTTP/1.1 to a server, with and without TLS.
//!
//! Bodies have a limit, and everything has a time within which it must be done: a server that
//! says nothing does not keep anybody waiting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring as provider;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::url::Url;
use crate::cluster::pem;

/// How long a connection, and how long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer.
const BODY_MAX: usize = 8 << 20;

/// The files for TLS with a server. They are read for each connection: they may be replaced at
/// any time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Files {
    /// Who may have signed the server's certificate.
    pub(crate) authority: PathBuf,
    /// The certificate and the key of this client, if the server asks for them.
    pub(crate) own: Option<(PathBuf, PathBuf)>,
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: &'a str,
    /// The header `Authorization`.
    pub(super) authorization: Option<String>,
    pub(super) body: String,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// A server, with a connection that is kept.
pub(super) struct Client {
    url: Url,
    files: Files,
    connection: Option<Connection>,
}

/// A connection, whose task ends with it.
struct Connection {
    send: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer that goes on.
pub(super) struct Stream {
    body: Incoming,
    _connection: Connection,
}

impl Client {
    pub(super) fn new(url: Url, files: Files) -> Self {
        Self {
            url,
            files,
            connection: None,
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks, and waits for the whole answer. A connection that was kept and has ended meanwhile
    /// is made anew.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>) -> Result<Answer, String> {
        if let Some(connection) = self.connection.take()
            && !connection.send.is_closed()
            && let Ok(answer) = self.exchange(connection, ask).await
        {
            return Ok(answer);
        }
        let connection = self.connect().await?;
        let answer = self.exchange(connection, ask).await;
        answer.map_err(|error| format!("{}: {error}", self.url))
    }

    /// Asks over a connection, which is kept if it can be.
    async fn exchange(&mut self, mut on: Connection, ask: &Ask<'_>) -> Result<Answer, String> {
        let exchange = async {
            let response = send(&mut on, &self.url, ask).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>(Answer { status, body })
        };
        let answer = timeout(PATIENCE, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err("it does not answer".to_owned()))?;
        self.connection = Some(on);
        Ok(answer)
    }

    /// Asks over a connection of its own, for an answer that goes on.
    pub(super) async fn stream(&self, ask: &Ask<'_>) -> Result<Stream, String> {
        let mut connection = self.connect().await?;
        let response = timeout(PATIENCE, send(&mut connection, &self.url, ask)).await;
        let response = response.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        let response = response.map_err(|error| format!("{}: {error}", self.url))?;
        match response.status().as_u16() {
            200 => Ok(Stream {
                body: response.into_body(),
                _connection: connection,
            }),
            status => Err(format!("{}: it answers with status {status}", self.url)),
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let connected = timeout(PATIENCE, self.open()).await;
        let connected = connected.unwrap_or_else(|_| Err("nobody answers".to_owned()));
        connected.map_err(|error| format!("{} cannot be reached: {error}", self.url))
    }

    async fn open(&self) -> Result<Connection, String> {
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port)).await;
        let tcp = tcp.map_err(|error| error.to_string())?;
        if !self.url.is_tls {
            return begin(tcp).await;
        }
        let files = self.files.clone();
        // Disks block.
        let config = spawn_blocking(move || client_config(&files)).await;
        let config = config.map_err(|error| error.to_string())??;
        let tls = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(self.url.host.clone());
        let name = name.map_err(|error| error.to_string())?;
        begin(
            tls.connect(name, tcp)
                .await
                .map_err(|error| error.to_string())?,
        )
        .await
    }
}

impl Stream {
    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame.map_err(|error| error.to_string())?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Begins HTTP on a connection.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<Connection, String> {
    let begun = http1::handshake(TokioIo::new(stream)).await;
    let (send, driver) = begun.map_err(|error| error.to_string())?;
    let task = spawn_local(async {
        // Whoever waits for the answer gets the error.
        _ = driver.await;
    });
    Ok(Connection { send, task })
}

async fn send(
    connection: &mut Connection,
    url: &Url,
    ask: &Ask<'_>,
) -> Result<Response<Incoming>, String> {
    let mut request = Request::builder()
        .method(&ask.method)
        .uri(ask.path)
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json");
    if !ask.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(authorization) = &ask.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let body = Full::new(Bytes::copy_from_slice(ask.body.as_bytes()));
    let request = request.body(body).map_err(|error| error.to_string())?;
    let sent = connection.send.send_request(request).await;
    sent.map_err(|error| error.to_string())
}

/// TLS as the files say.
fn client_config(files: &Files) -> Result<ClientConfig, String> {
    let roots = pem::roots(&files.authority, &pem::read(&files.authority)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &files.own else {
        return Ok(config.with_no_client_auth());
    };
    let chain = pem::certificates(certificate, &pem::read(certificate)?)?;
    let secret = pem::key(key, &pem::read(key)?)?;
    let config = config.with_client_auth_cert(chain, secret);
    config.map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))
}
