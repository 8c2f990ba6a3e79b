//! Orders at random.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::event::{Loss, LossReason};

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Entries, some losses before the first.
    Append(u64, Vec<Loss>),
    /// The same, but the first try fails, and may have happened all the same.
    AppendFailing(u64, bool),
    /// Entries delivered past the spill, as happens only when it holds none.
    DeliverLive(u64),
    /// Through the entry at about this place of the backlog; whether memory has counted.
    Settle(usize, bool),
    DeadLetter(usize, usize),
    DeadLetterUnspilled,
    /// After the entry at about this place, so many bytes.
    Evict(Option<usize>, u64),
    Tick,
    SaveWatermark,
    Kill(Watermark),
    End,
    /// After the entry at about this place, so many rows, so many bytes.
    Read(usize, usize, u64),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Watermark {
    Kept,
    Lost,
    RolledBack,
}

fn losses() -> impl Strategy<Value = Vec<Loss>> {
    let reason = prop::sample::select(vec![LossReason::QueueFull, LossReason::EncodeError]);
    let loss = (1..4_u64, reason).prop_map(|(count, reason)| Loss { count, reason });
    prop::collection::vec(loss, 0..3)
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let watermark = prop::sample::select(vec![
        Watermark::Kept,
        Watermark::Kept,
        Watermark::Lost,
        Watermark::RolledBack,
    ]);
    prop_oneof![
        6 => (1..9_u64, losses()).prop_map(|(entries, losses)| Op::Append(entries, losses)),
        1 => (1..9_u64, any::<bool>()).prop_map(|(entries, happened)| Op::AppendFailing(entries, happened)),
        1 => (1..4_u64).prop_map(Op::DeliverLive),
        3 => (0..30_usize, any::<bool>()).prop_map(|(place, counted)| Op::Settle(place, counted)),
        2 => (0..30_usize, 1..4_usize).prop_map(|(place, count)| Op::DeadLetter(place, count)),
        1 => Just(Op::DeadLetterUnspilled),
        2 => (prop::option::of(0..12_usize), 1..900_u64).prop_map(|(after, bytes)| Op::Evict(after, bytes)),
        2 => Just(Op::Tick),
        1 => Just(Op::SaveWatermark),
        2 => watermark.prop_map(Op::Kill),
        1 => Just(Op::End),
        3 => (0..12_usize, 1..8_usize, 1..400_u64).prop_map(|(after, rows, bytes)| Op::Read(after, rows, bytes)),
    ]
}

/// The same cases each time; others with `PROPTEST_RNG_SEED`, and more with a larger number of cases.
pub(super) fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given @ RngSeed::Fixed(_) => given,
    }
}
