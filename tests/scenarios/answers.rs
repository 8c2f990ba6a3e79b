//! The sink answers for all, for a part, for nothing, wrongly late, or by panicking: nothing is lost, doubled or
//! overtaken, because it is asked how far it came after any doubt.

use std::time::Duration;

use spillring::event::LossReason;

use test_support::bench::{
    Bench, LIMIT, assert_announced, end, end_within, eventually, name, names, publish,
    until_delivered, until_spilled,
};
use test_support::sinks::{Cursor, Fault, Mode};

#[test]
fn a_sink_that_is_up_gets_everything_in_order_and_nothing_is_spilled() {
    let bench = Bench::new();
    let mut config = bench.config.clone();
    config.pending_max = LIMIT;
    let drainer = spillring::start(config, bench.remote.sink()).unwrap();
    publish(&drainer.publisher(), 0..2_000);
    let stats = end(drainer, 2_000);
    assert_eq!(bench.remote.texts(), names(0..2_000));
    assert_announced(&bench.remote.stored());
    assert_eq!(
        (stats.delivered, stats.replayed, stats.spilled),
        (2_000, 0, 0)
    );
}

#[test]
fn a_slow_sink_gets_everything_in_order() {
    let bench = Bench::new();
    bench.remote.set(Mode::Slow(Duration::from_millis(20)));
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..3_000);
    end(drainer, 3_000);
    assert_eq!(bench.remote.texts(), names(0..3_000));
    assert_announced(&bench.remote.stored());
}

/// Each answer is for a prefix, from none up to more than a batch, while the backlog is on disk.
#[test]
fn a_prefix_is_not_sent_again_and_its_rest_is_not_forgotten() {
    for prefix in [0, 1, 7, 99, 100] {
        let bench = Bench::down();
        let drainer = bench.start();
        publish(&drainer.publisher(), 0..150);
        until_spilled(&drainer);
        bench.remote.set(Mode::Prefixes(prefix));
        publish(&drainer.publisher(), 150..300);
        eventually("deliveries", || {
            bench.remote.deliveries() > 3 || bench.remote.stored().len() == 300
        });
        bench.remote.set(Mode::Up);
        end(drainer, 300);
        assert_eq!(bench.remote.texts(), names(0..300), "prefixes of {prefix}");
        assert_announced(&bench.remote.stored());
    }
}

/// The rest of a prefix is on disk: the process dies right behind the answer, and the next one delivers it.
#[test]
fn the_rest_of_a_prefix_survives_the_process() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..50);
    until_spilled(&drainer);
    bench.remote.set(Mode::Prefixes(20));
    eventually("a prefix", || bench.remote.stored().len() >= 20);
    bench.remote.set(Mode::Down);
    drop(drainer);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    end(drainer, 0);
    assert_eq!(bench.remote.texts(), names(0..50));
    assert_announced(&bench.remote.stored());
}

#[test]
fn what_a_lost_answer_was_about_is_neither_doubled_nor_lost() {
    let faults = [
        Fault::AnswerLost,
        Fault::AnswerLostAfter(0),
        Fault::AnswerLostAfter(7),
        Fault::NoReasonAfter(0),
        Fault::PanicAfter(0),
        Fault::PanicAfter(7),
        Fault::PanicAfter(1_000),
        Fault::PanicAtOnce,
    ];
    for fault in faults {
        let bench = Bench::new();
        let drainer = bench.start();
        for round in 0..3 {
            bench.remote.next(fault);
            publish(&drainer.publisher(), round * 50..round * 50 + 50);
            until_delivered(&drainer);
        }
        assert_eq!(bench.remote.faults_left(), 0);
        let stats = end(drainer, 150);
        assert_eq!(bench.remote.texts(), names(0..150), "{fault:?}");
        assert_announced(&bench.remote.stored());
        assert!(stats.delivery_errors >= 3);
    }
}

/// The same with the batch, and what stands behind it, on disk.
#[test]
fn a_lost_answer_about_a_spilled_batch_is_asked_for() {
    for fault in [Fault::AnswerLost, Fault::AnswerLostAfter(33)] {
        let bench = Bench::down();
        let drainer = bench.start();
        publish(&drainer.publisher(), 0..500);
        until_spilled(&drainer);
        for _ in 0..3 {
            bench.remote.next(fault);
        }
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        let stats = end(drainer, 500);
        assert_eq!(bench.remote.texts(), names(0..500), "{fault:?}");
        assert_eq!((stats.delivered, stats.replayed), (500, 500));
    }
}

/// A sink whose outcomes are never known is asked each time, and tried ever more seldom all the same.
#[test]
fn answers_alone_do_not_end_the_backoff() {
    let mut bench = Bench::new();
    bench.config.backoff_max = LIMIT;
    for _ in 0..1_000 {
        bench.remote.next(Fault::AnswerLostAfter(0));
    }
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..5);
    eventually("some tries", || bench.remote.deliveries() >= 5);
    // A load of time, not a wait: slow machines try less often, none a hundred times.
    std::thread::sleep(Duration::from_millis(500));
    assert!(bench.remote.deliveries() < 100);
    end_within(drainer, Duration::ZERO, 5);
}

/// Without a cursor it is at least once: nothing is missing, and first occurrences are in order.
#[test]
fn without_a_cursor_everything_comes_at_least_once_in_order() {
    let bench = Bench::with_cursor(Cursor::None);
    let drainer = bench.start();
    for round in 0..4 {
        bench.remote.next(Fault::AnswerLostAfter(round * 20));
        publish(&drainer.publisher(), round * 50..round * 50 + 50);
        until_delivered(&drainer);
    }
    end(drainer, 200);
    let mut texts = bench.remote.texts();
    assert!(texts.len() > 200, "the faults were not met");
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
    assert_eq!(texts, names(0..200));
}

/// Refused records (first, last and adjacent ones): each becomes a dead letter, the others go on, and the next one
/// announces it. Once from memory, once with everything on disk.
#[test]
fn refused_records_become_dead_letters_and_their_neighbours_go_on() {
    let refused = [0, 1, 40, 41, 99, 100, 101, 199];
    for from in [Mode::Up, Mode::Down] {
        let bench = Bench::new();
        bench.remote.set(from);
        for number in refused {
            bench.remote.refuse(name(number));
        }
        let drainer = bench.start();
        publish(&drainer.publisher(), 0..200);
        if from == Mode::Down {
            until_spilled(&drainer);
            bench.remote.set(Mode::Up);
        }
        until_delivered(&drainer);
        publish(&drainer.publisher(), 200..201);
        let stats = end(drainer, 201);
        let taken = (0..201).filter(|number| !refused.contains(number));
        assert_eq!(bench.remote.texts(), names(taken));
        let stored = bench.remote.stored();
        assert_announced(&stored);
        assert_eq!(announced(&stored), refused.len() as u64, "{from:?}");
        assert_eq!((stats.rejected, stats.delivered), (8, 193));
        let at_rest = spillring::operate::status(&bench.spill()).unwrap();
        assert_eq!((at_rest.dead_letters, at_rest.stats.spilled), (8, 0));
    }
}

/// A batch is at the sink, what follows is spilled, and then one in its middle is refused.
#[test]
fn a_refusal_in_a_batch_whose_followers_are_spilled_is_reported_once() {
    let bench = Bench::new();
    bench.remote.set(Mode::Stalled);
    for number in [10, 49] {
        bench.remote.refuse(name(number));
    }
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..50);
    eventually("a question", || bench.remote.questions() > 0);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    bench.remote.set(Mode::Stalled);
    for number in [60, 99] {
        bench.remote.refuse(name(number));
    }
    publish(&drainer.publisher(), 50..100);
    eventually("a batch at the sink", || drainer.stats().in_memory > 0);
    publish(&drainer.publisher(), 100..400);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = end(drainer, 400);
    let taken = (0..400).filter(|number| ![10, 49, 60, 99].contains(number));
    assert_eq!(bench.remote.texts(), names(taken));
    assert_announced(&bench.remote.stored());
    assert_eq!(stats.rejected, 4);
}

/// One record a batch, all on disk: nothing is staged behind what is refused, and its loss is told by the next row.
#[test]
fn a_refused_record_alone_in_memory_is_reported_once() {
    let mut bench = Bench::down();
    bench.config.batch_max = 1;
    for number in [0, 7, 8, 19] {
        bench.remote.refuse(name(number));
    }
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..20);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    publish(&drainer.publisher(), 20..22);
    end(drainer, 22);
    let taken = (0..22).filter(|number| ![0, 7, 8, 19].contains(number));
    assert_eq!(bench.remote.texts(), names(taken));
    assert_announced(&bench.remote.stored());
    assert_eq!(announced(&bench.remote.stored()), 4);
}

/// A call that takes longer than its limit is dropped, and what came of it is asked for.
#[test]
fn a_delivery_that_takes_too_long_is_dropped_and_asked_for() {
    let mut bench = Bench::new();
    bench.config.ack_timeout = Duration::from_millis(10);
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..5);
    until_delivered(&drainer);
    let questions = bench.remote.questions();
    bench.remote.set(Mode::Stalled);
    publish(&drainer.publisher(), 5..10);
    eventually("a question", || bench.remote.questions() > questions);
    assert!(drainer.stats().delivery_errors > 0);
    bench.remote.set(Mode::Up);
    end(drainer, 10);
    assert_eq!(bench.remote.texts(), names(0..10));
}

fn announced(stored: &[test_support::sinks::Stored]) -> u64 {
    test_support::bench::announced(stored, LossReason::DeadLettered)
}
