//! Tries to get in without being let in, to be kept out in silence, and to find a secret in what is then said.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tempfile::TempDir;

use super::*;
use crate::config::NatsConfig;

const TOKEN: &str = "authorization { token: sesame }";
const USER: &str = "authorization { user: anna, password: \"pa@ss\" }";
/// A pair that the documentation of NATS uses.
const NKEY: &str =
    "authorization { users: [{ nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }] }";
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

fn position(url: &str, change: impl FnOnce(&mut NatsConfig)) -> Result<(), SinkError> {
    Rig::with(url, change).position().map(|_| ())
}

fn assert_kept_out(url: &str, change: impl FnOnce(&mut NatsConfig)) -> String {
    let error = position(url, change).unwrap_err();
    let SinkError::Misconfigured(why) = &error else {
        panic!("{error:?}");
    };
    assert!(!why.contains("hidden"), "{why}");
    why.clone()
}

#[test]
fn a_token_is_given_by_setting_or_url_and_a_wrong_one_is_misconfigured() {
    let server = NatsServer::start_with(TOKEN);
    position(&server.url(), |c| c.token = Some("sesame".into())).unwrap();
    position(&server.url_as("sesame"), |_| {}).unwrap();
    assert_kept_out(&server.url(), |c| c.token = Some("hidden".into()));
    assert_kept_out(&server.url_as("hidden"), |_| {});
    assert_kept_out(&server.url(), |_| {});
}

#[test]
fn user_and_password_are_given_by_setting_or_url_and_wrong_ones_are_misconfigured() {
    let server = NatsServer::start_with(USER);
    let anna = |password: &'static str| {
        move |c: &mut NatsConfig| {
            c.user = Some("anna".to_owned());
            c.password = Some(password.into());
        }
    };
    position(&server.url(), anna("pa@ss")).unwrap();
    position(&server.url_as("anna:pa%40ss"), |_| {}).unwrap();
    assert_kept_out(&server.url(), anna("hidden"));
    assert_kept_out(&server.url_as("anna:hidden"), |_| {});
}

#[test]
fn an_nkey_is_given_as_seed_or_file_and_a_bad_one_is_misconfigured() {
    let server = NatsServer::start_with(NKEY);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("seed");
    fs::write(&file, format!("{SEED}\n")).unwrap();
    position(&server.url(), |c| c.nkey = Some(SEED.into())).unwrap();
    position(&server.url(), |c| {
        c.nkey = Some(file.to_str().unwrap().into());
    })
    .unwrap();
    assert_kept_out(&server.url(), |c| c.nkey = Some("Shidden".into()));
    assert_kept_out(&server.url(), |_| {});
}

#[test]
fn a_credentials_file_that_cannot_be_used_is_misconfigured_and_named() {
    let server = NatsServer::start();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("creds");
    let named = assert_kept_out(&server.url(), |c| c.creds = Some(file.clone()));
    assert!(named.contains(file.to_str().unwrap()), "{named}");
    fs::write(&file, "hidden").unwrap();
    assert_kept_out(&server.url(), |c| c.creds = Some(file.clone()));
}

#[test]
fn debug_of_the_sink_shows_no_secret_connected_or_not() {
    let server = NatsServer::start_with("authorization { user: anna, password: hidden }");
    let mut rig = Rig::with(&server.url_as("anna:hidden"), |c| {
        c.token = Some("hidden".into());
    });
    let before = format!("{:?}", rig.sink);
    rig.position().unwrap();
    let after = format!("{:?}", rig.sink);
    assert!(!before.contains("hidden"), "{before}");
    assert!(!after.contains("hidden"), "{after}");
    assert!(after.contains("nats://***@127.0.0.1"), "{after}");
}

/// A user who may do everything but what `denied` says.
fn limited(denied: &str) -> String {
    format!(
        "authorization {{ users: [
            {{ user: all, password: p }}
            {{ user: limited, password: p, permissions: {{ {denied} }} }}
        ] }}"
    )
}

#[test]
fn a_publish_that_is_not_permitted_is_misconfigured_at_once_and_what_is_permitted_is_stored() {
    let server = NatsServer::start_with(&limited(
        "publish: { deny: \"assembly.audit.acme.agent-0\" }",
    ));
    let mut rig = Rig::new(&server.url_as("limited:p"));
    let records = records(1..=10, COMMON);
    let started = Instant::now();
    let delivery = rig.deliver(&batch(&records, AMPLE));
    assert!(
        matches!(&delivery.stopped, Some(SinkError::Misconfigured(why)) if why.contains("agent-0")),
        "{delivery:?}"
    );
    assert_eq!(delivery.stored, 2);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );

    // Once it is mended, the same sink goes on.
    let mut server = server;
    server.restart_with(&limited(""));
    rig.deliver_all(&records[2..]);
    let read = support::nats::read_stream(&server.url_as("all:p"), "AUDIT");
    let mut numbers: Vec<&str> = ids(&read);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), read.len(), "each once");
    assert_eq!(numbers.len(), records.len(), "none is lost");
}

#[test]
fn a_stream_that_may_not_be_looked_at_is_misconfigured_at_once() {
    for denied in [
        "publish: { deny: \"$JS.API.>\" }",
        "subscribe: { deny: \"_INBOX.>\" }",
    ] {
        let server = NatsServer::start_with(&limited(denied));
        let started = Instant::now();
        let error = position(&server.url_as("limited:p"), |_| {}).unwrap_err();
        assert!(matches!(&error, SinkError::Misconfigured(_)), "{error:?}");
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
    }
}

#[test]
fn credentials_that_are_revoked_in_the_middle_are_misconfigured_at_the_next_call() {
    let mut server = NatsServer::start_with(TOKEN);
    let mut rig = Rig::with(&server.url(), |c| c.token = Some("sesame".into()));
    rig.position().unwrap();
    server.restart_with("authorization { token: other }");
    let records = records(1..=10, COMMON);
    let until = Instant::now() + AMPLE;
    while !matches!(
        rig.deliver(&batch(&records, AMPLE)).stopped,
        Some(SinkError::Misconfigured(_))
    ) {
        assert!(Instant::now() < until, "it never said so");
    }
}

/// An authority, and what it has signed, in files.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Certificate and key of this name.
    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
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

fn tls(server: &(PathBuf, PathBuf), ca: &Path) -> String {
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
    let records = records(1..=10, COMMON);
    assert_all(&rig.deliver(&batch(&records, AMPLE)), 10);

    // No certificate to show; an authority that has signed nothing here; a file that is not there.
    assert_kept_out(&url, |c| c.tls.ca = Some(ca.clone()));
    assert_kept_out(&url, |c| {
        c.tls.ca = Some(stranger.path("ca.pem"));
        c.tls.cert = Some(cert.clone());
        c.tls.key = Some(key.clone());
    });
    assert_kept_out(&url, |c| c.tls.ca = Some(authority.path("none.pem")));
}

#[test]
fn a_certificate_without_its_key_makes_no_sink() {
    let mut config = NatsConfig::default();
    config.tls.cert = Some("client.pem".into());
    let error = JetStreamSink::new(config).unwrap_err();
    assert_eq!(error.key, "tls.cert");
}
