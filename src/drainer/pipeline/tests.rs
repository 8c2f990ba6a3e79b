use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::event::{Run, RunId};

const LIMIT: Duration = Duration::from_secs(1);

fn records(numbers: std::ops::Range<u64>, bytes: usize, since: Instant) -> Vec<Record> {
    let run = Arc::new(Run {
        id: RunId(Uuid::from_u128(1)),
        publisher: PublisherId(Uuid::from_u128(2)),
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

/// Batches bounded in bytes leave something behind each time: its age is its own, not that of what has gone.
#[test]
fn what_a_batch_leaves_behind_is_as_old_as_it_is() {
    let start = Instant::now();
    let later = start + LIMIT;
    let mut pipeline = Pipeline::default();
    pipeline.stage(records(1..4, 1 << 20, start));
    pipeline.stage(records(4..7, 1 << 20, later));
    let publisher = PublisherId(Uuid::from_u128(2));
    for since in [start, later] {
        let batch = pipeline.launch(publisher, 1_000, 1 << 30, LIMIT, later);
        assert_eq!(batch.map(|batch| batch.records().len()), Some(3));
        assert_eq!(pipeline.memory_since(), Some(since));
        pipeline.land(3, later);
    }
    assert_eq!(pipeline.memory_since(), None);
}

#[test]
fn what_was_drawn_is_staged_within_both_bounds_and_none_of_it_gets_lost() {
    let mut pipeline = Pipeline::default();
    pipeline.draw(records(1..9, 1_000, Instant::now()));
    pipeline.stage_drawn(2, u64::MAX);
    assert_eq!((pipeline.staged(), pipeline.drawn()), (2, 6));
    pipeline.stage_drawn(100, 1_500);
    assert_eq!((pipeline.staged(), pipeline.drawn()), (4, 4));
    pipeline.stage_drawn(100, 0);
    assert_eq!((pipeline.staged(), pipeline.drawn()), (4, 4));
    pipeline.stage_drawn(100, u64::MAX);
    let keys: Vec<_> = pipeline.unspilled().map(|record| record.n).collect();
    assert_eq!(keys, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(pipeline.drawn_bytes(), 0);
}

/// What was thought lost, because it had been evicted before the sink said that it has it, is told no more than it is.
#[test]
fn what_the_sink_has_is_not_told_as_lost() {
    use crate::event::LossReason::{QueueFull, SpillEvicted};
    for (cursor, told) in [
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
        pipeline.stage(waiting);
        pipeline.settle_through(Key::new(1, cursor));
        let losses = &pipeline.front().unwrap().losses;
        let losses: Vec<_> = losses.iter().map(|l| (l.count, l.reason)).collect();
        assert_eq!(losses, told, "{cursor}");
    }
}
