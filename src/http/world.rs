//! All nodes of the cluster: what is asked of each, and put together.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Ask, Cursor, ENTRIES_MAX, Listing, Part, Which};
use super::local::Local;
use super::numbers::Numbers;
use super::reply::Reply;
use super::request::Page;

/// The kind of request between nodes that carries [`Ask`].
pub(super) const ASK: u8 = 0x40;

/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to change who is in the cluster.
const CHANGE_PATIENCE: Duration = Duration::from_secs(40);

/// This node and the others.
pub(super) struct World {
    pub(super) local: Rc<Local>,
}

/// A node that has not answered, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Missing {
    pub(super) node: String,
    pub(super) reason: String,
}

impl Missing {
    fn json(&self) -> Value {
        json!({"node": self.node, "reason": self.reason})
    }

    /// As the field of an answer that is not complete; nothing if it is.
    pub(super) fn all(missing: &[Self]) -> Option<Value> {
        let all: Vec<Value> = missing.iter().map(Self::json).collect();
        (!all.is_empty()).then(|| all.into())
    }
}

impl World {
    /// All nodes that are known, by name.
    pub(super) fn nodes(&self) -> Vec<String> {
        let others = self.local.others().into_iter().map(|link| link.node);
        let mut names: Vec<String> = others.chain([self.local.name.clone()]).collect();
        names.sort_unstable();
        names
    }

    /// Asks one node.
    pub(super) async fn ask(&self, node: &str, ask: &Ask) -> Result<Value, Missing> {
        let missing = |reason: String| Missing {
            node: node.to_owned(),
            reason,
        };
        if *node == self.local.name {
            let answer = self.local.answer(ask).await;
            return answer.map_err(missing);
        }
        let Some(links) = &self.local.links else {
            return Err(missing("it is not in the cluster".to_owned()));
        };
        let body = serde_json::to_vec(ask).map_err(|error| missing(error.to_string()))?;
        let patience = match ask {
            Ask::Join(_) | Ask::Leave | Ask::ForceLeave(_) => CHANGE_PATIENCE,
            _ => PATIENCE,
        };
        let answer = links.call(node, ASK, body, patience).await;
        let answer = answer.map_err(|error| missing(error.to_string()))?;
        serde_json::from_slice(&answer).map_err(|error| missing(error.to_string()))
    }

    /// The nodes that are meant: one that is named, or all.
    pub(super) fn meant(&self, node: Option<&str>) -> Result<Vec<String>, Reply> {
        let nodes = self.nodes();
        match node {
            None => Ok(nodes),
            Some(name) if nodes.iter().any(|other| other == name) => Ok(vec![name.to_owned()]),
            Some(name) => Err(Reply::not_found(&format!("node {name} is not known here"))),
        }
    }

    /// A page of a list, over these nodes.
    pub(super) async fn page(&self, nodes: &[String], which: Which, page: Page) -> Value {
        let mut skip = page.skip();
        let (mut data, mut missing) = (Vec::new(), Vec::new());
        // One more than the page has, to know whether there is another page.
        let wanted = page.limit as usize + 1;
        for node in nodes {
            let mut from = Some(Cursor::default());
            while let Some(at) = from
                && data.len() < wanted
            {
                let most = (wanted - data.len()).min(ENTRIES_MAX as usize) as u32;
                let part = Part {
                    from: at,
                    skip,
                    most,
                };
                match self.part(node, Ask::List(which.clone(), part)).await {
                    Ok(listing) => {
                        skip -= listing.skipped.min(skip);
                        data.extend(listing.entries);
                        from = listing.next;
                    }
                    Err(problem) => {
                        missing.push(problem);
                        break;
                    }
                }
            }
        }
        let has_next = data.len() == wanted;
        data.truncate(page.limit as usize);
        let mut meta = json!({"page": page.page, "limit": page.limit, "hasnext": has_next});
        if let Some(missing) = Missing::all(&missing) {
            meta["missing"] = missing;
        } else if let Some(count) = self.count(nodes, &which).await {
            meta["count"] = count.into();
        }
        json!({"data": data, "meta": meta})
    }

    async fn part(&self, node: &str, ask: Ask) -> Result<Listing, Missing> {
        let answer = self.ask(node, &ask).await?;
        serde_json::from_value(answer).map_err(|error| Missing {
            node: node.to_owned(),
            reason: error.to_string(),
        })
    }

    /// How many entries a list has, where that is known without going through it.
    async fn count(&self, nodes: &[String], which: &Which) -> Option<u64> {
        let names: &[&str] = match which {
            Which::Clients(picked) if picked.pick().is_all() => &["sessions"],
            Which::Clients(picked)
                if picked.connected == Some(true)
                    && picked.like.is_none()
                    && picked.username.is_none() =>
            {
                &["live_connections"]
            }
            Which::Subscriptions(None) => &["subscriptions", "subscriptions/shared"],
            _ => return None,
        };
        let (numbers, missing) = self.numbers(nodes).await;
        let counts = numbers.iter().flat_map(|of_node| {
            let gauges = names.iter().filter_map(|name| of_node.stats.get(*name));
            gauges.map(|gauge| gauge.count)
        });
        missing.is_empty().then(|| counts.sum())
    }

    /// The numbers of these nodes, and which have not told theirs. All are asked at once.
    pub(super) async fn numbers(&self, nodes: &[String]) -> (Vec<Numbers>, Vec<Missing>) {
        let (mut told, mut missing) = (Vec::new(), Vec::new());
        for (node, answer) in self.ask_all(nodes, &Ask::Numbers).await {
            let numbers = answer.and_then(|answer| {
                serde_json::from_value(answer).map_err(|error| Missing {
                    node,
                    reason: error.to_string(),
                })
            });
            match numbers {
                Ok(numbers) => told.push(numbers),
                Err(problem) => missing.push(problem),
            }
        }
        (told, missing)
    }

    /// Asks these nodes at once. The answers are in their order.
    pub(super) async fn ask_all(
        &self,
        nodes: &[String],
        ask: &Ask,
    ) -> Vec<(String, Result<Value, Missing>)> {
        let mut tasks = Vec::new();
        for node in nodes {
            let world = Self {
                local: Rc::clone(&self.local),
            };
            let (name, ask) = (node.clone(), ask.clone());
            let task = tokio::task::spawn_local(async move { world.ask(&name, &ask).await });
            tasks.push((node.clone(), task));
        }
        let mut answers = Vec::new();
        for (node, task) in tasks {
            let answer = task.await.unwrap_or_else(|error| {
                Err(Missing {
                    node: node.clone(),
                    reason: error.to_string(),
                })
            });
            answers.push((node, answer));
        }
        answers
    }
}
