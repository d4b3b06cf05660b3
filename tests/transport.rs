//! Links over IPv4 and IPv6, with keys of their own and with certificates of the operator: what is
//! accepted, what is said of what is not, and that new files are used while the nodes run.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

mod command;
#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use command::{Folder, Outcome};
use common::certificates::{Authority, Files};
use common::{Broker, Setup, scenarios};

scenarios! {
    mqtt5: [
        nodes_with_certificates_are_one_cluster_over_ipv6,
        nodes_with_keys_are_one_cluster_over_ipv6,
        new_files_are_used_for_new_connections_and_bad_ones_are_not,
        nodes_with_different_settings_say_which_is_which,
        a_certificate_of_somebody_else_is_refused,
    ],
}

/// A year in which these tests are not run any more.
const LATER: i32 = 2090;

/// Names of nodes, each with a port of its own at a host; nothing if this machine has no such
/// address.
fn names(host: &str, count: usize) -> Option<Vec<String>> {
    let sockets = (0..count).map(|_| UdpSocket::bind(format!("{host}:0")).ok());
    let sockets: Vec<UdpSocket> = sockets.collect::<Option<_>>()?;
    let ports = sockets
        .iter()
        .map(|socket| socket.local_addr().unwrap().port());
    let names = ports
        .enumerate()
        .map(|(number, port)| format!("node{number}@{host}:{port}"));
    Some(names.collect())
}

/// Settings that name the files of a node.
fn settings_of(kind: &str, authority: &Path, own: &Files) -> Vec<(&'static str, String)> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    vec![
        ("cluster.proto_dist", kind.to_owned()),
        ("cluster.ssl_options.cacertfile", text(authority)),
        ("cluster.ssl_options.certfile", text(&own.certificate)),
        ("cluster.ssl_options.keyfile", text(&own.key)),
    ]
}

/// The broker that has a name among all that do.
fn node(setup: Setup, name: &str, names: &[String], more: &[(&str, String)]) -> Broker {
    let (own, seeds) = (name.rsplit_once(':').unwrap().0, names.join(","));
    let mut settings = vec![
        ("node.name", own),
        ("node.cookie", "the cookie of this test"),
        ("cluster.discovery_strategy", "static"),
        ("cluster.static.seeds", &seeds),
    ];
    settings.extend(more.iter().map(|(key, value)| (*key, value.as_str())));
    setup.broker_with(&settings)
}

fn wait_for_output(broker: &Broker, text: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while !broker.output().contains(text) {
        assert!(Instant::now() < end, "no {text:?} in:\n{}", broker.output());
        thread::sleep(Duration::from_millis(20));
    }
}

fn nodes_with_certificates_are_one_cluster_over_ipv6(setup: Setup) {
    let Some(names) = names("[::1]", 3) else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let folder = Folder::new();
    let authority = Authority::new(&folder.0);
    let brokers = names.iter().enumerate().map(|(number, name)| {
        let own = authority.sign(&format!("node{number}"), &["::1"], LATER);
        let more = settings_of("inet6_tls", &authority.file(), &own);
        node(setup, name, &names, &more)
    });
    let brokers: Vec<Broker> = brokers.collect();
    expect_messages(&brokers);
}

fn nodes_with_keys_are_one_cluster_over_ipv6(setup: Setup) {
    let Some(names) = names("[::1]", 3) else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let more = [("cluster.proto_dist", "inet6_tcp".to_owned())];
    let brokers = names.iter().map(|name| node(setup, name, &names, &more));
    let brokers: Vec<Broker> = brokers.collect();
    expect_messages(&brokers);
}

/// What is published on the first two nodes reaches a subscriber on the third.
fn expect_messages(brokers: &[Broker]) {
    let mut subscriber = brokers[2].client("subscriber");
    subscriber.subscribe("t", 1);
    for (number, broker) in brokers[..2].iter().enumerate() {
        wait_for_output(broker, "node node2@::1 is up");
        let mut publisher = broker.client("publisher");
        let text = format!("from {number}");
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            publisher.publish("t", &text, 1);
            let came = subscriber.messages_until_pong();
            if let Some(message) = came.first() {
                assert_eq!(message.payload, text.as_bytes());
                came.iter().for_each(|message| subscriber.complete(message));
                break;
            }
            assert!(Instant::now() < end, "nothing comes");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn new_files_are_used_for_new_connections_and_bad_ones_are_not(setup: Setup) {
    let names = names("127.0.0.1", 2).unwrap();
    let folders = [Folder::new(), Folder::new(), Folder::new()];
    let (old, new) = (Authority::new(&folders[0].0), Authority::new(&folders[1].0));
    // The first node trusts both, and has a certificate of the old one.
    let both = folders[2].0.join("both.crt");
    let certificates = [old.file(), new.file()].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&both, certificates.concat()).unwrap();
    let own = old.sign("one", &["127.0.0.1"], LATER);
    let more = settings_of("inet_tls", &both, &own);
    let one = node(setup, &names[0], &names, &more);
    // The second one trusts the new one alone.
    let other = new.sign("two", &["127.0.0.1"], LATER);
    let two = node(
        setup,
        &names[1],
        &names,
        &settings_of("inet_tls", &new.file(), &other),
    );
    wait_for_output(&two, "UnknownIssuer");
    wait_for_output(
        &one,
        "no authority in cluster.ssl_options.cacertfile there has signed it",
    );

    fs::write(&own.certificate, "nonsense").unwrap();
    wait_for_output(
        &one,
        "the new certificate is not used, the former one stays",
    );
    let good = new.sign("three", &["127.0.0.1"], LATER);
    fs::rename(&good.key, &own.key).unwrap();
    fs::rename(&good.certificate, &own.certificate).unwrap();
    wait_for_output(&one, "have a new certificate");
    wait_for_output(&one, "node node1@127.0.0.1 is up");
    wait_for_output(&two, "node node0@127.0.0.1 is up");
}

fn nodes_with_different_settings_say_which_is_which(setup: Setup) {
    let names = names("127.0.0.1", 2).unwrap();
    let folder = Folder::new();
    let authority = Authority::new(&folder.0);
    let own = authority.sign("one", &["127.0.0.1"], LATER);
    let more = settings_of("inet_tls", &authority.file(), &own);
    let one = node(setup, &names[0], &names, &more);
    let two = node(setup, &names[1], &names, &[]);
    let certificate = "with a certificate (inet_tls, inet6_tls), that one with a key";
    wait_for_output(&one, certificate);
    wait_for_output(&two, "(inet_tcp, inet6_tcp), that one with a certificate");
}

fn a_certificate_of_somebody_else_is_refused(setup: Setup) {
    let names = names("127.0.0.1", 2).unwrap();
    let folders = [Folder::new(), Folder::new()];
    let brokers = names.iter().zip(&folders).map(|(name, folder)| {
        let authority = Authority::new(&folder.0);
        let own = authority.sign("own", &["127.0.0.1"], LATER);
        node(
            setup,
            name,
            &names,
            &settings_of("inet_tls", &authority.file(), &own),
        )
    });
    let brokers: Vec<Broker> = brokers.collect();
    wait_for_output(&brokers[0], "UnknownIssuer");
    wait_for_output(
        &brokers[1],
        "no authority in cluster.ssl_options.cacertfile there",
    );
    for broker in &brokers {
        assert!(!broker.output().contains("is up"), "{}", broker.output());
    }
}

/// Starts a broker that cannot start.
fn fails(authority: &Path, own: &Files, expected: &[&str]) {
    let settings = settings_of("inet_tls", authority, own);
    let more = settings.iter().map(|(key, value)| format!("{key}={value}"));
    let set: Vec<String> = [
        "node.name=a@127.0.0.1",
        "node.cookie=the cookie of this test",
        "cluster.bind=127.0.0.1:0",
        "cluster.discovery_strategy=static",
        "cluster.static.seeds=a@127.0.0.1,b@127.0.0.2",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(more)
    .collect();
    let mut arguments = vec!["--bind", "127.0.0.1:0"];
    for setting in &set {
        arguments.extend(["--set", setting]);
    }
    let outcome: Outcome = Folder::new().run(&arguments);
    outcome.failed_with(expected);
}

#[test]
fn an_address_of_the_other_family_is_no_start() {
    for (kind, more, said) in [
        (
            "inet6_tcp",
            None,
            "node.name: 127.0.0.1 has no address of the family",
        ),
        (
            "inet6_tls",
            Some("cluster.bind=127.0.0.1:0"),
            "cluster.proto_dist = inet6_tls needs cluster.ssl_options.cacertfile",
        ),
        (
            "inet6_tcp",
            Some("cluster.bind=127.0.0.1:0"),
            "cluster.bind: 127.0.0.1:0 is of the other family than cluster.proto_dist",
        ),
    ] {
        let kind = format!("cluster.proto_dist={kind}");
        let mut set = vec![
            "node.name=a@127.0.0.1",
            "cluster.discovery_strategy=static",
            "cluster.static.seeds=a@127.0.0.1,b@127.0.0.2",
            &kind,
        ];
        set.extend(more);
        let mut arguments = vec!["--bind", "127.0.0.1:0"];
        set.iter()
            .for_each(|setting| arguments.extend(["--set", setting]));
        Folder::new().run(&arguments).failed_with(&[said]);
    }
}

#[test]
fn certificates_that_others_would_not_accept_are_no_start() {
    let folders = [Folder::new(), Folder::new()];
    let (authority, stranger) = (Authority::new(&folders[0].0), Authority::new(&folders[1].0));
    let (ca, host) = (authority.file(), &["127.0.0.1"][..]);
    let good = authority.sign("good", host, LATER);
    let missing = Files {
        certificate: folders[0].0.join("missing.crt"),
        ..good.clone()
    };
    fails(
        &ca,
        &missing,
        &["cluster.ssl_options: ", "missing.crt cannot be read"],
    );
    let other = authority.sign("other", host, LATER);
    let mixed = Files {
        key: other.key,
        ..good.clone()
    };
    fails(
        &ca,
        &mixed,
        &["the key in ", "other.key is not that of ", "good.crt"],
    );
    let expired = authority.sign("expired", host, 2021);
    fails(&ca, &expired, &["expired.crt has expired"]);
    let elsewhere = authority.sign("elsewhere", &["127.0.0.2", "node.example"], LATER);
    let said = "the certificate is not for 127.0.0.1, the host in node.name";
    fails(&ca, &elsewhere, &[said]);
    let foreign = stranger.sign("foreign", host, LATER);
    fails(
        &ca,
        &foreign,
        &["foreign.crt is not signed by an authority in"],
    );
    let swapped = Files {
        certificate: good.key.clone(),
        key: good.certificate.clone(),
    };
    fails(&ca, &swapped, &["good.key has no certificate (PEM)"]);
}
