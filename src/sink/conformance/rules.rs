//! The rules, each a small story of deliveries.

use std::time::Duration;

use super::bench::{Bench, Cursor};
use super::draft::{ANSWER_MAX, Draft, resend};
use super::{Failure, Harness, Rule};
use crate::error::SinkError;
use crate::event::{Batch, Loss, LossReason, Position, RunEnd, fresh_uuid};

type Check<H> = fn(&mut Bench<'_, H>) -> Result<(), Failure>;

/// After how many polls a delivery is dropped: before it begins, at its first wait, and later.
const POLLS: [u32; 7] = [0, 1, 2, 3, 5, 8, 13];
/// A large batch and a large entry, within the default limits of NATS.
const LARGE_BATCH: usize = 2_000;
const LARGE_ENTRY_BYTES: usize = 256 << 10;

/// Bytes that something on the way might interpret. Line breaks are left out: a sink of lines may refuse them.
const ODD: [&[u8]; 9] = [
    "{\"payload\":\"Grüße, 世界 🦀\"}".as_bytes(),
    b"{\"escaped\":\"\\n\\u0000\\\"\"}",
    "\u{2028}\u{feff}".as_bytes(),
    b"\r",
    b"two\rparts",
    b" \t leading and trailing \t ",
    b"nul \0 inside",
    b"\xff\xfe no text",
    b"%s {} $(x) '; --",
];

/// Tests a sink against every rule.
///
/// See the [example](crate::sink::conformance).
///
/// The answer after the first delivery shows whether the sink keeps a cursor. Entries already in the storage are
/// ignored; nobody else may write to it meanwhile.
///
/// # Errors
///
/// The first broken rule, and what happened instead.
pub fn run<H: Harness>(harness: &mut H) -> Result<(), Failure> {
    run_within(harness, ANSWER_MAX)
}

pub(super) fn run_within<H: Harness>(harness: &mut H, answer_max: Duration) -> Result<(), Failure> {
    let mut first = Bench::open(harness, answer_max, Cursor::None)?;
    let cursor = find_cursor(&mut first)?;
    drop(first);
    all()
        .iter()
        .try_for_each(|check| check(&mut Bench::open(harness, answer_max, cursor)?))
}

const fn all<H: Harness>() -> [Check<H>; 12] {
    [
        is_empty_at_first,
        keeps_bytes_and_order,
        keeps_the_position,
        stores_once,
        continues_after_a_refused_entry,
        parts_publishers,
        moves_through_trailing_losses,
        takes_losses_between_entries,
        takes_two_runs_in_a_batch,
        takes_requeued_entries,
        survives_abandoned_deliveries,
        takes_large_batches,
    ]
}

/// Finds out from the answer after a delivery whether the sink keeps a cursor.
fn find_cursor<H: Harness>(bench: &mut Bench<'_, H>) -> Result<Cursor, Failure> {
    let batch = filled(&mut Draft::new(), 1);
    bench.deliver(&batch)?;
    Ok(match bench.position(batch.publisher())? {
        Some(_) => Cursor::Kept,
        None => Cursor::None,
    })
}

fn is_empty_at_first<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    match bench.position(Draft::new().publisher())? {
        None => Ok(()),
        Some(at) => Err(Failure::new(
            Rule::PartsPublishers,
            format!("a publisher that never delivered is at {at}"),
        )),
    }
}

fn keeps_bytes_and_order<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    deliver(bench, &draft.entry("{\"seq\":0}").batch())?;
    for odd in ODD {
        draft.entry(odd);
    }
    deliver(bench, &draft.batch())?;
    deliver(bench, &draft.entry("{\"seq\":2}").batch())?;
    bench.verify()
}

fn keeps_the_position<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    let batch = filled(&mut draft, 3);
    deliver(bench, &batch)?;
    bench.restart()?;
    position_is(bench, &batch, Rule::KeepsThePosition)?;
    deliver(bench, &filled(&mut draft, 3))?;
    bench.verify()
}

/// A publisher was killed before it noted the outcome, and sends again.
fn stores_once<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    let batch = filled(&mut draft, 5);
    deliver(bench, &batch)?;
    bench.restart()?;
    complete(bench, &batch)?;
    deliver(bench, &filled(&mut draft, 2))?;
    bench.verify()
}

fn continues_after_a_refused_entry<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    let mut batch = draft.entry("1").entry("two\nlines").entry("3").batch();
    loop {
        let delivery = bench.attempt(&batch)?;
        let stored = delivery.stored;
        match delivery.stopped {
            None => break,
            Some(SinkError::Rejected(_)) if stored < batch.records.len() => {}
            Some(why) => return Err(Failure::new(Rule::Stores, format!("it stops: {why}"))),
        }
        // The refused one becomes a dead letter, which the next entry announces as a loss.
        let refused = stored + 1;
        if let Some(next) = batch.records.get_mut(refused) {
            next.losses.push(Loss {
                count: 1,
                reason: LossReason::DeadLettered,
            });
        }
        batch.records.drain(..refused);
    }
    position_is(bench, &batch, Rule::MovesThePosition)?;
    bench.verify()
}

fn parts_publishers<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let (mut one, mut other) = (Draft::new(), Draft::new());
    let first = filled(&mut one, 4);
    deliver(bench, &first)?;
    let second = filled(&mut other, 7);
    deliver(bench, &second)?;
    position_is(bench, &first, Rule::PartsPublishers)?;
    bench.restart()?;
    position_is(bench, &first, Rule::PartsPublishers)?;
    position_is(bench, &second, Rule::PartsPublishers)?;
    deliver(bench, &filled(&mut one, 1))?;
    bench.verify()
}

fn moves_through_trailing_losses<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    deliver(bench, &draft.entry("before").batch())?;
    let losses = draft.lose(3, LossReason::QueueFull).batch();
    deliver(bench, &losses)?;
    bench.restart()?;
    deliver(bench, &draft.lose(2, LossReason::SpillFull).batch())?;
    // The entry announces all five again: they are the numbers directly before it.
    deliver(bench, &draft.entry("behind").batch())?;
    bench.verify()
}

fn takes_losses_between_entries<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    draft.lose(2, LossReason::QueueFull).entry("3");
    draft
        .lose(1, LossReason::EncodeError)
        .lose(4, LossReason::QueueFull);
    let batch = draft
        .entry("9")
        .lose(1, LossReason::AlreadyShutdown)
        .batch();
    deliver(bench, &batch)?;
    bench.restart()?;
    position_is(bench, &batch, Rule::KeepsThePosition)?;
    deliver(bench, &draft.entry("11").batch())?;
    bench.verify()
}

/// A backlog may hold the end of one run and the beginning of the next.
fn takes_two_runs_in_a_batch<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    deliver(bench, &filled(&mut draft, 2))?;
    draft.entry("last").restart(RunEnd::Killed);
    let batch = draft.entry("first").entry("second").batch();
    deliver(bench, &batch)?;
    bench.restart()?;
    complete(bench, &batch)?;
    deliver(bench, &filled(draft.restart(RunEnd::Clean), 2))?;
    bench.verify()
}

/// They come in a run of their own, with the numbers under which they were lost.
fn takes_requeued_entries<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    draft
        .entry("1")
        .lose(2, LossReason::DeadLettered)
        .entry("4");
    let batch = draft.batch();
    deliver(bench, &batch)?;
    let lost = |n| Position {
        n,
        ..batch.through()
    };
    draft.restart(RunEnd::Clean);
    draft.requeued("2", lost(2)).requeued("3", lost(3));
    draft.restart(RunEnd::Clean).entry("behind");
    let batch = draft.batch();
    deliver(bench, &batch)?;
    bench.restart()?;
    complete(bench, &batch)?;
    bench.verify()
}

fn survives_abandoned_deliveries<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    deliver(bench, &filled(&mut draft, 1))?;
    for polls in POLLS {
        let batch = filled(&mut draft, 3);
        bench.abandon(&batch, polls)?;
        complete(bench, &batch)?;
        let batch = filled(&mut draft, 3);
        bench.abandon(&batch, polls)?;
        bench.restart()?;
        complete(bench, &batch)?;
    }
    bench.verify()
}

fn takes_large_batches<H: Harness>(bench: &mut Bench<'_, H>) -> Result<(), Failure> {
    let mut draft = Draft::new();
    deliver(bench, &filled(&mut draft, LARGE_BATCH))?;
    let batch = draft.entry(vec![b'x'; LARGE_ENTRY_BYTES]).batch();
    deliver(bench, &batch)?;
    bench.restart()?;
    position_is(bench, &batch, Rule::KeepsThePosition)?;
    bench.verify()
}

/// A batch of this many entries, all different.
fn filled(draft: &mut Draft, entries: usize) -> Batch {
    for number in 0..entries {
        draft.entry(format!(
            "{{\"entry\":{number},\"of\":\"{}\"}}",
            fresh_uuid()
        ));
    }
    draft.batch()
}

/// Delivers, and checks the position.
fn deliver<H: Harness>(bench: &mut Bench<'_, H>, batch: &Batch) -> Result<(), Failure> {
    bench.deliver(batch)?;
    position_is(bench, batch, Rule::MovesThePosition)
}

/// Resends, as a publisher that does not know the outcome does. The whole batch must then be stored once.
fn complete<H: Harness>(bench: &mut Bench<'_, H>, batch: &Batch) -> Result<(), Failure> {
    let position = bench.position(batch.publisher())?;
    let rest = resend(batch, position);
    let stored = batch.records().len() - rest.records().len();
    bench.expect(&batch.records()[..stored]);
    deliver(bench, &rest)
}

fn position_is<H: Harness>(
    bench: &mut Bench<'_, H>,
    batch: &Batch,
    rule: Rule,
) -> Result<(), Failure> {
    let wanted = (bench.cursor() == Cursor::Kept).then(|| batch.through());
    let found = bench.position(batch.publisher())?;
    if found == wanted {
        return Ok(());
    }
    let text = |at: Option<Position>| at.map_or_else(|| "none".into(), |at| at.to_string());
    Err(Failure::new(
        rule,
        format!("it is {} instead of {}", text(found), text(wanted)),
    ))
}
