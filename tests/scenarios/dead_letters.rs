//! Dead letters take disk space like a backlog: a sink that refuses everything must not fill the disk, and what is at
//! the cap goes on once there is room.

use spillring::operate::{DeadLetters, Selection};
use spillring::{Drainer, State, Stats};

use test_support::bench::{
    Bench, LIMIT, Note, assert_announced, end, eventually, name, until_delivered,
};

const CAP: u64 = 1 << 20;
const ENTRY: usize = 5_000;
const REFUSED: u64 = 400;

fn big(number: u64) -> Note {
    Note::new(format!("{number} {}", "x".repeat(ENTRY)))
}

fn bytes_and_letters(bench: &Bench) -> (u64, u64) {
    let status = spillring::operate::status(&bench.spill()).unwrap();
    let bytes = status.stats.spill_bytes + status.dead_letter_bytes;
    (bytes, status.dead_letters)
}

/// Each, however full the ring is.
fn publish_all(drainer: &Drainer<Note>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let note = Note::new(name(number));
        drainer.publisher().publish_timeout(note, LIMIT).unwrap();
    }
}

/// More is refused than the cap leaves room for.
fn fill(bench: &Bench) -> Stats {
    let drainer = bench.start();
    for number in 0..REFUSED {
        bench.remote.refuse(big(number).text.as_str());
        drainer
            .publisher()
            .publish_timeout(big(number), LIMIT)
            .unwrap();
    }
    // Those behind them go on.
    publish_all(&drainer, 0..10);
    until_delivered(&drainer);
    let stats = end(drainer, REFUSED + 10);
    assert_eq!(stats.delivered, 10);
    let refused = stats.dead_lettered + stats.discarded.dead_letters_full;
    assert_eq!((refused, stats.spilled), (REFUSED, 0));
    stats
}

#[test]
fn a_sink_that_refuses_everything_neither_fills_the_disk_nor_stops_what_it_takes() {
    let mut bench = Bench::new();
    bench.config.spill_bytes_max = CAP;
    bench.config.ring_capacity = 64;
    bench.config.batch_max = 10;
    let stats = fill(&bench);
    let (bytes, kept) = bytes_and_letters(&bench);
    assert_eq!(stats.dead_lettered, kept);
    let in_memory = 64 + 2 * 10;
    let most = CAP + in_memory * (ENTRY as u64 + 100);
    assert!((CAP..most).contains(&bytes), "{bytes}");
    assert!(kept < REFUSED && kept > CAP / ENTRY as u64 - 20, "{kept}");

    // What the sink takes goes to it, past the spill.
    let drainer = bench.start();
    publish_all(&drainer, 10..100);
    until_delivered(&drainer);
    assert_eq!(
        (drainer.stats().state, drainer.stats().delivered),
        (State::Live, 90)
    );
    end(drainer, 90);
    assert_eq!(bytes_and_letters(&bench), (bytes, kept));

    // What is in the backlog has its room already: it becomes dead letters at the cap, and no byte is added.
    let letters = DeadLetters::open(bench.spill()).unwrap();
    letters.requeue(&Selection::All, |_, _| ()).unwrap();
    assert_eq!(bytes_and_letters(&bench), (bytes, 0), "requeued at the cap");
    let drainer = bench.start();
    eventually("all is buried again", || {
        drainer.stats().dead_lettered == kept
    });
    end(drainer, 0);
    assert_eq!(bytes_and_letters(&bench), (bytes, kept));
    letters.remove(&Selection::All, |_| ()).unwrap();
    assert_eq!(bytes_and_letters(&bench), (0, 0));
    assert_announced(&bench.remote.stored());
}
