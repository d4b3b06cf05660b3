//! Which path does what.

use std::rc::Rc;

use serde_json::{Value, json};

use super::ask::{Ask, Drain, Picked, Which};
use super::local::fields;
use super::numbers::Numbers;
use super::reply::{PROMETHEUS, Reply, TEXT};
use super::request::Request;
use super::world::{Missing, World};

/// Every path, and the methods that it takes. A word in braces stands for any.
const PATHS: &[(&str, &[&str])] = &[
    ("status", &["GET"]),
    ("nodes", &["GET"]),
    ("nodes/{node}", &["GET"]),
    ("nodes/{node}/stats", &["GET"]),
    ("nodes/{node}/metrics", &["GET"]),
    ("cluster", &["GET"]),
    ("cluster/topology", &["GET"]),
    ("cluster/leave", &["DELETE"]),
    ("cluster/{node}/join", &["PUT"]),
    ("cluster/{node}/invite", &["PUT"]),
    ("cluster/{node}/force_leave", &["DELETE"]),
    ("stats", &["GET"]),
    ("metrics", &["GET"]),
    ("prometheus/stats", &["GET"]),
    ("clients", &["GET"]),
    ("clients/{clientid}", &["GET", "DELETE"]),
    ("clients/{clientid}/subscriptions", &["GET"]),
    ("subscriptions", &["GET"]),
    ("topics", &["GET"]),
    ("load_rebalance/status", &["GET"]),
    ("load_rebalance/global_status", &["GET"]),
    ("load_rebalance/availability_check", &["GET"]),
    ("load_rebalance/{node}/evacuation/start", &["POST"]),
    ("load_rebalance/{node}/evacuation/stop", &["POST"]),
];

/// Answers requests.
pub(super) struct Paths {
    pub(super) world: World,
    /// `cluster.name`.
    pub(super) cluster: String,
}

impl Paths {
    /// Answers a request.
    pub(super) async fn answer(self: Rc<Self>, request: &Request) -> Reply {
        let answered = match check(request) {
            Ok(()) => self.route(request).await,
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(|refusal| refusal)
    }

    async fn route(&self, request: &Request) -> Result<Reply, Reply> {
        let words: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (&*request.method, &*words) {
            (_, ["status"]) => self.status(request),
            (_, ["nodes"]) => self.nodes(request).await,
            (_, ["nodes", node]) => self.node(request, node, Numbers::node).await,
            (_, ["nodes", node, "stats"]) => {
                let stats = |numbers: &Numbers| numbers.stats().into();
                self.node(request, node, stats).await
            }
            (_, ["nodes", node, "metrics"]) => {
                let metrics = |numbers: &Numbers| numbers.metrics().into();
                self.node(request, node, metrics).await
            }
            (_, ["cluster"]) => {
                request.allow(&[])?;
                let name = &self.world.local.name;
                let nodes = self.world.nodes();
                let answer = json!({"name": self.cluster, "self": name, "nodes": nodes});
                Ok(Reply::json(&answer))
            }
            (_, ["cluster", "leave"]) => self.change(None, Ask::Leave).await,
            (_, ["cluster", node, "join"]) => {
                self.change(None, Ask::Join((*node).to_owned())).await
            }
            (_, ["cluster", node, "invite"]) => {
                let own = self.world.local.name.clone();
                self.change(Some(node), Ask::Join(own)).await
            }
            (_, ["cluster", node, "force_leave"]) => {
                self.change(None, Ask::ForceLeave((*node).to_owned())).await
            }
            (_, ["cluster", "topology"]) => self.topology(request).await,
            (_, ["stats"]) => self.of_all(request, |it| it.stats().into()).await,
            (_, ["metrics"]) => self.of_all(request, |it| it.metrics().into()).await,
            (_, ["prometheus", "stats"]) => {
                request.allow(&["mode"])?;
                if !matches!(request.value("mode"), None | Some("node")) {
                    let text = "mode: this version has node only: scrape each node";
                    return Err(Reply::bad_request(text));
                }
                let text = self.world.local.numbers().prometheus();
                Ok(Reply::text(PROMETHEUS, text))
            }
            (_, ["clients"]) => self.clients(request).await,
            ("DELETE", ["clients", client_id]) => self.kick(client_id).await,
            (_, ["clients", client_id]) => self.client(request, client_id).await,
            (_, ["clients", client_id, "subscriptions"]) => {
                self.subscriptions_of(request, client_id).await
            }
            (_, ["subscriptions"]) => self.subscriptions(request).await,
            (_, ["load_rebalance", words @ ..]) => self.drain(request, words).await,
            (_, ["topics"]) => self.list(request, &[], Which::Topics).await,
            _ => Err(no_path()),
        }
    }

    /// Says that the node serves: for load balancers.
    fn status(&self, request: &Request) -> Result<Reply, Reply> {
        request.allow(&["format"])?;
        let name = &self.world.local.name;
        match request.value("format") {
            None | Some("text") => {
                let text = format!("Node {name} is started\nshardmq is running\n");
                Ok(Reply::text(TEXT, text))
            }
            Some("json") => Ok(Reply::json(&json!({
                "node_name": name,
                "rel_vsn": env!("CARGO_PKG_VERSION"),
                "broker_status": "started",
                "app_status": "running",
                "edition": "ShardMQ",
            }))),
            Some(_) => Err(Reply::bad_request("format is text or json")),
        }
    }

    async fn nodes(&self, request: &Request) -> Result<Reply, Reply> {
        request.allow(&[])?;
        let (told, missing) = self.world.numbers(&self.world.nodes()).await;
        let mut nodes: Vec<Value> = told.iter().map(Numbers::node).collect();
        let stopped =
            |it: &Missing| json!({"node": it.node, "node_status": "stopped", "reason": it.reason});
        nodes.extend(missing.iter().map(stopped));
        Ok(Reply::json(&nodes.into()))
    }

    /// Something of the numbers of one node.
    async fn node(
        &self,
        request: &Request,
        node: &str,
        show: fn(&Numbers) -> Value,
    ) -> Result<Reply, Reply> {
        request.allow(&[])?;
        let meant = self.world.meant(Some(node))?;
        match self.world.numbers(&meant).await {
            (told, _) if !told.is_empty() => Ok(Reply::json(&show(&told[0]))),
            (_, missing) => Err(unanswered(&missing)),
        }
    }

    /// Something of the numbers of all nodes: of each, or summed up.
    async fn of_all(&self, request: &Request, show: fn(&Numbers) -> Value) -> Result<Reply, Reply> {
        request.allow(&["aggregate"])?;
        let (told, missing) = self.world.numbers(&self.world.nodes()).await;
        let missing = Missing::all(&missing);
        if request.boolean("aggregate")? {
            let mut sum = Numbers::default();
            told.iter().for_each(|numbers| sum.add(numbers));
            let mut shown = show(&sum);
            if let Some(missing) = missing {
                shown["missing"] = missing;
            }
            return Ok(Reply::json(&shown));
        }
        let each = told.iter().map(|numbers| {
            let mut shown = show(numbers);
            shown["node"] = numbers.node.as_str().into();
            shown
        });
        let mut all: Vec<Value> = each.collect();
        if let Some(Value::Array(missing)) = missing {
            all.extend(missing);
        }
        Ok(Reply::json(&all.into()))
    }

    /// Has a node, by default this one, change who is in the cluster.
    async fn change(&self, node: Option<&str>, ask: Ask) -> Result<Reply, Reply> {
        let node = node.unwrap_or(&self.world.local.name);
        match self.world.ask(node, &ask).await {
            Ok(_) => Ok(Reply::done()),
            Err(problem) => Err(Reply::bad_request(&problem.reason)),
        }
    }

    /// Every node with its links to the others.
    async fn topology(&self, request: &Request) -> Result<Reply, Reply> {
        request.allow(&[])?;
        let (told, missing) = self.world.numbers(&self.world.nodes()).await;
        let told = told.iter().map(|numbers| {
            json!({
                "node": numbers.node,
                "role": numbers.role(),
                "standing": numbers.standing,
                "moving": numbers.cluster_gauges,
                "membership": numbers.membership,
                "links": numbers.links,
            })
        });
        let missing = missing
            .iter()
            .map(|it| json!({"node": it.node, "reason": it.reason}));
        let all: Vec<Value> = told.chain(missing).collect();
        Ok(Reply::json(&all.into()))
    }

    async fn clients(&self, request: &Request) -> Result<Reply, Reply> {
        let connected = match request.value("conn_state") {
            None => None,
            Some("connected") => Some(true),
            Some("disconnected") => Some(false),
            Some(_) => {
                let text = "conn_state is connected or disconnected";
                return Err(Reply::bad_request(text));
            }
        };
        let known = ["conn_state", "like_clientid", "username", "clientid"];
        if let Some(client_id) = request.value("clientid") {
            return self.clients_named(request, &known, client_id).await;
        }
        let picked = Picked {
            connected,
            like: request.value("like_clientid").map(str::to_owned),
            username: request.value("username").map(str::to_owned),
        };
        self.list(request, &known, Which::Clients(picked)).await
    }

    /// A list with the one client that has a name.
    async fn clients_named(
        &self,
        request: &Request,
        known: &[&str],
        client_id: &str,
    ) -> Result<Reply, Reply> {
        request.allow(&[&["page", "limit", "node"], known].concat())?;
        let page = request.page()?;
        let nodes = self.world.meant(request.value("node"))?;
        let (found, missing) = self.find(&nodes, client_id).await;
        let has_state = |client: &Value| match request.value("conn_state") {
            None => true,
            Some(state) => (client["connected"] == true) == (state == "connected"),
        };
        let has_name = |client: &Value| match request.value("username") {
            None => true,
            Some(name) => client["username"] == name,
        };
        let found = found.into_iter().filter(has_state).filter(has_name);
        let found: Vec<Value> = found.filter(|_| page.page == 1).collect();
        let mut meta = json!({"page": page.page, "limit": page.limit, "hasnext": false});
        match Missing::all(&missing) {
            Some(missing) => meta["missing"] = missing,
            None => meta["count"] = found.len().into(),
        }
        Ok(Reply::json(&json!({"data": found, "meta": meta})))
    }

    /// A client on these nodes: where it is connected, else where its session is; and which
    /// nodes have not answered.
    async fn find(&self, nodes: &[String], client_id: &str) -> (Option<Value>, Vec<Missing>) {
        let ask = Ask::Client(client_id.to_owned());
        let (mut found, mut missing) = (None::<Value>, Vec::new());
        for (_, answer) in self.world.ask_all(nodes, &ask).await {
            match answer {
                Ok(client) if client.is_object() => {
                    if found.is_none() || client["connected"] == true {
                        found = Some(client);
                    }
                }
                Ok(_) => {}
                Err(problem) => missing.push(problem),
            }
        }
        (found, missing)
    }

    async fn client(&self, request: &Request, client_id: &str) -> Result<Reply, Reply> {
        request.allow(&[])?;
        match self.find(&self.world.nodes(), client_id).await {
            (Some(client), _) => Ok(Reply::json(&client)),
            (None, missing) => Err(no_client(&missing)),
        }
    }

    async fn kick(&self, client_id: &str) -> Result<Reply, Reply> {
        let ask = Ask::Kick(client_id.to_owned());
        let (mut kicked, mut missing) = (false, Vec::new());
        for (_, answer) in self.world.ask_all(&self.world.nodes(), &ask).await {
            match answer {
                Ok(answer) => kicked |= answer == true,
                Err(problem) => missing.push(problem),
            }
        }
        match kicked {
            true => Ok(Reply::done()),
            false => Err(no_client(&missing)),
        }
    }

    async fn subscriptions_of(&self, request: &Request, client_id: &str) -> Result<Reply, Reply> {
        request.allow(&["page", "limit"])?;
        let (client, missing) = self.find(&self.world.nodes(), client_id).await;
        let client = fields(client.ok_or_else(|| no_client(&missing))?);
        let node = client.get("node").and_then(Value::as_str);
        let nodes = [node.unwrap_or_default().to_owned()];
        let which = Which::Subscriptions(Some(client_id.to_owned()));
        let page = self.world.page(&nodes, which, request.page()?).await;
        match request.query.is_empty() {
            // As in EMQX: just the list, if that is all of it.
            true if page["meta"]["hasnext"] == false => Ok(Reply::json(&page["data"])),
            _ => Ok(Reply::json(&page)),
        }
    }

    async fn subscriptions(&self, request: &Request) -> Result<Reply, Reply> {
        let client_id = request.value("clientid").map(str::to_owned);
        let which = Which::Subscriptions(client_id);
        self.list(request, &["clientid"], which).await
    }

    /// Emptying nodes.
    async fn drain(&self, request: &Request, words: &[&str]) -> Result<Reply, Reply> {
        request.allow(&[])?;
        let own = || [self.world.local.name.clone()];
        let (nodes, ask) = match words {
            ["status" | "availability_check"] => (own().to_vec(), Ask::DrainStatus),
            ["global_status"] => (self.world.nodes(), Ask::DrainStatus),
            [node, "evacuation", "start"] => {
                let drain = Drain::parse(&request.body).map_err(|it| Reply::bad_request(&it))?;
                (self.world.meant(Some(node))?, Ask::StartDrain(drain))
            }
            [node, "evacuation", "stop"] => (self.world.meant(Some(node))?, Ask::StopDrain),
            _ => return Err(no_path()),
        };
        let (mut told, mut missing) = (Vec::new(), Vec::new());
        for (_, answer) in self.world.ask_all(&nodes, &ask).await {
            match answer {
                Ok(answer) => told.push(answer),
                Err(problem) => missing.push(problem),
            }
        }
        if words == ["global_status"] {
            told.retain(|status| status["status"] == "enabled");
            let mut all = json!({"evacuations": told});
            if let Some(missing) = Missing::all(&missing) {
                all["missing"] = missing;
            }
            return Ok(Reply::json(&all));
        }
        match (words, told.first()) {
            (_, None) => Err(unanswered(&missing)),
            (["availability_check"], Some(status)) if status["status"] == "enabled" => {
                Err(Reply::unavailable("the node is being emptied"))
            }
            ([_, _, "stop"], Some(was_running)) if *was_running == false => {
                Err(Reply::bad_request("the node is not being emptied"))
            }
            ([_, _, "stop"] | ["availability_check"], _) => Ok(Reply::json(&json!({}))),
            (_, Some(status)) => Ok(Reply::json(status)),
        }
    }

    async fn list(
        &self,
        request: &Request,
        filters: &[&str],
        which: Which,
    ) -> Result<Reply, Reply> {
        request.allow(&[&["page", "limit", "node"], filters].concat())?;
        let nodes = self.world.meant(request.value("node"))?;
        let page = self.world.page(&nodes, which, request.page()?).await;
        Ok(Reply::json(&page))
    }
}

/// Refuses what no path does.
fn check(request: &Request) -> Result<(), Reply> {
    let methods = PATHS.iter().find(|(path, _)| is(path, &request.path));
    let (_, methods) = methods.ok_or_else(no_path)?;
    match methods.contains(&&*request.method) {
        true => Ok(()),
        false => Err(Reply::error(
            405,
            "METHOD_NOT_ALLOWED",
            &format!("this path takes {}", methods.join(", ")),
        )),
    }
}

fn is(path: &str, words: &[String]) -> bool {
    path.split('/').count() == words.len()
        && path
            .split('/')
            .zip(words)
            .all(|(pattern, word)| pattern.starts_with('{') || pattern == word)
}

fn no_path() -> Reply {
    Reply::not_found("there is no such path")
}

/// No node has the client, as far as they have answered.
fn no_client(missing: &[Missing]) -> Reply {
    match missing {
        [] => Reply::no_client(),
        missing => unanswered(missing),
    }
}

fn unanswered(missing: &[Missing]) -> Reply {
    let each = missing
        .iter()
        .map(|it| format!("node {} has not answered: {}", it.node, it.reason));
    let all: Vec<String> = each.collect();
    Reply::unavailable(&all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(method: &str, target: &str) -> u16 {
        let request = Request::parse(method, target).unwrap();
        check(&request).map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn paths_and_methods_are_checked() {
        for (method, target, status) in [
            ("GET", "/api/v5/status", 200),
            ("GET", "/status", 200),
            ("POST", "/status", 405),
            ("GET", "/api/v5/clients/any%2Fname", 200),
            ("DELETE", "/api/v5/clients/any%2Fname", 200),
            ("DELETE", "/api/v5/clients", 405),
            ("GET", "/api/v5/clients/a/b", 404),
            ("GET", "/api/v5/clients/status/subscriptions", 200),
            ("GET", "/", 404),
            ("GET", "/api/v5", 404),
            ("GET", "/api/v6/status", 404),
            ("BREW", "/api/v5/nodes", 405),
        ] {
            assert_eq!(status_of(method, target), status, "{method} {target}");
        }
    }

    #[test]
    fn a_client_that_is_not_found_may_be_where_nobody_answered() {
        assert_eq!(no_client(&[]).status, 404);
        let missing = [Missing {
            node: "b@h".to_owned(),
            reason: "it does not answer in time".to_owned(),
        }];
        let reply = no_client(&missing);
        assert_eq!(reply.status, 503);
        assert!(reply.body.contains("b@h"), "{reply:?}");
    }
}
