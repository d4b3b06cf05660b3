//! Options that scenarios share.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::values::{self, CpuList};
use crate::codec::{Qos, Version};
use crate::net::{Sources, Targets, system};
use crate::payload::STAMP_LENGTH;
use crate::run::{Brokers, Places, Profile, Roles, Staging};
use crate::scenarios::Context;
use crate::traffic::Pace;

/// Options of every scenario.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The broker: a host, or several `host[:port],…` to spread the clients over
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// The nodes of a cluster, `host[:port],…`: publisher n is on the n-th and its subscriber on
    /// the next one, in a circle; those of a fan are apart
    #[arg(long, conflicts_with = "host")]
    pub hosts: Option<String>,
    /// No node has publishers and subscribers: publishers on the first half of --hosts,
    /// subscribers on the others
    #[arg(long, requires = "hosts")]
    pub one_way: bool,
    /// Port of hosts that are given without one
    #[arg(long, default_value_t = 1883)]
    pub port: u16,
    /// Protocol version
    #[arg(long, value_enum, default_value_t = Version::V311)]
    pub mqtt: Version,
    /// User name, together with --password
    #[arg(long, requires = "password")]
    pub username: Option<String>,
    /// Password
    #[arg(long, requires = "username")]
    pub password: Option<String>,
    /// Threads; each has its own clients, ring and descriptor table [default: one per CPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// CPUs to pin the threads to, such as "1" or "0-3,8" [default: not pinned]
    #[arg(long, value_parser = values::cpu_list)]
    pub cpus: Option<CpuList>,
    /// Addresses to connect from, such as 127.0.0.1-127.0.0.40 or a list; each has about 28,000
    /// ports [default: the kernel's choice]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub source: String,
    /// Connections per second in total [default: as the broker answers]
    #[arg(long, value_parser = values::rate)]
    pub connect_rate: Option<f64>,
    /// Keep Alive in seconds, 0 for none
    #[arg(long, default_value_t = 60)]
    pub keep_alive: u16,
    /// Give up when nothing has made progress for so long
    #[arg(long, default_value = "10s", value_parser = values::duration)]
    pub patience: Duration,
    /// Process id of the broker on this machine: report its CPU time and memory. Of several, one
    /// for each host, in the same order
    #[arg(long, value_delimiter = ',')]
    pub broker_pid: Vec<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// The run's number, the broker's address and all else that clients have in common.
    pub fn profile(&self, run: u32, roles: Roles) -> Result<Profile, String> {
        let credentials = self.username.clone().zip(self.password.clone());
        let length_max = usize::from(u16::MAX);
        if let Some((name, word)) = &credentials
            && (name.len() > length_max || word.len() > length_max)
        {
            return Err("user name and password have at most 65,535 bytes".to_owned());
        }
        let targets = Targets::resolve(self.addresses(), self.port)?;
        Ok(Profile {
            run,
            version: self.mqtt,
            places: self.places(&targets, roles)?,
            targets,
            sources: Sources::parse(&self.source)?,
            keep_alive_s: self.keep_alive,
            credentials,
            connect_rate: self.connect_rate.unwrap_or(0.0),
        })
    }

    /// The brokers as they were named.
    fn addresses(&self) -> &str {
        self.hosts.as_ref().unwrap_or(&self.host)
    }

    /// The name of each broker.
    pub fn node_names(&self) -> Vec<String> {
        let names = self.addresses().split(',');
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// Which client is where.
    fn places(&self, targets: &Targets, roles: Roles) -> Result<Places, String> {
        let nodes = targets.count() as u32;
        if self.hosts.is_none() {
            return Ok(Places::circle(nodes, roles));
        }
        if self.one_way && nodes < 2 {
            return Err("--one-way needs at least two --hosts".to_owned());
        }
        match targets.repeated() {
            Some(address) => Err(format!("--hosts names {address} twice")),
            None => Ok(Places::crossing(nodes, roles, self.one_way)),
        }
    }

    /// The processes to watch.
    pub fn brokers(&self) -> Result<Brokers, String> {
        let (pids, nodes) = (&self.broker_pid, self.node_names().len());
        if pids.len() > 1 && pids.len() != nodes {
            let count = pids.len();
            return Err(format!(
                "--broker-pid names {count} processes, and there are {nodes} hosts"
            ));
        }
        let is_repeated = |index: usize| pids[..index].contains(&pids[index]);
        match (0..pids.len()).find(|index| is_repeated(*index)) {
            Some(index) => Err(format!("--broker-pid names {} twice", pids[index])),
            None => Ok(Brokers::new(pids.clone())),
        }
    }

    /// The time between the last SUBACK and the first message: what was asked for; otherwise
    /// none, or with several nodes enough for subscriptions to reach the other ones, for which
    /// a SUBACK does not wait.
    pub fn settle(&self, asked: Option<Duration>) -> Duration {
        let usual = if self.node_names().len() > 1 {
            SETTLE_OF_SEVERAL
        } else {
            Duration::ZERO
        };
        asked.unwrap_or(usual)
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        let cpus = self.cpus.as_ref().map(|CpuList(cpus)| cpus.len());
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads
            .map(usize::from)
            .or(cpus)
            .unwrap_or_else(available)
    }

    /// How the run is carried out; `clients` says whether the descriptors suffice.
    pub fn staging(&self, context: &Context<'_>, clients: u32) -> Result<Staging, String> {
        let limit = system::raise_descriptor_limit()
            .map_err(|error| format!("cannot raise the limit of open descriptors: {error}"))?;
        let threads = self.threads();
        let own = context.share.range(clients).len() as u64;
        let per_thread = own.div_ceil(threads as u64);
        let usable = limit.saturating_sub(RESERVED_DESCRIPTORS + 2 * threads as u64);
        if per_thread > usable {
            return Err(format!(
                "{per_thread} clients per thread need more than the {limit} descriptors allowed; \
                 use --threads {} or more (each thread has its own table), or raise `ulimit -Hn`",
                own.div_ceil(usable.max(1))
            ));
        }
        let brokers = if context.is_worker {
            Brokers::new(Vec::new())
        } else {
            self.brokers()?
        };
        Ok(Staging {
            threads,
            cpus: self
                .cpus
                .clone()
                .map(|CpuList(cpus)| cpus)
                .unwrap_or_default(),
            share: context.share,
            brokers,
            clock_offset_ns: context.clock_offset_ns,
            shows_progress: !self.json && !context.is_worker,
        })
    }

    /// The profile, shared.
    pub fn shared_profile(&self, run: u32, roles: Roles) -> Result<Arc<Profile>, String> {
        self.profile(run, roles).map(Arc::new)
    }
}

/// The time for subscriptions to reach other nodes, unless told otherwise.
const SETTLE_OF_SEVERAL: Duration = Duration::from_secs(1);

/// Descriptors that are not clients': standard streams, rings, files being read.
const RESERVED_DESCRIPTORS: u64 = 64;

/// Options of scenarios with a flow of messages.
#[derive(Debug, Clone, Args)]
pub struct Flow {
    /// QoS of publishes and subscriptions: 0, 1 or 2 [default: 0; sparse: 1]
    #[arg(long, value_parser = values::qos)]
    pub qos: Option<Qos>,
    /// Bytes of payload, at least 32
    #[arg(long, default_value_t = 64, value_parser = payload_range())]
    pub payload: u32,
    /// Closed loop: messages of each publisher that may be on their way
    /// [default: depends on the scenario]
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub inflight: Option<u32>,
    /// Open loop: messages per second of all publishers together; latency counts from the due
    /// time
    #[arg(long, value_parser = values::rate)]
    pub rate: Option<f64>,
    /// Open loop: messages that are due within this time may be sent together
    #[arg(long, default_value = "0.1ms", value_parser = values::duration)]
    pub tick: Duration,
    /// Time of measuring
    #[arg(long, default_value = "10s", value_parser = values::duration)]
    pub duration: Duration,
    /// Time before measuring
    #[arg(long, default_value = "1s", value_parser = values::duration)]
    pub warmup: Duration,
    /// Time between the last SUBACK and the first message [default: 0s; with several hosts 1s]
    #[arg(long, value_parser = values::duration)]
    pub settle: Option<Duration>,
    /// Do not count lost messages as a failure
    #[arg(long)]
    pub allow_loss: bool,
}

/// From the stamp alone to what a PUBLISH can carry beside topic and header.
pub fn payload_range() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(STAMP_LENGTH as i64..=268_000_000)
}

impl Flow {
    /// The QoS: what was asked for, or `usual`.
    pub fn qos(&self, usual: Qos) -> Qos {
        self.qos.unwrap_or(usual)
    }

    /// The pace: what was asked for, or a window of `inflight`.
    pub fn pace(&self, inflight: u32) -> Pace {
        match self.rate {
            Some(rate) => Pace::Rate(rate),
            None => Pace::Window(self.inflight.unwrap_or(inflight)),
        }
    }
}
