use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::event::LossReason::{DeadLettered, QueueFull, SpillEvicted};
use crate::event::{LossReason, PublisherId, Run, RunId};

fn records(numbers: std::ops::Range<u64>, bytes: usize, since: Instant) -> Vec<Record> {
    let run = Arc::new(Run {
        id: RunId(Uuid::from_u128(1)),
        publisher: publisher(),
        local: 1,
        previous: None,
        killed_starts: 0,
    });
    let record = |n| Record {
        run: Arc::clone(&run),
        n,
        losses: Vec::new(),
        popped_ms: 0,
        requeued: None,
        since,
        subject: "a".into(),
        bytes: Bytes::from(vec![b'x'; bytes]),
    };
    numbers.map(record).collect()
}

fn publisher() -> PublisherId {
    PublisherId(Uuid::from_u128(2))
}

fn key(n: u64) -> Key {
    Key::new(1, n)
}

fn stage(pipeline: &mut Pipeline, numbers: std::ops::Range<u64>) {
    for record in records(numbers, 1, Instant::now()) {
        pipeline.stage(record);
    }
}

fn draw(pipeline: &mut Pipeline, numbers: std::ops::Range<u64>, bytes: usize) {
    for record in records(numbers, bytes, Instant::now()) {
        pipeline.draw(record);
    }
}

fn launch(pipeline: &mut Pipeline, entries_max: usize) -> usize {
    launch_up_to(pipeline, entries_max, 1 << 30)
}

fn launch_up_to(pipeline: &mut Pipeline, entries_max: usize, entry_bytes_max: u64) -> usize {
    let records = pipeline.take_batch(entries_max, entry_bytes_max);
    let Some(through) = records.last().map(Record::id) else {
        return 0;
    };
    let count = records.len();
    let batch = Batch {
        publisher: publisher(),
        records,
        through,
        limit: Duration::from_secs(1),
        signer: None,
    };
    pipeline.launch(Arc::new(batch), Instant::now());
    count
}

fn numbers<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<u64> {
    records.into_iter().map(|record| record.n).collect()
}

fn losses(record: &Record) -> Vec<(u64, LossReason)> {
    record.losses.iter().map(|l| (l.count, l.reason)).collect()
}

/// Batches bounded in bytes leave something each time, with its own age.
#[test]
fn what_a_batch_leaves_is_as_old_as_it_is() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let mut pipeline = Pipeline::default();
    for record in records(1..4, 1 << 20, start) {
        pipeline.stage(record);
    }
    for record in records(4..7, 1 << 20, later) {
        pipeline.stage(record);
    }
    for since in [start, later] {
        assert_eq!(launch(&mut pipeline, 1_000), 3);
        let waiting = pipeline.first_waiting().map(|record| record.since);
        assert_eq!(waiting, Some(since));
        pipeline.land(3, later);
    }
    assert!(pipeline.first_waiting().is_none());
}

#[test]
fn what_was_drawn_is_staged_within_both_bounds_and_none_of_it_gets_lost() {
    let mut pipeline = Pipeline::default();
    draw(&mut pipeline, 1..9, 1_000);
    pipeline.stage_drawn(2, u64::MAX);
    assert_eq!((pipeline.staged(), pipeline.drawn()), (2, 6));
    pipeline.stage_drawn(100, 1_500);
    assert_eq!((pipeline.staged(), pipeline.drawn()), (4, 4));
    pipeline.stage_drawn(100, 0);
    assert_eq!((pipeline.staged(), pipeline.drawn()), (4, 4));
    pipeline.stage_drawn(100, u64::MAX);
    assert_eq!(numbers(pipeline.records()), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(pipeline.drawn_bytes(), 0);
}

/// In flight, staged and a chunk: in order, leaving out what is on disk already.
#[test]
fn an_append_carries_all_that_is_in_memory_only_up_to_a_chunk() {
    let mut pipeline = Pipeline::default();
    stage(&mut pipeline, 1..5);
    pipeline.inherit(Some(key(1)));
    assert_eq!(launch(&mut pipeline, 2), 2);
    let chunk = APPEND_ROWS_MAX as u64;
    draw(&mut pipeline, 5..5 + chunk + 3, 1);
    let append = pipeline.append();
    assert_eq!(numbers(append.iter()), (2..5 + chunk).collect::<Vec<_>>());
    assert_eq!(pipeline.drawn_waiting(), 3);
    assert_eq!(pipeline.chunk_room().0, APPEND_ROWS_MAX - 3);
    assert_eq!(pipeline.first_waiting().map(|r| r.n), Some(5 + chunk));
    assert_eq!(pipeline.unspilled(), append.len() + 3);

    assert_eq!(pipeline.appended(&append), Tally::default());
    assert_eq!(pipeline.drawn(), 3, "the others are read again later");
    assert_eq!(pipeline.unspilled(), 3);
    assert_eq!(pipeline.spilled_in_memory(), 4);
    assert_eq!(pipeline.read_after(), Some(key(4)));
}

#[test]
fn a_chunk_is_bounded_in_bytes_but_has_one_record_at_least() {
    let mut pipeline = Pipeline::default();
    draw(&mut pipeline, 1..4, 3 << 20);
    assert_eq!(numbers(pipeline.append().iter()), [1]);
    assert_eq!(pipeline.append_all().len(), 3);
}

/// Nobody knows what a failed append has written: all of it is in memory, and goes with the next one.
#[test]
fn a_failed_append_changes_nothing() {
    let mut pipeline = Pipeline::default();
    stage(&mut pipeline, 1..3);
    draw(&mut pipeline, 3..5, 1);
    let first = pipeline.append();
    assert!(!pipeline.waits());
    draw(&mut pipeline, 5..6, 1);
    assert!(pipeline.waits());
    pipeline.end_append();
    assert_eq!(pipeline.first_waiting().map(|r| r.n), Some(1));
    let again = pipeline.append();
    assert_eq!(numbers(again.iter()), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(first.iter()), [1, 2, 3, 4]);
}

/// The sink takes a batch, and drawn records, while they are being appended.
#[test]
fn what_is_delivered_during_an_append_is_settled_with_its_outcome() {
    let mut pipeline = Pipeline::default();
    stage(&mut pipeline, 1..4);
    draw(&mut pipeline, 4..7, 1);
    let append = pipeline.append();
    pipeline.stage_drawn(2, u64::MAX);
    assert_eq!(launch(&mut pipeline, 100), 5);
    let (landed, _) = pipeline.land(4, Instant::now());
    assert_eq!((landed.records, landed.left), (4, 1));
    assert_eq!(landed.spilled, Tally::default());
    let settled = pipeline.appended(&append);
    assert_eq!(settled, Tally::of(&append[..4]));
    // One is staged, one will be read again.
    assert_eq!(numbers(pipeline.records()), [5]);
    assert_eq!(
        (pipeline.unspilled(), pipeline.read_after()),
        (0, Some(key(5)))
    );
}

/// The sink was asked meanwhile, and has come further.
#[test]
fn what_was_read_too_late_is_left_out() {
    let mut pipeline = Pipeline::default();
    pipeline.inherit(Some(key(9)));
    pipeline.settle_through(key(3));
    pipeline.read(records(1..7, 1, Instant::now()), Some(key(8)));
    assert_eq!(numbers(pipeline.records()), [4, 5, 6]);
    assert_eq!(
        pipeline.read_after(),
        Some(key(8)),
        "7 and 8 need no delivery"
    );
}

#[test]
fn what_the_sink_has_leaves_memory_wherever_it_is() {
    let mut pipeline = Pipeline::default();
    pipeline.inherit(Some(key(2)));
    stage(&mut pipeline, 1..4);
    draw(&mut pipeline, 4..7, 1);
    let (spilled, unspilled) = pipeline.settle_through(key(5));
    assert_eq!((spilled.entries, unspilled), (2, 3));
    assert_eq!(numbers(pipeline.records()), [6]);
}

/// Records that were thought lost, because they were evicted before the sink reported them, are no longer announced.
#[test]
fn what_the_sink_has_is_not_announced_as_lost() {
    for (cursor, announced) in [
        (3, vec![(4, QueueFull), (3, SpillEvicted)]),
        (5, vec![(2, QueueFull), (3, SpillEvicted)]),
        (8, vec![(2, SpillEvicted)]),
        (10, vec![]),
    ] {
        let mut pipeline = Pipeline::default();
        let mut waiting = records(11..13, 1, Instant::now());
        waiting[0].losses = [(4, QueueFull), (3, SpillEvicted)]
            .map(|(count, reason)| Loss { count, reason })
            .to_vec();
        for record in waiting {
            pipeline.stage(record);
        }
        pipeline.settle_through(key(cursor));
        assert_eq!(losses(pipeline.front().unwrap()), announced, "{cursor}");
    }
}

#[test]
fn losses_go_to_the_next_record_of_their_run_and_of_no_other() {
    let loss = Loss {
        count: 1,
        reason: DeadLettered,
    };
    let mut pipeline = Pipeline::default();
    assert_eq!(pipeline.carry(1, vec![loss]), Some(vec![loss]));
    draw(&mut pipeline, 2..3, 1);
    assert_eq!(pipeline.carry(1, vec![loss]), None);
    assert_eq!(pipeline.carry(7, vec![loss]), None);
    let drawn = pipeline.records().next().unwrap();
    assert_eq!(losses(drawn), [(1, DeadLettered)]);
}

/// A record with exactly this size in the pipeline's accounts.
fn sized(n: u64, size: u64) -> Record {
    let mut record = records(n..n + 1, 0, Instant::now()).swap_remove(0);
    let payload = usize::try_from(size - record.size()).unwrap();
    record.bytes = Bytes::from(vec![b'x'; payload]);
    assert_eq!(record.size(), size);
    record
}

#[test]
fn a_batch_may_be_exactly_as_large_as_its_bounds_and_no_larger() {
    let half = BATCH_BYTES_MAX / 2;
    for (sizes, entries_max, expected) in [
        ([half, half, 100], 9, 2),
        ([half, half + 1, 100], 9, 1),
        ([100, 100, 100], 2, 2),
        ([BATCH_BYTES_MAX + 1, 100, 100], 9, 1),
    ] {
        let mut pipeline = Pipeline::default();
        for (n, size) in (1..).zip(sizes) {
            pipeline.stage(sized(n, size));
        }
        assert_eq!(launch(&mut pipeline, entries_max), expected, "{sizes:?}");
        let left: u64 = sizes[expected..].iter().sum();
        assert_eq!(pipeline.staged_bytes(), left);
    }
}

/// Records before it go first; then it is the first, and no longer the pipeline's business.
#[test]
fn a_batch_ends_before_an_entry_that_is_too_large() {
    let limit = 50;
    let launch = |pipeline: &mut Pipeline| {
        let count = launch_up_to(pipeline, 9, limit);
        pipeline.land(9, Instant::now());
        count
    };
    let mut pipeline = Pipeline::default();
    for (n, bytes) in (1..).zip([50, 51, 50, 50]) {
        for record in records(n..n + 1, bytes, Instant::now()) {
            pipeline.stage(record);
        }
    }
    assert_eq!([(); 3].map(|()| launch(&mut pipeline)), [1, 3, 0]);
}

#[test]
fn bytes_are_counted_wherever_records_leave() {
    let size = records(1..2, 1, Instant::now())[0].size();
    let mut pipeline = Pipeline::default();
    stage(&mut pipeline, 1..4);
    assert_eq!(pipeline.staged_bytes(), 3 * size);
    assert!(pipeline.pop_front().is_some());
    assert_eq!(pipeline.staged_bytes(), 2 * size);

    let mut pipeline = Pipeline::default();
    draw(&mut pipeline, 1..4, 1);
    pipeline.append();
    draw(&mut pipeline, 4..6, 1);
    let room = |pipeline: &Pipeline| pipeline.chunk_room();
    assert_eq!(
        room(&pipeline),
        (APPEND_ROWS_MAX - 2, BATCH_BYTES_MAX - 2 * size)
    );
    // Two of them go to the sink while they are being appended.
    pipeline.stage_drawn(2, u64::MAX);
    assert_eq!(
        room(&pipeline),
        (APPEND_ROWS_MAX - 2, BATCH_BYTES_MAX - 2 * size)
    );
    let tally = Tally::of(&records(1..4, 1, Instant::now()));
    assert_eq!((tally.entries, tally.bytes), (3, 3 * size));
}

#[test]
fn what_needs_no_reading_is_passed_over() {
    let mut pipeline = Pipeline::default();
    pipeline.inherit(Some(key(9)));
    pipeline.passed(key(4));
    assert_eq!(pipeline.read_after(), Some(key(4)));
    pipeline.passed(key(2));
    assert_eq!(pipeline.read_after(), Some(key(4)));
}
