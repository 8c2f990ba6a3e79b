//! The spill directory cannot be used at the start: an error that says what to do, or a publisher that goes without.

use std::fs;

use spillring::config::WhenSpillUnusable;
use spillring::event::LossReason;

use test_support::bench::{
    Bench, Note, announced, assert_announced, end, eventually, name, names, publish,
    until_delivered,
};
use test_support::sinks::Mode;

/// A file stands where the directory should be.
fn unusable() -> Bench {
    let bench = Bench::new();
    fs::write(bench.spill(), "in the way").unwrap();
    bench
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let bench = unusable();
    let refused = spillring::start::<Note>(bench.config.clone(), bench.remote.sink());
    let said = refused.unwrap_err().to_string();
    let dir = bench.spill();
    assert!(said.contains(&dir.display().to_string()), "{said}");
    assert!(
        said.contains("give a directory that this user can write"),
        "{said}"
    );
}

#[test]
fn a_publisher_runs_without_a_spill_if_allowed() {
    let mut bench = unusable();
    bench.config.when_spill_unusable = WhenSpillUnusable::StartWithout;
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..1_000);
    until_delivered(&drainer);
    bench.remote.set(Mode::Down);
    let mut next = 1_000;
    eventually("the ring is full", || {
        while drainer
            .publisher()
            .try_publish(Note::new(name(next)))
            .is_ok()
        {
            next += 1;
        }
        let stats = drainer.stats();
        // A batch, and a chunk that the disk does not take, are out of it.
        stats.in_ring == bench.config.ring_capacity as u64 && stats.in_memory >= 1_124
    });
    drainer.publisher().publish(Note::new("lost"));
    bench.remote.refuse(name(1_500));
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    publish(&drainer.publisher(), [next]);
    let returned = drainer.stats().returned;
    let stats = end(drainer, next as u64 + 2 + returned);
    assert_eq!((stats.lost.queue_full, stats.rejected), (1, 0));
    assert_eq!(stats.discarded.dead_letters_full, 1);
    let stored = bench.remote.stored();
    assert_eq!(
        bench.remote.texts(),
        names((0..=next).filter(|&n| n != 1_500))
    );
    assert_eq!(announced(&stored, LossReason::DeadLettered), 1);
    assert_eq!(announced(&stored, LossReason::QueueFull), 1);
    assert_announced(&stored);
    assert_eq!(fs::read_to_string(bench.spill()).unwrap(), "in the way");
}

/// That somebody else has the directory is a mistake of another kind.
#[test]
fn a_directory_in_use_is_an_error_all_the_same() {
    let mut bench = Bench::new();
    bench.config.when_spill_unusable = WhenSpillUnusable::StartWithout;
    let drainer = bench.start();
    let second = spillring::start::<Note>(bench.config.clone(), bench.remote.sink());
    assert!(
        second
            .unwrap_err()
            .to_string()
            .contains("is in use by process")
    );
    end(drainer, 0);
}
