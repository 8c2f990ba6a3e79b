//! Takes away the only server that is named. The others, which the cluster announces, must be reached in the same way:
//! as the same user, and over TLS with a certificate for their name, whatever they announce.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use rcgen::ExtendedKeyUsagePurpose;

use super::access::USER;
use super::tls::Authority;
use super::*;
use test_support::eventually::eventually_within;
use test_support::nats::{Cluster, read_stream_as};

const NODES: usize = 3;
/// An election alone takes up to nine seconds.
const ELECTION_MAX: Duration = Duration::from_secs(60);

/// A sink that knows only the first node.
fn rig(scheme: &str, cluster: &Cluster, ca: Option<&Path>) -> Rig {
    let port = cluster.ports()[0];
    let url = format!("{scheme}://anna:pa%40ss@localhost:{port}");
    Rig::with(&url, |config| {
        config.stream_replicas = NODES;
        config.tls.ca = ca.map(Path::to_owned);
    })
}

/// Brings the first node back.
fn bring_back(cluster: &mut Cluster) {
    cluster.restart(0);
    cluster.until_ready();
}

fn options(ca: Option<&Path>) -> ConnectOptions {
    let options = ConnectOptions::with_user_and_password("anna".into(), "pa@ss".into());
    match ca {
        Some(ca) => options.require_tls(true).add_root_certificates(ca.into()),
        None => options,
    }
}

/// Waits until the stream has a leader that answers clients of this port.
fn until_led(port: u16, ca: Option<&Path>) {
    let url = format!("nats://127.0.0.1:{port}");
    eventually_within(ELECTION_MAX, "the stream answers", || {
        block_on(async {
            let client = options(ca).connect(&url).await.ok()?;
            jetstream::new(client).get_stream("AUDIT").await.ok()
        })
    });
}

#[track_caller]
fn assert_stored_in(cluster: &Cluster, ca: Option<&Path>, batches: &[&Batch]) {
    until_led(cluster.ports()[0], ca);
    let read = read_stream_as(options(ca), &cluster.url(), "AUDIT");
    assert_all_in(read, batches);
}

fn tls((cert, key): &(PathBuf, PathBuf)) -> String {
    format!("{USER}\ntls {{ cert_file: {cert:?}, key_file: {key:?} }}")
}

/// The server of the URL dies between two batches.
fn fails_over(mut rig: Rig, mut cluster: Cluster, ca: Option<&Path>) {
    let draft = &mut Draft::new();
    let (first, second) = (ten(draft), ten(draft));
    rig.deliver_all(&first);
    cluster.kill(0);
    rig.deliver_all(&second);
    bring_back(&mut cluster);
    assert_stored_in(&cluster, ca, &[&first, &second]);
}

#[test]
fn discovered_servers_are_reached_as_the_user_of_the_url() {
    let cluster = Cluster::start_with(|_| USER.to_owned());
    let rig = rig("nats", &cluster, None);
    fails_over(rig, cluster, None);
}

#[test]
fn discovered_servers_are_reached_over_tls_as_the_same_user() {
    let authority = Authority::new();
    let pair = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let ca = authority.path("ca.pem");
    let cluster = Cluster::start_with(|_| tls(&pair));
    let rig = rig("tls", &cluster, Some(&ca));
    fails_over(rig, cluster, Some(&ca));
}

/// One has the certificate of another host, the other has no TLS.
#[test]
fn a_discovered_server_cannot_weaken_tls() {
    let authority = Authority::new();
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let pair = authority.sign("server", server.clone());
    let elsewhere = authority.sign_for(&["elsewhere.example"], "elsewhere", server);
    let ca = authority.path("ca.pem");
    let mut cluster = Cluster::start_with(|node| match node {
        0 => tls(&pair),
        1 => tls(&elsewhere),
        _ => USER.to_owned(),
    });
    let mut rig = rig("tls", &cluster, Some(&ca));
    let draft = &mut Draft::new();
    let (first, second) = (ten(draft), ten(draft));
    rig.deliver_all(&first);
    cluster.kill(0);
    let ports = cluster.ports();
    // The others can continue without the first node.
    until_led(ports[2], None);
    // The first call may still use the old connection.
    rig.position().ok();
    let said = rig.position().unwrap_err().to_string();
    let of = |port: &u16| {
        let from = said.find(&format!("127.0.0.1:{port}: ")).unwrap();
        said[from..].split("; tls://").next().unwrap()
    };
    assert!(of(&ports[1]).contains("not valid for name"), "{said}");
    assert!(of(&ports[2]).contains("give the `ca`"), "{said}");
    assert!(
        !said.contains("pa@ss") && !said.contains("pa%40ss"),
        "{said}"
    );

    bring_back(&mut cluster);
    until_led(ports[0], Some(&ca));
    rig.deliver_all(&second);
    assert_stored_in(&cluster, Some(&ca), &[&first, &second]);
}
