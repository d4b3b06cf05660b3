//! A receiver with a session that outlives its connections.

use std::time::Instant;

use super::client::{Client, Event};
use super::scene::Scene;

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Always connected.
    Steady,
    /// Goes away and comes back at random.
    Wandering,
    /// Goes away for good once it is subscribed, and comes back in the end.
    Sleeping,
}

/// What is asked of the broker about one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be asked for at the next connection.
    Wanted,
    /// The answer is awaited.
    Asked,
    Subscribed,
    /// To be ended at the next connection.
    Unwanted,
    /// The answer is awaited.
    Ending,
    Gone,
}

struct Filter {
    text: String,
    state: State,
    /// It is ended and asked for again at random.
    is_restless: bool,
    change_at: Instant,
}

/// A receiver.
pub(super) struct Subscriber {
    pub(super) client: Client,
    pub(super) receiver: usize,
    pub(super) manner: Manner,
    filters: Vec<Filter>,
    /// What the first of them is in the record.
    first_filter: usize,
    is_away: bool,
    change_at: Instant,
}

impl Subscriber {
    pub(super) fn new(client: Client, manner: Manner, scene: &mut Scene) -> Self {
        let receiver = scene.record.add_receiver(&client.name);
        Self {
            client,
            receiver,
            manner,
            filters: Vec::new(),
            first_filter: 0,
            is_away: false,
            change_at: scene.now + scene.chance.between_ms(500, 3000),
        }
    }

    /// Makes it a member of a group with another: what is sent reaches one of them.
    pub(super) fn join(&mut self, other: &Self) {
        self.receiver = other.receiver;
        self.first_filter = other.first_filter + other.filters.len();
    }

    /// Adds a filter and the streams that it matches.
    pub(super) fn add(
        &mut self,
        text: String,
        streams: Vec<usize>,
        is_restless: bool,
        scene: &mut Scene,
    ) {
        scene.record.add_subscription(self.receiver, streams);
        self.filters.push(Filter {
            text,
            state: State::Wanted,
            is_restless,
            change_at: scene.now + scene.chance.between_ms(300, 2000),
        });
    }

    /// Whether every filter is as it is to be.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |filter: &Filter| matches!(filter.state, State::Subscribed | State::Gone);
        self.filters.iter().all(settled)
    }

    /// Whether it is connected, and as it is to be.
    pub(super) fn is_there(&self) -> bool {
        self.client.is_connected() && self.is_settled()
    }

    /// Whether it sleeps.
    pub(super) fn is_asleep(&self) -> bool {
        self.is_away && !self.client.has_link()
    }

    pub(super) fn turn(&mut self, scene: &mut Scene) -> bool {
        self.wander(scene);
        if !self.is_away {
            self.client.connect(scene.address, scene.now);
        }
        let mut events = Vec::new();
        let busy = self.client.poll(scene.now, &mut scene.scratch, &mut events);
        for event in events {
            self.happened(event, scene);
        }
        if self.client.is_connected() && !scene.is_ending {
            self.change_filters(scene);
        }
        busy
    }

    fn wander(&mut self, scene: &mut Scene) {
        if scene.is_ending {
            self.is_away = false;
            return;
        }
        match self.manner {
            Manner::Steady => {}
            Manner::Sleeping => {
                if !self.is_away && self.is_there() {
                    self.is_away = true;
                    self.client.leave();
                }
            }
            Manner::Wandering if scene.now >= self.change_at => {
                self.change_at = scene.now + scene.chance.between_ms(100, 3000);
                self.is_away = !self.is_away;
                if self.is_away && scene.chance.once_in(2) {
                    self.client.leave();
                } else if self.is_away {
                    self.client.cut();
                }
            }
            Manner::Wandering => {}
        }
    }

    fn happened(&mut self, event: Event, scene: &mut Scene) {
        match scene.common(event) {
            Some(Event::Message(message)) => scene.arrived(self.receiver, &message),
            Some(Event::Connected { .. }) => {
                // A cut from this side makes no event.
                self.forget_questions();
                if self.client.is_forgetful {
                    self.filters
                        .iter_mut()
                        .for_each(|filter| filter.state = State::Wanted);
                }
                self.ask(scene);
            }
            Some(Event::Subscribed { token, code }) => {
                if code >= 0x80 {
                    let what = format!("{}: code {code:#04x}", self.client.name);
                    scene.record.faults.add("subscription refused", what);
                }
                self.filters[token as usize].state = State::Subscribed;
                let number = self.first_filter + token as usize;
                scene.record.subscribed(self.receiver, number);
            }
            Some(Event::Unsubscribed { token }) => {
                self.filters[token as usize].state = State::Gone;
                let number = self.first_filter + token as usize;
                scene.record.unsubscribed(self.receiver, number);
            }
            Some(Event::Closed) => self.forget_questions(),
            _ => {}
        }
    }

    /// What has no answer yet must be asked again.
    fn forget_questions(&mut self) {
        for filter in &mut self.filters {
            filter.state = match filter.state {
                State::Asked => State::Wanted,
                State::Ending => State::Unwanted,
                other => other,
            };
        }
    }

    /// Sends what there is to ask.
    fn ask(&mut self, scene: &mut Scene) {
        for (number, filter) in self.filters.iter_mut().enumerate() {
            match filter.state {
                State::Wanted => {
                    scene
                        .record
                        .subscribing(self.receiver, self.first_filter + number);
                    self.client.subscribe(&filter.text, number as u64);
                    filter.state = State::Asked;
                }
                State::Unwanted => {
                    scene
                        .record
                        .unsubscribing(self.receiver, self.first_filter + number);
                    self.client.unsubscribe(&filter.text, number as u64);
                    filter.state = State::Ending;
                }
                _ => {}
            }
        }
    }

    fn change_filters(&mut self, scene: &mut Scene) {
        let mut has_changed = false;
        for filter in &mut self.filters {
            if !filter.is_restless || scene.now < filter.change_at {
                continue;
            }
            filter.change_at = scene.now + scene.chance.between_ms(200, 2000);
            let next = match filter.state {
                State::Subscribed => State::Unwanted,
                State::Gone => State::Wanted,
                _ => continue,
            };
            filter.state = next;
            has_changed = true;
        }
        if has_changed {
            self.ask(scene);
        }
    }
}
