//! The disk takes nothing for a while, and neither does the sink: publishers notice only when the ring is full, what is
//! lost then is counted and announced in its place, and once the disk is back, nothing that was accepted is missing.
//!
//! The disk is taken away with a limit on the size of files. That is the whole process's, so the story is told by a
//! child: this test binary, started again by a shell that ignores the signal which comes with the limit.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spillring::config::WhenSpillFull;
use spillring::event::{LossReason, RunEnd};
use spillring::{Drainer, State};

use test_support::bench::{
    Bench, LIMIT, Note, after_a_kill, announced, assert_announced, end, eventually, names, publish,
    until_delivered, until_spilled,
};
use test_support::child::assert_one_passed;
use test_support::sinks::{Fault, Mode};

const CHILD: &str = "SPILLRING_DISK_CHILD";

fn run_in_a_child(test: &str) {
    let child =
        format!("trap '' XFSZ; exec \"$0\" --exact disk::{test} --nocapture --test-threads=1");
    let output = Command::new("sh")
        .args(["-c", &child])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_one_passed(&output);
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// No file of this process grows, nor is written to at all.
fn take_disk_away() {
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

fn give_disk_back() {
    let limit = getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[test]
fn without_disk_and_sink_the_ring_fills_and_reports_what_it_refused() {
    if !is_child() {
        return run_in_a_child("without_disk_and_sink_the_ring_fills_and_reports_what_it_refused");
    }
    let mut bench = Bench::down();
    bench.config.ring_capacity = 512;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..100);
    until_spilled(&drainer);
    take_disk_away();
    publish(&publisher, 100..200);
    eventually("the disk's absence shows", || {
        drainer.stats().state == State::DiskAway
    });
    let mut accepted = 200;
    eventually("the ring is full", || {
        while publisher
            .try_publish(Note::new(test_support::bench::name(accepted)))
            .is_ok()
        {
            accepted += 1;
        }
        drainer.stats().in_ring == 512
    });
    // The drainer may take some more out of the ring meanwhile.
    while drainer.stats().lost.total() < 7 {
        let lost = drainer.stats().lost.total();
        publish(&publisher, [accepted]);
        accepted += usize::from(drainer.stats().lost.total() == lost);
    }
    let stats = drainer.stats();
    assert_eq!((stats.lost.queue_full, stats.lost.spill_full), (7, 0));
    give_disk_back();
    publisher.flush().wait(LIMIT).unwrap();
    publish(&publisher, [accepted]);
    publisher.flush().wait(LIMIT).unwrap();
    let stored = after_a_kill(&bench);
    assert_announced(&stored);
    let texts: Vec<_> = stored.iter().map(|stored| stored.text.clone()).collect();
    assert_eq!(texts, names(0..=accepted));
    assert_eq!(announced(&stored, LossReason::QueueFull), 7);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let returned = drainer.stats().returned;
    end(drainer, accepted as u64 + 1 + 7 + returned);
    assert_eq!(bench.remote.texts(), names(0..=accepted));
    assert_eq!(announced(&bench.remote.stored(), LossReason::QueueFull), 7);
}

/// The sink is up all the while: what comes from memory goes out without the disk, refused records wait for it.
#[test]
fn without_disk_the_sink_is_served_from_memory() {
    if !is_child() {
        return run_in_a_child("without_disk_the_sink_is_served_from_memory");
    }
    let bench = Bench::new();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..10);
    until_delivered(&drainer);
    take_disk_away();
    bench.remote.set(Mode::Stalled);
    publish(&publisher, 10..1_000);
    eventually("a batch at the sink", || drainer.stats().in_memory > 0);
    // Long enough for attempts to relieve memory, all of which fail.
    assert!(publisher.flush().wait(Duration::from_millis(200)).is_err());
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    bench.remote.refuse(test_support::bench::name(1_003));
    publish(&publisher, 1_000..1_010);
    eventually("the records before it", || {
        bench.remote.stored().len() == 1_003
    });
    give_disk_back();
    until_delivered(&drainer);
    let stats = end(drainer, 1_010);
    assert_eq!(stats.rejected, 1);
    assert_eq!(
        bench.remote.texts(),
        names((0..1_010).filter(|&n| n != 1_003))
    );
    assert_announced(&bench.remote.stored());
}

/// The backlog goes out, but that cannot be noted; it is not sent twice, neither then nor by the next run.
#[test]
fn what_cannot_be_noted_as_delivered_is_not_sent_again() {
    if !is_child() {
        return run_in_a_child("what_cannot_be_noted_as_delivered_is_not_sent_again");
    }
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..500);
    until_spilled(&drainer);
    take_disk_away();
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    publish(&drainer.publisher(), 500..700);
    until_delivered(&drainer);
    let stored = after_kill_of_copy(&bench);
    assert_eq!(stored, names(0..700));
    let stats = end(drainer, 700);
    assert_eq!((stats.delivered, stats.spilled), (700, 0));
    let drainer = bench.start();
    publish(&drainer.publisher(), 700..701);
    end(drainer, 1);
    assert_eq!(bench.remote.texts(), names(0..701));
    assert_announced(&bench.remote.stored());
}

/// An answer that settles spilled rows does so also if that cannot be noted.
#[test]
fn without_disk_a_doubt_is_settled() {
    if !is_child() {
        return run_in_a_child("without_disk_a_doubt_is_settled");
    }
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..100);
    until_spilled(&drainer);
    take_disk_away();
    bench.remote.next(Fault::AnswerLostAfter(3));
    bench.remote.set(Mode::Up);
    publish(&drainer.publisher(), 100..110);
    until_delivered(&drainer);
    assert_eq!(bench.remote.texts(), names(0..110));
    give_disk_back();
    let stats = end(drainer, 110);
    assert_eq!(
        (stats.delivered, stats.replayed, stats.spilled),
        (110, 100, 0)
    );
}

/// Large entries that can be put nowhere stay in the ring: what is out of it is bounded in bytes.
#[test]
fn without_disk_and_sink_large_entries_stay_in_the_ring() {
    if !is_child() {
        return run_in_a_child("without_disk_and_sink_large_entries_stay_in_the_ring");
    }
    let mut bench = Bench::down();
    bench.config.ring_bytes_max = 8 << 20;
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..1);
    until_spilled(&drainer);
    take_disk_away();
    let publisher = drainer.publisher();
    let large = || Note::new("x".repeat(1 << 20));
    let mut accepted: u64 = 1;
    eventually("nothing is taken any more", || {
        let before = accepted;
        while publisher.try_publish(large()).is_ok() {
            accepted += 1;
        }
        // Time for more tries than it would take to empty the ring, if each took some out.
        accepted == before && publisher.flush().wait(Duration::from_millis(300)).is_err()
    });
    // A batch for the sink, a chunk at the disk, and one that waits for it, each with an entry over.
    let stats = drainer.stats();
    assert!(stats.in_memory <= 15, "{stats:#?}");
    give_disk_back();
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let returned = drainer.stats().returned;
    end(drainer, accepted + returned);
}

fn after_kill_of_copy(bench: &Bench) -> Vec<String> {
    give_disk_back();
    after_a_kill(bench)
        .into_iter()
        .map(|stored| stored.text)
        .collect()
}

/// That a run has reached the stream cannot be written down: it reaches it all the same, and this is made up for.
#[test]
fn a_run_opens_without_the_disk_and_is_known_once_it_is_back() {
    if !is_child() {
        return run_in_a_child("a_run_opens_without_the_disk_and_is_known_once_it_is_back");
    }
    let mut bench = Bench::new();
    let drainer = bench.start();
    take_disk_away();
    publish(&drainer.publisher(), 0..10);
    until_delivered(&drainer);
    give_disk_back();
    bench.remote.set(Mode::Down);
    publish(&drainer.publisher(), 10..20);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    bench.kill(drainer);
    let drainer = bench.start();
    publish(&drainer.publisher(), 20..21);
    end(drainer, 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(bench.remote.texts(), names(0..21));
    let previous = stored[20].opens.as_ref().unwrap().previous;
    assert_eq!(previous, Some((stored[0].run, None, RunEnd::Killed)));
}

/// An end with neither disk nor sink says what it could put nowhere, and the next run that this one did not end well.
#[test]
fn an_end_without_disk_and_sink_accounts_for_what_it_abandons() {
    if !is_child() {
        return run_in_a_child("an_end_without_disk_and_sink_accounts_for_what_it_abandons");
    }
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    until_spilled(&drainer);
    take_disk_away();
    publish(&drainer.publisher(), 10..3_010);
    let stats = test_support::bench::end_within(drainer, Duration::ZERO, 3_010);
    assert_eq!(stats.in_ring + stats.in_memory, 3_000);
    assert_eq!(stats.spilled, 10);
    give_disk_back();
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer.publisher(), 10..11);
    end(drainer, 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(bench.remote.texts(), names(0..11));
    assert_eq!(
        stored[10].opens.as_ref().unwrap().previous.unwrap().2,
        RunEnd::Killed
    );
}

/// Rows that the sink has make room before any entry is evicted for it, also if that could not be noted at once.
#[test]
fn what_was_delivered_makes_room_before_anything_is_evicted() {
    if !is_child() {
        return run_in_a_child("what_was_delivered_makes_room_before_anything_is_evicted");
    }
    let mut bench = Bench::down();
    bench.config.spill_bytes_max = 1 << 20;
    bench.config.when_spill_full = WhenSpillFull::EvictOldest;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let large = |count| (0..count).for_each(|_| publisher.publish(Note::new("x".repeat(10_000))));
    large(80);
    until_spilled(&drainer);
    take_disk_away();
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    bench.remote.set(Mode::Down);
    give_disk_back();
    for _ in 0..4 {
        large(20);
        until_spilled(&drainer);
    }
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = end(drainer, 160);
    assert_eq!(
        (stats.delivered, stats.discarded.spill_evicted),
        (160, 0),
        "{stats:#?}"
    );
    assert_announced(&bench.remote.stored());
}

/// A backlog one row of which is damaged, read while the disk takes nothing.
fn with_damage_and_without_disk(damaged: usize) -> (Bench, Drainer<Note>) {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    until_spilled(&drainer);
    test_support::bench::end_within(drainer, Duration::ZERO, 10);
    let mut segments = std::fs::read_dir(bench.spill().join("segments")).unwrap();
    let file = segments.next().unwrap().unwrap().path();
    assert!(segments.next().is_none(), "another one");
    let mut bytes = std::fs::read(&file).unwrap();
    let text = test_support::bench::name(damaged).into_bytes();
    let at = bytes.windows(text.len()).position(|window| window == text);
    bytes[at.unwrap()] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let drainer = bench.start();
    take_disk_away();
    publish(&drainer.publisher(), 10..20);
    eventually("the disk's absence shows", || {
        drainer.stats().state == State::DiskAway
    });
    bench.remote.set(Mode::Up);
    (bench, drainer)
}

fn end_of_damage(bench: &Bench, drainer: Drainer<Note>, damaged: usize) {
    give_disk_back();
    until_delivered(&drainer);
    let stats = end(drainer, 10);
    assert_eq!(stats.discarded.corrupt, 1);
    assert_eq!(
        bench.remote.texts(),
        names((0..20).filter(|&n| n != damaged))
    );
}

/// What is told as damaged while nothing can be written is counted once the disk is back.
#[test]
fn damage_that_is_reported_without_the_disk_is_counted() {
    if !is_child() {
        return run_in_a_child("damage_that_is_reported_without_the_disk_is_counted");
    }
    let (bench, drainer) = with_damage_and_without_disk(5);
    eventually("all others are delivered", || {
        bench.remote.stored().len() == 19
    });
    end_of_damage(&bench, drainer, 5);
}

/// No entry after it could announce it: it is waited for, without a look at each turn.
#[test]
fn damage_at_the_end_of_the_backlog_is_waited_for_without_the_disk() {
    if !is_child() {
        return run_in_a_child("damage_at_the_end_of_the_backlog_is_waited_for_without_the_disk");
    }
    let (bench, drainer) = with_damage_and_without_disk(9);
    eventually("those before it are delivered", || {
        bench.remote.stored().len() >= 9
    });
    let used = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let times = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(times.sum())
    };
    let watched = Duration::from_millis(300);
    let least = (0..4).map(|_| {
        let before = used();
        std::thread::sleep(watched);
        used().saturating_sub(before)
    });
    let least = least.min().unwrap();
    assert!(least < watched / 3, "{least:?} in {watched:?}");
    end_of_damage(&bench, drainer, 9);
}
