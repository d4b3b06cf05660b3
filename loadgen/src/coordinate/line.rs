//! Messages as lines of JSON over TCP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line: totals of millions of publishers, histograms of a worker.
const LINE_MAX: u64 = 256 << 20;

/// Sends one message.
pub(super) fn send(mut stream: &TcpStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Receives messages.
#[derive(Debug)]
pub(super) struct Receiver {
    reader: BufReader<TcpStream>,
}

impl Receiver {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// The next message. The end of the stream is an error: peers say when they are done.
    pub(super) fn receive<M: DeserializeOwned>(&mut self) -> io::Result<M> {
        let mut line = Vec::new();
        (&mut self.reader)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}
