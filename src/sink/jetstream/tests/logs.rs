//! Tries to find a secret in a log, even in the client's own at its finest level, and an outage that is logged twice.

use std::io;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The log of this thread, on which the client runs as well.
pub(super) fn logged(act: impl FnOnce()) -> String {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = log.0.lock().clone();
    String::from_utf8(bytes).unwrap()
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
    let records = records(1..=10, COMMON);
    let log = logged(|| {
        rig.position().unwrap();
        assert_all(&rig.deliver(&batch(&records[..5], AMPLE)), 5);
        server.kill();
        for _ in 0..5 {
            rig.deliver(&batch(&records[5..], AMPLE)).stopped.unwrap();
        }
        server.restart();
        rig.deliver_all(&records[5..]);
        server.restart_with("authorization { user: anna, password: other }");
        rig.deliver(&batch(&records, AMPLE)).stopped.unwrap();
        rig.deliver(&batch(&records, AMPLE)).stopped.unwrap();
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
    let server = NatsServer::start();
    block_on(async {
        let config = jetstream::stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec!["assembly.audit.>".to_owned()],
            storage: jetstream::stream::StorageType::Memory,
            ..Default::default()
        };
        let context = jetstream::new(client(&server.url()).await);
        context.create_stream(config).await.unwrap();
    });
    let mut rig = Rig::new(&server.url());
    let log = logged(|| {
        for _ in 0..3 {
            rig.sink.connected = None;
            rig.position().unwrap();
        }
    });
    assert_eq!(ours(&log, "in memory only").len(), 1, "{log}");
}
