//! Through etcd.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common::certificates::{Authority, Files};
use super::{Process, expect_messages, folder, free_port, free_udp_port, node, program, said};
use super::{wait_for, wait_for_output};

/// An etcd of the test's own.
struct Etcd {
    program: PathBuf,
    port: u16,
    peer_port: u16,
    tls: Option<(PathBuf, Files)>,
    process: Option<Process>,
}

impl Etcd {
    /// Starts it, if there is one.
    fn start(tls: Option<(PathBuf, Files)>) -> Option<Self> {
        let mut etcd = Self {
            program: program("etcd")?,
            port: free_port(),
            peer_port: free_port(),
            tls,
            process: None,
        };
        etcd.run();
        Some(etcd)
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Starts it with nothing in it.
    fn run(&mut self) {
        let (url, data) = (self.url(), folder("etcd"));
        let peers = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(data)
            .args([
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
            ])
            .args([
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
            ])
            .args(["--initial-cluster", &format!("default={peers}")])
            .args(["--log-level", "error"]);
        if let Some((authority, own)) = &self.tls {
            command
                .arg("--client-cert-auth")
                .arg("--trusted-ca-file")
                .arg(authority)
                .arg("--cert-file")
                .arg(&own.certificate)
                .arg("--key-file")
                .arg(&own.key);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(Process(child.unwrap()));
        let port = self.port;
        wait_for("etcd", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}

const STRATEGY: (&str, &str) = ("cluster.discovery_strategy", "etcd");

#[test]
fn nodes_find_each_other_and_go_on_when_etcd_comes_back_empty() {
    let Some(mut etcd) = Etcd::start(None) else {
        return;
    };
    let url = etcd.url();
    // The first one of the list is nobody.
    let servers = format!("http://127.0.0.1:{}, {url}", free_port());
    let settings = [
        STRATEGY,
        ("cluster.etcd.server", servers.as_str()),
        ("cluster.etcd.node_ttl", "6s"),
    ];
    let hosts = ["127.0.2.1", "127.0.2.2", "127.0.2.3"];
    let ports = hosts.map(|host| free_udp_port(&[host]));
    let found = |index: usize| {
        format!(
            "discovery by etcd has found node node@{} (port {})",
            hosts[index], ports[index]
        )
    };
    let one = node(hosts[0], ports[0], &settings);
    let two = node(hosts[1], ports[1], &settings);
    wait_for_output(&one, &found(1));
    wait_for_output(&two, &found(0));
    assert_eq!(said(&one, "does not work"), 0, "{}", one.output());

    etcd.process = None;
    for broker in [&one, &two] {
        wait_for_output(broker, "discovery by etcd does not work");
    }
    etcd.run();
    for broker in [&one, &two] {
        wait_for_output(broker, "discovery by etcd works again");
    }
    // All are in it again.
    let three = node(hosts[2], ports[2], &settings);
    for index in [0, 1] {
        wait_for_output(&three, &found(index));
    }
    for broker in [&one, &two] {
        wait_for_output(broker, &found(2));
        assert_eq!(said(broker, "does not work"), 1, "{}", broker.output());
        assert_eq!(said(broker, "works again"), 1, "{}", broker.output());
    }
    expect_messages(&[one, two, three]);
}

#[test]
fn nodes_show_etcd_their_certificates() {
    let authority = Authority::new(&folder("etcd-certificates"));
    let server = authority.sign("etcd", &["127.0.0.1"], 2090);
    let Some(etcd) = Etcd::start(Some((authority.file(), server))) else {
        return;
    };
    let url = etcd.url();
    let own = authority.sign("node", &["node.example"], 2090);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (
        text(&authority.file()),
        text(&own.certificate),
        text(&own.key),
    );
    let settings = [
        STRATEGY,
        ("cluster.etcd.server", url.as_str()),
        ("cluster.etcd.ssl_options.cacertfile", &ca),
        ("cluster.etcd.ssl_options.certfile", &certificate),
        ("cluster.etcd.ssl_options.keyfile", &key),
    ];
    let hosts = ["127.0.2.4", "127.0.2.5"];
    let brokers = hosts.map(|host| node(host, free_udp_port(&[host]), &settings));
    wait_for_output(&brokers[0], "has found node node@127.0.2.5");
    wait_for_output(&brokers[1], "has found node node@127.0.2.4");
    expect_messages(&brokers);
    // Somebody without a certificate.
    let port = free_udp_port(&["127.0.2.6"]);
    let stranger = node("127.0.2.6", port, &settings[..3]);
    wait_for_output(&stranger, "discovery by etcd does not work");
    assert_eq!(said(&brokers[0], "127.0.2.6"), 0);
}
