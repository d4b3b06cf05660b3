//! The coordinator: shares out a scenario and merges the results.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver as Inbox, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use clap::{Args, Parser};
use serde_json::Value;

use super::line::{self, Receiver};
use super::{Answer, Order, PORT, machine};
use crate::cli::{Cli, Command, Scenario};
use crate::net::system;
use crate::procfs::Usage;
use crate::run::{Brokers, Conducted, Counters, Share};
use crate::stats::Progress;

/// How often a worker's clock is asked for; the quickest answer counts.
const CLOCK_ROUNDS: usize = 16;

/// Answers that wait to be handled; workers beyond it wait to be read.
const ANSWERS_UNDER_WAY: usize = 1024;

/// How often the coordinator looks for an interrupt.
const LOOK: Duration = Duration::from_millis(50);

/// How long a worker may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// The workers, `host[:port],…`
    #[arg(long, value_delimiter = ',', required = true)]
    pub workers: Vec<String>,
    /// The scenario with its options, after `--`. Counts and rates are those of the whole run;
    /// --broker-pid is of a process on the coordinator's machine
    #[arg(last = true, required = true)]
    pub scenario: Vec<String>,
}

impl Run {
    /// The scenario that is to be shared out.
    pub fn parse_scenario(&self) -> Result<Scenario, String> {
        let cli = Cli::try_parse_from(self.arguments()).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Scenario(scenario) => Ok(*scenario),
            _ => Err("only scenarios can be shared out".to_owned()),
        }
    }

    /// Shares out the scenario; `run` is its number.
    pub fn coordinate(
        &self,
        run: u32,
        brokers: Brokers,
        shows_progress: bool,
    ) -> Result<Conducted, String> {
        let (sender, answers) = sync_channel(ANSWERS_UNDER_WAY);
        let mut workers = Vec::new();
        for (index, address) in self.workers.iter().enumerate() {
            let worker = Remote::connect(address)?;
            let share = Share {
                worker: index as u32,
                workers: self.workers.len() as u32,
            };
            worker.start(self.arguments(), run, share, sender.clone())?;
            workers.push(worker);
        }
        let count = workers.len();
        let coordinator = Coordinator {
            workers,
            answers,
            brokers,
            progress: Progress::new(shows_progress),
            counters: vec![Counters::default(); count],
            samples: Vec::new(),
            was_interrupted: false,
        };
        coordinator.lead()
    }

    fn arguments(&self) -> Vec<String> {
        std::iter::once("loadgen".to_owned())
            .chain(self.scenario.iter().cloned())
            .collect()
    }
}

/// What a worker has said, with its number.
type Said = (usize, Result<Answer, String>);

/// A worker as its coordinator sees it.
struct Remote {
    address: String,
    stream: TcpStream,
    clock_offset_ns: i64,
}

impl Remote {
    fn connect(address: &str) -> Result<Self, String> {
        let explain = |error: io::Error| format!("worker {address}: {error}");
        let full = if address.contains(':') {
            address.to_owned()
        } else {
            format!("{address}:{PORT}")
        };
        let mut addresses = full.to_socket_addrs().map_err(explain)?;
        let first = addresses
            .next()
            .ok_or_else(|| format!("worker {address}: no address"))?;
        let stream = TcpStream::connect_timeout(&first, CONNECT_TIMEOUT).map_err(explain)?;
        stream.set_nodelay(true).map_err(explain)?;
        let clock_offset_ns =
            compare_clocks(&stream).map_err(|error| explain_clock(address, error))?;
        Ok(Self {
            address: address.to_owned(),
            stream,
            clock_offset_ns,
        })
    }

    /// Gives the order to run; all answers go to `sender` from then on.
    fn start(
        &self,
        arguments: Vec<String>,
        run: u32,
        share: Share,
        sender: SyncSender<Said>,
    ) -> Result<(), String> {
        let explain = |error: io::Error| format!("worker {}: {error}", self.address);
        let clock_offset_ns = self.clock_offset_ns;
        line::send(
            &self.stream,
            &Order::Run {
                arguments,
                run,
                share,
                clock_offset_ns,
            },
        )
        .map_err(explain)?;
        let mut receiver = Receiver::new(self.stream.try_clone().map_err(explain)?);
        let address = self.address.clone();
        thread::spawn(move || {
            loop {
                let answer = receiver
                    .receive()
                    .map_err(|error| format!("worker {address}: {error}"));
                let is_last = matches!(answer, Err(_) | Ok(Answer::Done(_) | Answer::Failed(_)));
                if sender.send((share.worker as usize, answer)).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(())
    }
}

fn explain_clock(address: &str, error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            format!("worker {address} refuses this coordinator: it needs --allow with its address")
        }
        _ => format!("worker {address}: {error}"),
    }
}

/// What is to be added to a worker's clock to get this machine's. It is off by half the round
/// trip at most; clocks of one machine are the same.
fn compare_clocks(stream: &TcpStream) -> io::Result<i64> {
    let mut receiver = Receiver::new(stream.try_clone()?);
    let mut best: Option<(u64, i64)> = None;
    for _ in 0..CLOCK_ROUNDS {
        let before = system::monotonic_ns();
        line::send(stream, &Order::Clock)?;
        let Answer::Clock {
            version,
            machine: theirs,
            now_ns,
        } = receiver.receive()?
        else {
            return Err(io::Error::other("an answer out of place"));
        };
        let after = system::monotonic_ns();
        if version != env!("CARGO_PKG_VERSION") {
            return Err(io::Error::other(format!("it has version {version}")));
        }
        if theirs == machine() {
            return Ok(0);
        }
        let offset = (before / 2 + after / 2) as i64 - now_ns as i64;
        if best.is_none_or(|(round_trip, _)| after - before < round_trip) {
            best = Some((after - before, offset));
        }
    }
    Ok(best.map_or(0, |(_, offset)| offset))
}

/// The coordinator during a run.
struct Coordinator {
    workers: Vec<Remote>,
    answers: Inbox<Said>,
    brokers: Brokers,
    progress: Progress,
    counters: Vec<Counters>,
    /// The brokers at the beginning of each stage.
    samples: Vec<Vec<Usage>>,
    was_interrupted: bool,
}

impl Coordinator {
    fn lead(mut self) -> Result<Conducted, String> {
        let count = self.workers.len();
        let mut waiting: Vec<Option<(usize, Value)>> = vec![None; count];
        let mut done: Vec<Option<Conducted>> = (0..count).map(|_| None).collect();
        while done.iter().any(Option::is_none) {
            let Some((worker, answer)) = self.next()? else {
                continue;
            };
            match answer? {
                Answer::Arrive { stage, brings } => waiting[worker] = Some((stage, brings)),
                Answer::Show(counters) => self.show(worker, counters),
                Answer::Done(conducted) => done[worker] = Some(*conducted),
                Answer::Failed(message) => {
                    return Err(format!(
                        "worker {}: {message}",
                        self.workers[worker].address
                    ));
                }
                Answer::Clock { .. } => return Err("an answer out of place".to_owned()),
            }
            self.open_gate(&mut waiting)?;
        }
        self.sample()?;
        self.progress.clear();
        Ok(self.merge(done.into_iter().flatten()))
    }

    /// The next answer, if one comes soon; passes an interrupt on to the workers.
    fn next(&mut self) -> Result<Option<Said>, String> {
        if system::wait_for_interrupt(Duration::ZERO) {
            if std::mem::replace(&mut self.was_interrupted, true) {
                return Err("interrupted twice".to_owned());
            }
            for worker in &self.workers {
                self.tell(worker, &Order::Interrupt)?;
            }
        }
        match self.answers.recv_timeout(LOOK) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("all workers are gone".to_owned()),
        }
    }

    /// Lets the workers go on when all have arrived. Those that an interrupt has left behind
    /// skip stages until they are level with the others.
    fn open_gate(&mut self, waiting: &mut [Option<(usize, Value)>]) -> Result<(), String> {
        let Some(arrived) = waiting
            .iter()
            .map(Option::as_ref)
            .collect::<Option<Vec<_>>>()
        else {
            return Ok(());
        };
        let stages = arrived.iter().map(|(stage, _)| *stage);
        let first = stages.clone().min().unwrap_or(0);
        let last = stages.max().unwrap_or(0);
        if first == last {
            let all = arrived.iter().map(|(_, brings)| brings.clone()).collect();
            self.sample()?;
            let order = Order::Pass(all);
            for (worker, slot) in self.workers.iter().zip(waiting) {
                self.tell(worker, &order)?;
                *slot = None;
            }
            return Ok(());
        }
        for (worker, slot) in self.workers.iter().zip(waiting) {
            if slot.as_ref().is_some_and(|(stage, _)| *stage < last) {
                self.tell(worker, &Order::Skip)?;
                *slot = None;
            }
        }
        Ok(())
    }

    fn tell(&self, worker: &Remote, order: &Order) -> Result<(), String> {
        line::send(&worker.stream, order)
            .map_err(|error| format!("worker {}: {error}", worker.address))
    }

    fn show(&mut self, worker: usize, counters: Counters) {
        self.counters[worker] = counters;
        if self.progress.is_due() {
            let sum = self
                .counters
                .iter()
                .fold(Counters::default(), |sum, part| sum.plus(*part));
            self.progress.show_sum("workers", sum);
        }
    }

    fn sample(&mut self) -> Result<(), String> {
        let usages = self.brokers.sample()?;
        if !usages.is_empty() {
            self.samples.push(usages);
        }
        Ok(())
    }

    /// One result out of all, with the brokers' samples at the ends of each stage.
    fn merge(&self, parts: impl Iterator<Item = Conducted>) -> Conducted {
        let mut whole = Conducted::default();
        for (worker, part) in parts.enumerate() {
            whole.merge(part, worker as u32);
        }
        for (record, ends) in whole.stages.iter_mut().zip(self.samples.windows(2)) {
            let ends = ends[0].iter().cloned().zip(ends[1].iter().cloned());
            record.brokers = ends.collect();
        }
        if let Some(problem) = self.brokers.problem() {
            whole.outcome.add_problem(problem);
        }
        whole
    }
}
