//! What the API of Kubernetes says about a service: lists of EndpointSlices, and Endpoints.
//!
//! Nodes that are not ready are found, too: a node that starts is not, and has to find the
//! others for it. Those that are about to end are not found.

use serde::Deserialize;
use serde_json::Error;

/// Somebody who provides a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint {
    /// The address.
    pub(super) ip: String,
    /// The name within the service, if it has one.
    pub(super) hostname: Option<String>,
}

/// A part of a list.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Page {
    pub(super) endpoints: Vec<Endpoint>,
    /// What the next part is to be asked for with.
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
struct SliceList {
    #[serde(default)]
    metadata: ListMeta,
    // Go writes an empty list as null.
    items: Option<Vec<Slice>>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    address_type: String,
    endpoints: Option<Vec<SliceEndpoint>>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    addresses: Option<Vec<String>>,
    #[serde(default)]
    conditions: Conditions,
    hostname: Option<String>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct Endpoints {
    subsets: Option<Vec<Subset>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subset {
    addresses: Option<Vec<Address>>,
    not_ready_addresses: Option<Vec<Address>>,
}

#[derive(Deserialize)]
struct Address {
    ip: String,
    hostname: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    message: Option<String>,
}

/// Reads a list of EndpointSlices. Of each endpoint all addresses mean the same: the first one
/// is taken.
pub(super) fn slices(body: &[u8], is_ipv4: bool) -> Result<Page, Error> {
    let list: SliceList = serde_json::from_slice(body)?;
    let family = if is_ipv4 { "IPv4" } else { "IPv6" };
    let slices = list.items.unwrap_or_default().into_iter();
    let slices = slices.filter(|slice| slice.address_type == family);
    let endpoints = slices.flat_map(|slice| slice.endpoints.unwrap_or_default());
    let endpoints = endpoints.filter(|it| it.conditions.terminating != Some(true));
    let endpoints = endpoints.filter_map(|endpoint| {
        let ip = endpoint.addresses?.into_iter().next()?;
        let hostname = endpoint.hostname;
        Some(Endpoint { ip, hostname })
    });
    Ok(Page {
        endpoints: endpoints.collect(),
        next: list.metadata.next.filter(|next| !next.is_empty()),
    })
}

/// Reads the Endpoints of a service.
pub(super) fn endpoints(body: &[u8], is_ipv4: bool) -> Result<Vec<Endpoint>, Error> {
    let object: Endpoints = serde_json::from_slice(body)?;
    let subsets = object.subsets.unwrap_or_default().into_iter();
    let addresses = subsets.flat_map(|subset| {
        let ready = subset.addresses.unwrap_or_default();
        let others = subset.not_ready_addresses.unwrap_or_default();
        ready.into_iter().chain(others)
    });
    let addresses = addresses.filter(|address| address.ip.contains(':') != is_ipv4);
    let endpoints = addresses.map(|Address { ip, hostname }| Endpoint { ip, hostname });
    Ok(endpoints.collect())
}

/// What the API says is wrong.
pub(super) fn message(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Status>(body).ok()?.message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(ip: &str, hostname: Option<&str>) -> Endpoint {
        Endpoint {
            ip: ip.to_owned(),
            hostname: hostname.map(str::to_owned),
        }
    }

    /// Two slices of a dual-stack service with a StatefulSet behind it, as the API writes them.
    const SLICES: &str = r#"{
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": "4711"},
        "items": [
            {"metadata": {"name": "shardmq-v4", "namespace": "iot",
                "labels": {"kubernetes.io/service-name": "shardmq"}},
             "addressType": "IPv4",
             "endpoints": [
                {"addresses": ["10.244.1.5"],
                 "conditions": {"ready": true, "serving": true, "terminating": false},
                 "hostname": "shardmq-0", "nodeName": "worker-1",
                 "targetRef": {"kind": "Pod", "namespace": "iot", "name": "shardmq-0"}},
                {"addresses": ["10.244.2.7"],
                 "conditions": {"ready": false, "serving": false, "terminating": false},
                 "hostname": "shardmq-1", "nodeName": "worker-2"},
                {"addresses": ["10.244.3.9"],
                 "conditions": {"ready": false, "serving": true, "terminating": true},
                 "hostname": "shardmq-2"}],
             "ports": [{"name": "cluster", "protocol": "UDP", "port": 4370}]},
            {"metadata": {"name": "shardmq-v6"}, "addressType": "IPv6",
             "endpoints": [{"addresses": ["fd00::5"], "conditions": {"ready": true}}],
             "ports": null},
            {"metadata": {"name": "shardmq-v4-2"}, "addressType": "IPv4",
             "endpoints": [{"addresses": ["10.244.4.1"], "conditions": {}}], "ports": []},
            {"metadata": {"name": "empty"}, "addressType": "IPv4", "endpoints": null,
             "ports": null},
            {"metadata": {"name": "names"}, "addressType": "FQDN",
             "endpoints": [{"addresses": ["a.example"]}], "ports": []}]}"#;

    #[test]
    fn all_slices_of_the_family_count_and_what_ends_does_not() {
        let page = slices(SLICES.as_bytes(), true).unwrap();
        assert_eq!(
            page.endpoints,
            [
                is("10.244.1.5", Some("shardmq-0")),
                is("10.244.2.7", Some("shardmq-1")),
                is("10.244.4.1", None),
            ]
        );
        assert_eq!(page.next, None);
        let page = slices(SLICES.as_bytes(), false).unwrap();
        assert_eq!(page.endpoints, [is("fd00::5", None)]);
    }

    #[test]
    fn a_list_may_be_empty_or_go_on() {
        let list = r#"{"metadata": {"resourceVersion": "1"}, "items": null}"#;
        let none = Page {
            endpoints: Vec::new(),
            next: None,
        };
        assert_eq!(slices(list.as_bytes(), true).unwrap(), none);
        let list = r#"{"metadata": {"continue": "abc", "remainingItemCount": 7}, "items": []}"#;
        let page = slices(list.as_bytes(), true).unwrap();
        assert_eq!(page.next.as_deref(), Some("abc"));
        let list = r#"{"metadata": {"continue": ""}, "items": []}"#;
        assert_eq!(slices(list.as_bytes(), true).unwrap(), none);
    }

    #[test]
    fn endpoints_have_subsets_with_those_that_are_not_ready() {
        let object = r#"{
            "kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "shardmq"},
            "subsets": [
                {"addresses": [{"ip": "10.244.1.5", "hostname": "shardmq-0",
                    "targetRef": {"kind": "Pod", "name": "shardmq-0"}}],
                 "notReadyAddresses": [{"ip": "10.244.2.7"}],
                 "ports": [{"name": "cluster", "port": 4370, "protocol": "UDP"}]},
                {"addresses": [{"ip": "fd00::5"}]}]}"#;
        let v4 = endpoints(object.as_bytes(), true).unwrap();
        assert_eq!(
            v4,
            [is("10.244.1.5", Some("shardmq-0")), is("10.244.2.7", None)]
        );
        assert_eq!(
            endpoints(object.as_bytes(), false).unwrap(),
            [is("fd00::5", None)]
        );
        let empty = r#"{"kind": "Endpoints", "metadata": {"name": "shardmq"}}"#;
        assert!(endpoints(empty.as_bytes(), true).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_in_a_status() {
        let status = r#"{"kind": "Status", "status": "Failure",
            "message": "endpoints \"shardmq\" not found", "reason": "NotFound", "code": 404}"#;
        let said = message(status.as_bytes());
        assert_eq!(said.as_deref(), Some("endpoints \"shardmq\" not found"));
        assert_eq!(message(b"<html>"), None);
        assert!(slices(b"<html>", true).is_err());
    }
}
