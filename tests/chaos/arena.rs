//! A cluster, publishers with a proxy each, and the strikes at them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use crate::publisher::Publisher;
use crate::schedule::{Kind, Node, Strike};
use test_support::eventually::eventually;
use test_support::nats::{Cluster, block_on, client};
use test_support::proxy::{Direction, Fault, Verdict};

pub(crate) const STREAM: &str = "AUDIT";
/// How long a stream of batches knows duplicates: far shorter than by default, and so than many a fault here.
const SHORT_WINDOW: Duration = Duration::from_secs(1);
/// How long a stream of messages does: as long as by default, and so longer than any outage here.
const LONG_WINDOW: Duration = Duration::from_secs(2 * 60);
/// How long it may take until a publisher has a transaction under way, elections included.
const CATCH_MAX: Duration = Duration::from_secs(60);
/// How often a kind of fault may miss its moment before that is a failure.
const TRIES: usize = 3;
/// Arenas at the same time, at most: a node that waits seconds for a processor is as good as stopped.
const ARENAS: usize = 3;
static ARENAS_LEFT: (Mutex<usize>, Condvar) = (Mutex::new(ARENAS), Condvar::new());

/// How the stream takes entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Atomic,
    Fast,
    /// The publishers use what is faster.
    Both,
    /// No batches: each entry is a message by itself, which is a transaction of one.
    Messages,
}

#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) way: Way,
    pub(crate) cluster: Cluster,
    pub(crate) publishers: Vec<Publisher>,
    /// How often each kind has struck while a transaction was not acknowledged.
    pub(crate) struck: BTreeMap<Kind, usize>,
    /// What the servers said to transactions that came late.
    pub(crate) late: Vec<String>,
    began: Instant,
    dir: TempDir,
    _slot: Slot,
}

/// One of [`ARENAS`]. A field that is dropped last gives it back once all others have ended.
#[derive(Debug)]
struct Slot;

impl Slot {
    fn take() -> Self {
        let (left, changed) = &ARENAS_LEFT;
        let mut left = left.lock();
        changed.wait_while(&mut left, |left| *left == 0);
        *left -= 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *ARENAS_LEFT.0.lock() += 1;
        ARENAS_LEFT.1.notify_one();
    }
}

impl Arena {
    /// Starts everything; all publishers together offer so many entries in a second.
    pub(crate) fn start(publishers: usize, rate: u32, way: Way) -> Self {
        let slot = Slot::take();
        let cluster = Cluster::start();
        make_stream(&cluster.url(), way);
        let dir = TempDir::new().expect("a temporary directory can be made");
        let (nodes, each) = (
            cluster.ports(),
            rate / u32::try_from(publishers).expect("few"),
        );
        let publishers = (0..publishers)
            .map(|publisher| Publisher::new(publisher, each, dir.path(), &nodes))
            .collect();
        let mut arena = Self {
            way,
            cluster,
            publishers,
            struck: BTreeMap::new(),
            late: Vec::new(),
            began: Instant::now(),
            dir,
            _slot: slot,
        };
        arena.start_publishers();
        arena
    }

    pub(crate) fn start_publishers(&mut self) {
        self.publishers.iter_mut().for_each(Publisher::start);
    }

    /// How many entries have surely been accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        let journals = self.publishers.iter().flat_map(Publisher::journals);
        journals.map(|(_, noted, _)| noted.accepted).sum()
    }

    /// Brings everything to rest: all nodes are well, and the publishers have delivered all that they have.
    pub(crate) fn finish(&mut self) {
        self.cluster.until_ready();
        self.publishers.iter_mut().for_each(Publisher::end);
        self.publishers.iter_mut().for_each(Publisher::until_ended);
    }

    /// Strikes until it has struck a transaction that was not acknowledged.
    pub(crate) fn strike(&mut self, strike: &Strike) {
        for _ in 0..TRIES {
            tell(&format!("{:?} {strike:?}", self.began.elapsed()));
            if self.try_strike(strike) {
                *self.struck.entry(strike.kind).or_default() += 1;
                return;
            }
        }
        panic!("it found all transactions acknowledged {TRIES} times: {strike:?}");
    }

    /// Waits for a transaction of the publisher, holds it, and strikes. Answers whether it was not acknowledged then.
    fn try_strike(&mut self, strike: &Strike) -> bool {
        self.publishers.iter_mut().for_each(Publisher::assert_lives);
        let of_servers = matches!(
            strike.kind,
            Kind::NodeKilled | Kind::ClusterKilled | Kind::NodeStopped | Kind::LeaderSteppedDown
        );
        let node = of_servers.then(|| self.node(strike));
        let publisher = &self.publishers[strike.publisher];
        let caught = publisher.proxy.catch(strike.held, CATCH_MAX);
        assert!(caught, "no transaction: {}", publisher.said());
        let unacknowledged = publisher.proxy.is_unacknowledged();
        match (strike.kind, node) {
            (_, Some(node)) => return self.strike_servers(strike, node) && unacknowledged,
            (Kind::PublisherKilled, _) => self.kill_publisher(strike),
            (Kind::ArrivesLate | Kind::ArrivesAfterDeath, _) => self.arrive_late(strike),
            (Kind::EndsAnother, _) => self.end_another(strike),
            _ => self.strike_network(strike),
        }
        unacknowledged
    }

    /// Waits until each publisher has so many more transactions acknowledged.
    pub(crate) fn warm_up(&self, transactions: u64) {
        for publisher in &self.publishers {
            let stored = publisher.proxy.until_acknowledged(transactions, CATCH_MAX);
            assert!(stored, "nothing is stored: {}", publisher.said());
        }
    }

    /// The node to strike, once all are well: unless all are struck, two of three keep the stream.
    fn node(&self, strike: &Strike) -> usize {
        self.cluster.until_ready();
        self.warm_up(1);
        match strike.node {
            Node::Number(node) => node,
            Node::Leader => eventually("the stream has a leader", || self.cluster.leader(STREAM)),
        }
    }

    /// Answers whether the leader did step down, if that was the strike.
    fn strike_servers(&mut self, strike: &Strike, node: usize) -> bool {
        let proxy = &self.publishers[strike.publisher].proxy;
        let cluster = &mut self.cluster;
        let mut hit = true;
        match strike.kind {
            Kind::NodeKilled => cluster.kill(node),
            Kind::ClusterKilled => cluster.kill_all(),
            Kind::NodeStopped => cluster.stop_signal(node),
            _ => hit = cluster.step_down(STREAM) && proxy.is_unacknowledged(),
        }
        proxy.release(Verdict::Pass);
        outlast(strike);
        match strike.kind {
            Kind::NodeKilled => cluster.restart(node),
            Kind::ClusterKilled => cluster.restart_all(),
            Kind::NodeStopped => cluster.cont_signal(node),
            _ => {}
        }
        hit
    }

    fn strike_network(&self, strike: &Strike) {
        let (fault, verdict) = match strike.kind {
            Kind::Dropped => (None, Verdict::Cut),
            Kind::CutMidFrame => (None, Verdict::Half),
            Kind::StalledToServers => (Some(Fault::Stalled(Direction::ToServer)), Verdict::Pass),
            Kind::StalledToPublisher => (Some(Fault::Stalled(Direction::ToClient)), Verdict::Pass),
            Kind::AcknowledgementsSwallowed => (Some(Fault::Swallowing), Verdict::Swallow),
            _ => (Some(Fault::Refusing), Verdict::Cut),
        };
        let proxy = &self.publishers[strike.publisher].proxy;
        proxy.suffer(fault);
        proxy.release(verdict);
        outlast(strike);
        proxy.suffer(None);
    }

    fn kill_publisher(&mut self, strike: &Strike) {
        let publisher = &mut self.publishers[strike.publisher];
        publisher.kill();
        publisher.proxy.release(Verdict::Cut);
        publisher.start();
    }

    /// Keeps the transaction from the servers until another one is stored.
    fn arrive_late(&mut self, strike: &Strike) {
        let publisher = &mut self.publishers[strike.publisher];
        if strike.kind == Kind::ArrivesAfterDeath {
            if self.way == Way::Messages {
                // Nothing refuses it: it keeps its place only if the next start sends it again, from the spill.
                publisher.proxy.suffer(Some(Fault::Refusing));
                let given_up = publisher.proxy.until_given_up(CATCH_MAX);
                assert!(given_up, "it waits: {}", publisher.said());
            }
            publisher.kill();
            publisher.proxy.suffer(None);
            publisher.start();
        }
        let proxy = &publisher.proxy;
        let another = proxy.until_acknowledged(1, CATCH_MAX);
        assert!(another, "no other one is stored: {}", publisher.said());
        proxy.release(Verdict::Pass);
        let answer = proxy.answer().unwrap_or_default();
        tell(&format!("came late, and was answered {answer}"));
        self.late.push(answer);
    }

    fn end_another(&self, strike: &Strike) {
        let publisher = &self.publishers[strike.publisher];
        let intruded = publisher.proxy.intrude(CATCH_MAX);
        assert!(intruded, "no other one is as long: {}", publisher.said());
        publisher.proxy.release(Verdict::Swallow);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            tell(&format!("kept: {}", self.dir.path().display()));
        }
    }
}

/// As long as the fault lasts: the load, not a wait for anything.
fn outlast(strike: &Strike) {
    thread::sleep(strike.lasts);
}

#[expect(clippy::print_stderr, reason = "shown if the test fails")]
pub(crate) fn tell(what: &str) {
    eprintln!("{what}");
}

fn make_stream(url: &str, way: Way) {
    let window = match way {
        Way::Messages => LONG_WINDOW,
        Way::Atomic | Way::Fast | Way::Both => SHORT_WINDOW,
    };
    let wanted = serde_json::json!({
        "name": STREAM,
        "subjects": ["assembly.audit.>", "assembly.cursor.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": 3,
        "max_age": 0,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_consumers": -1,
        "max_msgs_per_subject": -1,
        "discard": "old",
        "duplicate_window": window.as_nanos(),
        "allow_direct": true,
        "allow_atomic": matches!(way, Way::Atomic | Way::Both),
        "allow_batched": matches!(way, Way::Fast | Way::Both),
    });
    block_on(async {
        let mut context = jetstream::new(client(url).await);
        context.set_timeout(CATCH_MAX);
        let request = format!("STREAM.CREATE.{STREAM}");
        let made: serde_json::Value = context.request(request, &wanted).await.expect("an answer");
        assert!(made.get("error").is_none(), "{made}");
    });
}
