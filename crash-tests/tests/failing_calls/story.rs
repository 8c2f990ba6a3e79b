//! A scenario: a publisher with a backlog suffers faults, recovers without help, and another finds nothing amiss.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_tests::{Fault, Faults, SPILL_BYTES_MAX, vfs};
use spillring::config::SpillDurability;
use spillring::event::LossReason;
use spillring::{Config, Drainer, State, Stats};

use crate::faults::{OPEN, READ, READ_EIO};
use test_support::bench::{
    LIMIT, Note, announced, assert_announced, end, eventually, name, quick, until_delivered,
};
use test_support::sinks::{Mode, Remote};

/// How long a fault lasts that lasts for a while.
pub(crate) const STRETCH: Duration = Duration::from_millis(300);

/// How many entries an earlier life has left.
const BACKLOG: usize = 60;
/// Between two groups of entries meanwhile.
const PACE: Duration = Duration::from_millis(5);
/// So many rounds fill more than one segment, on a machine with far more to do as well.
const ROUNDS_MIN: usize = 40;

/// What the sink does while calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Up,
    Down,
    Flapping,
}

/// When calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The first after so many.
    After(u64),
    /// For a while.
    Stretch,
    /// As long as the publisher lives.
    ForGood,
}

/// What a scenario has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Calls that have failed.
    pub(crate) hits: u64,
    /// How many segments were begun.
    pub(crate) segments: usize,
    /// Entries that could not be read any more.
    pub(crate) lost: u64,
}

/// Whether entries may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Losses {
    None,
    /// Those that cannot be read any more.
    Corrupt,
}

impl Losses {
    pub(crate) fn of(faults: &[Fault], when: When) -> Self {
        let keeps_from_reading = |fault: &Fault| [READ, READ_EIO, OPEN].contains(fault);
        if when == When::ForGood && faults.iter().any(keeps_from_reading) {
            Self::Corrupt
        } else {
            Self::None
        }
    }
}

pub(crate) fn scenario(losses: Losses, suffer: impl FnOnce(&mut Story, &Drainer<Note>)) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let failing = Faults::new();
    let _watching = vfs::watch(dir.path(), Arc::clone(&failing) as _);
    let mut story = Story {
        next: 0,
        failing,
        remote: Remote::holding(Vec::new()),
    };
    let config = config(&dir.path().join("spill"));
    story.remote.set(Mode::Down);
    // A backlog of an earlier life, so that there is something to be read.
    let drainer = spillring::start(config.clone(), story.remote.sink()).unwrap();
    story.publish(&drainer, BACKLOG);
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    let drainer = spillring::start(config.clone(), story.remote.sink()).unwrap();
    story.publish(&drainer, 10);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    let segments = story.failing.segments();
    suffer(&mut story, &drainer);
    story.remote.set(Mode::Up);
    until_delivered(&drainer);
    // What comes now is as if nothing had been.
    story.publish(&drainer, 10);
    until_delivered(&drainer);
    eventually("it is live again", || drainer.stats().state == State::Live);
    let stats = end(drainer, (story.next - BACKLOG) as u64);
    story.failing.none();
    story.assert_delivered(&stats, losses);
    let outcome = Outcome {
        hits: story.failing.hits(),
        segments: story.failing.segments() - segments,
        lost: stats.discarded.corrupt,
    };
    let quarantined = spillring::operate::status(&config.spill_dir)
        .unwrap()
        .quarantined;
    assert_eq!(quarantined.is_empty(), outcome.lost == 0, "{stats:#?}");
    story.assert_at_peace(config);
    outcome
}

fn config(spill: &Path) -> Config {
    let mut config = quick(spill);
    config.spill_durability = SpillDurability::PowerLoss;
    config.spill_bytes_max = SPILL_BYTES_MAX;
    config.batch_max = 10;
    config
}

pub(crate) struct Story {
    next: usize,
    pub(crate) failing: Arc<Faults>,
    pub(crate) remote: Remote,
}

impl Story {
    pub(crate) fn publish(&mut self, drainer: &Drainer<Note>, count: usize) {
        for _ in 0..count {
            let note = Note::new(text(self.next));
            drainer
                .publisher()
                .try_publish(note)
                .expect("room in the ring");
            self.next += 1;
        }
    }

    /// Publishes all the while; what is flushed meanwhile may have to wait for the fault to be gone.
    pub(crate) fn suffer(
        &mut self,
        drainer: &Drainer<Note>,
        faults: &[Fault],
        when: When,
        weather: Weather,
    ) {
        for &fault in faults {
            match when {
                When::After(after) => self.failing.once(fault, after),
                When::Stretch | When::ForGood => self.failing.always(fault),
            }
        }
        let begun = Instant::now();
        let mut round = 0;
        while begun.elapsed() < STRETCH || round < ROUNDS_MIN {
            self.remote.set(match weather {
                Weather::Up => Mode::Up,
                Weather::Down => Mode::Down,
                Weather::Flapping => [Mode::Down, Mode::Prefixes(3), Mode::Up][round % 3],
            });
            self.publish(drainer, 5);
            let flush = drainer.publisher().flush();
            if flush.wait(Duration::from_millis(10)).is_ok() {
                std::thread::sleep(PACE);
            }
            round += 1;
        }
        if when == When::ForGood {
            return;
        }
        if let When::After(_) = when {
            // What was published may still be on its way to the call that fails.
            drainer.publisher().flush().wait(LIMIT).unwrap();
        }
        self.failing.none();
        drainer.publisher().flush().wait(LIMIT).unwrap();
    }

    /// All that was published, once and in order, but for what is announced.
    fn assert_delivered(&self, stats: &Stats, losses: Losses) {
        let stored = self.remote.stored();
        assert_announced(&stored);
        let corrupt = stats.discarded.corrupt;
        assert_eq!(corrupt, stats.discarded.total() + stats.dead_lettered);
        assert_eq!(corrupt, announced(&stored, LossReason::Corrupt));
        assert!(losses == Losses::Corrupt || corrupt == 0, "{stats:#?}");
        let numbers: Vec<_> = stored.iter().map(|row| number(&row.text)).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let lost = usize::try_from(corrupt).unwrap();
        assert_eq!(numbers.len() + lost, self.next, "{stats:#?}");
    }

    /// Another publisher finds nothing to deliver, and nothing amiss.
    fn assert_at_peace(&self, config: Config) {
        let before = self.remote.stored().len();
        let drainer = spillring::start(config, self.remote.sink()).unwrap();
        until_delivered(&drainer);
        drainer.publisher().publish(Note::new("afterwards"));
        let stats = end(drainer, 1);
        assert_eq!(stats.discarded.total() + stats.dead_lettered, 0);
        let stored = self.remote.stored();
        assert_announced(&stored);
        assert_eq!(stored.len(), before + 1, "{:?}", self.remote.texts());
    }
}

/// Long enough that a few dozen do not fit into one page.
fn text(number: usize) -> String {
    name(number) + &"x".repeat(2_000)
}

/// Of the entry with this text.
fn number(text: &str) -> usize {
    let digits = text.split(' ').nth(1).unwrap();
    digits.parse().unwrap()
}
