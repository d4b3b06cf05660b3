//! Everybody who takes part, and one turn of all of them.

use std::time::{Duration, Instant};

use super::client::Client;
use super::keeper::Keeper;
use super::publisher::{Flow, Publisher};
use super::record::Stream;
use super::scene::Scene;
use super::subscriber::{Manner, Subscriber};
use super::testator::Testator;
use crate::codec::{Qos, Version};

/// Which parts of the broker are tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) wills: bool,
    pub(super) delayed: bool,
}

/// Everybody who takes part.
pub(super) struct Cast {
    pub(super) publishers: Vec<Publisher>,
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) keeper: Keeper,
    pub(super) testators: Vec<Testator>,
}

/// The longest delay of a will or a delayed message, in seconds.
pub(super) const DELAY_MAX_S: u64 = 3;

impl Cast {
    /// Everybody, before anything has happened. `rate` is messages per second in total.
    pub(super) fn new(scene: &mut Scene, parts: Parts, rate: f64) -> Self {
        let mut publishers = publishers(scene, rate);
        if parts.delayed {
            publishers.push(delayed(scene));
        }
        let testators = if parts.wills {
            testators(scene)
        } else {
            Vec::new()
        };
        let name = client_name(scene, "keeper");
        let keeper = Keeper::new(Client::new(name, Version::V5, true), scene.now);
        let mut receivers = subscribers(scene);
        receivers.extend(group(scene));
        let mut cast = Self {
            publishers,
            subscribers: receivers,
            keeper,
            testators,
        };
        cast.watch(scene);
        cast
    }

    /// One turn of all. True when anything came.
    pub(super) fn turn(&mut self, scene: &mut Scene) -> bool {
        scene.now = Instant::now();
        let mut busy = false;
        for one in &mut self.subscribers {
            busy |= one.turn(scene);
        }
        for one in &mut self.testators {
            busy |= one.turn(scene);
        }
        for one in &mut self.publishers {
            busy |= one.turn(scene);
        }
        self.keeper.turn(scene) || busy
    }

    /// Whether every receiver has its first subscriptions.
    pub(super) fn is_settled(&self) -> bool {
        self.subscribers
            .iter()
            .all(|one| one.is_settled() && (one.manner != Manner::Sleeping || one.is_asleep()))
    }

    /// Whether every message has its outcome, and all receivers are there.
    pub(super) fn is_done(&self) -> bool {
        self.publishers.iter().all(Publisher::is_done)
            && self.testators.iter().all(Testator::is_done)
            && self.subscribers.iter().all(Subscriber::is_there)
            && self.keeper.is_done()
    }

    /// Who is not done.
    pub(super) fn undone(&self) -> String {
        let publishers = self.publishers.iter().filter(|one| !one.is_done());
        let testators = self.testators.iter().filter(|one| !one.is_done());
        let subscribers = self.subscribers.iter().filter(|one| !one.is_there());
        let mut names: Vec<&str> = publishers
            .map(|one| &*one.client.name)
            .chain(testators.map(|one| &*one.client.name))
            .chain(subscribers.map(|one| &*one.client.name))
            .collect();
        if !self.keeper.is_done() {
            names.push("keeper");
        }
        names.join(", ")
    }

    /// From now on the broker knows what it knew some time ago.
    pub(super) fn go_back(&mut self, scene: &mut Scene) {
        self.publishers.clear();
        self.testators.clear();
        self.keeper.go_back();
        for one in &mut self.subscribers {
            if one.manner != Manner::Sleeping {
                one.client.go_back();
                scene.record.be_lenient(one.receiver);
            }
        }
    }

    /// Two receivers that are always there, for wills and delayed messages.
    fn watch(&mut self, scene: &mut Scene) {
        for (name, version) in [("watcher-3", Version::V311), ("watcher-5", Version::V5)] {
            let client = Client::new(client_name(scene, name), version, true);
            let mut one = Subscriber::new(client, Manner::Steady, scene);
            for part in ["w/+", "d/+"] {
                let filter = scene.topic(part);
                let stem = filter.trim_end_matches('+').to_owned();
                let streams = scene
                    .record
                    .streams_where(|stream| stream.topic.starts_with(&stem));
                one.add(filter, streams, false, scene);
            }
            self.subscribers.push(one);
        }
        let watchers = self.subscribers.iter().rev().take(2);
        let watchers: Vec<usize> = watchers.map(|one| one.receiver).collect();
        for testator in &mut self.testators {
            testator.watched_by(watchers.clone());
        }
    }
}

fn client_name(scene: &Scene, part: &str) -> String {
    format!("crash-{:08x}-{part}", scene.run)
}

/// The version of the client with this number.
fn version(number: usize) -> Version {
    if number.is_multiple_of(2) {
        Version::V5
    } else {
        Version::V311
    }
}

/// Publishers with both QoS; two of them forget their exchanges.
fn publishers(scene: &mut Scene, rate: f64) -> Vec<Publisher> {
    const COUNT: usize = 6;
    let interval = Duration::from_secs_f64(COUNT as f64 / rate);
    let publisher = |number| {
        let flows = [Qos::AtLeastOnce, Qos::ExactlyOnce].map(|qos| {
            let topic = scene.topic(&format!("m/{number}/{}", qos.number()));
            let stream = scene.record.add_stream(topic.clone(), qos, true);
            Flow {
                stream,
                topic,
                delay: None,
            }
        });
        let name = client_name(scene, &format!("publisher-{number}"));
        let client = Client::new(name, version(number), number < 4);
        Publisher::new(client, flows.into(), interval, scene.now)
    };
    (0..COUNT).map(publisher).collect()
}

/// A publisher of delayed messages.
fn delayed(scene: &mut Scene) -> Publisher {
    let flow = |delay: u64| {
        let qos = if delay.is_multiple_of(2) {
            Qos::AtLeastOnce
        } else {
            Qos::ExactlyOnce
        };
        let topic = scene.topic(&format!("d/{delay}"));
        let stream = scene.record.add_stream(topic.clone(), qos, false);
        Flow {
            stream,
            topic: format!("$delayed/{delay}/{topic}"),
            delay: Some(Duration::from_secs(delay)),
        }
    };
    let flows = (1..=DELAY_MAX_S).map(flow).collect();
    let name = client_name(scene, "delayer");
    let client = Client::new(name, Version::V5, true);
    Publisher::new(client, flows, Duration::from_millis(20), scene.now)
}

/// Clients with wills: 5.0 with a delay of 0 to 3 s, 3.1.1 without.
fn testators(scene: &mut Scene) -> Vec<Testator> {
    let testator = |number: usize| {
        let (version, delay_s) = match number {
            0..4 => (Version::V5, number as u32),
            _ => (Version::V311, 0),
        };
        let topic = scene.topic(&format!("w/{number}"));
        let stream = scene.record.add_stream(topic, Qos::ExactlyOnce, false);
        let client = Client::new(client_name(scene, &format!("will-{number}")), version, true);
        Testator::new(client, stream, delay_s, scene)
    };
    (0..6).map(testator).collect()
}

/// Receivers of the publishers' messages.
fn subscribers(scene: &mut Scene) -> Vec<Subscriber> {
    use Manner::{Sleeping, Steady, Wandering};
    let manners = [
        Steady, Steady, Steady, Wandering, Wandering, Wandering, Sleeping, Sleeping,
    ];
    let numbered = manners.into_iter().enumerate();
    numbered
        .map(|(number, manner)| subscriber(scene, number, manner))
        .collect()
}

/// Members of one group, at QoS 1: one stays, two come and go, and the sessions of two end
/// whenever they go.
fn group(scene: &mut Scene) -> Vec<Subscriber> {
    use Manner::{Steady, Wandering};
    let manners = [Steady, Wandering, Wandering, Wandering, Wandering];
    let streams = scene.record.streams_where(|stream| {
        stream.qos == Qos::AtLeastOnce && stream.topic.contains("/m/") && stream.is_ordered
    });
    let mut members: Vec<Subscriber> = Vec::new();
    for (number, manner) in manners.into_iter().enumerate() {
        let name = client_name(scene, &format!("member-{number}"));
        let is_forgetful = number >= 3;
        let version = if is_forgetful {
            Version::V5
        } else {
            version(number)
        };
        let mut client = Client::new(name, version, true);
        client.is_forgetful = is_forgetful;
        if is_forgetful {
            // What it has not read is lost with its session, if nobody else gets it.
            client.slowness = Duration::from_millis(60);
        }
        let mut one = Subscriber::new(client, manner, scene);
        if let Some(last) = members.last() {
            one.join(last);
        }
        let filter = format!("$share/group/{}", scene.topic("m/+/1"));
        one.add(filter, streams.clone(), false, scene);
        // Another member may get what one had in flight.
        scene.record.be_lenient(one.receiver);
        members.push(one);
    }
    members
}

fn subscriber(scene: &mut Scene, number: usize, manner: Manner) -> Subscriber {
    let name = client_name(scene, &format!("subscriber-{number}"));
    let mut client = Client::new(name, version(number / 2), true);
    if number == 2 || number == 5 {
        // Some acknowledgements are always missing when the broker is killed.
        client.laziness = Duration::from_millis(40);
    }
    let mut one = Subscriber::new(client, manner, scene);
    let (all, own) = (scene.topic("m/#"), scene.topic("m/"));
    let is_message = |stream: &Stream| stream.topic.starts_with(&own);
    if number.is_multiple_of(2) {
        let streams = scene.record.streams_where(is_message);
        one.add(all, streams, false, scene);
    } else {
        for publisher in 0..6 {
            let filter = scene.topic(&format!("m/{publisher}/+"));
            let stem = filter.trim_end_matches('+').to_owned();
            let streams = scene
                .record
                .streams_where(|stream| stream.topic.starts_with(&stem));
            // Two of its subscriptions come and go.
            let is_restless = manner == Manner::Steady && publisher % 3 == 0;
            one.add(filter, streams, is_restless, scene);
        }
    }
    one
}
