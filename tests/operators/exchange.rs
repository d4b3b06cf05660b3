//! HTTP by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Broker, Setup, Version};

/// One broker with two shards, which is enough for all that is tried here.
pub(crate) const SETUP: Setup = Setup {
    version: Version::V5,
    shards: 2,
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// A connection to the broker's socket.
pub(crate) fn open(broker: &Broker) -> UnixStream {
    let stream = UnixStream::connect(broker.data_dir().join("shardmq.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and reads all that comes until the broker closes.
pub(crate) fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    // The broker may close before it has read all.
    _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Reads an answer.
pub(crate) fn parse(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    Reply {
        status: status.expect("a status").parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// A request over the socket.
pub(crate) fn request(broker: &Broker, method: &str, path: &str) -> Reply {
    let text = format!("{method} /api/v5{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    parse(&exchange(open(broker), text.as_bytes()))
}

/// What is at a path.
pub(crate) fn get(broker: &Broker, path: &str) -> Value {
    let reply = request(broker, "GET", path);
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json()
}

/// Waits until something of a path is so.
pub(crate) fn wait_until(broker: &Broker, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let value = get(broker, path);
        if is(&value) {
            return value;
        }
        assert!(Instant::now() < end, "{path} stays {value}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A request over the TCP port.
pub(crate) fn request_tcp(address: &str, host: &str) -> Reply {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = format!("GET /api/v5/nodes HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    parse(&exchange(stream, text.as_bytes()))
}

/// A request with a body.
pub(crate) fn post(broker: &Broker, path: &str, body: &str) -> Reply {
    let length = body.len();
    let text = format!(
        "POST /api/v5{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    parse(&exchange(open(broker), text.as_bytes()))
}
