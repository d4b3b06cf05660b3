//! The worker: carries out its part of what a coordinator asks for.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Inbox, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::{Args, Parser};
use serde_json::Value;

use super::line::{self, Receiver};
use super::{Answer, Order, PORT, machine};
use crate::cli::{Cli, Command};
use crate::net::system;
use crate::run::{Conducted, Counters, Gate, Share};
use crate::scenarios::Context;

/// Orders that wait to be carried out; a coordinator that sends more waits to be read.
const ORDERS_UNDER_WAY: usize = 16;

/// Options of `worker`.
#[derive(Debug, Clone, Args)]
pub struct Worker {
    /// Address to listen on. Whoever reaches it and is allowed can make this machine send
    /// traffic anywhere: there is no authentication
    #[arg(long, default_value_t = format!("127.0.0.1:{PORT}"))]
    pub listen: String,
    /// Addresses of coordinators that are not on this machine
    #[arg(long, value_delimiter = ',')]
    pub allow: Vec<IpAddr>,
}

impl Worker {
    /// Serves coordinators one after the other, until the process is ended.
    pub fn serve(&self) -> Result<(), String> {
        let explain = |error: io::Error| format!("cannot listen on {}: {error}", self.listen);
        let listener = TcpListener::bind(&self.listen).map_err(explain)?;
        let address = listener.local_addr().map_err(explain)?;
        eprintln!("loadgen: worker listens on {address}");
        listener.set_nonblocking(true).map_err(explain)?;
        loop {
            match listener.accept() {
                Ok((stream, peer)) if self.is_allowed(peer.ip()) => match work(stream) {
                    Ok(()) => eprintln!("loadgen: run for {peer} is over"),
                    Err(error) => eprintln!("loadgen: run for {peer}: {error}"),
                },
                Ok((_, peer)) => eprintln!("loadgen: {peer} is not among --allow"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if system::wait_for_interrupt(Duration::from_millis(100)) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(explain(error)),
            }
        }
    }

    fn is_allowed(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.allow.contains(&peer.to_canonical())
    }
}

/// Serves one coordinator.
fn work(stream: TcpStream) -> Result<(), String> {
    let explain = |error: io::Error| error.to_string();
    stream.set_nonblocking(false).map_err(explain)?;
    stream.set_nodelay(true).map_err(explain)?;
    let mut receiver = Receiver::new(stream.try_clone().map_err(explain)?);
    loop {
        match receiver.receive().map_err(explain)? {
            Order::Clock => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let now_ns = system::monotonic_ns();
                let answer = Answer::Clock {
                    version,
                    machine: machine(),
                    now_ns,
                };
                line::send(&stream, &answer).map_err(explain)?;
            }
            Order::Run {
                arguments,
                run,
                share,
                clock_offset_ns,
            } => {
                let gate = LineGate::new(&stream, receiver);
                let answer = match perform(arguments, run, share, clock_offset_ns, gate) {
                    Ok(conducted) => Answer::Done(Box::new(conducted)),
                    Err(message) => Answer::Failed(message),
                };
                return line::send(&stream, &answer).map_err(explain);
            }
            _ => return Err("an order out of place".to_owned()),
        }
    }
}

fn perform(
    arguments: Vec<String>,
    run: u32,
    share: Share,
    clock_offset_ns: i64,
    mut gate: LineGate<'_>,
) -> Result<Conducted, String> {
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let Command::Scenario(scenario) = cli.command else {
        return Err("only scenarios can be shared out".to_owned());
    };
    let mut context = Context {
        run,
        share,
        clock_offset_ns,
        is_worker: true,
        gate: &mut gate,
    };
    scenario.task().conduct(&mut context)
}

/// The gate of a worker: the coordinator opens it.
struct LineGate<'a> {
    stream: &'a TcpStream,
    orders: Inbox<Order>,
    is_interrupted: bool,
}

impl<'a> LineGate<'a> {
    /// Orders are read by a thread, so that an interrupt is seen during a stage. The thread ends
    /// with the connection.
    fn new(stream: &'a TcpStream, mut receiver: Receiver) -> Self {
        let (sender, orders) = sync_channel(ORDERS_UNDER_WAY);
        thread::spawn(move || {
            while let Ok(order) = receiver.receive() {
                if sender.send(order).is_err() {
                    return;
                }
            }
        });
        Self {
            stream,
            orders,
            is_interrupted: false,
        }
    }
}

impl Gate for LineGate<'_> {
    fn arrive(&mut self, stage: usize, brings: Value) -> Result<Option<Vec<Value>>, String> {
        line::send(self.stream, &Answer::Arrive { stage, brings })
            .map_err(|error| format!("the coordinator is gone: {error}"))?;
        loop {
            match self.orders.recv() {
                Ok(Order::Pass(all)) => return Ok(Some(all)),
                Ok(Order::Skip) => return Ok(None),
                Ok(Order::Interrupt) => self.is_interrupted = true,
                Ok(_) => return Err("an order out of place".to_owned()),
                Err(_) => return Err("the coordinator is gone".to_owned()),
            }
        }
    }

    fn is_interrupted(&mut self) -> bool {
        match self.orders.try_recv() {
            Ok(Order::Interrupt) | Err(TryRecvError::Disconnected) => self.is_interrupted = true,
            _ => {}
        }
        std::mem::take(&mut self.is_interrupted)
    }

    fn show(&mut self, counters: Counters) {
        // A coordinator that is gone is noticed at the next gate.
        let _ = line::send(self.stream, &Answer::Show(counters));
    }
}
