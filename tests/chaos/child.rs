//! The publisher in a process of its own, which can be killed: this test binary, started again with a variable that
//! says what to do. It publishes until its stdin is closed, and ends once all is delivered.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spillring::config::SpillDurability;
use spillring::nats::DiscoveredServers;
use spillring::{AuditEntry, Config, JetStreamSink, NatsConfig, Publisher};

use crate::entries::{Chain, Whose};
use crate::journal::Journal;
use test_support::child::Process;

const TASK: &str = "SPILLRING_CHAOS_TASK";
/// How many threads publish.
pub(crate) const THREADS: usize = 4;
/// After how many entries a thread flushes.
const FLUSH_EVERY: u64 = 250;
/// Longer than any outage: publishing and flushing wait for no server.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the backlog may take in the end.
pub(crate) const SHUTDOWN_MAX: Duration = Duration::from_secs(2 * 60);

/// Whether the ring of a publisher is kept in a file: then nothing is missing after a kill.
pub(crate) fn outlives(publisher: usize) -> bool {
    publisher == 1
}

/// What one start of a publisher does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) publisher: usize,
    pub(crate) start: usize,
    /// How many entries all threads together offer in a second.
    pub(crate) rate: u32,
    pub(crate) urls: Vec<String>,
    /// Where the spill is, and the journals.
    pub(crate) dir: PathBuf,
}

impl Task {
    pub(crate) fn spill(&self) -> PathBuf {
        self.dir.join("spill")
    }

    /// Starts the process. It ends when the pipe is closed, also by our own death.
    pub(crate) fn start(&self) -> (Process, ChildStdin) {
        let said = self.dir.join(format!("said {}", self.start));
        let said = File::create(said).expect("a file can be made");
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(["--exact", "child::the_publisher", "--nocapture"])
            .arg("--test-threads=1")
            .env(TASK, serde_json::to_string(self).expect("plain data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("it starts");
        let pipe = child.stdin.take().expect("a pipe");
        (child.into(), pipe)
    }
}

/// Not a test, but the process: nothing happens without the variable.
#[test]
fn the_publisher() {
    let Ok(task) = env::var(TASK) else {
        return;
    };
    let task: Task = serde_json::from_str(&task).expect("a task");
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    let sink = JetStreamSink::new(nats(&task.urls)).expect("settings that can be used");
    let mut config = config(&task.spill());
    if outlives(task.publisher) {
        config.ring_dir = Some(task.dir.join("ring"));
    }
    let drainer = spillring::start_durable(config, sink).expect("it starts");
    let publisher = drainer.publisher();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (task, publisher, ended) = (&task, &publisher, &ended);
            scope.spawn(move || publish(task, thread, publisher, ended));
        }
        io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
        ended.store(true, Ordering::Relaxed);
    });
    let ticket = drainer.shutdown(SHUTDOWN_MAX);
    let stats = ticket.wait(SHUTDOWN_MAX + PATIENCE).expect("an account");
    assert_eq!(stats.entered(), stats.accounted(), "{stats:#?}");
    assert_eq!(stats.delivered, stats.entered(), "{stats:#?}");
    assert_eq!(stats.lost.total(), 0, "{stats:#?}");
}

/// One thread: notes what is accepted after it is, and what is flushed after it is.
fn publish(task: &Task, thread: usize, publisher: &Publisher<AuditEntry>, ended: &AtomicBool) {
    let whose = Whose {
        publisher: task.publisher,
        start: task.start,
        thread,
    };
    let journal = Journal::create(&task.dir, whose);
    let every = Duration::from_secs(1) * u32::try_from(THREADS).expect("few") / task.rate;
    let mut chain = Chain::new(whose);
    let mut due = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        // The load, not a wait for anything.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += every;
        let accepted = publisher.publish_timeout(chain.next(), PATIENCE);
        accepted.expect("there is room in time");
        journal.accepted(chain.made);
        if chain.made.is_multiple_of(FLUSH_EVERY) {
            publisher.flush().wait(PATIENCE).expect("it is kept");
            journal.flushed(chain.made);
        }
    }
}

/// Timeouts as short as a busy machine allows. The spill survives kills, and need not survive more.
fn config(spill: &Path) -> Config {
    let mut config = Config::new(spill);
    config.pending_max = Duration::from_millis(200);
    config.ack_timeout = Duration::from_secs(1);
    config.backoff_min = Duration::from_millis(20);
    config.backoff_max = Duration::from_millis(500);
    config.spill_durability = SpillDurability::ProcessCrash;
    config
}

fn nats(urls: &[String]) -> NatsConfig {
    let mut nats = NatsConfig::default();
    nats.urls = urls.iter().map(|url| url.as_str().into()).collect();
    nats.discovered_servers = DiscoveredServers::Ignore;
    nats.ping_interval = Duration::from_secs(1);
    nats
}
