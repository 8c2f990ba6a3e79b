use uuid::Uuid;

use super::*;
use crate::event::RunId;

fn sequencer() -> Sequencer {
    Sequencer::new(run(1))
}

fn run(local: u32) -> Arc<Run> {
    Arc::new(Run {
        id: RunId(Uuid::from_u128(u128::from(local))),
        publisher: PublisherId(Uuid::from_u128(9)),
        local,
        previous: None,
        killed_starts: 0,
    })
}

fn number(sequencer: &mut Sequencer) -> Record {
    let encoded = Ok(("a".into(), Bytes::new()));
    sequencer.number(encoded, 0, Instant::now()).unwrap()
}

fn lost(queue_full: u64, spill_full: u64, already_shutdown: u64) -> Lost {
    Lost {
        queue_full,
        already_shutdown,
        spill_full,
    }
}

fn losses(record: &Record) -> Vec<(u64, LossReason)> {
    record.losses.iter().map(|l| (l.count, l.reason)).collect()
}

#[test]
fn the_rings_losses_get_numbers_by_reason_before_the_next_entry() {
    let mut sequencer = sequencer();
    assert_eq!(number(&mut sequencer).n, 1);
    sequencer.number_losses(6, || lost(3, 2, 1));
    let record = number(&mut sequencer);
    assert_eq!(record.n, 8);
    let expected = [
        (2, LossReason::SpillFull),
        (3, LossReason::QueueFull),
        (1, LossReason::AlreadyShutdown),
    ];
    assert_eq!(losses(&record), expected);
    assert!(!sequencer.has_unannounced(6));
    assert!(sequencer.has_unannounced(7));
}

/// The counts by reason are read after the total count.
#[test]
fn reasons_that_run_ahead_of_the_count_come_out_even() {
    let mut sequencer = sequencer();
    sequencer.number_losses(1, || lost(1, 2, 0));
    assert_eq!(
        losses(&number(&mut sequencer)),
        [(1, LossReason::SpillFull)]
    );
    sequencer.number_losses(3, || lost(1, 2, 0));
    let expected = [(1, LossReason::SpillFull), (1, LossReason::QueueFull)];
    assert_eq!(losses(&number(&mut sequencer)), expected);
}

#[test]
fn an_entry_that_cannot_be_encoded_is_a_loss_with_a_number() {
    let mut sequencer = sequencer();
    let problem = Err("none".to_owned());
    assert!(sequencer.number(problem, 0, Instant::now()).is_none());
    let record = number(&mut sequencer);
    assert_eq!((record.n, sequencer.encode_errors()), (2, 1));
    assert_eq!(losses(&record), [(1, LossReason::EncodeError)]);
}

#[test]
fn losses_that_were_numbered_before_come_first() {
    let mut sequencer = sequencer();
    let first = sequencer.lose(2, LossReason::QueueFull);
    assert_eq!(first, 1);
    let dead_lettered = Loss {
        count: 1,
        reason: LossReason::DeadLettered,
    };
    sequencer.carry(vec![dead_lettered]);
    let expected = [(1, LossReason::DeadLettered), (2, LossReason::QueueFull)];
    assert_eq!(losses(&number(&mut sequencer)), expected);
}

#[test]
fn losses_after_the_last_entry_are_known_by_their_first_number() {
    let mut sequencer = sequencer();
    number(&mut sequencer);
    sequencer.lose(3, LossReason::EncodeError);
    for _ in 0..2 {
        let (first, losses) = sequencer.trailing();
        assert_eq!((first, losses.len()), (2, 1), "an end may be tried again");
    }
}

/// The numbers of a run are bounded; losses without a number get one in the next run.
#[test]
fn losses_beyond_the_last_number_of_a_run_go_to_the_next() {
    let mut sequencer = sequencer();
    sequencer.lose(Key::N_MAX - 10, LossReason::Corrupt);
    assert!(sequencer.lacks(11) && !sequencer.lacks(10));
    sequencer.number_losses(100, || lost(100, 0, 0));
    assert_eq!(number(&mut sequencer).n, Key::N_MAX);
    assert_eq!(sequencer.left(), 0);
    sequencer.begin(run(2));
    sequencer.number_losses(100, || lost(100, 0, 0));
    let record = number(&mut sequencer);
    assert_eq!((record.n, record.run.local), (92, 2));
    assert_eq!(losses(&record), [(91, LossReason::QueueFull)]);
}

#[test]
fn losses_of_several_reasons_that_run_ahead_come_out_even() {
    let mut sequencer = sequencer();
    sequencer.number_losses(3, || lost(0, 2, 5));
    let expected = [(2, LossReason::SpillFull), (1, LossReason::AlreadyShutdown)];
    assert_eq!(losses(&number(&mut sequencer)), expected);
    assert_eq!(sequencer.last_n(), 4);
}

#[test]
fn a_run_may_get_another_publisher_and_another_past_but_keeps_its_numbers() {
    let before = Run {
        killed_starts: 3,
        ..Run::clone(&run(1))
    };
    let mut sequencer = Sequencer::new(Arc::new(before));
    number(&mut sequencer);
    let publisher = PublisherId(Uuid::from_u128(77));
    sequencer.rename(publisher);
    let renamed = Run::clone(sequencer.run());
    assert_eq!(
        (renamed.publisher, renamed.id, renamed.killed_starts),
        (publisher, run(1).id, 3)
    );
    let previous = PreviousRun {
        id: RunId(Uuid::from_u128(5)),
        last: None,
        end: crate::event::RunEnd::Killed,
    };
    sequencer.follow(previous);
    let following = sequencer.run();
    assert_eq!(
        (following.previous, following.killed_starts),
        (Some(previous), 0)
    );
    assert_eq!(number(&mut sequencer).n, 2);
}
