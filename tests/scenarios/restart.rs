//! Across starts: the backlog comes before what is new, each run names the one before it and how that ended, and no
//! number has two meanings.

use std::time::Duration;

use spillring::event::RunEnd;

use test_support::bench::{
    Bench, Flaw, Note, assert_announced, copy_folder, end, end_within, eventually, names, publish,
    until_delivered,
};
use test_support::sinks::{Cursor, Fault, Mode};

/// Four runs while the sink is away, one after another; then all of it comes out, oldest run first.
#[test]
fn the_backlogs_of_many_runs_come_before_what_is_new() {
    let bench = Bench::down();
    for run in 0..4 {
        let drainer = bench.start();
        publish(&drainer.publisher(), run * 300..run * 300 + 300);
        let stats = end_within(drainer, Duration::ZERO, 300);
        assert_eq!(stats.inherited, run as u64 * 300);
    }
    let drainer = bench.start();
    publish(&drainer.publisher(), 1_200..1_300);
    bench.remote.set(Mode::Up);
    let stats = end(drainer, 100);
    assert_eq!((stats.inherited, stats.delivered), (1_200, 1_300));
    assert_eq!(bench.remote.texts(), names(0..1_300));
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let openings: Vec<_> = stored
        .iter()
        .filter_map(|stored| stored.opens.clone())
        .collect();
    assert_eq!(openings.len(), 5);
    for (at, opening) in openings.iter().enumerate().skip(1) {
        let (id, last, ended) = opening.previous.unwrap();
        let before = stored[at * 300 - 1].run;
        assert_eq!((id, last, ended), (before, Some(300), RunEnd::Clean));
        let header = format!(
            "publisher={}; previous={before}; ended=clean; last=300",
            opening.publisher
        );
        assert_eq!(opening.header, header);
    }
}

/// A run that published nothing is no link of the chain.
#[test]
fn an_empty_run_is_passed_over() {
    let bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..3);
    end(drainer, 3);
    end(bench.start(), 0);
    let drainer = bench.start();
    publish(&drainer.publisher(), 3..4);
    end(drainer, 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let previous = stored[3].opens.as_ref().unwrap().previous;
    assert_eq!(previous, Some((stored[0].run, Some(3), RunEnd::Clean)));
}

/// A start that was killed before it announced anything is counted, and hides nothing: the losses at the end of the run
/// before it are announced all the same.
#[test]
fn a_killed_start_does_not_hide_how_the_run_before_it_ended() {
    let mut bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..3);
    drainer.publisher().publish(Note::flawed(Flaw::Fails));
    drainer.publisher().publish(Note::flawed(Flaw::Fails));
    end(drainer, 5);
    bench.kill(bench.start());
    let drainer = bench.start();
    publish(&drainer.publisher(), 3..4);
    end(drainer, 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let (first, opening) = (stored[0].run, stored[3].opens.as_ref().unwrap());
    let header = format!(
        "publisher={}; previous={first}; ended=clean; last=5; killed_starts=1",
        opening.publisher
    );
    assert_eq!(opening.header, header);
}

/// The sink knows only a run of long ago, and so does the publisher still: it does not take itself for a copy.
#[test]
fn many_killed_starts_do_not_cost_a_publisher_its_identity() {
    const STARTS: usize = 66;
    let mut bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..3);
    until_delivered(&drainer);
    bench.kill(drainer);
    for _ in 0..STARTS {
        bench.kill(bench.start());
    }
    let drainer = bench.start();
    publish(&drainer.publisher(), 3..4);
    end(drainer, 1);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let first = stored[0].opens.as_ref().unwrap();
    let last = stored[3].opens.as_ref().unwrap();
    assert_eq!(last.publisher, first.publisher);
    assert_eq!(last.previous, Some((stored[0].run, None, RunEnd::Killed)));
    assert!(
        last.header.ends_with(&format!("; killed_starts={STARTS}")),
        "{}",
        last.header
    );
}

/// Nobody knows whether the sink has stored the batch that it had when the kill came: the run is named.
#[test]
fn a_run_killed_with_its_first_batch_at_the_sink_is_named() {
    let mut bench = Bench::new();
    bench.config.pending_max = Duration::from_secs(10 * 60);
    bench.remote.set(Mode::Slow(Duration::from_secs(10 * 60)));
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..1);
    eventually("a batch at the sink", || bench.remote.deliveries() == 1);
    bench.kill(drainer);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer.publisher(), 1..2);
    end(drainer, 1);
    let stored = bench.remote.stored();
    let opening = stored[0].opens.as_ref().unwrap();
    let (_, last, ended) = opening.previous.unwrap();
    assert_eq!((last, ended), (None, RunEnd::Killed));
    assert!(opening.header.ends_with("; ended=killed"));
}

/// What was acknowledged before the restart is gone from the spill: even a sink that keeps no cursor gets it once.
#[test]
fn what_was_delivered_is_not_delivered_again_by_the_next_run() {
    for cursor in [Cursor::Kept, Cursor::None] {
        let bench = Bench::with_cursor(cursor);
        bench.remote.set(Mode::Down);
        let drainer = bench.start();
        publish(&drainer.publisher(), 0..250);
        drainer
            .publisher()
            .flush()
            .wait(test_support::bench::LIMIT)
            .unwrap();
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        end(drainer, 250);
        assert_eq!(
            spillring::operate::status(&bench.spill())
                .unwrap()
                .stats
                .spilled,
            0
        );
        let stats = end(bench.start(), 0);
        assert_eq!((stats.inherited, stats.delivered), (0, 0));
        assert_eq!(bench.remote.texts(), names(0..250), "{cursor:?}");
    }
}

/// The batch at the sink is spilled with the rest and stored after all, when nobody is there to hear: the next run
/// asks, and sends what follows.
#[test]
fn an_answer_that_comes_after_the_end_is_asked_for_by_the_next_run() {
    let bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    until_delivered(&drainer);
    bench
        .remote
        .next(test_support::sinks::Fault::AnswerLostAfter(30));
    publish(&drainer.publisher(), 10..60);
    test_support::bench::eventually("the answer is lost", || bench.remote.faults_left() == 0);
    bench.remote.set(Mode::Down);
    end_within(drainer, Duration::ZERO, 60);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer.publisher(), 60..70);
    end(drainer, 10);
    assert_eq!(bench.remote.texts(), names(0..70));
    assert_announced(&bench.remote.stored());
}

/// An older copy of the directory that holds nothing is put back: the sink knows a run that the copy does not. The
/// publisher stays who it is.
#[test]
fn an_older_copy_that_is_put_back_keeps_its_identity() {
    let mut bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..20);
    end(drainer, 20);
    let copy = bench.dir.path().join("copy");
    copy_folder(&bench.spill(), &copy);
    let drainer = bench.start();
    publish(&drainer.publisher(), 20..30);
    end(drainer, 10);

    bench.config.spill_dir.clone_from(&copy);
    let drainer = bench.start();
    publish(&drainer.publisher(), 30..40);
    let stats = end(drainer, 10);
    assert_eq!(stats.discarded.total(), 0);
    assert_eq!(bench.remote.texts(), names(0..40));
    let stored = bench.remote.stored();
    assert_announced(&stored);
    let opening = |at: usize| stored[at].opens.clone().unwrap();
    let (previous, _, ended) = opening(30).previous.unwrap();
    assert_eq!(previous, stored[20].run);
    assert_eq!(ended, RunEnd::Killed, "how it ended the copy cannot know");
    for at in [20, 30] {
        assert_eq!(opening(at).publisher, opening(0).publisher);
    }
    assert_eq!(identity(&copy), opening(0).publisher);
}

/// The same with a backlog: the sink has it, and it does not come twice.
#[test]
fn an_older_copy_with_a_backlog_doubles_nothing() {
    let mut bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..20);
    end_within(drainer, Duration::ZERO, 20);
    let copy = bench.dir.path().join("copy");
    copy_folder(&bench.spill(), &copy);
    std::thread::sleep(Duration::from_millis(2));
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer.publisher(), 20..30);
    end(drainer, 10);

    bench.config.spill_dir.clone_from(&copy);
    let drainer = bench.start();
    publish(&drainer.publisher(), 30..40);
    let stats = end(drainer, 10);
    assert_eq!((stats.inherited, stats.spilled), (20, 0));
    assert_eq!(bench.remote.texts(), names(0..40));
    assert_announced(&bench.remote.stored());
}

/// A copy of the directory went on by itself meanwhile: what it holds may be nowhere else. It takes another name, and
/// delivers all of it.
#[test]
fn a_copy_that_went_on_by_itself_takes_another_identity() {
    let mut bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..20);
    end_within(drainer, Duration::ZERO, 20);
    let copy = bench.dir.path().join("copy");
    copy_folder(&bench.spill(), &copy);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer.publisher(), 20..30);
    end(drainer, 10);

    bench.remote.set(Mode::Down);
    bench.config.spill_dir.clone_from(&copy);
    let drainer = bench.start();
    publish(&drainer.publisher(), 100..110);
    end_within(drainer, Duration::ZERO, 10);
    bench.remote.set(Mode::Up);
    end(bench.start(), 0);
    let stored = bench.remote.stored();
    let texts: std::collections::HashSet<_> = bench.remote.texts().into_iter().collect();
    let expected = (0..30).chain(100..110);
    assert_eq!(texts, names(expected).into_iter().collect());
    assert_ne!(identity(&copy), stored[0].opens.as_ref().unwrap().publisher);
}

/// A copy of the directory is in use at the same time: whoever finds the other's cursor in mid-run takes another name,
/// and delivers what it has and what is new.
#[test]
fn of_two_copies_that_are_both_in_use_one_takes_another_identity() {
    let bench = Bench::new();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..10);
    until_delivered(&drainer);
    let copy = bench.dir.path().join("copy");
    copy_folder(&bench.spill(), &copy);
    let mut config = bench.config.clone();
    config.spill_dir.clone_from(&copy);
    let twin = spillring::start(config, bench.remote.sink()).unwrap();
    publish(&twin.publisher(), 100..110);
    until_delivered(&twin);

    bench.remote.next(Fault::AnswerLostAfter(0));
    publish(&drainer.publisher(), 10..20);
    until_delivered(&drainer);
    let stats = end(drainer, 20);
    assert_eq!((stats.delivered, stats.spilled), (20, 0));
    end(twin, 10);
    let expected = (0..10).chain(100..110).chain(10..20);
    assert_eq!(bench.remote.texts(), names(expected));
    let stored = bench.remote.stored();
    let publisher = stored[0].opens.as_ref().unwrap().publisher;
    assert_eq!(stored[10].opens.as_ref().unwrap().publisher, publisher);
    assert_eq!(identity(&copy), publisher);
    assert_ne!(identity(&bench.spill()), publisher);
}

fn identity(dir: &std::path::Path) -> spillring::event::PublisherId {
    spillring::operate::status(dir).unwrap().publisher.unwrap()
}

/// A machine that was copied while it ran: the twin goes on with our run. What it stored is not taken for ours.
#[test]
fn a_sink_that_is_ahead_of_the_run_settles_nothing() {
    let bench = Bench::new();
    let drainer = bench.start();
    let publisher = drainer.publisher();
    publish(&publisher, 0..10);
    until_delivered(&drainer);
    let before = spillring::operate::status(&bench.spill())
        .unwrap()
        .publisher;
    bench.remote.answer_ahead(1_000);
    bench.remote.next(Fault::AnswerLostAfter(0));
    publish(&publisher, 10..500);
    until_delivered(&drainer);
    end(drainer, 500);
    assert_eq!(bench.remote.texts(), names(0..500));
    assert_ne!(
        spillring::operate::status(&bench.spill())
            .unwrap()
            .publisher,
        before
    );
}
