//! Several nodes together.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Broker, Client};
use crate::ctl::{ctl, ctl_at};
use crate::exchange::{PATIENCE, SETUP, get, request, wait_until};

/// Brokers that know each other.
fn cluster(count: u8) -> Vec<Broker> {
    let sockets: Vec<UdpSocket> = (1..=count)
        .map(|node| UdpSocket::bind((format!("127.0.0.{node}"), 0)).unwrap())
        .collect();
    let names = sockets.iter().map(|socket| socket.local_addr().unwrap());
    let names: Vec<String> = names.map(|address| format!("node@{address}")).collect();
    drop(sockets);
    let seeds = names.join(",");
    let start = |name: &String| {
        SETUP.broker_with(&[
            ("node.name", name),
            ("cluster.discovery_strategy", "static"),
            ("cluster.static.seeds", &seeds),
        ])
    };
    let brokers: Vec<Broker> = names.iter().map(start).collect();
    for broker in &brokers {
        wait_until(broker, "/nodes", |nodes| {
            let running = |node: &Value| node["node_status"] == "running";
            nodes
                .as_array()
                .unwrap()
                .iter()
                .filter(|it| running(it))
                .count()
                == brokers.len()
        });
    }
    // Nobody is let in before enough nodes know each other.
    for broker in &brokers {
        drop(connected(broker, "probe"));
    }
    wait_until(&brokers[0], "/clients", |list| {
        list["data"] == serde_json::json!([])
    });
    brokers
}

fn names(list: &Value) -> Vec<&str> {
    let entries = list["data"].as_array().unwrap();
    let mut names: Vec<&str> = entries
        .iter()
        .map(|entry| entry["clientid"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn every_node_shows_the_clients_of_all_and_ends_them() {
    let brokers = cluster(3);
    let mut clients: Vec<_> = brokers
        .iter()
        .zip(["a", "b", "c"])
        .map(|(broker, name)| broker.client(name))
        .collect();
    clients[2].subscribe("of/c", 1);
    for broker in &brokers {
        let list = get(broker, "/clients");
        assert_eq!(names(&list), ["a", "b", "c"]);
        assert_eq!(list["meta"]["count"], 3);
        assert_eq!(get(broker, "/clients/c")["connected"], true);
        assert_eq!(get(broker, "/clients/c/subscriptions")[0]["topic"], "of/c");
        assert_eq!(get(broker, "/subscriptions")["data"][0]["clientid"], "c");
        assert_eq!(get(broker, "/topics")["data"][0]["topic"], "of/c");
        let stats = get(broker, "/stats?aggregate=true");
        assert_eq!(stats["live_connections.count"], 3);
        let mut pages: Vec<Value> = Vec::new();
        for page in 1..=3 {
            let list = get(broker, &format!("/clients?limit=1&page={page}"));
            assert_eq!(list["meta"]["hasnext"], page < 3);
            pages.push(list["data"][0]["clientid"].clone());
        }
        pages.sort_by_key(ToString::to_string);
        assert_eq!(pages, ["a", "b", "c"]);
    }
    let node = get(&brokers[0], "/clients/c")["node"].clone();
    let of_node = format!("/clients?node={}", node.as_str().unwrap());
    assert_eq!(names(&get(&brokers[0], &of_node)), ["c"]);
    assert_eq!(request(&brokers[0], "DELETE", "/clients/c").status, 204);
    clients[2].expect_refusal(0x98);
    // A link may be suspect for a moment on a machine that has much to do.
    wait_until(&brokers[0], "/cluster/topology", |nodes| {
        let links = nodes.as_array().unwrap().iter().map(|node| &node["links"]);
        let links = links.flat_map(|links| links.as_array().into_iter().flatten());
        links.filter(|link| link["state"] == "alive").count() == 6
    });
    let status = ctl(&brokers[0], &["cluster", "status"]);
    assert_eq!(status.matches("  alive  ").count(), 6, "{status}");
    // Three leases, and of six links for how long they were silent and the round trip.
    assert_eq!(status.matches(" ms ").count(), 3 + 6 * 2, "{status}");
    let text = request(&brokers[0], "GET", "/prometheus/stats").body;
    assert!(text.contains("\nemqx_cluster_nodes_stopped 0\n"), "{text}");
    assert!(
        text.contains("shardmq_link_round_trip_seconds{node="),
        "{text}"
    );
}

#[test]
fn a_node_that_does_not_answer_is_named() {
    let brokers = cluster(2);
    let _client = brokers[0].client("here");
    let pid = brokers[1].pid().to_string();
    let signal = |signal: &str| {
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success());
    };
    signal("-STOP");
    let list = get(&brokers[0], "/clients");
    assert_eq!(names(&list), ["here"]);
    assert_eq!(
        list["meta"]["missing"].as_array().unwrap().len(),
        1,
        "{list}"
    );
    assert!(list["meta"]["count"].is_null());
    // It may be there.
    assert_eq!(request(&brokers[0], "GET", "/clients/other").status, 503);
    assert_eq!(get(&brokers[0], "/clients/here")["connected"], true);
    let nodes = get(&brokers[0], "/nodes");
    let stopped = nodes
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["node_status"] == "stopped");
    assert!(stopped.unwrap()["reason"].is_string(), "{nodes}");
    let status = ctl(&brokers[0], &["cluster", "status"]);
    assert!(status.contains("has not answered"), "{status}");
    signal("-CONT");
}

#[test]
fn a_cluster_to_try_is_started_with_one_command_and_stopped_with_ctrl_c() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dev-cluster-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let cluster_port = udp.local_addr().unwrap().port().to_string();
    drop((tcp, udp));
    let output = folder.join("output");
    let mut nodes = Command::new(env!("CARGO_BIN_EXE_shardmq"))
        .args([
            "dev-cluster",
            "2",
            "--port",
            &port,
            "--cluster-port",
            &cluster_port,
        ])
        .arg("--data-dir")
        .arg(&folder)
        .current_dir(&folder)
        .stdout(File::create(&output).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let status = ctl_at(&folder.join("node1"), &["cluster", "status"]);
        if status.1.matches(" running ").count() == 2 {
            break;
        }
        let said = || fs::read_to_string(&output).unwrap();
        assert!(Instant::now() < end, "{status:?}\n{}", said());
        assert!(nodes.try_wait().unwrap().is_none(), "{}", said());
        thread::sleep(Duration::from_millis(50));
    }
    let pid = nodes.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(nodes.wait().unwrap().success());
    let said = fs::read_to_string(&output).unwrap();
    for number in 1..=2 {
        assert!(said.contains(&format!("node{number} | ShardMQ ")), "{said}");
        assert!(said.lines().any(|line| {
            line.starts_with(&format!("node{number} | ")) && line.contains("stopped: ")
        }));
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_node_joins_and_leaves_and_one_that_is_gone_is_removed() {
    let sockets = [1, 2, 3].map(|node| UdpSocket::bind((format!("127.0.0.{node}"), 0)).unwrap());
    let addresses = sockets.map(|socket| socket.local_addr().unwrap().to_string());
    let brokers = addresses.each_ref().map(|address| {
        let name = format!("node@{address}");
        SETUP.broker_with(&[("node.name", &name), ("cluster.bind", address)])
    });
    let first = format!("node@{}", addresses[0]);
    let members = |broker: &Broker, count: usize| {
        wait_until(broker, "/cluster/topology", |nodes| {
            let all = nodes.as_array().unwrap();
            let own = all.iter().find(|node| node["membership"].is_object());
            own.is_some_and(|node| {
                node["membership"]["members"].as_array().map(Vec::len) == Some(count)
            })
        })
    };
    for broker in &brokers {
        members(broker, 1);
    }
    let nowhere = ctl_at(&brokers[1].data_dir(), &["cluster", "join", "no name"]);
    assert_eq!(nowhere.0, Some(1), "{nowhere:?}");
    join(&brokers[1], &first);
    members(&brokers[0], 2);
    let again = ctl_at(&brokers[1].data_dir(), &["cluster", "join", &first]);
    assert_eq!(again.0, Some(1), "{again:?}");
    let mut client = connected(&brokers[1], "goes-elsewhere");
    assert_eq!(ctl(&brokers[1], &["cluster", "leave"]), "ok\n");
    client.expect_refusal(0x9C);
    drop(connected(&brokers[1], "comes-to-one-alone"));
    members(&brokers[0], 1);
    for broker in &brokers[1..] {
        join(broker, &first);
    }
    members(&brokers[0], 3);
    let status = ctl(&brokers[0], &["cluster", "status"]);
    assert!(status.contains("led by node@127.0.0."), "{status}");
    let own = request(&brokers[0], "DELETE", "/cluster/node@127.0.0.1/force_leave");
    assert_eq!(own.status, 400, "{own:?}");
    let [first, second, mut third] = brokers;
    third.kill();
    let removed = ctl(&first, &["cluster", "force-leave", "node@127.0.0.3"]);
    assert_eq!(removed, "ok\n");
    members(&first, 2);
    members(&second, 2);
}

/// A client of a broker, once that lets somebody in.
fn connected(broker: &Broker, client_id: &str) -> Client {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut client = broker.connect(client_id).send();
        if client.expect_connack().code == 0 {
            return client;
        }
        assert!(
            Instant::now() < end,
            "nobody is let in:\n{}",
            broker.output()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Has a broker join the cluster of a node, also if that has another change under way.
fn join(broker: &Broker, node: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, out, errors) = ctl_at(&broker.data_dir(), &["cluster", "join", node]);
        if code == Some(0) {
            assert_eq!(out, "ok\n");
            return;
        }
        assert!(
            errors.contains("try again") && Instant::now() < end,
            "{errors}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}
