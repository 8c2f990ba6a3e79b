//! Takes away the only server that is named. The others, which the cluster names, must be reached as that one was: as the same
//! user, and over TLS with a certificate for their name, whatever they say themselves.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use rcgen::ExtendedKeyUsagePurpose;

use super::access::USER;
use super::support::nats::{Cluster, read_stream_as};
use super::tls::Authority;
use super::*;

const NODES: usize = 3;

/// The sink that knows the first node only.
fn rig(scheme: &str, cluster: &Cluster, ca: Option<&Path>) -> Rig {
    let port = cluster.ports()[0];
    let url = format!("{scheme}://anna:pa%40ss@localhost:{port}");
    Rig::with(&url, |config| {
        config.stream_replicas = NODES;
        config.tls.ca = ca.map(Path::to_owned);
    })
}

/// What the stream has once the first node is back: while there is no leader, nobody can read it.
#[track_caller]
fn assert_stored_in(cluster: &mut Cluster, ca: Option<&Path>, records: &[Record]) {
    cluster.restart(0);
    cluster.until_ready();
    let port = cluster.ports()[0];
    let mut options = ConnectOptions::with_user_and_password("anna".into(), "pa@ss".into());
    if let Some(ca) = ca {
        options = options.require_tls(true).add_root_certificates(ca.into());
    }
    let mut read = read_stream_as(options, &format!("nats://127.0.0.1:{port}"), "AUDIT");
    read.retain(|message| message.subject.starts_with("assembly.audit."));
    let expected: Vec<String> = records.iter().map(|it| it.id().to_string()).collect();
    assert_eq!(ids(&read), expected);
}

fn tls((cert, key): &(PathBuf, PathBuf)) -> String {
    format!("{USER}\ntls {{ cert_file: {cert:?}, key_file: {key:?} }}")
}

#[test]
fn servers_that_the_cluster_names_let_in_the_user_of_the_url() {
    let mut cluster = Cluster::start_with(|_| USER.to_owned());
    let mut rig = rig("nats", &cluster, None);
    let records = records(1..=20, COMMON);
    rig.deliver_all(&records[..10]);
    cluster.kill(0);
    rig.deliver_all(&records[10..]);
    assert_stored_in(&mut cluster, None, &records);
}

#[test]
fn servers_that_the_cluster_names_are_reached_over_tls_as_the_same_user() {
    let authority = Authority::new();
    let pair = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let ca = authority.path("ca.pem");
    let mut cluster = Cluster::start_with(|_| tls(&pair));
    let mut rig = rig("tls", &cluster, Some(&ca));
    let records = records(1..=20, COMMON);
    rig.deliver_all(&records[..10]);
    cluster.kill(0);
    rig.deliver_all(&records[10..]);
    assert_stored_in(&mut cluster, Some(&ca), &records);
}

/// One has the certificate of another host, and the other one no TLS.
#[test]
fn a_server_that_the_cluster_names_lowers_nothing() {
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
    let records = records(1..=20, COMMON);
    rig.deliver_all(&records[..10]);
    cluster.kill(0);
    // The first call may still find the connection as it was.
    rig.position().ok();
    let said = rig.position().unwrap_err().to_string();
    let of = |port: &u16| {
        let from = said.find(&format!("127.0.0.1:{port}: ")).unwrap();
        said[from..].split("; tls://").next().unwrap()
    };
    let ports = cluster.ports();
    assert!(of(&ports[1]).contains("not valid for name"), "{said}");
    assert!(of(&ports[2]).contains("give the `ca`"), "{said}");
    assert!(
        !said.contains("pa@ss") && !said.contains("pa%40ss"),
        "{said}"
    );

    cluster.restart(0);
    cluster.until_ready();
    rig.deliver_all(&records[10..]);
    assert_stored_in(&mut cluster, Some(&ca), &records);
}
