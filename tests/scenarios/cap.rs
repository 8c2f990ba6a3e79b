//! At its cap the spill evicts its oldest entries, if so configured: counted, announced where they were, and
//! nothing that the sink may have, or will have, is announced as lost.

use std::collections::HashSet;
use std::time::Duration;

use spillring::config::WhenSpillFull;
use spillring::event::{LossReason, RunId};
use spillring::{Drainer, State, Stats};

use test_support::bench::{
    Bench, LIMIT, Note, after_a_kill, announced, assert_announced, end, end_within, eventually,
    until_delivered, until_spilled,
};
use test_support::sinks::{Cursor, Fault, Mode, Remote, Stored};

const CAP: u64 = 1 << 20;

/// About two kilobytes: 500 of them are at the cap.
fn text(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(2_000))
}

fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

fn evicting(mode: Mode) -> Bench {
    let mut bench = Bench::new();
    bench.remote.set(mode);
    bench.config.ring_capacity = 256;
    bench.config.spill_bytes_max = CAP;
    bench.config.when_spill_full = WhenSpillFull::EvictOldest;
    bench
}

/// Waits for room: nothing is refused.
fn publish(drainer: &Drainer<Note>, numbers: std::ops::Range<usize>) {
    let publisher = drainer.publisher();
    for number in numbers {
        let note = Note::new(text(number));
        publisher.publish_timeout(note, LIMIT).unwrap();
    }
}

/// No number is both told as lost and there.
fn assert_no_contradiction(stored: &[Stored]) {
    let id = |record: &Stored, n| -> (RunId, u64) { (record.run, n) };
    let present: HashSet<_> = stored.iter().map(|one| id(one, one.n)).collect();
    for record in stored {
        for n in record.n - record.lost()..record.n {
            assert!(
                !present.contains(&id(record, n)),
                "{n} is there and told as lost"
            );
        }
    }
}

fn evicted(remote: &Remote) -> u64 {
    let stored = remote.stored();
    assert_no_contradiction(&stored);
    announced(&stored, LossReason::SpillEvicted)
}

/// What two segments hold at the most, each with an append over: of this many entries eviction takes all or none.
const GRAIN: usize = 130;

/// The newest survive. The batch that was about to be sent stays, with its segments. Entries between are evicted, and
/// announced at their place.
#[test]
fn an_outage_beyond_the_cap_costs_the_oldest() {
    let bench = evicting(Mode::Down);
    let drainer = bench.start();
    publish(&drainer, 0..100);
    until_spilled(&drainer);
    publish(&drainer, 100..3_000);
    until_spilled(&drainer);
    let stats = drainer.stats();
    let gone = stats.discarded.spill_evicted;
    assert!((2_300..2_700).contains(&gone), "{stats:#?}");
    assert!(stats.spill_bytes < CAP + 600_000, "{stats:#?}");
    assert_eq!(stats.entered(), stats.accounted());
    let killed = after_a_kill(&bench);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 3_000);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let telling = stored.iter().position(|one| one.lost() > 0).unwrap();
    assert!(
        (100..100 + GRAIN).contains(&telling),
        "{telling}: one batch is in memory"
    );
    assert_eq!(stored[telling].losses, [(gone, LossReason::SpillEvicted)]);
    let behind = telling + usize::try_from(gone).unwrap();
    assert_eq!(
        bench.remote.texts(),
        texts((0..telling).chain(behind..3_000))
    );
    // A kill in between changes nothing.
    assert_eq!(killed, stored);
}

/// The same attempts: one refuses what is new, the other gives up what is old.
#[test]
fn the_two_policies_lose_at_different_ends() {
    for policy in [WhenSpillFull::RefuseNew, WhenSpillFull::EvictOldest] {
        let mut bench = evicting(Mode::Down);
        bench.config.when_spill_full = policy;
        let drainer = bench.start();
        let publisher = drainer.publisher();
        for number in 0..2_000 {
            if number % 50 == 0 {
                eventually("room, or the cap", || {
                    let stats = drainer.stats();
                    let full =
                        policy == WhenSpillFull::RefuseNew && stats.state == State::SpillFull;
                    stats.in_ring == 0 || full
                });
            }
            publisher.publish(Note::new(text(number)));
        }
        let lost = drainer.stats().lost;
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        publisher.publish(Note::new("last"));
        let stats = end(drainer, 2_001);
        let stored = bench.remote.stored();
        assert_announced(&stored);
        assert_eq!(lost.queue_full, 0, "{policy:?}");
        assert_eq!(announced(&stored, LossReason::SpillFull), lost.spill_full);
        assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
        let newest = bench.remote.texts().contains(&text(1_999));
        if policy == WhenSpillFull::RefuseNew {
            assert!(lost.spill_full > 500 && !newest, "{stats:#?}");
            assert_eq!(stats.discarded.spill_evicted, 0);
        } else {
            assert!(stats.discarded.spill_evicted > 500 && newest, "{stats:#?}");
            assert_eq!(lost.spill_full, 0);
        }
    }
}

/// Part of a batch is stored, nobody hears of it, and it takes long until the sink can be asked.
#[test]
fn what_a_lost_answer_was_about_is_not_evicted() {
    for stored in [0, 30, 100] {
        let bench = evicting(Mode::Down);
        let drainer = bench.start();
        publish(&drainer, 0..150);
        until_spilled(&drainer);
        bench.remote.next(Fault::AnswerLostAfter(stored));
        bench.remote.set(Mode::Up);
        eventually("the fault", || bench.remote.faults_left() == 0);
        bench.remote.set(Mode::Stalled);
        publish(&drainer, 150..2_000);
        eventually("some are evicted", || {
            drainer.stats().discarded.spill_evicted > 500
        });
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        let stats = end(drainer, 2_000);
        assert_announced(&bench.remote.stored());
        assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
        let head = bench.remote.texts()[..100].to_vec();
        assert_eq!(head, texts(0..100));
    }
}

/// The batch at a sink that stands still is neither evicted nor sent again.
#[test]
fn what_is_in_flight_is_not_evicted() {
    let bench = evicting(Mode::Stalled);
    let drainer = bench.start();
    bench.remote.set(Mode::Up);
    publish(&drainer, 0..1);
    until_delivered(&drainer);
    bench.remote.set(Mode::Stalled);
    let deliveries = bench.remote.deliveries();
    publish(&drainer, 1..3_000);
    eventually("a batch at the sink", || {
        bench.remote.deliveries() > deliveries
    });
    eventually("some are evicted", || {
        drainer.stats().discarded.spill_evicted > 1_000
    });
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = end(drainer, 3_000);
    assert_announced(&bench.remote.stored());
    assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
}

/// Killed with a batch stored of which nobody heard, and started at the cap: until the sink can be asked, that batch is
/// kept. With a cursor nothing is doubled; without, nothing is told as lost that is there.
#[test]
fn a_batch_of_the_killed_run_is_kept_until_the_sink_was_asked() {
    for cursor in [Cursor::Kept, Cursor::None] {
        let mut bench = evicting(Mode::Down);
        bench.remote = Remote::in_memory(cursor);
        bench.remote.set(Mode::Down);
        bench.config.spill_bytes_max = 8 << 20;
        let drainer = bench.start();
        publish(&drainer, 0..3_000);
        until_spilled(&drainer);
        bench.remote.next(Fault::AnswerLost);
        bench.remote.set(Mode::Prefixes(0));
        eventually("the fault", || bench.remote.faults_left() == 0);
        bench.remote.set(Mode::Down);
        assert_eq!(bench.remote.stored().len(), 100);
        bench.kill(drainer);
        bench.config.spill_bytes_max = 6 << 20;
        let drainer = bench.start();
        publish(&drainer, 3_000..4_000);
        until_spilled(&drainer);
        let gone = drainer.stats().discarded.spill_evicted;
        assert!(gone > 500, "{:#?}", drainer.stats());
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        end(drainer, 1_000);
        let stored = bench.remote.stored();
        assert_eq!(evicted(&bench.remote), gone, "{cursor:?}");
        // Four mebibytes were in doubt.
        let doubled = if cursor == Cursor::None { 100 } else { 0 };
        assert_eq!(
            bench.remote.texts()[doubled..2_000],
            texts(0..2_000)[..2_000 - doubled]
        );
        if cursor == Cursor::Kept {
            assert_announced(&stored);
            assert_eq!(stored.len() as u64, 4_000 - gone);
        }
    }
}

/// The cap was lowered, and all there is may be with the sink: nothing can be evicted, so what is new is refused until
/// the sink has answered.
#[test]
fn where_all_is_in_doubt_new_entries_are_refused() {
    let mut bench = evicting(Mode::Down);
    bench.config.spill_bytes_max = 3 << 20;
    let drainer = bench.start();
    publish(&drainer, 0..1_000);
    until_spilled(&drainer);
    bench.kill(drainer);
    bench.config.spill_bytes_max = CAP;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let mut accepted = 0;
    eventually("the ring is full at the cap", || {
        while publisher
            .try_publish(Note::new(text(1_000 + accepted)))
            .is_ok()
        {
            accepted += 1;
        }
        drainer.stats().state == State::SpillFull && drainer.stats().in_ring == 256
    });
    assert_eq!(drainer.stats().discarded.spill_evicted, 0);
    // It answers, and takes nothing: now room can be made.
    bench.remote.set(Mode::Prefixes(0));
    until_spilled(&drainer);
    assert!(drainer.stats().discarded.spill_evicted > 400);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let returned = drainer.stats().returned;
    let stats = end(drainer, accepted as u64 + returned);
    assert_announced(&bench.remote.stored());
    assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
}

/// More than a cap that was lowered: what is there is delivered whatever the policy, as long as nothing new needs room.
#[test]
fn a_backlog_above_a_lowered_cap_is_drained() {
    for policy in [WhenSpillFull::RefuseNew, WhenSpillFull::EvictOldest] {
        let mut bench = evicting(Mode::Down);
        bench.config.when_spill_full = policy;
        bench.config.spill_bytes_max = 64 << 20;
        let drainer = bench.start();
        publish(&drainer, 0..1_500);
        until_spilled(&drainer);
        end_within(drainer, Duration::ZERO, 1_500);
        bench.config.spill_bytes_max = CAP;
        let drainer = bench.start();
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        let stats = end(drainer, 0);
        assert_eq!(stats.delivered, 1_500, "{policy:?}");
        assert_eq!(bench.remote.texts(), texts(0..1_500));
        assert_announced(&bench.remote.stored());
    }
}

/// Runs whose entries were evicted are still told of, each by its newest entry; the killed one as well.
#[test]
fn no_run_vanishes() {
    let mut bench = evicting(Mode::Down);
    for run in 0..4 {
        let drainer = bench.start();
        publish(&drainer, run * 100..(run + 1) * 100);
        until_spilled(&drainer);
        if run % 2 == 0 {
            bench.kill(drainer);
        } else {
            end_within(drainer, Duration::ZERO, 100);
        }
    }
    bench.remote.set(Mode::Prefixes(0));
    let drainer = bench.start();
    publish(&drainer, 400..2_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = end(drainer, 1_600);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let runs: HashSet<_> = stored.iter().map(|one| one.run).collect();
    assert_eq!(runs.len(), 5);
    assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
    assert_eq!(stored.len() as u64 + stats.discarded.spill_evicted, 2_000);
    for last in [99, 199, 299, 399, 1_999] {
        assert!(bench.remote.texts().contains(&text(last)), "{last}");
    }
}

/// Entries leave at both ends: the sink takes some, and publishers bring more than it can.
#[test]
fn replay_and_eviction_interleave() {
    for rate in [None, Some(2_000)] {
        let mut bench = evicting(Mode::Slow(Duration::from_millis(4)));
        bench.config.batch_max = 7;
        bench.config.replay_rate_max = rate;
        let drainer = bench.start();
        let mut published = 0;
        let both = |stats: &Stats| stats.delivered > 0 && stats.discarded.spill_evicted > 1_000;
        // However slow the publisher is, the sink becomes slower.
        for rounds in 1.. {
            publish(&drainer, published..published + 6_000);
            published += 6_000;
            if both(&drainer.stats()) {
                break;
            }
            bench
                .remote
                .set(Mode::Slow(Duration::from_millis(4) * rounds));
        }
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        let published = published as u64;
        let stats = end(drainer, published);
        assert_announced(&bench.remote.stored());
        assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
        assert_eq!(stats.delivered + stats.discarded.spill_evicted, published);
    }
}

/// A flush at the cap does not wait for the sink: room is made, and what was flushed survives a kill.
#[test]
fn a_flush_at_the_cap_makes_room() {
    let bench = evicting(Mode::Down);
    let drainer = bench.start();
    for round in 0..40 {
        publish(&drainer, round * 50..(round + 1) * 50);
        drainer.publisher().flush().wait(LIMIT).unwrap();
        assert_eq!(drainer.stats().in_ring, 0);
    }
    assert!(drainer.stats().discarded.spill_evicted > 1_000);
    let stored = after_a_kill(&bench);
    assert_announced(&stored);
    assert_eq!(stored.last().unwrap().text, text(1_999));
    end_within(drainer, Duration::ZERO, 2_000);
}

/// What is staged is not evicted, and a batch may have more entries than a small spill holds.
#[test]
fn a_large_batch_leaves_a_small_spill_something_to_evict() {
    let mut bench = evicting(Mode::Down);
    bench.config.batch_max = 10_000;
    let drainer = bench.start();
    publish(&drainer, 0..3_000);
    until_spilled(&drainer);
    let stats = drainer.stats();
    assert!(stats.discarded.spill_evicted > 1_000, "{stats:#?}");
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 3_000);
    assert_announced(&bench.remote.stored());
    assert_eq!(bench.remote.texts().last(), Some(&text(2_999)));
}

/// Records that the sink refuses are before and after what is evicted.
#[test]
fn dead_letters_and_evictions_are_reported_together() {
    let bench = evicting(Mode::Down);
    for number in [0, 50, 99, 2_999] {
        bench.remote.refuse(text(number));
    }
    let drainer = bench.start();
    publish(&drainer, 0..100);
    until_spilled(&drainer);
    publish(&drainer, 100..3_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    publish(&drainer, 3_000..3_001);
    let stats = end(drainer, 3_001);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(evicted(&bench.remote), stats.discarded.spill_evicted);
    assert_eq!(announced(&stored, LossReason::DeadLettered), 4);
    assert_eq!(stats.rejected, 4, "{stats:#?}");
}
