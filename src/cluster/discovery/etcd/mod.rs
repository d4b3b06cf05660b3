//! Nodes by keys of etcd (v3, by its JSON gateway).
//!
//! Each node writes `<prefix>/<cluster>/nodes/<name@host>` under a lease that it keeps alive, and
//! watches the keys of the others. All is read again now and then, so nothing depends on a watch
//! that says nothing because its connection is dead.

mod answers;
mod lines;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::answers::{Change, Prefix};
use self::lines::Lines;
use super::http::{Ask, Client, Files, Stream};
use super::reports::Reports;
use super::url::Url;
use super::{Found, Own, PAUSE};
use crate::cluster::seed::Seed;

/// The lease is renewed so many times in its life.
const RENEWALS: u32 = 3;

/// `cluster.etcd`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// `server`.
    pub(crate) servers: Vec<Url>,
    /// `prefix`.
    pub(crate) prefix: String,
    /// `node_ttl`.
    pub(crate) ttl: Duration,
    /// `ssl_options`.
    pub(crate) files: Files,
}

/// This node, and what it has at etcd.
struct Session<'a> {
    settings: &'a Settings,
    own: &'a Own,
    prefix: Prefix,
    lease: Option<String>,
    nodes: BTreeMap<String, String>,
}

/// Writes, reads and watches for ever. If a server does not work the next one is tried.
pub(super) async fn run(settings: Settings, own: &Own, mut reports: Reports<impl Fn(&[Found])>) {
    let prefix = format!("{}/{}/nodes/", settings.prefix, own.cluster);
    let mut session = Session {
        settings: &settings,
        own,
        prefix: Prefix::new(&prefix),
        lease: None,
        nodes: BTreeMap::new(),
    };
    let count = settings.servers.len();
    for (url, number) in settings.servers.iter().cycle().zip(1_usize..) {
        let mut client = Client::new(url.clone(), settings.files.clone());
        let Err(error) = session.serve(&mut client, &mut reports).await;
        // Perhaps the next one is not away.
        if number.is_multiple_of(count) {
            reports.failed(&error);
            sleep(PAUSE).await;
        }
    }
}

/// What cannot be.
enum Never {}

impl Session<'_> {
    /// Works with a server until it does not work.
    async fn serve(
        &mut self,
        client: &mut Client,
        reports: &mut Reports<impl Fn(&[Found])>,
    ) -> Result<Never, String> {
        let revision = self.refresh(client).await?;
        reports.found(self.found());
        let mut watch = self.watch(client, revision + 1).await?;
        let mut lines = Lines::default();
        let mut clock = interval(self.settings.ttl / RENEWALS);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.tick().await;
        loop {
            tokio::select! {
                bytes = watch.next() => {
                    let Some(bytes) = bytes? else {
                        return Err(format!("{} has ended the watch", client.url()));
                    };
                    lines.push(&bytes)?;
                    let mut is_changed = false;
                    while let Some(line) = lines.next() {
                        is_changed |= self.take(answers::read_watch(&line)?);
                    }
                    if is_changed {
                        reports.found(self.found());
                    }
                }
                _ = clock.tick() => {
                    self.refresh(client).await?;
                    reports.found(self.found());
                }
            }
        }
    }

    /// Renews what this node has written, and reads everything. Returns the revision.
    async fn refresh(&mut self, client: &mut Client) -> Result<u64, String> {
        // One that cannot be kept alive is not kept.
        let lease = match self.lease.take() {
            None => None,
            Some(lease) => {
                let body = answers::keep_alive(&lease);
                let answer = post(client, "/v3/lease/keepalive", body).await?;
                answers::read_keep_alive(&answer)?.then_some(lease)
            }
        };
        let lease = match lease {
            Some(lease) => lease,
            None => self.grant(client).await?,
        };
        let mut range = self.range(client).await?;
        // Somebody has removed it.
        if !range.pairs.iter().any(|(key, _)| *key == self.own_key()) {
            self.put(client, &lease).await?;
            range = self.range(client).await?;
        }
        self.lease = Some(lease);
        self.nodes = range.pairs.into_iter().collect();
        Ok(range.revision)
    }

    /// Writes this node's key under a new lease: a former life may have left it under another
    /// one.
    async fn grant(&self, client: &mut Client) -> Result<String, String> {
        let body = answers::grant(self.settings.ttl.as_secs());
        let answer = post(client, "/v3/lease/grant", body).await?;
        let lease = answers::read_grant(&answer)?;
        self.put(client, &lease).await?;
        Ok(lease)
    }

    async fn range(&self, client: &mut Client) -> Result<answers::Range, String> {
        let answer = post(client, "/v3/kv/range", self.prefix.range()).await?;
        answers::read_range(&answer)
    }

    async fn put(&self, client: &mut Client, lease: &str) -> Result<(), String> {
        let body = answers::put(&self.own_key(), &self.own.seed, lease);
        post(client, "/v3/kv/put", body).await.map(drop)
    }

    async fn watch(&self, client: &Client, from: u64) -> Result<Stream, String> {
        let ask = ask("/v3/watch", self.prefix.watch(from));
        client.stream(&ask).await
    }

    /// The key of this node.
    fn own_key(&self) -> String {
        format!("{}{}", self.prefix.first, self.own.name)
    }

    /// Takes what has happened. Whether anything did.
    fn take(&mut self, changes: Vec<Change>) -> bool {
        let is_changed = !changes.is_empty();
        for change in changes {
            match change {
                Change::Put(key, value) => drop(self.nodes.insert(key, value)),
                Change::Delete(key) => drop(self.nodes.remove(&key)),
            }
        }
        is_changed
    }

    /// The other nodes. What names none is left alone.
    fn found(&self) -> Vec<Found> {
        let own = self.own_key();
        let others = self.nodes.iter().filter(|(key, _)| **key != own);
        let seeds = others.filter_map(|(key, value)| {
            let name = key.strip_prefix(&self.prefix.first)?;
            let seed = Seed::parse(value).or_else(|_| Seed::parse(name)).ok()?;
            Some(Found::Node(seed))
        });
        seeds.collect()
    }
}

fn ask(path: &str, body: String) -> Ask<'_> {
    Ask {
        method: Method::POST,
        path,
        authorization: None,
        body,
    }
}

/// Asks for something that etcd does.
async fn post(client: &mut Client, path: &str, body: String) -> Result<Vec<u8>, String> {
    let answer = client.ask(&ask(path, body)).await?;
    if answer.status == 200 {
        return Ok(answer.body.to_vec());
    }
    let said = answers::message(&answer.body).unwrap_or_default();
    let (url, status) = (client.url(), answer.status);
    Err(format!("{url} answers {path} with status {status}: {said}"))
}
