//! Tries to find a secret in a log, even in the client's own at its finest level, and an outage that is logged twice.

use super::*;

/// The client runs on this thread, too.
pub(super) fn logged(act: impl FnOnce()) -> String {
    test_support::logged::logged(tracing::Level::TRACE, act)
}

fn ours<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines()
        .filter(|line| line.contains(" spillring: ") && line.contains(text))
        .collect()
}

#[test]
fn an_outage_is_left_to_the_drainer_to_log_and_no_secret_is_logged() {
    let mut server = NatsServer::start_with("authorization { user: anna, password: hidden }");
    let mut rig = Rig::new(&server.url_as("anna:hidden"));
    let draft = &mut Draft::new();
    let (first, second) = (ten(draft), ten(draft));
    let log = logged(|| {
        rig.position().unwrap();
        assert_whole(&rig.deliver(&first));
        server.kill();
        for _ in 0..5 {
            rig.deliver(&second).stopped.unwrap();
        }
        server.restart();
        rig.deliver_all(&second);
        server.restart_with("authorization { user: anna, password: other }");
        rig.deliver(&second).stopped.unwrap();
        rig.deliver(&second).stopped.unwrap();
    });
    assert_eq!(ours(&log, "NATS takes entries").len(), 1, "{log}");
    // The drainer logs them.
    assert!(ours(&log, "the sink cannot be reached").is_empty(), "{log}");
    assert!(ours(&log, "the sink is misconfigured").is_empty(), "{log}");
    assert!(
        log.contains("async_nats"),
        "the client's own log is searched, too"
    );
    assert!(!log.contains("hidden"), "{log}");
}

#[test]
fn a_stream_that_may_lose_entries_is_logged_once() {
    let mut server = NatsServer::start();
    block_on(async {
        let config = jetstream::stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec!["assembly.audit.>".to_owned()],
            max_messages: 1_000_000,
            ..Default::default()
        };
        let context = jetstream::new(client(&server.url()).await);
        context.create_stream(config).await.unwrap();
    });
    let mut rig = Rig::new(&server.url());
    let log = logged(|| {
        for _ in 0..3 {
            rig.position().unwrap();
            server.restart();
        }
    });
    assert_eq!(ours(&log, "deletes its oldest messages").len(), 1, "{log}");
}
