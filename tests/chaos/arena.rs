//! A cluster, publishers with a proxy each, and the strikes at them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use tempfile::TempDir;

use crate::publisher::Publisher;
use crate::schedule::{Kind, Node, Strike};
use crate::support::eventually::eventually;
use crate::support::nats::{Cluster, block_on, client};
use crate::support::proxy::{Direction, Hold, Proxy, Verdict};

pub(crate) const STREAM: &str = "AUDIT";
/// How long the stream knows duplicates: far shorter than by default, and so than many a fault here.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);
/// How long it may take until a publisher has a transaction under way, elections included.
const CATCH_MAX: Duration = Duration::from_mins(1);
/// How often a kind of fault may miss its moment before that is a failure.
const TRIES: usize = 3;

#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) cluster: Cluster,
    pub(crate) publishers: Vec<Publisher>,
    /// How often each kind has struck while a transaction was not acknowledged.
    pub(crate) struck: BTreeMap<Kind, usize>,
    /// What the servers said to transactions that came late.
    pub(crate) late: Vec<String>,
    began: Instant,
    dir: TempDir,
}

impl Arena {
    /// Starts everything; all publishers together offer so many entries in a second.
    pub(crate) fn start(publishers: usize, rate: u32) -> Self {
        let cluster = Cluster::start();
        make_stream(&cluster.url());
        let dir = TempDir::new().expect("a temporary directory can be made");
        let (nodes, each) = (
            cluster.ports(),
            rate / u32::try_from(publishers).expect("few"),
        );
        let publishers = (0..publishers)
            .map(|publisher| Publisher::new(publisher, each, dir.path(), &nodes))
            .collect();
        let mut arena = Self {
            cluster,
            publishers,
            struck: BTreeMap::new(),
            late: Vec::new(),
            began: Instant::now(),
            dir,
        };
        arena.start_publishers();
        arena
    }

    pub(crate) fn start_publishers(&mut self) {
        self.publishers.iter_mut().for_each(Publisher::start);
    }

    /// Brings everything to rest: all nodes are well, and the publishers have delivered all that they have.
    pub(crate) fn finish(&mut self) {
        self.cluster.until_ready();
        self.publishers.iter_mut().for_each(Publisher::finish);
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

    /// Waits for a transaction of the publisher, holds it, and strikes. Answers whether it was unacknowledged all the
    /// while.
    fn try_strike(&mut self, strike: &Strike) -> bool {
        self.publishers.iter_mut().for_each(Publisher::assert_lives);
        let node = match strike.kind {
            Kind::NodeKilled | Kind::NodeStopped | Kind::LeaderSteppedDown => self.node(strike),
            _ => 0,
        };
        let caught = self.proxy(strike).catch(strike.held, CATCH_MAX);
        let said = || self.publishers[strike.publisher].said();
        assert!(caught, "no transaction within {CATCH_MAX:?}: {}", said());
        let before = self.proxy(strike).is_unacknowledged();
        let after = match strike.kind {
            Kind::NodeKilled | Kind::NodeStopped | Kind::LeaderSteppedDown => {
                self.strike_servers(strike, node)
            }
            Kind::PublisherKilled | Kind::ArrivesLate | Kind::ArrivesAfterDeath => {
                self.strike_publisher(strike)
            }
            _ => self.strike_network(strike),
        };
        before && after
    }

    /// Waits until each publisher has so many more transactions acknowledged.
    pub(crate) fn warm_up(&self, transactions: u64) {
        for publisher in &self.publishers {
            let stored = publisher.proxy.until_acknowledged(transactions, CATCH_MAX);
            assert!(stored, "nothing is stored: {}", publisher.said());
        }
    }

    fn proxy(&self, strike: &Strike) -> &Proxy {
        &self.publishers[strike.publisher].proxy
    }

    /// The node to strike, once all are well: one is struck at a time, so that two of three keep the stream, and one of
    /// them leads it.
    fn node(&self, strike: &Strike) -> usize {
        self.cluster.until_ready();
        self.warm_up(1);
        match strike.node {
            Node::Number(node) => node,
            Node::Leader => eventually("the stream has a leader", || self.cluster.leader(STREAM)),
        }
    }

    fn strike_servers(&mut self, strike: &Strike, node: usize) -> bool {
        let proxy = &self.publishers[strike.publisher].proxy;
        let cluster = &mut self.cluster;
        match strike.kind {
            Kind::NodeKilled => {
                cluster.kill(node);
                proxy.release(Verdict::Pass);
                outlast(strike);
                cluster.restart(node);
                true
            }
            Kind::NodeStopped => {
                cluster.stop_signal(node);
                proxy.release(Verdict::Pass);
                outlast(strike);
                cluster.cont_signal(node);
                true
            }
            _ => {
                let hit = cluster.step_down(STREAM) && proxy.is_unacknowledged();
                proxy.release(Verdict::Pass);
                hit
            }
        }
    }

    fn strike_network(&self, strike: &Strike) -> bool {
        let proxy = self.proxy(strike);
        match strike.kind {
            Kind::Dropped => proxy.release(Verdict::Cut),
            Kind::CutMidFrame => proxy.release(Verdict::Half),
            Kind::StalledToServers | Kind::StalledToPublisher => {
                let direction = match strike.held {
                    Hold::Acknowledgement => Direction::ToClient,
                    Hold::Batch | Hold::Commit => Direction::ToServer,
                };
                proxy.stall(Some(direction));
                proxy.release(Verdict::Pass);
                outlast(strike);
                proxy.stall(None);
            }
            Kind::AcknowledgementsSwallowed => {
                proxy.swallow(true);
                proxy.release(Verdict::Swallow);
                outlast(strike);
                proxy.swallow(false);
            }
            Kind::EndsAnother => {
                let intruded = proxy.intrude(CATCH_MAX);
                assert!(intruded, "no other one is as long");
                proxy.release(Verdict::Swallow);
            }
            other => {
                assert_eq!(other, Kind::Paused);
                proxy.refuse(true);
                proxy.release(Verdict::Cut);
                outlast(strike);
                proxy.refuse(false);
            }
        }
        true
    }

    fn strike_publisher(&mut self, strike: &Strike) -> bool {
        let publisher = &mut self.publishers[strike.publisher];
        if strike.kind != Kind::ArrivesLate {
            publisher.kill();
        }
        if strike.kind == Kind::PublisherKilled {
            publisher.proxy.release(Verdict::Cut);
            publisher.start();
            return true;
        }
        if strike.kind == Kind::ArrivesAfterDeath {
            publisher.start();
        }
        let proxy = &publisher.proxy;
        let another = proxy.until_acknowledged(1, CATCH_MAX);
        assert!(another, "no other one is stored: {}", publisher.said());
        proxy.release(Verdict::Pass);
        let answer = proxy.answer().unwrap_or_default();
        tell(&format!("came late, and was answered {answer}"));
        self.late.push(answer);
        true
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

fn make_stream(url: &str) {
    block_on(async {
        let context = jetstream::new(client(url).await);
        let made = context
            .create_stream(stream::Config {
                name: STREAM.to_owned(),
                subjects: vec![
                    "assembly.audit.>".to_owned(),
                    "assembly.cursor.>".to_owned(),
                ],
                num_replicas: 3,
                duplicate_window: DUPLICATE_WINDOW,
                allow_atomic_publish: true,
                allow_rollup: true,
                ..stream::Config::default()
            })
            .await;
        made.expect("the cluster makes the stream");
    });
}
