//! The description of a flow of messages.

use std::time::Duration;

use crate::codec::Qos;
use crate::run::{Roles, Seat, Share, Stage, Start, Until};

/// Who receives the messages of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Publisher `n` and subscriber `n` belong together.
    Own,
    /// Subscriber `n` hears publisher `n - 1`, the first one the last.
    Next,
    /// Every subscriber hears every publisher.
    All,
    /// Each message goes to exactly one of all subscribers of the same worker.
    AnyOne,
}

/// When messages are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: each publisher has at most so many messages that were not received back.
    Window(u32),
    /// Open loop: messages per second of all publishers together, each with its own due time,
    /// whatever the broker does.
    Rate(f64),
}

/// Where messages are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicNames {
    /// Publisher `n` has the topic `before` + `n` + `after`.
    PerPublisher {
        /// What comes before the number.
        before: String,
        /// What comes after it.
        after: String,
    },
    /// Each message goes to a random one of `count` topics, numbered with seven digits.
    Random {
        /// What comes before the number.
        before: String,
        /// What comes after it.
        after: String,
        /// How many topics there are.
        count: u32,
    },
}

/// The most pairs of a publisher and a subscriber that hears it: eight bytes each.
const FLOWS_MAX: u64 = 1 << 27;

/// How many digits the numbers of random topics have.
pub(super) const RANDOM_DIGITS: usize = 7;

impl TopicNames {
    /// The topic with the number `number`.
    pub fn topic(&self, number: u32) -> String {
        match self {
            Self::PerPublisher { before, after } => format!("{before}{number}{after}"),
            Self::Random { before, after, .. } => format!("{before}{number:07}{after}"),
        }
    }
}

/// What a flow does in each stage of its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Clients connect and subscribe.
    Connect,
    /// Nothing happens, so that subscriptions take effect everywhere.
    Settle,
    /// Messages flow and are not measured.
    WarmUp,
    /// Messages flow and are measured.
    Measure,
    /// Publishers stop; what they have sent becomes known.
    Stop,
    /// What is still on its way arrives.
    Drain,
    /// Clients disconnect.
    Leave,
}

impl Phase {
    /// All of them, in order.
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Settle,
        Self::WarmUp,
        Self::Measure,
        Self::Stop,
        Self::Drain,
        Self::Leave,
    ];

    /// The phase of a stage, by its number.
    pub(super) fn of_stage(stage: usize) -> Self {
        Self::ALL.get(stage).copied().unwrap_or(Self::Leave)
    }
}

/// The filters of a subscriber.
pub(super) type Filters = Box<dyn Fn(u32) -> Vec<String> + Send + Sync>;

/// A flow of messages. Numbers are those of the whole run, over all threads and workers.
pub struct Plan {
    /// How many publish.
    pub publishers: u32,
    /// How many subscribe.
    pub subscribers: u32,
    /// Publisher `n` and subscriber `n` are one client.
    pub is_same_client: bool,
    /// Who hears whom.
    pub audience: Audience,
    /// Where messages go.
    pub topics: TopicNames,
    /// What each subscriber asks for.
    pub filters: Filters,
    /// Filters in one SUBSCRIBE.
    pub filters_per_packet: usize,
    /// Order is checked also where one of many subscribers receives a message.
    pub checks_order: bool,
    /// The level of publishes and subscriptions.
    pub qos: Qos,
    /// The pace.
    pub pace: Pace,
    /// What the sessions are to outlive.
    pub start: Start,
    /// Publishers wait for acknowledgements, whose latency is measured, not for receipts.
    pub awaits_acks: bool,
    /// Open loop: how long messages may be gathered, so as to be sent together.
    pub tick: Duration,
    /// Bytes of payload, at least the stamp's.
    pub payload: u32,
    /// Between the last SUBACK and the first message.
    pub settle: Duration,
    /// Before measuring.
    pub warm_up: Duration,
    /// Measuring.
    pub duration: Duration,
    /// No progress for so long ends connecting and draining.
    pub patience: Duration,
}

impl Plan {
    /// The stages of a flow.
    pub fn script(&self) -> Vec<Stage> {
        Phase::ALL
            .iter()
            .map(|phase| {
                let (name, until) = match phase {
                    Phase::Connect => ("connect", Until::Done(self.patience)),
                    Phase::Settle => ("settle", Until::Elapsed(self.settle)),
                    Phase::WarmUp => ("warm-up", Until::Elapsed(self.warm_up)),
                    Phase::Measure => ("measure", Until::Elapsed(self.duration)),
                    Phase::Stop => ("stop", Until::Done(self.patience)),
                    Phase::Drain => ("drain", Until::Done(self.patience)),
                    Phase::Leave => ("leave", Until::Done(self.patience)),
                };
                let is_final = matches!(phase, Phase::Stop | Phase::Drain | Phase::Leave);
                Stage {
                    name,
                    until,
                    is_final,
                }
            })
            .collect()
    }

    /// Clients of the whole run.
    pub fn clients(&self) -> u32 {
        if self.is_same_client {
            self.publishers
        } else {
            self.publishers + self.subscribers
        }
    }

    /// What the clients are to each other.
    pub fn roles(&self) -> Roles {
        let (publishers, subscribers) = (self.publishers, self.subscribers);
        match self.audience {
            _ if self.is_same_client => Roles::Alike,
            Audience::All => Roles::Fan {
                publishers,
                subscribers,
            },
            Audience::Own | Audience::Next | Audience::AnyOne => Roles::Pairs { subscribers },
        }
    }

    /// The subscribers of a thread.
    pub fn subscribers_of(&self, seat: &Seat) -> Vec<u32> {
        seat.share
            .of_thread(self.subscribers, seat.thread, seat.threads)
    }

    /// The publishers of a thread.
    pub fn publishers_of(&self, seat: &Seat) -> Vec<u32> {
        seat.share
            .of_thread(self.publishers, seat.thread, seat.threads)
    }

    /// The clients of a thread by their numbers: subscribers first, so that they are there
    /// before the publishers.
    pub fn clients_of(&self, seat: &Seat) -> Vec<u32> {
        let mut numbers = self.subscribers_of(seat);
        if !self.is_same_client {
            let publishers = self.publishers_of(seat);
            numbers.extend(publishers.iter().map(|number| self.subscribers + number));
        }
        numbers
    }

    /// Which publisher a subscriber hears, where it hears one.
    pub fn heard_by(&self, subscriber: u32) -> u32 {
        match self.audience {
            Audience::Next => (subscriber + self.publishers - 1) % self.publishers,
            _ => subscriber,
        }
    }

    /// Checks what would make a run meaningless.
    pub fn check(&self, share: Share) -> Result<(), String> {
        if self.publishers == 0 || self.subscribers == 0 {
            return Err("at least one publisher and one subscriber are needed".to_owned());
        }
        let flows = u64::from(self.publishers) * u64::from(self.subscribers);
        if self.audience == Audience::All && flows > FLOWS_MAX {
            return Err(format!(
                "{flows} flows from publishers to subscribers are too many to check; the most \
                 is {FLOWS_MAX}"
            ));
        }
        if self.audience == Audience::AnyOne
            && self.subscribers.min(self.publishers) < share.workers
        {
            return Err("each worker needs a publisher and a subscriber".to_owned());
        }
        if self.awaits_acks && self.qos == Qos::AtMostOnce {
            return Err("messages of QoS 0 are not acknowledged: use --qos 1 or 2".to_owned());
        }
        let hears_elsewhere = matches!(self.audience, Audience::All | Audience::Next);
        let has_window = matches!(self.pace, Pace::Window(_));
        if has_window && self.audience == Audience::Next {
            return Err("this scenario needs a --rate".to_owned());
        }
        if has_window && hears_elsewhere && share.workers > 1 {
            return Err(
                "a window (--inflight) needs publishers and subscribers in one process; \
                with several workers give a --rate"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
