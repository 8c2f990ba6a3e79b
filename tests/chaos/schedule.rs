//! What strikes, whom, and how: all of it from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

use crate::arena::Way;
use test_support::proxy::Hold;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// SIGKILL of a node, and its restart.
    NodeKilled,
    /// SIGKILL of all nodes, and their restart.
    ClusterKilled,
    /// SIGSTOP of a node, and SIGCONT.
    NodeStopped,
    /// Another node leads the stream.
    LeaderSteppedDown,
    /// A publisher's connection is cut.
    Dropped,
    /// A connection is cut in the middle of a frame.
    CutMidFrame,
    /// Nothing comes through to the servers for a while, and then all of it.
    StalledToServers,
    /// Nothing comes back from the servers for a while, and then all of it.
    StalledToPublisher,
    /// Transactions are stored, and their acknowledgements never arrive.
    AcknowledgementsSwallowed,
    /// A publisher has no connection for longer than a stream of batches knows duplicates.
    Paused,
    /// SIGKILL of a publisher, and its restart on the same spill.
    PublisherKilled,
    /// A whole transaction arrives after the publisher has given it up, and after another one has been stored.
    ArrivesLate,
    /// The same after a SIGKILL of the publisher and its restart. A message is in the spill by then: nothing else keeps
    /// it from arriving after the next run has begun.
    ArrivesAfterDeath,
    /// Of a transaction that the publisher has given up nothing arrives but the last message, in the middle of the
    /// next. (Servers that have changed their leader have forgotten the others.)
    EndsAnother,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::NodeKilled,
        Self::ClusterKilled,
        Self::NodeStopped,
        Self::LeaderSteppedDown,
        Self::Dropped,
        Self::CutMidFrame,
        Self::StalledToServers,
        Self::StalledToPublisher,
        Self::AcknowledgementsSwallowed,
        Self::Paused,
        Self::PublisherKilled,
        Self::ArrivesLate,
        Self::ArrivesAfterDeath,
        Self::EndsAnother,
    ];

    /// Those that can strike a stream that takes entries this way. What ends another transaction is a part of one.
    pub(crate) fn of(way: Way) -> impl Iterator<Item = Self> {
        let strikes = move |kind: &Self| way != Way::Messages || *kind != Self::EndsAnother;
        Self::ALL.into_iter().filter(strikes)
    }

    /// At which moments of a transaction it strikes.
    fn moments(self) -> &'static [Hold] {
        match self {
            Self::NodeKilled
            | Self::ClusterKilled
            | Self::NodeStopped
            | Self::LeaderSteppedDown
            | Self::Dropped
            | Self::CutMidFrame
            | Self::PublisherKilled => &[Hold::Batch, Hold::Commit, Hold::Acknowledgement],
            Self::StalledToServers => &[Hold::Batch, Hold::Commit],
            Self::StalledToPublisher | Self::AcknowledgementsSwallowed | Self::Paused => {
                &[Hold::Acknowledgement]
            }
            Self::ArrivesLate | Self::ArrivesAfterDeath | Self::EndsAnother => &[Hold::Batch],
        }
    }

    /// How many milliseconds it lasts, if it does. An acknowledgement is waited for for a second; a cluster waits four
    /// to nine for a node before it elects another leader.
    fn lasts(self) -> RangeInclusive<u64> {
        match self {
            Self::NodeKilled | Self::ClusterKilled => 0..=2_000,
            Self::NodeStopped => 500..=6_000,
            Self::StalledToServers | Self::StalledToPublisher | Self::AcknowledgementsSwallowed => {
                500..=2_500
            }
            Self::Paused => 1_200..=2_500,
            _ => 0..=0,
        }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// The one that leads the stream by then.
    Leader,
    Number(usize),
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) kind: Kind,
    /// The publisher whose transaction is held, or which is struck itself.
    pub(crate) publisher: usize,
    /// The node, where one is struck.
    pub(crate) node: Node,
    /// What is held meanwhile.
    pub(crate) held: Hold,
    pub(crate) lasts: Duration,
}

/// Strikes without end, in rounds that have each kind once.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: Rng,
    round: Vec<Kind>,
    publishers: usize,
    way: Way,
}

impl Schedule {
    pub(crate) fn new(seed: u64, publishers: usize, way: Way) -> Self {
        Self {
            random: Rng::with_seed(seed),
            round: Vec::new(),
            publishers,
            way,
        }
    }

    pub(crate) fn of(&mut self, kind: Kind) -> Strike {
        let held = self.random.choice(kind.moments());
        Strike {
            kind,
            publisher: self.random.usize(0..self.publishers),
            node: match self.random.usize(0..6) {
                node @ 0..3 => Node::Number(node),
                _ => Node::Leader,
            },
            held: *held.expect("at least one"),
            lasts: Duration::from_millis(self.random.u64(kind.lasts())),
        }
    }
}

impl Iterator for Schedule {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        if self.round.is_empty() {
            self.round.extend(Kind::of(self.way));
            self.random.shuffle(&mut self.round);
        }
        let kind = self.round.pop()?;
        Some(self.of(kind))
    }
}

#[test]
fn the_seed_reproduces_the_schedule() {
    let some = |seed| {
        Schedule::new(seed, 2, Way::Atomic)
            .take(100)
            .collect::<Vec<_>>()
    };
    assert_eq!(some(7), some(7));
    assert_ne!(some(7), some(8));
}
