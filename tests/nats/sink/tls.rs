//! Tries to get in with certificates that are missing, foreign or shown at the wrong moment.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tempfile::TempDir;

use super::access::{assert_kept_out, position};
use super::*;

/// An authority, and the certificates that it has signed, in files.
pub(super) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Certificate and key for this name, and for this machine.
    pub(super) fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        self.sign_for(&["localhost", "127.0.0.1"], name, purpose)
    }

    /// The same for these hosts.
    pub(super) fn sign_for(
        &self,
        hosts: &[&str],
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> (PathBuf, PathBuf) {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        fs::write(&paths.0, cert.pem()).unwrap();
        fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }
}

pub(super) fn tls(server: &(PathBuf, PathBuf), ca: &Path) -> String {
    let (cert, key) = server;
    format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}")
}

#[test]
fn tls_takes_the_authority_and_the_client_certificate_and_no_other_way_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let (cert, key) = authority.sign("client", ExtendedKeyUsagePurpose::ClientAuth);
    let ca = authority.path("ca.pem");
    let server = NatsServer::start_with(&tls(&pair, &ca));
    let url = server.url_by_name();

    let mut rig = Rig::with(&url, |c| {
        c.tls.ca = Some(ca.clone());
        c.tls.cert = Some(cert.clone());
        c.tls.key = Some(key.clone());
    });
    assert_whole(&rig.deliver(&ten(&mut Draft::new())));

    // No certificate to show; an authority that has signed nothing here; a missing file.
    assert_kept_out(&url, |c| c.tls.ca = Some(ca.clone()));
    assert_kept_out(&url, |c| {
        c.tls.ca = Some(stranger.path("ca.pem"));
        c.tls.cert = Some(cert.clone());
        c.tls.key = Some(key.clone());
    });
    assert_kept_out(&url, |c| c.tls.ca = Some(authority.path("none.pem")));
}

#[test]
fn tls_starts_when_the_server_starts_it() {
    let authority = Authority::new();
    let pair = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let ca = authority.path("ca.pem");
    let (cert, key) = &pair;
    let server = |first: bool| {
        NatsServer::start_with(&format!(
            "tls {{ cert_file: {cert:?}, key_file: {key:?}, handshake_first: {first} }}"
        ))
    };
    let by = |handshake| {
        let ca = Some(ca.clone());
        move |c: &mut NatsConfig| (c.tls.ca, c.tls.handshake) = (ca, handshake)
    };
    let (first, after_info) = (server(true), server(false));
    position(&first.url_by_name(), by(Some(TlsHandshake::First))).unwrap();
    position(&after_info.url_by_name(), by(None)).unwrap();
    position(&after_info.url_by_name(), by(Some(TlsHandshake::AfterInfo))).unwrap();

    // The scheme requires TLS, and the server has none.
    let scheme = |server: &NatsServer| server.url_by_name().replace("nats:", "tls:");
    position(&scheme(&after_info), by(None)).unwrap();
    position(&scheme(&NatsServer::start()), by(None)).unwrap_err();

    let error = assert_kept_out(&after_info.url_by_name(), by(Some(TlsHandshake::First)));
    assert!(error.contains("`tls.handshake`"), "{error}");
    let error = assert_kept_out(&first.url_by_name(), by(None));
    assert!(error.contains("`tls.handshake`"), "{error}");
}

#[test]
fn a_certificate_without_its_key_makes_no_sink() {
    let mut config = NatsConfig::default();
    config.tls.cert = Some("client.pem".into());
    let error = JetStreamSink::new(config).unwrap_err();
    assert_eq!(error.key, "tls.cert");
}
