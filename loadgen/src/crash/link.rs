//! A connection that may break at any time, without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection on this machine may take.
const OPEN: Duration = Duration::from_millis(500);

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// One connection with what waits to be sent and to be read.
pub(super) struct Link {
    socket: TcpStream,
    /// Bytes that have come and are not decoded.
    pub(super) input: Vec<u8>,
    /// Bytes to be sent.
    pub(super) output: Vec<u8>,
}

impl Link {
    /// Connects.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, OPEN)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// Sends what the socket takes; false when the connection is gone.
    pub(super) fn flush(&mut self) -> bool {
        let mut sent = 0;
        let alive = loop {
            if sent == self.output.len() {
                break true;
            }
            match self.socket.write(&self.output[sent..]) {
                Ok(0) => break false,
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.output.drain(..sent);
        alive
    }

    /// Reads what has come; false when the connection is gone. What came before is kept.
    pub(super) fn fill(&mut self, scratch: &mut Vec<u8>) -> bool {
        scratch.resize(CHUNK, 0);
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return false,
                Ok(count) => {
                    self.input.extend_from_slice(&scratch[..count]);
                    if count < CHUNK {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}
