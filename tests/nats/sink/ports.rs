//! Connects to ports that are not for clients: the error must name what they are.

use rcgen::ExtendedKeyUsagePurpose;

use super::access::assert_kept_out;
use super::tls::Authority;
use super::*;
use test_support::proxy::{Fault, Proxy};

/// The port that the server logs after these words.
fn logged_port(server: &NatsServer, words: &str) -> String {
    let log = server.log();
    let line = log.lines().find(|line| line.contains(words)).unwrap();
    let port = line.rsplit(':').next().unwrap();
    port.parse::<u16>().unwrap().to_string()
}

#[track_caller]
fn assert_named(url: &str, what: &str) {
    let said = assert_kept_out(url, |_| {});
    assert!(said.contains(what), "no {what:?} in {said}");
}

#[test]
fn ports_for_websockets_and_for_monitoring_are_named() {
    let server = NatsServer::start_with(
        "http: \"127.0.0.1:-1\"\nwebsocket { listen: \"127.0.0.1:-1\", no_tls: true }",
    );
    let port = logged_port(&server, "Listening for websocket clients on");
    let url = format!("nats://127.0.0.1:{port}");
    assert_named(
        &url,
        "it is a port for websockets: give the port for clients",
    );
    let port = logged_port(&server, "Starting http monitor on");
    let url = format!("nats://127.0.0.1:{port}");
    assert_named(
        &url,
        "it is a port for HTTP, such as the one for monitoring",
    );
}

#[test]
fn a_port_for_encrypted_websockets_is_named() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = NatsServer::start_with(&format!(
        "websocket {{ listen: \"127.0.0.1:-1\", tls {{ cert_file: {cert:?}, key_file: {key:?} }} }}"
    ));
    let port = logged_port(&server, "Listening for websocket clients on");
    let url = format!("nats://127.0.0.1:{port}");
    assert_named(&url, "it is a port for HTTPS");
}

#[test]
fn a_port_for_tls_only_is_named() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = NatsServer::start_with(&format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?}, handshake_first: true }}"
    ));
    assert_named(
        &server.url_by_name(),
        "it is a port for TLS only: set `tls.handshake` to \"first\"",
    );
}

/// A silent port, and one that hangs up.
#[test]
fn a_port_that_does_not_answer_is_tried_again() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = NatsServer::start();
    let closing = Proxy::new(&[server.port()]);
    closing.suffer(Some(Fault::Refusing));
    let port = silent.local_addr().unwrap().port();
    for url in [format!("nats://127.0.0.1:{port}"), closing.url()] {
        let said = Rig::new(&url).position().unwrap_err();
        assert!(
            matches!(&said, SinkError::Disconnected(why) if why.contains("is it the port for clients?")),
            "{said:?}"
        );
    }
}
