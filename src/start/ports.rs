//! Whether the listeners' ports are free.
//!
//! The shards share each port with `SO_REUSEPORT`, and the kernel would let them share it
//! with a stranger of the same user, or with the dead listener of a broker that ended a
//! moment ago and whose ring is not torn down yet: connections would get lost there. So
//! each port is bound once without that option, which fails as long as anybody listens.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use shards::settings::Listener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::failure::Failure;
use crate::host;

/// How long a port may stay taken. The kernel tears the rings of a process that ended
/// down within half a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// The port of MQTT.
const USUAL: u16 = 1883;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes sure that each listener's port is free. Port 0 is replaced by a free one, the
/// same for all shards.
pub(crate) fn reserve(listeners: &[Listener]) -> Result<Vec<Listener>, Failure> {
    // Kept until all are known, so that two listeners are not given the same free port.
    let mut chosen = Vec::new();
    let mut reserved = Vec::new();
    for listener in listeners {
        let (probe, bind) = probe(listener.bind).map_err(|error| explain(listener, &error))?;
        reserved.push(Listener {
            bind,
            ..listener.clone()
        });
        if listener.bind.port() == 0 {
            chosen.push(probe);
        }
    }
    Ok(reserved)
}

/// Binds an address, with some patience while it is taken. Returns the socket and where
/// it is bound.
fn probe(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Binds an address without listening there: nobody must find a port open that takes no
/// connection yet.
fn bind(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier broker that are not quite closed do not count, only
    // listeners do. A free port is to be free of both.
    socket.set_reuse_address(address.port() != 0)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, bound))
}

/// What an error means.
fn explain(listener: &Listener, error: &io::Error) -> Failure {
    let Listener { name, bind, .. } = listener;
    let of = format!("of listener {name}");
    let elsewhere = |port| {
        let address = SocketAddr::new(bind.ip(), port);
        format!("--set listeners.tcp.{name}.bind={address}")
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let by = match host::ports::listener(bind.port()) {
                Some(process) => format!("process {} ({})", process.pid, process.name),
                None => "another process".to_owned(),
            };
            Failure::new(format!(
                "port {} {of} ({bind}) is taken by {by}",
                bind.port()
            ))
            .advise(format!("See who: sudo ss -ltnp 'sport = :{}'", bind.port()))
            .advise(format!(
                "Stop that process, or listen elsewhere: {}",
                elsewhere(bind.port().checked_add(1).unwrap_or(USUAL))
            ))
        }
        ErrorKind::PermissionDenied => Failure::new(format!(
            "no permission for port {} {of} ({bind})",
            bind.port()
        ))
        .advise("Allow it: sudo setcap cap_net_bind_service=+ep \"$(command -v shardmq)\"")
        .advise(format!("or use a port from 1024 up: {}", elsewhere(USUAL))),
        ErrorKind::AddrNotAvailable => Failure::new(format!(
            "{} {of} is not an address of this machine",
            bind.ip()
        ))
        .advise("See which there are: ip -brief address"),
        _ => Failure::new(format!("{bind} {of} cannot be used: {error}")),
    }
}
