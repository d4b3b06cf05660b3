//! Nodes by the endpoints of a Kubernetes service.
//!
//! EndpointSlices are asked for first. Where there are none of that kind, or this pod may not
//! read them, it is the older Endpoints.

mod objects;

use std::fs;
use std::path::PathBuf;

use hyper::Method;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::objects::Endpoint;
use super::http::{Answer, Ask, Client, Files};
use super::reports::Reports;
use super::url::Url;
use super::{Found, Own, PAUSE, Place};

/// Slices in an answer. The API may give fewer, and more.
const PAGE: usize = 500;

/// Parts of a list at most.
const PAGES_MAX: usize = 64;

/// What of an endpoint is dialed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AddressType {
    /// Its address.
    Ip,
    /// The name that the cluster's DNS has for the address.
    Dns,
    /// The name that the cluster's DNS has for its host name in the service.
    Hostname,
}

/// `cluster.k8s`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// `apiserver`.
    pub(crate) apiserver: Url,
    /// `service_name`.
    pub(crate) service: String,
    /// `address_type`.
    pub(crate) address_type: AddressType,
    /// `namespace`; if there is none, that of the pod.
    pub(crate) namespace: Option<String>,
    /// `suffix`; if there is none, that of the type in `cluster.local`.
    pub(crate) suffix: Option<String>,
    /// `service_account`: the folder with the pod's token.
    pub(crate) account: PathBuf,
}

/// Why an answer cannot be used.
enum Trouble {
    /// There is no such thing, or this pod may not see it.
    Absent(String),
    /// The rest of a list is not there any more.
    Expired,
    /// Anything else.
    Other(String),
}

/// Asks for ever.
pub(super) async fn run(settings: Settings, own: &Own, mut reports: Reports<impl Fn(&[Found])>) {
    let files = Files {
        authority: settings.account.join("ca.crt"),
        own: None,
    };
    let mut client = Client::new(settings.apiserver.clone(), files);
    loop {
        match look(&settings, own, &mut client).await {
            Ok(found) => reports.found(found),
            Err(error) => reports.failed(&error),
        }
        sleep(PAUSE).await;
    }
}

/// Asks once.
async fn look(settings: &Settings, own: &Own, client: &mut Client) -> Result<Vec<Found>, String> {
    let namespace = namespace(settings).await?;
    let slices = slices(settings, own, client, &namespace).await;
    let endpoints = match slices {
        Err(Trouble::Absent(why)) => endpoints(settings, own, client, &namespace)
            .await
            .map_err(|error| format!("{}; {why}", error.text()))?,
        slices => slices.map_err(|error| error.text().to_owned())?,
    };
    let hosts = endpoints
        .iter()
        .filter_map(|it| host_of(it, settings, &namespace));
    let port = own.port;
    let places = hosts.map(|host| Found::Place(Place { host, port }));
    Ok(places.collect())
}

/// The endpoints in all slices of the service. A list that has changed too much to go on with
/// is asked for from the start, once.
async fn slices(
    settings: &Settings,
    own: &Own,
    client: &mut Client,
    namespace: &str,
) -> Result<Vec<Endpoint>, Trouble> {
    match list(settings, own, client, namespace).await {
        Err(Trouble::Expired) => list(settings, own, client, namespace).await,
        listed => listed,
    }
}

async fn list(
    settings: &Settings,
    own: &Own,
    client: &mut Client,
    namespace: &str,
) -> Result<Vec<Endpoint>, Trouble> {
    let service = &settings.service;
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?\
         labelSelector=kubernetes.io%2Fservice-name%3D{service}&limit={PAGE}"
    );
    // Version 0: what the server has at hand is new enough, and costs it nothing.
    let mut from = "&resourceVersion=0".to_owned();
    let mut all = Vec::new();
    for _ in 0..PAGES_MAX {
        let answer = ask(settings, client, &format!("{path}{from}")).await?;
        let page =
            objects::slices(&answer.body, own.is_ipv4).map_err(|error| unreadable(&error))?;
        all.extend(page.endpoints);
        let Some(next) = page.next else {
            break;
        };
        from = format!("&continue={}", escaped(&next));
    }
    Ok(all)
}

/// The Endpoints of the service.
async fn endpoints(
    settings: &Settings,
    own: &Own,
    client: &mut Client,
    namespace: &str,
) -> Result<Vec<Endpoint>, Trouble> {
    let service = &settings.service;
    let path = format!("/api/v1/namespaces/{namespace}/endpoints/{service}");
    let answer = ask(settings, client, &path).await?;
    objects::endpoints(&answer.body, own.is_ipv4).map_err(|error| unreadable(&error))
}

/// Asks with the token that is there now. If it is not accepted, it may just have been replaced.
async fn ask(settings: &Settings, client: &mut Client, path: &str) -> Result<Answer, Trouble> {
    let mut answer = ask_once(settings, client, path).await?;
    if answer.status == 401 {
        answer = ask_once(settings, client, path).await?;
    }
    let said = || objects::message(&answer.body).unwrap_or_default();
    match answer.status {
        200 => Ok(answer),
        401 => Err(Trouble::Other(format!(
            "the API does not accept the token in {}: {}",
            settings.account.display(),
            said()
        ))),
        403 => Err(Trouble::Absent(format!(
            "the pod's service account may not do this (it needs a Role with get and list for \
             endpointslices, or get for endpoints): {}",
            said()
        ))),
        404 => Err(Trouble::Absent(format!(
            "there is no such thing: {}",
            said()
        ))),
        410 => Err(Trouble::Expired),
        status => Err(Trouble::Other(format!(
            "the API answers {status}: {}",
            said()
        ))),
    }
}

async fn ask_once(settings: &Settings, client: &mut Client, path: &str) -> Result<Answer, Trouble> {
    let ask = Ask {
        method: Method::GET,
        path,
        authorization: authorization(settings).await.map_err(Trouble::Other)?,
        body: String::new(),
    };
    client.ask(&ask).await.map_err(Trouble::Other)
}

/// The pod's token. It is not sent where anybody could read it.
async fn authorization(settings: &Settings) -> Result<Option<String>, String> {
    if !settings.apiserver.is_tls {
        return Ok(None);
    }
    let token = file_of(settings, "token").await?;
    Ok(Some(format!("Bearer {token}")))
}

async fn namespace(settings: &Settings) -> Result<String, String> {
    match &settings.namespace {
        Some(namespace) => Ok(namespace.clone()),
        None => file_of(settings, "namespace").await,
    }
}

/// A file of the service account.
async fn file_of(settings: &Settings, name: &str) -> Result<String, String> {
    let file = settings.account.join(name);
    let path = file.clone();
    // Disks block.
    let read = spawn_blocking(move || fs::read_to_string(path)).await;
    let text = read.map_err(|error| error.to_string())?.map_err(|error| {
        let file = file.display();
        format!("{file} cannot be read: {error}; it is there in a pod with a service account")
    })?;
    Ok(text.trim().to_owned())
}

/// The host of an endpoint, if it has what is to be dialed.
fn host_of(endpoint: &Endpoint, settings: &Settings, namespace: &str) -> Option<String> {
    let suffix = |usual: &'static str| settings.suffix.as_deref().unwrap_or(usual);
    match settings.address_type {
        AddressType::Ip => Some(endpoint.ip.clone()),
        AddressType::Dns => {
            let dashed = endpoint.ip.replace(['.', ':'], "-");
            Some(format!(
                "{dashed}.{namespace}.{}",
                suffix("pod.cluster.local")
            ))
        }
        AddressType::Hostname => {
            let (name, service) = (endpoint.hostname.as_ref()?, &settings.service);
            let suffix = suffix("svc.cluster.local");
            Some(format!("{name}.{service}.{namespace}.{suffix}"))
        }
    }
}

/// Text as a value in a query.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn unreadable(error: &serde_json::Error) -> Trouble {
    Trouble::Other(format!("the API's answer cannot be read: {error}"))
}

impl Trouble {
    fn text(&self) -> &str {
        match self {
            Self::Absent(text) | Self::Other(text) => text,
            Self::Expired => "the list of endpoints changes too fast",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address_type: AddressType, suffix: Option<&str>, hostname: bool) -> Option<String> {
        let settings = Settings {
            apiserver: Url::parse("https://kubernetes.default.svc", None).unwrap(),
            service: "mq".to_owned(),
            address_type,
            namespace: None,
            suffix: suffix.map(str::to_owned),
            account: PathBuf::new(),
        };
        let endpoint = Endpoint {
            ip: "10.0.0.7".to_owned(),
            hostname: hostname.then(|| "mq-0".to_owned()),
        };
        host_of(&endpoint, &settings, "iot")
    }

    #[test]
    fn an_endpoint_is_dialed_by_address_or_by_one_of_its_names() {
        assert_eq!(host(AddressType::Ip, None, true).unwrap(), "10.0.0.7");
        let by = |address_type, suffix| host(address_type, suffix, true).unwrap();
        assert_eq!(by(AddressType::Dns, None), "10-0-0-7.iot.pod.cluster.local");
        assert_eq!(by(AddressType::Dns, Some("pod.x")), "10-0-0-7.iot.pod.x");
        let name = by(AddressType::Hostname, None);
        assert_eq!(name, "mq-0.mq.iot.svc.cluster.local");
        assert_eq!(by(AddressType::Hostname, Some("s.x")), "mq-0.mq.iot.s.x");
        assert_eq!(host(AddressType::Hostname, None, false), None);
    }

    #[test]
    fn what_a_query_gives_a_meaning_is_escaped() {
        assert_eq!(escaped("aZ0-._~"), "aZ0-._~");
        assert_eq!(escaped("a=&b+/ %"), "a%3D%26b%2B%2F%20%25");
    }
}
