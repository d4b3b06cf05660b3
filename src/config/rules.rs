//! What must hold between settings that are each allowed on their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::bind::Bind;
use super::cluster;
use super::entries::{Entries, LISTENER_DEFAULTS};
use super::origin::{Origin, Problem};
use super::value::Value;

/// Everything that does not hold.
pub(crate) fn check(entries: &Entries) -> Vec<Problem> {
    let mut problems = listeners_without_address(entries);
    problems.extend(no_listener(entries));
    problems.extend(open_to_strangers(entries));
    problems.extend(address_taken_twice(entries));
    problems.extend(shards_and_cpus(entries));
    problems.extend(bursts_without_rate(entries));
    problems.extend(http_open_to_strangers(entries));
    problems.extend(cluster::check(entries));
    problems
}

/// An enabled listener's name, where its address was given, and the address.
struct Opened {
    name: String,
    origin: Origin,
    bind: Bind,
}

/// The listeners that are enabled and have an address.
fn opened(entries: &Entries) -> Vec<Opened> {
    let names = entries.listeners().into_iter();
    names
        .filter_map(|name| {
            let enabled = entries.get(&format!("listeners.tcp.{name}.enabled"))?;
            let bind = entries.get(&format!("listeners.tcp.{name}.bind"))?;
            match (&enabled.value, &bind.value) {
                (Value::Boolean(true), Value::Bind(address)) => Some(Opened {
                    name,
                    origin: bind.origin.clone(),
                    bind: *address,
                }),
                _ => None,
            }
        })
        .collect()
}

fn listeners_without_address(entries: &Entries) -> Vec<Problem> {
    let names = entries.listeners().into_iter();
    names
        .filter(|name| entries.get(&format!("listeners.tcp.{name}.bind")).is_none())
        .map(|name| {
            let fields = LISTENER_DEFAULTS.iter().map(|(field, _)| field);
            let mut origins =
                fields.map(|field| entries.origin(&format!("listeners.tcp.{name}.{field}")));
            let given = origins.find(|origin| *origin != Origin::Default);
            let at = given.unwrap_or(Origin::Default);
            Problem::new(
                at,
                format!("listener {name} has no address: set listeners.tcp.{name}.bind"),
            )
        })
        .collect()
}

fn no_listener(entries: &Entries) -> Option<Problem> {
    let origin = || entries.origin("listeners.tcp.default.enabled");
    opened(entries)
        .is_empty()
        .then(|| Problem::new(origin(), "no listener is enabled: nobody could connect"))
}

/// A version without authentication lets in whoever can reach a listener, so one that
/// others can reach must be wanted in so many words.
fn open_to_strangers(entries: &Entries) -> Vec<Problem> {
    if anonymous_allowed(entries) {
        return Vec::new();
    }
    let reachable = opened(entries)
        .into_iter()
        .filter(|listener| !listener.bind.is_loopback());
    reachable
        .map(|Opened { name, origin, bind }| {
            let key = format!("listeners.tcp.{name}.bind");
            let port = bind.address(false).port();
            Problem::new(
                origin,
                format!(
                    "{key} = {bind} would let in anybody who can reach it: this version has no \
                     authentication.\n  \
                     To let everybody in:     --set {key}={bind} --set allow_anonymous=true\n  \
                     To stay on this machine: --set {key}=127.0.0.1:{port}"
                ),
            )
        })
        .collect()
}

/// The HTTP API has no API keys yet: whoever reaches it may do everything.
fn http_open_to_strangers(entries: &Entries) -> Option<Problem> {
    let key = "dashboard.listeners.http.bind";
    let entry = entries.get(key)?;
    let Value::Bind(bind) = entry.value else {
        return None;
    };
    let port = bind.address(false).port();
    (!bind.is_loopback()).then(|| {
        let text = format!(
            "{key} = {bind}: this version has no API keys, so only loopback addresses are \
             allowed.\n  \
             To stay on this machine: --set {key}=127.0.0.1:{port}\n  \
             From elsewhere: an SSH tunnel, or a proxy that authenticates"
        );
        Problem::new(entry.origin.clone(), text)
    })
}

/// Whether `allow_anonymous = true` was given.
fn anonymous_allowed(entries: &Entries) -> bool {
    entries
        .get("allow_anonymous")
        .is_some_and(|entry| entry.value == Value::Boolean(true))
}

fn address_taken_twice(entries: &Entries) -> Vec<Problem> {
    let mut seen: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let mut problems = Vec::new();
    for listener in opened(entries) {
        let address = listener.bind.address(anonymous_allowed(entries));
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = seen.insert(address, listener.name.clone()) {
            let text = format!(
                "listeners {other} and {} both bind {address}",
                listener.name
            );
            problems.push(Problem::new(listener.origin, text));
        }
    }
    problems
}

/// A burst comes on top of a rate: alone it would limit nothing.
fn bursts_without_rate(entries: &Entries) -> Vec<Problem> {
    let listeners = entries.listeners().into_iter();
    let listeners = listeners.map(|name| format!("listeners.tcp.{name}"));
    let sections: Vec<String> = listeners.chain(["mqtt".to_owned()]).collect();
    let is = |path: &str, text: &str| {
        let entry = entries.get(path);
        entry.is_none_or(|entry| entry.value == Value::Text(text.to_owned()))
    };
    let mut problems = Vec::new();
    for section in &sections {
        for name in ["max_conn", "messages", "bytes"] {
            let rate = format!("{section}.{name}_rate");
            let burst = format!("{section}.{name}_burst");
            if is(&rate, "infinity") && !is(&burst, "0/s") {
                let text = format!("{burst} comes on top of a rate, and there is none: set {rate}");
                problems.push(Problem::new(entries.origin(&burst), text));
            }
        }
    }
    problems
}

fn shards_and_cpus(entries: &Entries) -> Vec<Problem> {
    let list = |path| match entries.get(path).map(|entry| &entry.value) {
        Some(Value::Cpus(cpus)) => Some(cpus),
        _ => None,
    };
    let count = match entries.get("shards.count").map(|entry| &entry.value) {
        Some(Value::Integer(count)) => *count,
        _ => 0,
    };
    let Some(cpus) = list("shards.cpus") else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    if count > cpus.len() as u64 {
        let text = format!(
            "shards.count = {count}, but shards.cpus = {cpus} has {}",
            cpus.len()
        );
        problems.push(Problem::new(entries.origin("shards.count"), text));
    }
    let both = list("shards.control_cpus")
        .map(|control| control.common(cpus))
        .unwrap_or_default();
    if !both.is_empty() {
        let text = format!("CPUs {both} are in shards.control_cpus and in shards.cpus");
        problems.push(Problem::new(entries.origin("shards.control_cpus"), text));
    }
    problems
}
