//! Certificates of the operator. Both sides show one, which an authority of theirs has signed and
//! which is for the host in the node's name.
//!
//! The host is not that which was dialed: nodes that are found are dialed by their address, and
//! which of them somebody is shows the name in the hello. So the name is held against the
//! certificate then, on both sides.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::{ParsedCertificate, danger::ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Protection;
use crate::cluster::pem;

/// What is spoken over these connections.
const ALPN: &[u8] = b"shardmq-cluster/1+certificates";

/// `cluster.ssl_options`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Files {
    /// `cacertfile`.
    pub(crate) authority: PathBuf,
    /// `certfile`.
    pub(crate) certificate: PathBuf,
    /// `keyfile`.
    pub(crate) key: PathBuf,
}

/// What is in the files.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Contents {
    authority: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Reads the files.
pub(super) fn read(files: &Files) -> Result<Contents, String> {
    Ok(Contents {
        authority: pem::read(&files.authority)?,
        certificate: pem::read(&files.certificate)?,
        key: pem::read(&files.key)?,
    })
}

/// Configurations with what is in the files, if others will accept that of the node at a host.
pub(super) fn protection(
    files: &Files,
    contents: &Contents,
    host: &str,
) -> Result<Protection, String> {
    let provider = Arc::new(provider::default_provider());
    let roots = Arc::new(pem::roots(&files.authority, &contents.authority)?);
    let chain = pem::certificates(&files.certificate, &contents.certificate)?;
    let key = pem::key(&files.key, &contents.key)?;
    let certified = CertifiedKey::from_der(chain.clone(), key, &provider);
    let certified = certified.map_err(|error| {
        let (key, certificate) = (files.key.display(), files.certificate.display());
        match error {
            Error::InconsistentKeys(_) => format!("the key in {key} is not that of {certificate}"),
            error => format!("the key in {key} cannot be used: {error}"),
        }
    })?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider.clone());
    let clients = clients.build().map_err(|error| error.to_string())?;
    let nodes = Nodes {
        roots,
        provider: Arc::clone(&provider),
    };
    check(&files.certificate, &chain, &nodes, &*clients, host)?;
    let certified = Arc::new(SingleCertAndKey::from(certified));
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certified.clone());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(nodes))
        .with_client_cert_resolver(certified);
    Protection::new(ALPN, server, client).map_err(|error| error.to_string())
}

/// Whether the other nodes will accept a certificate of the node at a host.
fn check(
    file: &Path,
    chain: &[CertificateDer<'_>],
    nodes: &Nodes,
    clients: &dyn ClientCertVerifier,
    host: &str,
) -> Result<(), String> {
    let file = file.display();
    let Some((own, others)) = chain.split_first() else {
        return Err(format!("{file} has no certificate"));
    };
    let now = UnixTime::now();
    let asserted = nodes
        .signed(own, others, now)
        .and_then(|()| clients.verify_client_cert(own, others, now).map(drop));
    asserted.map_err(|error| format!("the certificate in {file} {}", in_words(&error)))?;
    is_for(own, host).map_err(|error| format!("{file}: {error}"))
}

/// Whether the certificate at the other end is for the host of a node.
pub(super) fn is_of(identity: Option<Box<dyn Any>>, node: &str) -> Result<(), String> {
    let chain = identity.and_then(|chain| chain.downcast::<Vec<CertificateDer<'_>>>().ok());
    let own = chain.as_ref().and_then(|chain| chain.first());
    let own = own.ok_or_else(|| format!("{node} shows no certificate"))?;
    let (_, host) = node.split_once('@').unwrap_or(("", node));
    is_for(own, host).map_err(|error| format!("{node}: {error}"))
}

/// Whether a certificate is for a host.
fn is_for(certificate: &CertificateDer<'_>, host: &str) -> Result<(), String> {
    let name = ServerName::try_from(host);
    let name = name.map_err(|_| format!("{host} is nothing that a certificate can be for"))?;
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| error.to_string())?;
    verify_server_name(&parsed, &name).map_err(|_| {
        format!("the certificate is not for {host}, the host in node.name (subjectAltName)")
    })
}

/// What is wrong with a certificate, as the rest of a sentence.
fn in_words(error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else {
        return format!("cannot be used: {error}");
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "is not signed by an authority in cluster.ssl_options.cacertfile".to_owned()
        }
        CertificateError::BadSignature => "is not signed with the key of the authority of that \
             name in cluster.ssl_options.cacertfile"
            .to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for servers and clients both (extendedKeyUsage serverAuth, clientAuth)"
                .to_owned()
        }
        error => format!("cannot be used: {error}"),
    }
}

/// Takes certificates that an authority of ours has signed, whatever host they are for.
#[derive(Debug)]
struct Nodes {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Nodes {
    fn signed(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let own = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, others, now, algorithms)
    }
}

impl ServerCertVerifier for Nodes {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.signed(own, others, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn shown(hosts: &[&str]) -> Option<Box<dyn Any>> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).unwrap();
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Some(Box::new(vec![signed.der().clone()]))
    }

    #[test]
    fn a_certificate_is_for_the_host_in_the_name_of_its_node() {
        let hosts = ["10.0.0.1", "::1", "*.mq.example"];
        for node in ["a@10.0.0.1", "a@::1", "b@one.mq.example"] {
            assert_eq!(is_of(shown(&hosts), node), Ok(()), "{node}");
        }
        for node in [
            "a@10.0.0.2",
            "a@::2",
            "a@mq.example",
            "a@a.b.mq.example",
            "a@b c",
        ] {
            assert!(is_of(shown(&hosts), node).is_err(), "{node}");
        }
        let said = is_of(shown(&hosts), "a@10.0.0.2").unwrap_err();
        assert!(said.contains("not for 10.0.0.2"), "{said}");
        assert!(
            is_of(None, "a@10.0.0.1")
                .unwrap_err()
                .contains("no certificate")
        );
    }
}
