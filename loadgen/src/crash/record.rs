//! The record of what was sent, acknowledged and received, and the judgement on it.
//!
//! A message has one of three outcomes for its publisher: acknowledged, refused, or unknown.
//! An acknowledged one must reach every receiver whose subscription was acknowledged before
//! the message was first sent; any may arrive, and none twice where the standard forbids it.

use std::time::Instant;

use super::faults::Faults;
use crate::codec::Qos;

/// What became of a message at its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No answer has come.
    Unknown,
    /// The broker has taken it over.
    Acknowledged,
    /// The broker has refused it.
    Refused,
    /// It must not arrive: a will that was taken back.
    Withdrawn,
}

#[derive(Debug, Clone)]
struct Sent {
    /// When it was first sent, in steps of the record.
    sent_at: u64,
    /// When its outcome became known.
    settled_at: u64,
    outcome: Outcome,
    /// It was sent more than once, so the broker may hold it twice at QoS 1.
    again: bool,
    /// It must not arrive before this.
    not_before: Option<Instant>,
}

/// Messages of one publisher to one topic at one QoS.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// The topic under which they arrive.
    pub(super) topic: String,
    pub(super) qos: Qos,
    /// They must arrive in the order in which they were sent.
    pub(super) is_ordered: bool,
    sent: Vec<Sent>,
}

/// A subscription as the record knows it.
#[derive(Debug, Clone, Default)]
struct Subscription {
    streams: Vec<usize>,
    /// SUBACK has come, and no UNSUBSCRIBE was sent since.
    subscribed_at: Option<u64>,
    /// UNSUBACK has come, and no SUBSCRIBE was sent since.
    gone_at: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Receiver {
    name: String,
    /// It was connected when the broker went back to an earlier state: order and repeats can
    /// no longer be judged.
    is_lenient: bool,
    subscriptions: Vec<Subscription>,
    /// How often each message has come, per stream.
    counts: Vec<Vec<u8>>,
    /// The newest message of each stream.
    newest: Vec<Option<u32>>,
}

/// One arrival.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) stream: usize,
    pub(super) sequence: u32,
    pub(super) topic: &'a str,
    pub(super) qos: Qos,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) at: Instant,
}

/// The record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    step: u64,
    streams: Vec<Stream>,
    receivers: Vec<Receiver>,
    /// Only what was acknowledged up to this step is owed.
    cut_at: Option<u64>,
    pub(super) faults: Faults,
    pub(super) arrivals: u64,
    pub(super) repeats: u64,
}

impl Record {
    /// Adds a stream and gives its number.
    pub(super) fn add_stream(&mut self, topic: String, qos: Qos, is_ordered: bool) -> usize {
        self.streams.push(Stream {
            topic,
            qos,
            is_ordered,
            sent: Vec::new(),
        });
        self.streams.len() - 1
    }

    /// Adds a receiver and gives its number.
    pub(super) fn add_receiver(&mut self, name: &str) -> usize {
        self.receivers.push(Receiver {
            name: name.to_owned(),
            ..Receiver::default()
        });
        self.receivers.len() - 1
    }

    /// Adds a subscription to a receiver, not yet in force, and gives its number there.
    pub(super) fn add_subscription(&mut self, receiver: usize, streams: Vec<usize>) -> usize {
        let subscriptions = &mut self.receivers[receiver].subscriptions;
        subscriptions.push(Subscription {
            streams,
            ..Subscription::default()
        });
        subscriptions.len() - 1
    }

    /// A stream.
    pub(super) fn stream(&self, stream: usize) -> &Stream {
        &self.streams[stream]
    }

    /// Every stream of which a condition holds.
    pub(super) fn streams_where(&self, wanted: impl Fn(&Stream) -> bool) -> Vec<usize> {
        let numbered = self.streams.iter().enumerate();
        numbered
            .filter(|(_, stream)| wanted(stream))
            .map(|(number, _)| number)
            .collect()
    }

    /// The sequence that the next message of a stream will have.
    pub(super) fn next_sequence(&self, stream: usize) -> u32 {
        self.streams[stream].sent.len() as u32
    }

    /// A message is about to be sent for the first time; its sequence.
    pub(super) fn sent(&mut self, stream: usize, not_before: Option<Instant>) -> u32 {
        let step = self.next();
        let sent = &mut self.streams[stream].sent;
        sent.push(Sent {
            sent_at: step,
            settled_at: 0,
            outcome: Outcome::Unknown,
            again: false,
            not_before,
        });
        sent.len() as u32 - 1
    }

    /// A message was sent once more.
    pub(super) fn sent_again(&mut self, stream: usize, sequence: u32) {
        self.streams[stream].sent[sequence as usize].again = true;
    }

    /// Sets the time before which a message must not arrive.
    pub(super) fn set_not_before(&mut self, stream: usize, sequence: u32, at: Instant) {
        self.streams[stream].sent[sequence as usize].not_before = Some(at);
    }

    /// The outcome of a message is known.
    pub(super) fn settled(&mut self, stream: usize, sequence: u32, outcome: Outcome) {
        let step = self.next();
        let sent = &mut self.streams[stream].sent[sequence as usize];
        sent.outcome = outcome;
        sent.settled_at = step;
    }

    /// SUBSCRIBE was sent.
    pub(super) fn subscribing(&mut self, receiver: usize, subscription: usize) {
        self.receivers[receiver].subscriptions[subscription].gone_at = None;
    }

    /// SUBACK has come.
    pub(super) fn subscribed(&mut self, receiver: usize, subscription: usize) {
        let step = self.next();
        self.receivers[receiver].subscriptions[subscription].subscribed_at = Some(step);
    }

    /// UNSUBSCRIBE was sent.
    pub(super) fn unsubscribing(&mut self, receiver: usize, subscription: usize) {
        self.receivers[receiver].subscriptions[subscription].subscribed_at = None;
    }

    /// UNSUBACK has come.
    pub(super) fn unsubscribed(&mut self, receiver: usize, subscription: usize) {
        let step = self.next();
        self.receivers[receiver].subscriptions[subscription].gone_at = Some(step);
    }

    /// From now on only what has been acknowledged so far is owed.
    pub(super) fn cut(&mut self) {
        self.cut_at = Some(self.step);
    }

    /// Order and repeats at this receiver are not judged any more.
    pub(super) fn be_lenient(&mut self, receiver: usize) {
        self.receivers[receiver].is_lenient = true;
    }

    /// How often a message has come to a receiver.
    pub(super) fn count(&self, receiver: usize, stream: usize, sequence: u32) -> u8 {
        let counts = self.receivers[receiver].counts.get(stream);
        let count = counts.and_then(|counts| counts.get(sequence as usize));
        count.copied().unwrap_or(0)
    }

    /// A message has come to a receiver.
    pub(super) fn arrived(&mut self, receiver: usize, arrival: &Arrival<'_>) {
        self.arrivals += 1;
        if let Err((kind, what)) = self.judge(receiver, arrival) {
            let Arrival {
                stream, sequence, ..
            } = arrival;
            let name = &self.receivers[receiver].name;
            let topic = self
                .streams
                .get(*stream)
                .map_or("?", |stream| &stream.topic);
            let text = format!("{name}: {topic} (stream {stream}) message {sequence} {what}");
            self.faults.add(kind, text);
        }
    }

    fn judge(
        &mut self,
        receiver: usize,
        arrival: &Arrival<'_>,
    ) -> Result<(), (&'static str, String)> {
        let sequence = arrival.sequence as usize;
        let found = self.streams.get(arrival.stream);
        let sent = found.and_then(|stream| Some((stream, stream.sent.get(sequence)?)));
        let Some((stream, sent)) = sent else {
            return Err(("never sent", String::new()));
        };
        let receiver = &mut self.receivers[receiver];
        let (count, newer) = receiver.take(arrival.stream, arrival.sequence);
        if arrival.topic != stream.topic || arrival.qos != stream.qos || arrival.retain {
            return Err(("altered", format!("{arrival:?}")));
        }
        if sent.outcome == Outcome::Withdrawn {
            return Err(("will after it was taken back", String::new()));
        }
        if let Some(due) = sent.not_before
            && arrival.at < due
        {
            let early = due.duration_since(arrival.at);
            return Err(("too early", format!("by {early:?}")));
        }
        if receiver.is_gone(arrival.stream, sent.sent_at) {
            return Err(("unsubscribed, yet delivered", String::new()));
        }
        if receiver.is_lenient {
            return Ok(());
        }
        if count > 0 {
            self.repeats += 1;
            return match stream.qos {
                Qos::ExactlyOnce => Err(("QoS 2 duplicate", format!("{sent:?}"))),
                _ if arrival.dup || sent.again => Ok(()),
                _ => Err(("QoS 1 repeat without DUP", format!("{sent:?}"))),
            };
        }
        match newer {
            // What was sent before the subscription comes only if it was sent again.
            Some(newest) if stream.is_ordered && receiver.is_owed(arrival.stream, sent.sent_at) => {
                Err(("order", format!("after {newest}, {sent:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Messages that are owed to a receiver and have not come: stream and sequence.
    fn missing_at<'a>(&'a self, receiver: &'a Receiver) -> impl Iterator<Item = (usize, u32)> + 'a {
        let numbered = receiver.subscriptions.iter();
        let in_force = numbered.filter_map(|one| Some((&one.streams, one.subscribed_at?)));
        in_force.flat_map(move |(streams, since)| {
            streams.iter().flat_map(move |&stream| {
                let sent = self.streams[stream].sent.iter().enumerate();
                let counts = receiver.counts.get(stream).map_or(&[][..], Vec::as_slice);
                sent.filter(move |(sequence, sent)| {
                    sent.outcome == Outcome::Acknowledged
                        && sent.sent_at > since
                        && self.cut_at.is_none_or(|cut| sent.settled_at <= cut)
                        && counts.get(*sequence).is_none_or(|count| *count == 0)
                })
                .map(move |(sequence, _)| (stream, sequence as u32))
            })
        })
    }

    /// How many deliveries are owed.
    pub(super) fn missing(&self) -> usize {
        let each = self
            .receivers
            .iter()
            .map(|one| self.missing_at(one).count());
        each.sum()
    }

    /// Adds what is missing to the faults.
    pub(super) fn close(&mut self) {
        let mut lost = Vec::new();
        for receiver in &self.receivers {
            for (stream, sequence) in self.missing_at(receiver) {
                let (name, topic) = (&receiver.name, &self.streams[stream].topic);
                let newest = receiver.newest.get(stream).copied().flatten();
                let qos = self.streams[stream].qos.number();
                lost.push(format!(
                    "{name}: {topic} (stream {stream}) message {sequence}, QoS {qos}, newest \
                     received {newest:?}, {:?}",
                    self.streams[stream].sent[sequence as usize]
                ));
            }
        }
        lost.into_iter()
            .for_each(|what| self.faults.add("lost", what));
    }

    /// How many messages have an outcome.
    pub(super) fn outcomes(&self, outcome: Outcome) -> usize {
        let all = self.streams.iter().flat_map(|stream| &stream.sent);
        all.filter(|sent| sent.outcome == outcome).count()
    }

    fn next(&mut self) -> u64 {
        self.step += 1;
        self.step
    }
}

impl Receiver {
    /// Takes note of an arrival: how often it had come before, and what newer one had.
    fn take(&mut self, stream: usize, sequence: u32) -> (u8, Option<u32>) {
        if self.counts.len() <= stream {
            self.counts.resize(stream + 1, Vec::new());
            self.newest.resize(stream + 1, None);
        }
        let counts = &mut self.counts[stream];
        if counts.len() <= sequence as usize {
            counts.resize(sequence as usize + 1, 0);
        }
        let count = counts[sequence as usize];
        counts[sequence as usize] = count.saturating_add(1);
        let newer = self.newest[stream].filter(|newest| *newest > sequence);
        self.newest[stream] = self.newest[stream].max(Some(sequence));
        (count, newer)
    }

    /// Whether a subscription for a stream was in force before a message was sent, and still is.
    fn is_owed(&self, stream: usize, sent_at: u64) -> bool {
        let mut matching = self
            .subscriptions
            .iter()
            .filter(|one| one.streams.contains(&stream));
        matching.any(|one| one.subscribed_at.is_some_and(|since| since < sent_at))
    }

    /// Whether the subscription for a stream had been ended before a message was sent.
    fn is_gone(&self, stream: usize, sent_at: u64) -> bool {
        let mut matching = self
            .subscriptions
            .iter()
            .filter(|one| one.streams.contains(&stream));
        matching.all(|one| one.gone_at.is_some_and(|gone| gone < sent_at))
    }
}

#[cfg(test)]
mod tests;
