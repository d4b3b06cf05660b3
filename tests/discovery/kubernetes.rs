//! Through the API of Kubernetes, as its server speaks it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::common::certificates::Authority;
use super::{expect_messages, folder, free_udp_port, node, said, wait_for, wait_for_output};

/// What the API has, and who may see it.
#[derive(Default)]
struct State {
    token: String,
    /// Parts of the list of EndpointSlices; `None` if nobody may see them.
    slices: Option<Vec<Value>>,
    endpoints: Option<Value>,
    /// A part of the list is not there any more once.
    is_expired: bool,
    /// Nothing works.
    is_down: bool,
    /// What was asked for: the status and the path.
    seen: Vec<(u16, String)>,
}

/// The API server.
struct Api {
    state: Arc<Mutex<State>>,
    port: u16,
    account: PathBuf,
}

impl Api {
    fn start() -> Self {
        let account = folder("service-account");
        let authority = Authority::new(&account);
        let own = authority.sign("apiserver", &["kubernetes.default.svc", "127.0.0.1"], 2090);
        let key = PrivateKeyDer::from_pem_file(own.key).unwrap();
        let certificate = CertificateDer::from_pem_file(own.certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Self {
            state: Arc::default(),
            port: listener.local_addr().unwrap().port(),
            account,
        };
        fs::write(api.account.join("namespace"), "iot").unwrap();
        api.issue("first token", true);
        let (tls, state) = (Arc::new(tls), Arc::clone(&api.state));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tls, state) = (Arc::clone(&tls), Arc::clone(&state));
                thread::spawn(move || serve(tls, stream.unwrap(), &state));
            }
        });
        api
    }

    /// Gives the pods a token; from now on no other one is good.
    fn issue(&self, token: &str, is_written: bool) {
        token.clone_into(&mut self.state.lock().unwrap().token);
        if is_written {
            // As kubelet writes it: whole, and with a line's end here.
            let new = self.account.join("token.new");
            fs::write(&new, format!("{token}\n")).unwrap();
            fs::rename(new, self.account.join("token")).unwrap();
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn saw(&self, status: u16, part: &str) -> bool {
        let state = self.state.lock().unwrap();
        let mut seen = state.seen.iter();
        seen.any(|(code, path)| *code == status && path.contains(part))
    }
}

/// Serves a connection until it ends.
fn serve(tls: Arc<ServerConfig>, stream: TcpStream, state: &Mutex<State>) {
    let tls = ServerConnection::new(tls).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let (mut path, mut token) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if let Some(rest) = line.strip_prefix("GET ") {
                rest.strip_suffix(" HTTP/1.1")
                    .unwrap()
                    .clone_into(&mut path);
            } else if let Some(rest) = line.strip_prefix("authorization: Bearer ") {
                rest.clone_into(&mut token);
            } else if line.is_empty() {
                break;
            }
        }
        let (status, body) = answer(&mut state.lock().unwrap(), &path, &token);
        if send(stream.get_mut(), status, &body.to_string()).is_err() {
            return;
        }
    }
}

/// Sends an answer in small chunks.
fn send(to: &mut impl Write, status: u16, body: &str) -> std::io::Result<()> {
    let mut out = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    for chunk in body.as_bytes().chunks(50) {
        let text = std::str::from_utf8(chunk).unwrap();
        out.push_str(&format!("{:x}\r\n{text}\r\n", chunk.len()));
    }
    out.push_str("0\r\n\r\n");
    to.write_all(out.as_bytes())?;
    to.flush()
}

fn answer(state: &mut State, path: &str, token: &str) -> (u16, Value) {
    let (status, body) = find(state, path, token);
    state.seen.push((status, path.to_owned()));
    (status, body)
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "code": code
    });
    (code, body)
}

fn find(state: &mut State, path: &str, token: &str) -> (u16, Value) {
    if state.is_down {
        return failure(503, "the server is currently unable to handle the request");
    }
    if token != state.token {
        return failure(401, "Unauthorized");
    }
    if path == "/api/v1/namespaces/iot/endpoints/mq" {
        let found = state.endpoints.clone().map(|body| (200, body));
        return found.unwrap_or_else(|| failure(404, "endpoints \"mq\" not found"));
    }
    let list = "/apis/discovery.k8s.io/v1/namespaces/iot/endpointslices?labelSelector=\
                kubernetes.io%2Fservice-name%3Dmq&limit=500";
    let Some(rest) = path.strip_prefix(list) else {
        return failure(404, "page not found");
    };
    let Some(slices) = &state.slices else {
        return failure(
            403,
            "endpointslices.discovery.k8s.io is forbidden: User cannot list",
        );
    };
    let part = match rest {
        "&resourceVersion=0" => 0,
        rest => rest
            .strip_prefix("&continue=part%3D")
            .unwrap()
            .parse()
            .unwrap(),
    };
    if part > 0 && std::mem::take(&mut state.is_expired) {
        return failure(410, "The provided continue parameter is too old");
    }
    let next = (part + 1 < slices.len()).then(|| format!("part={}", part + 1));
    let body = json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": "4711", "continue": next.unwrap_or_default()},
        "items": slices.get(part).map(|slice| vec![slice])
    });
    (200, body)
}

/// A slice with endpoints, none of which is ready.
fn slice(hosts: &[&str]) -> Value {
    let endpoints = hosts.iter().map(|host| {
        json!({
            "addresses": [host],
            "conditions": {"ready": false, "serving": false, "terminating": false}
        })
    });
    let endpoints: Vec<Value> = endpoints.collect();
    json!({"metadata": {"name": "mq-abcde"}, "addressType": "IPv4", "endpoints": endpoints,
        "ports": null})
}

/// Settings for a broker in a pod.
struct Pod {
    apiserver: String,
    account: String,
}

impl Pod {
    fn of(api: &Api) -> Self {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        Self {
            apiserver: format!("https://127.0.0.1:{}", api.port),
            account: text(&api.account),
        }
    }

    fn settings(&self) -> [(&str, &str); 4] {
        [
            ("cluster.discovery_strategy", "k8s"),
            ("cluster.k8s.apiserver", &self.apiserver),
            ("cluster.k8s.service_name", "mq"),
            ("cluster.k8s.service_account", &self.account),
        ]
    }
}

fn found(host: &str, port: u16) -> String {
    format!("discovery by k8s has found {host}:{port}")
}

#[test]
fn pods_find_each_other_in_slices_whatever_becomes_of_token_and_list() {
    let api = Api::start();
    let hosts = ["127.0.4.1", "127.0.4.2"];
    let port = free_udp_port(&hosts);
    api.set(|state| state.slices = Some(vec![slice(&hosts[..1]), slice(&hosts[1..])]));
    api.set(|state| state.is_expired = true);
    let pod = Pod::of(&api);
    let brokers = hosts.map(|host| node(host, port, &pod.settings()));
    wait_for_output(&brokers[0], &found(hosts[1], port));
    wait_for_output(&brokers[1], &found(hosts[0], port));
    assert!(api.saw(410, "continue"));
    assert!(
        brokers
            .iter()
            .all(|broker| said(broker, "does not work") == 0)
    );

    expect_messages(&brokers);
    // One is good for nothing any more before the next one is there.
    api.issue("second token", false);
    for broker in &brokers {
        wait_for_output(broker, "the API does not accept the token");
    }
    api.issue("second token", true);
    let works = |count| {
        for broker in &brokers {
            wait_for("the end of it", || said(broker, "works again") == count);
        }
    };
    works(1);
    api.set(|state| state.slices = Some(vec![slice(&[hosts[0], hosts[1], "127.0.4.9"])]));
    for broker in &brokers {
        wait_for_output(broker, &found("127.0.4.9", port));
        wait_for_output(broker, &format!("no node at 127.0.4.9:{port}"));
    }
    api.set(|state| state.is_down = true);
    for broker in &brokers {
        wait_for_output(
            broker,
            "the API answers 503: the server is currently unable",
        );
    }
    api.set(|state| state.is_down = false);
    works(2);
    for broker in &brokers {
        assert_eq!(said(broker, "does not work"), 2, "{}", broker.output());
    }
}

#[test]
fn pods_that_may_not_see_slices_find_each_other_in_endpoints() {
    let api = Api::start();
    let hosts = ["127.0.4.3", "127.0.4.4"];
    let port = free_udp_port(&hosts);
    let pod = Pod::of(&api);
    let brokers = hosts.map(|host| node(host, port, &pod.settings()));
    for broker in &brokers {
        wait_for_output(broker, "endpoints \"mq\" not found");
        wait_for_output(broker, "is forbidden");
    }
    let endpoints = json!({
        "kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "mq", "namespace": "iot"},
        "subsets": [{
            "addresses": [{"ip": hosts[0], "hostname": "mq-0"}],
            "notReadyAddresses": [{"ip": hosts[1]}, {"ip": "fd00::1"}],
            "ports": [{"port": 4370, "protocol": "UDP"}]
        }]
    });
    api.set(|state| state.endpoints = Some(endpoints));
    wait_for_output(&brokers[0], &found(hosts[1], port));
    wait_for_output(&brokers[1], &found(hosts[0], port));
    assert!(api.saw(403, "endpointslices"));
    assert_eq!(said(&brokers[0], "fd00::1"), 0);
    expect_messages(&brokers);
}
