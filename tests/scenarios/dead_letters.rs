//! Dead letters take disk space like a backlog: a sink that refuses everything must not fill the disk, and what is at
//! the cap goes on once there is room.

use spillring::{DeadLetters, Selection, State, Stats};

use crate::support::bench::{
    Bench, Note, assert_told, end, end_within, eventually, publish, until_delivered,
};

const CAP: u64 = 1 << 20;
const ENTRY: usize = 5_000;

fn big(number: u64) -> Note {
    Note::new(format!("{number} {}", "x".repeat(ENTRY)))
}

fn bytes_and_letters(bench: &Bench) -> (u64, u64) {
    let status = spillring::status(&bench.spill()).unwrap();
    let bytes = status.stats.spill_bytes + status.dead_letter_bytes;
    (bytes, status.dead_letters)
}

/// All is refused until the ring is full: what is left in memory is spilled at the end, which no cap keeps from it.
fn fill(bench: &Bench) -> Stats {
    let drainer = bench.start();
    let publisher = drainer.publisher();
    let mut accepted = 0;
    eventually("the ring is full at the cap", || {
        bench.remote.refuse(big(accepted).text.as_str());
        accepted += u64::from(publisher.try_publish(big(accepted)).is_ok());
        let stats = drainer.stats();
        stats.state == State::SpillFull && stats.in_ring == 64
    });
    let stats = drainer.stats();
    let most = CAP / ENTRY as u64;
    assert!(
        stats.dead_lettered <= most && stats.dead_lettered > most - 20,
        "{stats:#?}"
    );
    end_within(
        drainer,
        std::time::Duration::ZERO,
        accepted + stats.returned,
    )
}

#[test]
fn a_sink_that_refuses_everything_does_not_fill_the_disk() {
    let mut bench = Bench::new();
    bench.config.spill_bytes_max = CAP;
    bench.config.ring_capacity = 64;
    bench.config.batch_max = 10;
    let filled = fill(&bench);
    assert_eq!(filled.dead_lettered + filled.spilled, filled.accepted);
    let (bytes, letters) = bytes_and_letters(&bench);
    let in_memory = 64 + 2 * 10;
    assert!(bytes < CAP + in_memory * (ENTRY as u64 + 100), "{bytes}");
    assert_eq!(letters, filled.dead_lettered);

    // What is in the backlog has its room already: it becomes dead letters at the cap, and no byte is added.
    let drainer = bench.start();
    eventually("the backlog is buried", || {
        drainer.stats().dead_lettered == filled.spilled
    });
    // And what the sink takes goes to it, past the spill.
    publish(&drainer.publisher(), 0..100);
    until_delivered(&drainer);
    assert_eq!(drainer.stats().state, State::Live);
    end(drainer, 100);
    assert_eq!(bytes_and_letters(&bench), (bytes, filled.accepted));

    let letters = DeadLetters::open(bench.spill()).unwrap();
    letters.requeue(&Selection::All, |_, _| ()).unwrap();
    assert_eq!(bytes_and_letters(&bench), (bytes, 0), "requeued at the cap");
    let drainer = bench.start();
    eventually("all is buried again", || {
        drainer.stats().dead_lettered == filled.accepted
    });
    end(drainer, 0);
    letters.remove(&Selection::All, |_| ()).unwrap();
    assert_eq!(bytes_and_letters(&bench), (0, 0));
    let again = fill(&bench);
    assert!(again.dead_lettered > 100, "there is room again: {again:#?}");
    assert_told(&bench.remote.stored());
}
