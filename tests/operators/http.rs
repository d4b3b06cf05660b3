//! The HTTP API of one node.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::common::broker::patience;
use crate::exchange::{
    PATIENCE, SETUP, exchange, get, open, parse, post, request, request_tcp, wait_until,
};

/// The property Server Reference.
const SERVER_REFERENCE: u8 = 0x1c;

#[test]
fn the_node_says_what_it_is() {
    let broker = SETUP.broker();
    let text = request(&broker, "GET", "/status");
    assert_eq!(
        text.body,
        "Node shardmq@127.0.0.1 is started\nshardmq is running\n"
    );
    let status = get(&broker, "/status?format=json");
    assert_eq!(status["node_name"], "shardmq@127.0.0.1");
    let _client = broker.client("client");
    let nodes = get(&broker, "/nodes");
    assert_eq!(nodes[0]["node_status"], "running");
    assert_eq!(nodes[0]["live_connections"], 1);
    let node = get(&broker, "/nodes/shardmq@127.0.0.1");
    assert_eq!(node["version"], nodes[0]["version"]);
    let cluster = get(&broker, "/cluster");
    assert_eq!(cluster["nodes"], json!(["shardmq@127.0.0.1"]));
    assert_eq!(get(&broker, "/cluster/topology")[0]["links"], json!([]));
    assert_eq!(request(&broker, "GET", "/nodes/other@h").status, 404);
}

#[test]
fn numbers_are_emqx_s_and_count() {
    let broker = SETUP.broker();
    let mut client = broker.client("client");
    client.subscribe("a", 0);
    broker.client("publisher").publish("a", "x", 1);
    client.expect_message("a", "x", 0);
    let metrics = get(&broker, "/metrics?aggregate=true");
    assert_eq!(metrics["messages.qos1.received"], 1);
    assert_eq!(get(&broker, "/metrics")[0]["messages.qos0.sent"], 1);
    wait_until(&broker, "/stats?aggregate=true", |stats| {
        stats["subscriptions.count"] == 1 && stats["connections.max"].as_u64() >= Some(1)
    });
    let text = request(&broker, "GET", "/prometheus/stats");
    assert!(text.head.contains("text/plain; version=0.0.4"), "{text:?}");
    assert!(
        text.body.contains("\nemqx_messages_qos1_received 1\n"),
        "{text:?}"
    );
}

#[test]
fn clients_are_listed_page_by_page_shown_and_kicked() {
    let broker = SETUP.broker();
    let mut clients: Vec<_> = (0..25)
        .map(|n| broker.client(&format!("client/{n}")))
        .collect();
    let mut names = std::collections::BTreeSet::new();
    for page in 1..=3 {
        let list = get(&broker, &format!("/clients?page={page}&limit=10"));
        assert_eq!(list["meta"]["hasnext"], page < 3, "{list}");
        assert_eq!(list["meta"]["count"], 25);
        for client in list["data"].as_array().unwrap() {
            names.insert(client["clientid"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(names.len(), 25);
    assert_eq!(get(&broker, "/clients?page=9&limit=10")["data"], json!([]));
    let like = get(&broker, "/clients?like_clientid=%2F1");
    assert_eq!(like["data"].as_array().unwrap().len(), 11);

    let client = get(&broker, "/clients/client%2F7");
    assert_eq!(client["connected"], true);
    assert_eq!(
        (&client["proto_ver"], &client["ip_address"]),
        (&json!(5), &json!("127.0.0.1"))
    );
    assert_eq!(client["listener"], "tcp:default");
    assert_eq!(
        request(&broker, "DELETE", "/clients/client%2F7").status,
        204
    );
    clients[7].expect_refusal(0x98);
    let gone = request(&broker, "GET", "/clients/client%2F7");
    assert_eq!(
        (gone.status, &gone.json()["code"]),
        (404, &json!("CLIENTID_NOT_FOUND"))
    );
    assert_eq!(
        request(&broker, "DELETE", "/clients/client%2F7").status,
        404
    );
    clients[8].expect_silence_until_pong();
}

#[test]
fn a_session_whose_client_is_away_is_shown_and_ended() {
    let broker = SETUP.broker();
    let connect = || broker.connect("client").persistent();
    connect().open().0.disconnect();
    let path = "/clients?conn_state=disconnected";
    let away = wait_until(&broker, path, |list| list["data"][0].is_object());
    assert_eq!(away["data"][0]["clientid"], "client");
    assert!(away["data"][0]["disconnected_at"].is_string(), "{away}");
    assert_eq!(
        get(&broker, "/clients?conn_state=connected")["data"],
        json!([])
    );
    assert_eq!(request(&broker, "DELETE", "/clients/client").status, 204);
    assert_eq!(get(&broker, "/clients")["data"], json!([]));
}

#[test]
fn subscriptions_and_topics_are_listed_with_their_options() {
    let broker = SETUP.broker();
    let mut clients = ["one", "two", "three", "four"].map(|name| broker.client(name));
    for client in &mut clients {
        client.subscribe("same/+", 1);
        client.subscribe("$share/group/shared", 2);
    }
    clients[0].subscribe("own", 2);
    let list = get(&broker, "/subscriptions");
    let list = list["data"].as_array().unwrap();
    assert_eq!(list.len(), 9);
    for entry in list {
        let qos = match entry["topic"].as_str().unwrap() {
            "same/+" => 1,
            "$share/group/shared" | "own" => 2,
            other => panic!("{other}"),
        };
        assert_eq!(entry["qos"], qos, "{entry}");
    }
    let own = get(&broker, "/clients/one/subscriptions");
    assert_eq!(own.as_array().unwrap().len(), 3);
    assert_eq!(
        request(&broker, "GET", "/clients/none/subscriptions").status,
        404
    );
    let topics = get(&broker, "/topics");
    let mut topics: Vec<&str> = topics["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["topic"].as_str().unwrap())
        .collect();
    topics.sort_unstable();
    // Each once, although both shards have subscribers.
    assert_eq!(topics, ["own", "same/+", "shared"]);
    assert_eq!(
        get(&broker, "/topics?limit=1&page=3")["meta"]["hasnext"],
        false
    );
    assert_eq!(
        get(&broker, "/topics?limit=1&page=2")["meta"]["hasnext"],
        true
    );
}

#[test]
fn what_is_not_understood_is_refused_and_disturbs_nobody() {
    let broker = SETUP.broker();
    for (path, status) in [
        ("/nothing", 404),
        ("/clients?page=0", 400),
        ("/clients?limit=10001", 400),
        ("/clients?like_username=x", 400),
        ("/clients/%ff", 400),
        ("/prometheus/stats?mode=all_nodes_aggregated", 400),
    ] {
        let reply = request(&broker, "GET", path);
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.json()["message"].is_string(), "{reply:?}");
    }
    assert_eq!(request(&broker, "POST", "/clients").status, 405);
    let garbage: [&[u8]; 4] = [
        b"\x00\xff\x10\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01",
        b"\r\n",
    ];
    for bytes in garbage {
        let stream = open(&broker);
        _ = (&stream).write_all(bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = exchange(stream, b"");
        assert!(
            answer.is_empty() || parse(&answer).status == 400,
            "{answer}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let answer = exchange(open(&broker), long.as_bytes());
    assert!(
        answer.is_empty() || [414, 431].contains(&parse(&answer).status),
        "{answer}"
    );
    let length = "POST /api/v5/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let large = [length.as_bytes(), &vec![b'x'; 1_000_000]].concat();
    assert_eq!(parse(&exchange(open(&broker), &large)).status, 413);
    broker.client("client").expect_silence_until_pong();
    assert_eq!(request(&broker, "GET", "/status").status, 200);
}

#[test]
fn one_connection_takes_several_requests() {
    let broker = SETUP.broker();
    let first = "GET /api/v5/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(open(&broker), [first, first, last].concat().as_bytes());
    assert_eq!(answer.matches("shardmq is running").count(), 3, "{answer}");
}

#[test]
fn connections_that_say_nothing_are_closed_and_make_room() {
    let broker = SETUP.broker();
    // As many as are served at a time, and some that wait.
    let silent: Vec<UnixStream> = (0..70).map(|_| open(&broker)).collect();
    (&silent[0]).write_all(b"GET /st").unwrap();
    let text = "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(parse(&exchange(open(&broker), text.as_bytes())).status, 200);
    let mut byte = [0];
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut byte).unwrap_or(0), 0);
    }
}

#[test]
fn the_socket_is_its_owner_s_alone_and_goes_with_the_broker() {
    let mut broker = SETUP.broker();
    let socket = broker.data_dir().join("shardmq.sock");
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A broker that was killed leaves it behind; the next one replaces it.
    broker.kill();
    assert!(UnixStream::connect(&socket).is_err());
    broker.start_again();
    assert_eq!(request(&broker, "GET", "/status").status, 200);
    broker.terminate("TERM");
    assert!(broker.wait_for_end(patience()).success());
    assert!(!socket.exists());
}

#[test]
fn a_folder_with_a_long_path_has_a_socket_too() {
    let base = SETUP.broker();
    let long = base.data_dir().join("x".repeat(120)).join("y".repeat(120));
    let broker = SETUP.broker_with(&[("data_dir", long.to_str().unwrap())]);
    assert!(long.join("shardmq.sock").exists());
    drop(broker);
}

#[test]
fn the_port_is_for_this_machine_only() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let broker = SETUP.broker_with(&[("dashboard.listeners.http.bind", &address)]);
    assert_eq!(request_tcp(&address, &address).status, 200);
    assert_eq!(request_tcp(&address, "localhost").status, 200);
    // A page in a browser whose name was made to resolve to this machine.
    assert_eq!(request_tcp(&address, "evil.example").status, 403);
    assert!(
        broker
            .output()
            .contains(&format!("http://{address}/api/v5/status"))
    );
}

#[test]
fn a_node_is_emptied_and_lets_clients_in_again() {
    let broker = SETUP.broker();
    let mut clients: Vec<_> = (0..20)
        .map(|n| broker.connect(&format!("c{n}")).persistent().open().0)
        .collect();
    let node = "/load_rebalance/shardmq@127.0.0.1/evacuation";
    let body = r#"{"conn_evict_rate": 1000, "redirect_to": "10.0.0.2:1883"}"#;
    let wrong = r#"{"conn_evict_rate": 0}"#;
    assert_eq!(post(&broker, &format!("{node}/start"), wrong).status, 400);
    let started = post(&broker, &format!("{node}/start"), body);
    assert_eq!(
        started.json()["stats"]["initial_connected"],
        20,
        "{started:?}"
    );
    for client in &mut clients {
        let properties = client.expect_refusal_of(&[0x9c]);
        assert_eq!(
            properties.bytes(SERVER_REFERENCE),
            Some(&b"10.0.0.2:1883"[..])
        );
    }
    wait_until(&broker, "/load_rebalance/status", |status| {
        status["state"] == "prohibiting"
    });
    let check = request(&broker, "GET", "/load_rebalance/availability_check");
    assert_eq!(check.status, 503);
    assert_eq!(broker.connect("new").send().expect_connack().code, 0x9c);
    // Their sessions stay.
    assert_eq!(
        get(&broker, "/clients?conn_state=disconnected")["meta"]["hasnext"],
        false
    );
    assert_eq!(get(&broker, "/stats?aggregate=true")["sessions.count"], 20);
    assert_eq!(post(&broker, &format!("{node}/stop"), "").status, 200);
    assert_eq!(post(&broker, &format!("{node}/stop"), "").status, 400);
    let (_, connack) = broker.connect("c0").persistent().unclean().open();
    assert_eq!(connack.session_present, Some(true));
}
