//! No loss is silent: whatever is dropped, cannot be encoded or is too large is counted by its reason, and the next
//! entry of the stream tells of it at the right place.

use std::time::{Duration, Instant};

use spillring::error::TryPublishError;
use spillring::event::LossReason;

use test_support::bench::{
    Bench, Flaw, LIMIT, Note, announced, assert_announced, end, end_within, eventually, name,
    names, publish, until_delivered, until_spilled,
};
use test_support::sinks::{Mode, Stored};

const FLAWS: [Flaw; 5] = [
    Flaw::Fails,
    Flaw::FailsAndPanics,
    Flaw::Panics,
    Flaw::PanicsAtSubject,
    Flaw::PanicsWhenDropped,
];

/// Panics included: the user's code may do what it likes, its neighbours go on.
#[test]
fn an_entry_that_cannot_be_encoded_is_reported_by_the_next() {
    for flaw in FLAWS {
        for from in [Mode::Up, Mode::Down] {
            let bench = Bench::new();
            bench.remote.set(from);
            let drainer = bench.start();
            let publisher = drainer.publisher();
            publish(&publisher, 0..5);
            publisher.publish(Note::flawed(flaw));
            publisher.publish(Note::flawed(flaw));
            publish(&publisher, 5..10);
            until_spilled_or_delivered(&drainer);
            bench.remote.set(Mode::Up);
            until_delivered(&drainer);
            let stats = end(drainer, 12);
            let stored = bench.remote.stored();
            assert_announced(&stored);
            let harmless = flaw == Flaw::PanicsWhenDropped;
            let lost = if harmless { 0 } else { 2 };
            assert_eq!(stats.discarded.encode_error, lost, "{flaw:?}");
            assert_eq!(announced(&stored, LossReason::EncodeError), lost);
            if !harmless {
                assert_eq!(bench.remote.texts(), names(0..10));
                assert_eq!(stored[5].losses, [(2, LossReason::EncodeError)]);
            }
        }
    }
}

#[test]
fn an_oversize_entry_becomes_a_dead_letter_and_its_neighbours_go_on() {
    for from in [Mode::Up, Mode::Down] {
        let mut bench = Bench::new();
        bench.config.entry_bytes_max = 100;
        bench.remote.set(from);
        let drainer = bench.start();
        let publisher = drainer.publisher();
        let oversize = || Note::new("x".repeat(101));
        publisher.publish(oversize());
        publish(&publisher, 0..5);
        publisher.publish(oversize());
        publisher.publish(oversize());
        publish(&publisher, 5..10);
        publisher.publish(oversize());
        until_spilled_or_delivered(&drainer);
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        publish(&publisher, 10..11);
        let stats = end(drainer, 15);
        assert_eq!(bench.remote.texts(), names(0..11));
        let stored = bench.remote.stored();
        assert_announced(&stored);
        let lost: Vec<_> = stored.iter().map(Stored::lost).collect();
        assert_eq!(lost, [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1], "{from:?}");
        assert_eq!((stats.oversize, stats.dead_lettered), (4, 4));
    }
}

/// A loss is told where it happened, not a ring's length too early: here the ring is full because the encoder is held.
#[test]
fn a_full_ring_is_a_loss_at_its_place() {
    let mut bench = Bench::new();
    bench.config.ring_capacity = 8;
    bench.config.pending_max = Duration::from_secs(10 * 60);
    bench.config.ring_high_water = 1.0;
    bench.config.batch_max = 1;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..1);
    until_delivered(&drainer);
    let mut attempted = 1;
    while drainer.stats().lost.queue_full == 0 {
        publisher.publish(Note::flawed(Flaw::Slow));
        attempted += 1;
    }
    until_delivered(&drainer);
    publish(&publisher, 1..2);
    let stats = end(drainer, attempted + 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(
        announced(&stored, LossReason::QueueFull),
        stats.lost.queue_full
    );
    let first = stored.iter().position(|stored| stored.lost() > 0).unwrap();
    assert!(first >= 8, "told before the ring's length: {first}");
}

/// Who asks for the entry back gets it, and no number is used up.
#[test]
fn an_entry_that_is_handed_back_is_no_loss() {
    let mut bench = Bench::down();
    bench.config.ring_capacity = 4;
    bench.config.batch_max = 1;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let mut accepted = 0;
    let mut returned = 0;
    while returned == 0 || accepted < 50 {
        match publisher.try_publish(Note::new(name(accepted))) {
            Ok(()) => accepted += 1,
            Err(TryPublishError::Full(note)) => {
                assert_eq!(note.text, name(accepted));
                returned += 1;
            }
            Err(TryPublishError::Closed(_)) => panic!("closed"),
        }
    }
    bench.remote.set(Mode::Up);
    let stats = end(drainer, accepted as u64 + returned);
    assert_eq!(stats.returned, returned);
    assert_eq!(bench.remote.texts(), names(0..accepted));
    assert_eq!(
        bench.remote.stored().iter().map(Stored::lost).sum::<u64>(),
        0
    );
}

/// What comes after the end is a loss as well, and counted when the account has long been made.
#[test]
fn publishing_after_the_end_is_counted() {
    let bench = Bench::new();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    end(drainer, 0);
    publisher.publish(Note::new("late"));
    assert!(matches!(
        publisher.try_publish(Note::new("late")),
        Err(TryPublishError::Closed(_))
    ));
    let stats = publisher.stats();
    assert_eq!((stats.lost.already_shutdown, stats.returned), (1, 1));
    test_support::law::assert_law(&stats, 2);
}

/// Losses after the last entry count in the run's last number, which the next run announces.
#[test]
fn losses_after_the_last_entry_count_in_the_runs_last_number() {
    let bench = Bench::down();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..3);
    publisher.publish(Note::flawed(Flaw::Fails));
    publisher.publish(Note::flawed(Flaw::Fails));
    until_spilled(&drainer);
    end_within(drainer, Duration::ZERO, 5);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer.publisher(), 3..4);
    end(drainer, 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(bench.remote.texts(), names(0..4));
    let (_, last, _) = stored[3].opens.as_ref().unwrap().previous.unwrap();
    assert_eq!((last, stored[2].n), (Some(5), 3));
    assert_eq!(stored[3].lost(), 0, "they are the first run's");
}

fn until_spilled_or_delivered(drainer: &spillring::Drainer<Note>) {
    eventually("all has left the memory", || {
        let stats = drainer.stats();
        stats.in_ring == 0 && stats.in_memory == 0 && stats.entered() == stats.accounted()
    });
}

/// No entry follows to announce them: the sink learns at the end, and does not have to be up at once.
#[test]
fn losses_after_the_last_entry_are_reported_at_the_end() {
    for from in [Mode::Up, Mode::Down] {
        let bench = Bench::new();
        let drainer = bench.start();
        let publisher = drainer.publisher();
        publish(&publisher, 0..5);
        until_delivered(&drainer);
        bench.remote.set(from);
        for _ in 0..3 {
            publisher.publish(Note::flawed(Flaw::Fails));
        }
        let ticket = drainer.shutdown(LIMIT);
        if from == Mode::Down {
            assert!(ticket.wait(Duration::from_millis(50)).is_err());
            bench.remote.set(Mode::Up);
        }
        let stats = ticket.wait(LIMIT).unwrap();
        assert_eq!(stats.discarded.encode_error, 3);
        assert_eq!(bench.remote.stored().len(), 5);
        assert_eq!(bench.remote.through().unwrap().n, 8, "{from:?}");
    }
}

/// A backlog leaves no faster than is allowed, and comes to its end all the same.
#[test]
fn a_backlog_is_replayed_at_its_rate() {
    let mut bench = Bench::down();
    bench.config.replay_rate_max = Some(400);
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..1_000);
    until_spilled(&drainer);
    let start = Instant::now();
    bench.remote.set(Mode::Up);
    loop {
        let stats = drainer.stats();
        // A burst, what the time allows, and a batch that was under way.
        let allowed = 400 + 400 * start.elapsed().as_millis() / 1_000 + 100;
        assert!(u128::from(stats.delivered) <= allowed, "{stats:#?}");
        if stats.delivered == 1_000 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    end(drainer, 1_000);
    assert_eq!(bench.remote.texts(), names(0..1_000));
}
