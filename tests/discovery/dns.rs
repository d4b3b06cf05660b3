//! Through DNS.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{
    Process, expect_messages, folder, free_udp_port, node, program, said, wait_for, wait_for_output,
};

/// A DNS server of the test's own.
struct Dnsmasq {
    program: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Dnsmasq {
    /// One that is not started, if there is one.
    fn new() -> Option<Self> {
        Some(Self {
            program: program("dnsmasq")?,
            port: free_port(),
            process: None,
        })
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it with these lines of configuration, in place of one that ran.
    fn run(&mut self, lines: &str) {
        self.process = None;
        let file = folder("dnsmasq").join("dnsmasq.conf");
        let port = self.port;
        let text = format!(
            "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n\
             local=/mq.test/\nuser=\npid-file=\n{lines}"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.program);
        command.arg(format!("--conf-file={}", file.display()));
        let child = command
            .arg("--keep-in-foreground")
            .stderr(Stdio::null())
            .spawn();
        let process = self.process.insert(Process(child.unwrap()));
        wait_for("dnsmasq", || {
            let ended = process.0.try_wait().unwrap();
            assert_eq!(ended, None, "dnsmasq cannot serve port {port}");
            answers(port)
        });
    }
}

/// A port of 127.0.0.1 that is free for TCP too: those that clients of other tests had a moment
/// ago are not.
fn free_port() -> u16 {
    loop {
        let port = free_udp_port(&["127.0.0.1"]);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether somebody answers a question for `mq.test`.
fn answers(port: u16) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_millis(200));
    socket.set_read_timeout(patience).unwrap();
    let question = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x02mq\x04test\0\0\x01\0\x01";
    socket.send_to(question, ("127.0.0.1", port)).unwrap();
    socket.recv(&mut [0; 512]).is_ok()
}

const STRATEGY: (&str, &str) = ("cluster.discovery_strategy", "dns");

#[test]
fn nodes_find_each_other_by_addresses_as_these_come_and_go() {
    let Some(mut dns) = Dnsmasq::new() else {
        return;
    };
    let hosts = ["127.0.3.1", "127.0.3.2"];
    let port = free_udp_port(&hosts);
    let server = dns.server();
    let settings = [
        STRATEGY,
        ("cluster.dns.name", "nodes.mq.test"),
        ("cluster.dns.server", server.as_str()),
    ];
    dns.run("");
    let brokers = hosts.map(|host| node(host, port, &settings));
    for broker in &brokers {
        wait_for_output(broker, "does not work: there is no name nodes.mq.test");
    }
    let records = "host-record=nodes.mq.test,127.0.3.1,1\nhost-record=nodes.mq.test,127.0.3.2,1\n";
    dns.run(records);
    for (broker, other) in brokers.iter().zip(["127.0.3.2", "127.0.3.1"]) {
        wait_for_output(broker, "discovery by dns works again");
        wait_for_output(
            broker,
            &format!("discovery by dns has found {other}:{port}"),
        );
    }
    expect_messages(&brokers);
    dns.process = None;
    for broker in &brokers {
        wait_for("the failure", || {
            said(broker, "discovery by dns does not work") == 2
        });
    }
    dns.run(records);
    for broker in &brokers {
        wait_for("the end of it", || {
            said(broker, "discovery by dns works again") == 2
        });
    }
}

#[test]
fn nodes_find_each_other_by_services_with_ports() {
    let Some(mut dns) = Dnsmasq::new() else {
        return;
    };
    let hosts = ["127.0.3.3", "127.0.3.4"];
    let ports = hosts.map(|host| free_udp_port(&[host]));
    let server = dns.server();
    let settings = [
        STRATEGY,
        ("cluster.dns.name", "_cluster._udp.mq.test"),
        ("cluster.dns.record_type", "srv"),
        ("cluster.dns.server", server.as_str()),
    ];
    let mut lines = String::new();
    for (number, (host, port)) in hosts.iter().zip(ports).enumerate() {
        let name = format!("node{number}.mq.test");
        lines.push_str(&format!("host-record={name},{host}\n"));
        lines.push_str(&format!("srv-host=_cluster._udp.mq.test,{name},{port}\n"));
    }
    dns.run(&lines);
    let brokers = [0, 1].map(|index| node(hosts[index], ports[index], &settings));
    for (broker, other) in brokers.iter().zip([1, 0]) {
        let (host, port) = (hosts[other], ports[other]);
        wait_for_output(broker, &format!("discovery by dns has found {host}:{port}"));
    }
    expect_messages(&brokers);
}

#[test]
fn a_node_finds_itself_by_its_ipv6_address_and_leaves_it_at_that() {
    let Some(mut dns) = Dnsmasq::new() else {
        return;
    };
    let Ok(socket) = UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let server = dns.server();
    dns.run("host-record=nodes.mq.test,::1\n");
    let settings = [
        STRATEGY,
        ("cluster.dns.name", "nodes.mq.test"),
        ("cluster.dns.record_type", "aaaa"),
        ("cluster.dns.server", server.as_str()),
    ];
    let broker = node("[::1]", port, &settings);
    wait_for_output(&broker, &format!("discovery by dns has found [::1]:{port}"));
    // Two more looks.
    std::thread::sleep(Duration::from_secs(11));
    let output = broker.output();
    let is_quiet = ["no node at", "is up", "was refused"]
        .iter()
        .all(|it| !output.contains(it));
    assert!(is_quiet, "{output}");
}
