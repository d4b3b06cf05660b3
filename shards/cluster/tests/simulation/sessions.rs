//! The sessions of a node, as far as it matters where they are: what the shards of a node do with
//! what the directory says, and with what nodes say to each other while a session moves.

use std::collections::{BTreeMap, BTreeSet};

use shard_cluster::directory::{Directory, Event};

use crate::ledger::Ledger;
use crate::random::Random;

/// How long a client waits for its identifier and its session.
const PATIENCE_MS: u64 = 8_000;

/// How long a node is waited for that has a session and is not up.
const UNMET_MS: u64 = 5_000;

/// Client identifiers with the number of the session; a later one is a higher one.
pub(crate) type Copies = BTreeMap<Box<str>, u64>;

/// What a node says to another about a session.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    client: Box<str>,
    epoch: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Fetch,
    Discard,
    Here,
    Nothing,
    Taken,
    Done,
}

/// A session that is kept for another node.
#[derive(Default)]
struct Leaving {
    /// Who has come for it, in which life, and with which epoch.
    to: Option<(usize, u32, u64)>,
    /// Who has come and is not up yet.
    early: Option<(usize, u64)>,
    is_taken: bool,
}

/// A session that comes.
struct Arrival {
    former: usize,
    /// Nothing as long as it is not up here.
    life: Option<u32>,
    epoch: u64,
    begins_anew: bool,
    is_here: bool,
    is_taken: bool,
    revoked: Option<u64>,
    until_ms: u64,
}

/// A client that was let in: with which session, if not with a new one.
pub(crate) struct LetIn {
    pub(crate) client: Box<str>,
    pub(crate) session: Option<u64>,
    pub(crate) begins_anew: bool,
    /// A node that had it and did not come up here for long.
    pub(crate) unmet: Option<usize>,
}

#[derive(Default)]
pub(crate) struct Clients {
    stores: bool,
    here: Copies,
    /// Those that this life has had from the beginning, or was granted.
    sure: BTreeSet<Box<str>>,
    leaving: BTreeMap<Box<str>, Leaving>,
    arriving: BTreeMap<Box<str>, Arrival>,
    /// Clients that wait: whether they begin anew, and for how long.
    waiting: BTreeMap<Box<str>, (bool, u64)>,
    /// What is on its way to the disk.
    journal: Vec<(Box<str>, Option<u64>)>,
    /// Sessions to be given up, with their epochs.
    revoked: Vec<(Box<str>, u64)>,
    /// The others that are up, and how often each has come up.
    lives: BTreeMap<usize, (bool, u32)>,
    pub(crate) letters: Vec<(usize, Letter)>,
    pub(crate) let_in: Vec<LetIn>,
    /// Who has the session of one that is let in next, and did not come up.
    unmet: BTreeMap<Box<str>, usize>,
}

impl Clients {
    /// Of a node that starts, with what is on its disk.
    pub(crate) fn start(stores: bool, disk: &mut Copies, directory: &mut Directory) -> Self {
        if !stores {
            disk.clear();
        }
        for client in disk.keys() {
            directory.claim_former(client, 1);
        }
        Self {
            stores,
            here: disk.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn is_up(&mut self, node: usize) {
        let (is_up, count) = self.lives.entry(node).or_default();
        (*is_up, *count) = (true, *count + 1);
    }

    pub(crate) fn is_down(&mut self, node: usize) {
        self.lives.entry(node).or_default().0 = false;
    }

    /// The node has a new life, or no lease: others may have what it has.
    pub(crate) fn doubt(&mut self) {
        self.sure.clear();
    }

    /// Whether a node is up, as far as this one knows.
    pub(crate) fn knows(&self, node: usize) -> bool {
        self.life(node).is_some()
    }

    fn life(&self, node: usize) -> Option<u32> {
        let (is_up, count) = self.lives.get(&node).copied()?;
        is_up.then_some(count)
    }

    /// The session that this node has or keeps of a client, if nobody may have had it since.
    pub(crate) fn sure(&self, client: &str) -> Option<u64> {
        let is_taken = |leaving: &Leaving| leaving.is_taken;
        let is_over = self.leaving.get(client).is_some_and(is_taken);
        let number = self.here.get(client).copied();
        number.filter(|_| !is_over && self.sure.contains(client))
    }

    fn say(&mut self, to: usize, client: &str, epoch: u64, what: What) {
        let client = client.into();
        self.letters.push((
            to,
            Letter {
                client,
                epoch,
                what,
            },
        ));
    }

    fn enter(&mut self, client: &str, ledger: &mut Ledger) {
        ledger.sessions += 1;
        self.here.insert(client.into(), ledger.sessions);
        self.sure.insert(client.into());
        self.journal.push((client.into(), Some(ledger.sessions)));
    }

    fn remove(&mut self, client: &str) {
        self.sure.remove(client);
        if self.here.remove(client).is_some() {
            self.journal.push((client.into(), None));
        }
    }

    pub(crate) fn connect(&mut self, now_ms: u64, client: &str, begins_anew: bool) {
        let waiting = (begins_anew, now_ms + PATIENCE_MS);
        self.waiting.insert(client.into(), waiting);
    }

    /// A session ends, whoever's it is.
    pub(crate) fn end(&mut self, client: &str, directory: &mut Directory, ledger: &mut Ledger) {
        if let Some(number) = self.here.get(client).copied() {
            let is_sure = self.sure.contains(client);
            ledger.ended(client, if is_sure { number } else { 0 });
            self.remove(client);
            self.stop_leaving(client, directory);
            if let Some(arrival) = self.stop_arriving(client, directory) {
                self.say(arrival.former, client, arrival.epoch, What::Done);
                if let Some(epoch) = arrival.revoked {
                    self.give_up(client, epoch, directory);
                }
            }
            self.release(client, directory);
        }
    }

    fn release(&self, client: &str, directory: &mut Directory) {
        let is_wanted = self.here.contains_key(client)
            || self.waiting.contains_key(client)
            || self.arriving.contains_key(client);
        if !is_wanted {
            directory.release(client);
        }
    }

    fn stop_leaving(&mut self, client: &str, directory: &mut Directory) -> Option<Leaving> {
        let left = self.leaving.remove(client)?;
        directory.dropped(client);
        Some(left)
    }

    fn stop_arriving(&mut self, client: &str, directory: &mut Directory) -> Option<Arrival> {
        let arrival = self.arriving.remove(client)?;
        if arrival.revoked.is_none() || arrival.is_here || arrival.begins_anew {
            directory.settled(client);
        }
        Some(arrival)
    }

    /// What the directory has decided.
    pub(crate) fn decided(
        &mut self,
        now_ms: u64,
        event: Event,
        (directory, ledger): (&mut Directory, &mut Ledger),
        index: impl Fn(&str) -> usize,
    ) {
        match event {
            Event::Granted {
                client,
                epoch,
                former,
            } => match former {
                None if self.arriving.get(&client).is_some_and(|a| !a.is_here) => {}
                None => {
                    let left = self.stop_leaving(&client, directory);
                    if left.is_some_and(|left| left.is_taken) {
                        self.remove(&client);
                    }
                    if self.here.contains_key(&client) {
                        self.sure.insert(client.clone());
                    }
                    self.let_waiting_in(&client, directory, ledger);
                }
                Some(former) if self.has_come_from(&client, index(&former)) => {
                    self.let_waiting_in(&client, directory, ledger);
                }
                Some(former) => {
                    self.stop_leaving(&client, directory);
                    self.remove(&client);
                    if self.waiting.get(&client).is_some_and(|(anew, _)| *anew) {
                        ledger.ended(&client, ledger.sessions);
                    }
                    self.fetch(now_ms, (&client, epoch), index(&former));
                }
            },
            Event::Denied { client } => {
                let waited = self.waiting.remove(&client).is_some();
                self.stop_arriving(&client, directory);
                if !waited && !self.leaving.contains_key(&client) {
                    self.remove(&client);
                }
            }
            Event::Revoke { client, epoch } => self.revoked.push((client, epoch)),
            Event::Drop { client } => {
                self.stop_arriving(&client, directory);
                self.stop_leaving(&client, directory);
                self.remove(&client);
            }
        }
    }

    fn has_come_from(&self, client: &str, node: usize) -> bool {
        let arrival = self.arriving.get(client);
        arrival.is_some_and(|arrival| arrival.is_here && arrival.former == node)
    }

    fn fetch(&mut self, now_ms: u64, (client, epoch): (&str, u64), former: usize) {
        let life = self.life(former);
        let patience_ms = if life.is_some() {
            PATIENCE_MS
        } else {
            UNMET_MS
        };
        let begins_anew = self.waiting.get(client).is_some_and(|(anew, _)| *anew);
        let arrival = Arrival {
            former,
            life,
            epoch,
            begins_anew,
            is_here: false,
            is_taken: false,
            revoked: None,
            until_ms: now_ms + patience_ms,
        };
        self.arriving.insert(client.into(), arrival);
        if life.is_some() {
            self.ask(client);
        }
    }

    /// Asks the former owner.
    fn ask(&mut self, client: &str) {
        if let Some(arrival) = self.arriving.get(client) {
            let what = if arrival.begins_anew {
                What::Discard
            } else {
                What::Fetch
            };
            self.say(arrival.former, client, arrival.epoch, what);
        }
    }

    fn let_waiting_in(&mut self, client: &str, directory: &mut Directory, ledger: &mut Ledger) {
        if let Some((begins_anew, _)) = self.waiting.remove(client) {
            let session = self.here.get(client).copied().filter(|_| !begins_anew);
            if session.is_none() {
                ledger.ended(client, self.here.get(client).copied().unwrap_or(0));
                self.remove(client);
                self.enter(client, ledger);
            }
            self.let_in.push(LetIn {
                client: client.into(),
                session,
                begins_anew,
                unmet: self.unmet.remove(client),
            });
        }
        self.release(client, directory);
    }

    /// Clients whose session is to be given up now.
    pub(crate) fn revoked(&self) -> Vec<Box<str>> {
        let stays = |client: &str| self.arriving.contains_key(client);
        let revoked = self.revoked.iter().map(|(client, _)| client);
        revoked.filter(|client| !stays(client)).cloned().collect()
    }

    /// Gives up what is to be given up.
    pub(crate) fn give_up_revoked(&mut self, directory: &mut Directory) {
        for (client, epoch) in core::mem::take(&mut self.revoked) {
            if let Some(arrival) = self.arriving.get_mut(&client) {
                arrival.revoked = Some(epoch);
                self.waiting.remove(&client);
            } else {
                self.give_up(&client, epoch, directory);
            }
        }
    }

    fn give_up(&mut self, client: &str, epoch: u64, directory: &mut Directory) {
        let keeps = self.here.contains_key(client);
        directory.revoked(client, epoch, keeps);
        if keeps {
            self.leaving.entry(client.into()).or_default();
        }
    }

    /// Another node has said something.
    pub(crate) fn hear(
        &mut self,
        from: usize,
        letter: Letter,
        (directory, ledger): (&mut Directory, &mut Ledger),
    ) {
        let Letter {
            client,
            epoch,
            what,
        } = letter;
        match what {
            What::Fetch => self.fetched(from, &client, epoch),
            What::Discard => {
                if self.stop_leaving(&client, directory).is_some() {
                    self.remove(&client);
                }
                self.say(from, &client, epoch, What::Nothing);
            }
            What::Here | What::Nothing => {
                let arrival = self.arriving.get_mut(&client);
                let is_it =
                    |a: &&mut Arrival| (a.former, a.epoch, a.is_here) == (from, epoch, false);
                let Some(arrival) = arrival.filter(is_it) else {
                    return;
                };
                if let What::Here = what {
                    arrival.is_here = true;
                    self.enter(&client, ledger);
                } else {
                    self.begin_without(&client, directory);
                }
                self.let_in_who_has_waited(&client, directory);
            }
            What::Taken | What::Done => {
                let left = self.leaving.get_mut(&client);
                let is_it =
                    |left: &&mut Leaving| left.to.is_some_and(|to| (to.0, to.2) == (from, epoch));
                let Some(left) = left.filter(is_it) else {
                    return;
                };
                left.is_taken = true;
                directory.dropped(&client);
                self.journal.push((client.clone(), None));
                if matches!(what, What::Done) {
                    self.leaving.remove(&client);
                    self.remove(&client);
                }
            }
        }
    }

    fn fetched(&mut self, from: usize, client: &str, epoch: u64) {
        let life = self.life(from);
        let left = self.leaving.get_mut(client).filter(|left| !left.is_taken);
        let what = match left {
            Some(left) => {
                left.early = life.is_none().then_some((from, epoch));
                let Some(life) = life else { return };
                left.to = Some((from, life, epoch));
                What::Here
            }
            None => What::Nothing,
        };
        self.say(from, client, epoch, what);
    }

    /// Nothing more is to come for a client that waits, if the identifier is this node's still.
    fn let_in_who_has_waited(&mut self, client: &str, directory: &mut Directory) {
        match self.waiting.contains_key(client) {
            true => directory.claim(client),
            false => self.release(client, directory),
        }
    }

    fn begin_without(&mut self, client: &str, directory: &mut Directory) {
        let arrival = self.stop_arriving(client, directory);
        if let Some(epoch) = arrival.and_then(|arrival| arrival.revoked) {
            self.waiting.remove(client);
            self.give_up(client, epoch, directory);
        }
    }

    /// Time passes: what was written is on the disk, what has come settles, and nobody waits for
    /// ever, nor for a node that is gone.
    pub(crate) fn tick(
        &mut self,
        now_ms: u64,
        disk: &mut Copies,
        directory: &mut Directory,
        random: &mut Random,
    ) {
        self.waiting.retain(|_, (_, until_ms)| now_ms < *until_ms);
        if random.one_in(3) {
            self.sync(disk, directory);
        }
        for left in self.leaving.values_mut() {
            let to = left
                .to
                .filter(|to| self.lives.get(&to.0) != Some(&(true, to.1)));
            if to.is_some() && !left.is_taken {
                left.to = None;
            }
        }
        let leaving = self.leaving.iter();
        let met = leaving.filter_map(|(client, left)| {
            let (node, epoch) = left.early.filter(|(node, _)| self.knows(*node))?;
            Some((client.clone(), node, epoch))
        });
        for (client, node, epoch) in met.collect::<Vec<_>>() {
            self.fetched(node, &client, epoch);
        }
        let gone = |left: &Leaving| {
            let is_gone = |to: (usize, u32, u64)| self.lives.get(&to.0) != Some(&(true, to.1));
            left.is_taken && left.to.is_none_or(is_gone)
        };
        let over = self.leaving.iter().filter(|(_, left)| gone(left));
        for client in over.map(|(client, _)| client.clone()).collect::<Vec<_>>() {
            self.leaving.remove(&client);
            self.remove(&client);
        }
        for client in self.arriving.keys().cloned().collect::<Vec<_>>() {
            self.look_at_arrival(now_ms, &client, directory, random);
        }
    }

    fn sync(&mut self, disk: &mut Copies, directory: &mut Directory) {
        for (client, number) in core::mem::take(&mut self.journal) {
            match number.filter(|_| self.stores) {
                Some(number) => disk.insert(client, number),
                None => disk.remove(&client),
            };
        }
        let mut letters = Vec::new();
        for (client, arrival) in &mut self.arriving {
            if arrival.is_here && !core::mem::replace(&mut arrival.is_taken, true) {
                directory.settled(client);
                letters.push((arrival.former, client.clone(), arrival.epoch));
            }
        }
        for (former, client, epoch) in letters {
            self.say(former, &client, epoch, What::Taken);
        }
    }

    fn look_at_arrival(
        &mut self,
        now_ms: u64,
        client: &str,
        directory: &mut Directory,
        random: &mut Random,
    ) {
        let lives = &self.lives;
        let Some(arrival) = self.arriving.get_mut(client) else {
            return;
        };
        let life = lives.get(&arrival.former).filter(|(is_up, _)| *is_up);
        let life = life.map(|(_, count)| *count);
        if arrival.life.is_none() && life.is_some() {
            (arrival.life, arrival.until_ms) = (life, now_ms + PATIENCE_MS);
            return self.ask(client);
        }
        let is_due = now_ms >= arrival.until_ms;
        let is_gone = life != arrival.life || life.is_none() && is_due;
        let is_due = is_due && arrival.begins_anew;
        let has_settled = arrival.is_taken && random.one_in(10);
        if !is_gone && !is_due && !has_settled {
            return;
        }
        let (former, epoch, is_here) = (arrival.former, arrival.epoch, arrival.is_here);
        if !is_gone {
            let what = if is_here { What::Done } else { What::Discard };
            self.say(former, client, epoch, what);
        }
        if life.is_none() {
            self.unmet.insert(client.into(), former);
        }
        self.begin_without(client, directory);
        if !is_here {
            self.let_in_who_has_waited(client, directory);
        }
    }
}
