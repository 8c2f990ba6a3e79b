//! Tries to reach the stream at a wrong address, to hide the client's name, and to be stopped by a server that is
//! down.

use tempfile::TempDir;

use super::access::position;
use super::*;

#[test]
fn the_domain_or_the_prefix_of_the_api_leads_to_the_stream_and_a_wrong_one_nowhere() {
    let store = TempDir::new().unwrap();
    let server = NatsServer::start_with(&format!(
        "jetstream {{ domain: hub, store_dir: {:?} }}\nmappings {{ \"audit.api.>\": \"$JS.API.>\" }}",
        store.path()
    ));
    let domain = |name: &str| {
        let name = Some(name.to_owned());
        |c: &mut NatsConfig| c.jetstream_domain = name
    };
    let prefix = |name: &str| {
        let name = Some(name.to_owned());
        |c: &mut NatsConfig| c.jetstream_api_prefix = name
    };
    let batch = ten(&mut Draft::new());
    let mut rig = Rig::with(&server.url(), domain("hub"));
    assert_whole(&rig.deliver(&batch));
    position(&server.url(), prefix("$JS.hub.API")).unwrap();
    position(&server.url(), prefix("audit.api")).unwrap();
    for error in [
        position(&server.url(), domain("moon")).unwrap_err(),
        position(&server.url(), prefix("moon.api")).unwrap_err(),
    ] {
        assert!(matches!(&error, SinkError::Unavailable(_)), "{error}");
    }
    assert_all_in(read_stream(&server.url(), "AUDIT"), &[&batch]);
}

#[test]
fn the_server_knows_the_client_by_its_name() {
    let server = NatsServer::start_with("debug: true");
    position(&server.url(), |c| c.name = "gateway-7".to_owned()).unwrap();
    position(&server.url(), |_| {}).unwrap();
    let known = |name: &str| server.log().contains(&format!("rust:{name}"));
    let until = Instant::now() + AMPLE;
    while !(known("gateway-7") && known("spillring")) {
        assert!(Instant::now() < until, "{}", server.log());
    }
}

#[test]
fn of_several_servers_one_that_is_up_is_enough_each_time() {
    let server = NatsServer::start();
    for _ in 0..5 {
        position(&format!("nats://127.0.0.1:{}", free_port()), |c| {
            c.urls.push(server.url().into());
        })
        .unwrap();
    }
}
