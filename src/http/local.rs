//! What this node answers, whoever asks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::wire::Version;
use serde_json::{Map, Value, json};
use shards::operator::{Answer, Client, Held, Listed, MemberOf, Part, Place, Question};
use tokio::time::sleep;

use shards::{CLUSTER_GAUGES, CLUSTER_METRICS, GAUGES, METRICS, rfc3339, sum};

use super::ask::{Ask, Cursor, ENTRIES_MAX, Listing, Which};
use super::desk::{Desk, NoAnswer};
use super::drain::{self, Drains};
use super::numbers::{Gauge, Link, Member, Membership, Numbers, Process, Standing};
use crate::cluster::{Board, Handle};

/// Questions to shards that one answer takes at most, so that it comes in time.
const STEPS_MAX: usize = 16;

/// So long a node that stops waits for what other nodes say of themselves.
const HEARSAY: Duration = Duration::from_millis(300);

/// This node.
pub(super) struct Local {
    pub(super) desk: Rc<Desk>,
    pub(super) name: String,
    /// The names of the listeners, by their place in the settings.
    pub(super) listeners: Vec<String>,
    pub(super) open_files_max: u64,
    /// Other nodes; nothing where there can be none.
    pub(super) board: Option<Arc<Board>>,
    /// The way to them.
    pub(super) links: Option<Handle>,
    pub(super) drains: Drains,
    /// Where clients go if nothing else is said.
    pub(super) server_reference: String,
    /// For how long kept sessions are given to other nodes when this one stops or leaves.
    pub(super) handover: Duration,
    /// The highest value seen of each of [`GAUGES`].
    pub(super) highest: RefCell<[u64; GAUGES.len()]>,
}

impl Local {
    /// Answers what is asked, or says why that cannot be.
    pub(super) async fn answer(&self, ask: &Ask) -> Result<Value, String> {
        match ask {
            Ask::Join(node) => {
                let joined = self.links()?.join(node).await;
                joined.map_err(|error| error.to_string())?;
                Ok(Value::Null)
            }
            Ask::Leave => self.leave().await,
            Ask::ForceLeave(node) => {
                let removed = self.links()?.force_leave(node).await;
                removed.map_err(|error| error.to_string())?;
                Ok(Value::Null)
            }
            ask => {
                let answer = self.of_shards(ask).await;
                answer.map_err(|NoAnswer| "a shard does not answer".to_owned())
            }
        }
    }

    /// Leaves the cluster. Its clients and their sessions stay there.
    async fn leave(&self) -> Result<Value, String> {
        let links = self.links()?;
        links.go(true).await;
        self.drains
            .close_for_now(&self.desk, &self.server_reference);
        drain::send_all_away(&self.desk, self.handover).await;
        drain::hand_all_over(&self.desk, self.handover).await;
        let left = links.leave().await;
        links.go(false).await;
        self.drains.open_again(&self.desk);
        left.map_err(|error| error.to_string())?;
        Ok(Value::Null)
    }

    fn links(&self) -> Result<&Handle, String> {
        self.links.as_ref().ok_or_else(|| {
            "this node has no links to others: its node.name has no host that others could use"
                .to_owned()
        })
    }

    /// What the shards and this thread know.
    async fn of_shards(&self, ask: &Ask) -> Result<Value, NoAnswer> {
        match ask {
            Ask::Join(_) | Ask::Leave | Ask::ForceLeave(_) => Ok(Value::Null),
            Ask::List(which, part) => {
                let listing = self.list(which, *part).await?;
                Ok(serde_json::to_value(listing).unwrap_or_default())
            }
            Ask::Client(client_id) => self.client(client_id).await,
            Ask::Kick(client_id) => {
                let kick = Question::Kick(client_id.as_str().into());
                let shard = self.desk.shard_of(client_id);
                let answer = self.desk.ask(shard, kick).await?;
                Ok((answer == Answer::Kick(true)).into())
            }
            Ask::StartDrain(drain) => {
                let mut drain = drain.clone();
                let own = Some(&self.server_reference).filter(|text| !text.is_empty());
                drain.redirect_to = drain.redirect_to.or_else(|| own.cloned());
                self.drains.start(&self.desk, &drain, self.links.as_ref());
                Ok(self.drains.status(&self.name, &self.desk))
            }
            Ask::StopDrain => Ok(self.drains.stop(&self.desk, self.links.as_ref()).into()),
            Ask::DrainStatus => Ok(self.drains.status(&self.name, &self.desk)),
            Ask::Numbers => Ok(serde_json::to_value(self.numbers()).unwrap_or_default()),
        }
    }

    /// The node stops: its clients go, and then the sessions that are kept for them, to nodes
    /// that stay. Returns at once where there are none.
    pub(super) async fn retire(&self) {
        let Some(links) = self.links.as_ref().filter(|_| self.desk.has_open_nodes()) else {
            return;
        };
        links.go(true).await;
        // Others that are to stop at the same time say so now.
        sleep(HEARSAY).await;
        if !self.desk.has_open_nodes() {
            return;
        }
        self.desk.start_drain(&self.server_reference);
        drain::end_connections(&self.desk).await;
        drain::hand_all_over(&self.desk, self.handover).await;
    }

    /// Looks at the numbers that have a highest value.
    pub(super) fn sample(&self) {
        let stats = self.desk.stats();
        let mut highest = self.highest.borrow_mut();
        for (highest, (_, gauge)) in highest.iter_mut().zip(GAUGES) {
            *highest = (*highest).max(sum(*gauge, &stats));
        }
    }

    async fn client(&self, client_id: &str) -> Result<Value, NoAnswer> {
        let shard = self.desk.shard_of(client_id);
        let look = Question::Client(client_id.into());
        Ok(match self.desk.ask(shard, look).await? {
            Answer::Client(Some(client)) => self.show_client(&client),
            _ => Value::Null,
        })
    }

    /// Goes through the shards as far as one answer may.
    async fn list(&self, which: &Which, part: super::ask::Part) -> Result<Listing, NoAnswer> {
        let most = part.most.min(ENTRIES_MAX) as usize;
        let mut listing = Listing::default();
        let mut at = part.from;
        let end = match which {
            Which::Subscriptions(Some(client_id)) => {
                at.shard = self.desk.shard_of(client_id);
                at.shard + 1
            }
            _ => self.desk.shards(),
        };
        for _ in 0..STEPS_MAX {
            if at.shard >= end || listing.entries.len() >= most {
                break;
            }
            let skip = part.skip - listing.skipped;
            let wanted = Part {
                from: at.place(),
                skip,
                most: (most - listing.entries.len()) as u32,
            };
            let (skipped, next) = match self.passes_over(which, at, skip) {
                Some(all) => (all, None),
                None => {
                    self.step(which, at.shard, wanted, &mut listing.entries)
                        .await?
                }
            };
            listing.skipped += skipped;
            at = match next {
                Some(place) => Cursor::at(at.shard, place),
                None => Cursor::shard(at.shard + 1),
            };
        }
        listing.next = (at.shard < end).then_some(at);
        Ok(listing)
    }

    /// A shard all of whose clients are before the page need not be asked.
    fn passes_over(&self, which: &Which, at: Cursor, skip: u64) -> Option<u64> {
        let Which::Clients(picked) = which else {
            return None;
        };
        if at != Cursor::shard(at.shard) || !picked.pick().is_all() {
            return None;
        }
        let stats = self.desk.stats();
        let sessions = stats.get(usize::from(at.shard))?.sessions.get();
        (sessions > 0 && sessions <= skip).then_some(sessions)
    }

    /// Asks one shard; also says how many it passed over and where to go on.
    async fn step(
        &self,
        which: &Which,
        shard: u16,
        part: Part,
        entries: &mut Vec<Value>,
    ) -> Result<(u64, Option<Place>), NoAnswer> {
        let question = match which {
            Which::Clients(picked) => Question::Clients(part, picked.pick()),
            Which::Subscriptions(None) => Question::Subscriptions(part),
            Which::Subscriptions(Some(client_id)) => {
                Question::SubscriptionsOf(client_id.as_str().into(), part)
            }
            Which::Topics => return self.topics(shard, part, entries).await,
        };
        Ok(match self.desk.ask(shard, question).await? {
            Answer::Clients(listed) => {
                entries.extend(listed.entries.iter().map(|client| self.show_client(client)));
                (listed.skipped, listed.next)
            }
            Answer::Subscriptions(Some(mut listed)) => {
                self.complete(shard, &mut listed).await?;
                let shown = listed.entries.iter().map(|held| self.show_held(held));
                entries.extend(shown);
                (listed.skipped, listed.next)
            }
            _ => (0, None),
        })
    }

    /// The filters of one shard that no shard before it has: each is told once for the node.
    async fn topics(
        &self,
        shard: u16,
        part: Part,
        entries: &mut Vec<Value>,
    ) -> Result<(u64, Option<Place>), NoAnswer> {
        let most = part.skip.saturating_add(part.most.into());
        let all = Part {
            skip: 0,
            most: u32::try_from(most).unwrap_or(u32::MAX),
            ..part
        };
        let Answer::Filters(listed) = self.desk.ask(shard, Question::Filters(all)).await? else {
            return Ok((0, None));
        };
        let mut filters = listed.entries;
        for other in 0..shard {
            let texts = filters.iter().map(|filter| filter.as_str().into());
            let question = Question::HasFilters(texts.collect());
            if let Answer::HasFilters(has) = self.desk.ask(other, question).await? {
                let mut has = has.into_iter();
                filters.retain(|_| !has.next().unwrap_or(false));
            }
        }
        let skipped = part.skip.min(filters.len() as u64);
        let told = filters.iter().skip(skipped as usize);
        entries.extend(told.map(|topic| json!({"topic": topic, "node": self.name})));
        Ok((skipped, listed.next))
    }

    /// Asks the owners of groups what the members have asked for.
    async fn complete(&self, shard: u16, listed: &mut Listed<Held>) -> Result<(), NoAnswer> {
        let shared = listed
            .entries
            .iter_mut()
            .filter(|held| held.group.is_some());
        let mut open: Vec<&mut Held> = shared.collect();
        for owner in 0..self.desk.shards() {
            if open.is_empty() {
                return Ok(());
            }
            let members = open.iter().map(|held| MemberOf {
                shard,
                session: held.session,
                group: held.group.clone().unwrap_or_default(),
                filter: held.filter.clone(),
            });
            let question = Question::Members(members.collect());
            if let Answer::Members(options) = self.desk.ask(owner, question).await? {
                for (held, options) in open.iter_mut().zip(options) {
                    held.options = options;
                }
            }
            open.retain(|held| held.options.is_none());
        }
        Ok(())
    }

    fn show_client(&self, client: &Client) -> Value {
        let mut out = json!({
            "node": self.name,
            "clientid": client.client_id,
            "connected": client.connection.is_some(),
            "expiry_interval": client.expiry_s,
            "is_persistent": client.durable,
            "subscriptions_cnt": client.subscriptions,
            "inflight_cnt": client.inflight,
            "mqueue_len": client.queued,
            "mqueue_dropped": client.dropped,
            "awaiting_rel_cnt": client.awaiting_release,
        });
        if let Some(connected) = &client.connection {
            let name = match connected.version {
                Version::V31 => "MQIsdp",
                Version::V311 | Version::V5 => "MQTT",
            };
            let listener = self.listeners.get(usize::from(connected.listener));
            out["username"] = json!(connected.username);
            out["ip_address"] = connected.ip_address.as_str().into();
            out["port"] = connected.port.into();
            out["listener"] = json!(listener.map(|name| format!("tcp:{name}")));
            out["proto_name"] = name.into();
            out["proto_ver"] = (connected.version as u8).into();
            out["keepalive"] = connected.keep_alive_s.into();
            out["connected_at"] = rfc3339(connected.connected_at_ms).into();
        } else if let Some(at) = client.disconnected_at_ms {
            out["disconnected_at"] = rfc3339(at).into();
        }
        out
    }

    fn show_held(&self, held: &Held) -> Value {
        let topic = match &held.group {
            Some(group) => format!("$share/{group}/{}", held.filter),
            None if held.exclusive => format!("$exclusive/{}", held.filter),
            None => held.filter.clone(),
        };
        let mut out = json!({
            "node": self.name,
            "clientid": held.client_id,
            "topic": topic,
        });
        if let Some(options) = held.options {
            out["qos"] = (options.qos as u8).into();
            out["nl"] = u8::from(options.no_local).into();
            out["rap"] = u8::from(options.retain_as_published).into();
            out["rh"] = (options.retain_handling as u8).into();
        }
        out
    }

    /// What this node says of itself.
    pub(super) fn numbers(&self) -> Numbers {
        self.sample();
        let stats = self.desk.stats();
        let gauges = GAUGES.iter().zip(*self.highest.borrow());
        let gauges = gauges.map(|((name, gauge), max)| {
            let count = sum(*gauge, &stats);
            ((*name).to_owned(), Gauge { count, max })
        });
        let metrics = METRICS.iter();
        let metrics = metrics.map(|(name, metric)| ((*name).to_owned(), sum(*metric, &stats)));
        Numbers {
            node: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.desk.uptime_ms(),
            stats: gauges.collect(),
            metrics: metrics.collect::<BTreeMap<_, _>>(),
            cluster: CLUSTER_METRICS
                .iter()
                .map(|(name, metric)| ((*name).to_owned(), sum(*metric, &stats)))
                .collect(),
            cluster_gauges: CLUSTER_GAUGES
                .iter()
                .map(|(name, metric)| ((*name).to_owned(), sum(*metric, &stats)))
                .collect(),
            process: self.process(),
            standing: self.standing(),
            membership: self.membership(),
            links: self.others(),
        }
    }

    fn process(&self) -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut load = load.split(' ').map(|number| number.parse().unwrap_or(0.0));
        Process {
            memory_bytes: resident.unwrap_or(0_u64) << 10,
            open_files_max: self.open_files_max,
            load: [(); 3].map(|()| load.next().unwrap_or(0.0)),
        }
    }

    fn standing(&self) -> Option<Standing> {
        let own = self.board.as_deref()?.own();
        let lease_left_ms = own.lease_left.map(|left| left.as_millis() as u64);
        Some(Standing {
            incarnation: own.incarnation,
            has_lease: lease_left_ms != Some(0),
            lease_left_ms,
            routes: own.routes,
            log_sequence: own.log.sequence,
            identifiers_owned: own.identifiers.owned,
            identifiers_claimed: own.identifiers.claimed,
            identifiers_kept: own.identifiers.kept,
            claims_queued: own.identifiers.queued,
        })
    }

    fn membership(&self) -> Option<Membership> {
        let status = self.board.as_deref()?.cluster();
        let members = status.members.into_iter().map(|member| Member {
            node: member.name,
            address: member.address,
            role: format!("{:?}", member.role).to_lowercase(),
            state: format!("{:?}", member.state).to_lowercase(),
            voter: member.is_voter,
        });
        Some(Membership {
            version: status.version,
            members: members.collect(),
            term: status.consensus.term,
            leader: status.consensus.leader,
            last_index: status.consensus.last_index,
            applied_index: status.consensus.applied_index,
            failure: status.consensus.failure,
            stays_alone: status.stays_alone,
        })
    }

    /// The other nodes.
    pub(super) fn others(&self) -> Vec<Link> {
        let Some(board) = self.board.as_deref() else {
            return Vec::new();
        };
        let (status, own) = (board.status(), board.own().log);
        let links = status.into_iter().map(|node| Link {
            state: format!("{:?}", node.state).to_lowercase(),
            node: node.name,
            connected: node.is_connected,
            relayed: node.is_relayed,
            via: node.via,
            incarnation: node.incarnation,
            round_trip_us: node.round_trip.map(|it| it.as_micros() as u64),
            silent_ms: node.silence.map(|silence| silence.as_millis() as u64),
            lease_left_ms: node.lease_left.as_millis() as u64,
            routes: node.routes,
            log_incarnation: node.log.incarnation,
            log_sequence: node.log.sequence,
            log_unsent: own.sequence.saturating_sub(node.own_log_sent.sequence),
            queued_bytes: node.queued_bytes,
            sent_bytes: node.sent_bytes,
            received_bytes: node.received_bytes,
            unacknowledged: node.unacknowledged,
            relayed_packets: node.passed.packets,
            relayed_packets_dropped: node.passed.dropped,
        });
        links.collect()
    }
}

/// The fields of an object.
pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
