//! Random sequences of what publishers, sinks and operators do, with small rings, batches and caps, against a model of
//! what must come out. One thread publishes, so each attempt that is not handed back has a number that the model knows
//! beforehand; whatever happens, the stream must hold that text under that number, in order, once, or tell its loss.
#![allow(clippy::cast_possible_truncation, reason = "its counts are small")]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use spillring::config::WhenSpillFull;
use spillring::event::{LossReason, RunId};
use spillring::{Drainer, Publisher, State, Stats};

use test_support::bench::{
    Bench, Flaw, LIMIT, Note, assert_announced, end_within, eventually, until_delivered,
};
use test_support::law::assert_law;
use test_support::sinks::{Fault, Mode, Stored};

const ENTRY_BYTES_MAX: usize = 250_000;

#[derive(Debug, Clone, Copy)]
enum Op {
    Publish(usize, Kind),
    TryPublish(usize),
    Sink(Mode),
    Fault(Fault),
    Flush,
    Quiet,
    Restart(Duration),
}

/// What is to come of an attempt, unless the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sound,
    /// So large that a few fill the spill.
    Big,
    Oversize,
    Refused,
    Flawed(Flaw),
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    ring: usize,
    batch: usize,
    when_spill_full: WhenSpillFull,
}

/// The numbered attempts of a run.
type Attempts = Vec<(String, Kind)>;

struct World {
    bench: Bench,
    drainer: Option<Drainer<Note>>,
    publisher: Publisher<Note>,
    /// Of the present run.
    attempts: Attempts,
    returned: u64,
    /// Of the runs before, with their accounts; empty runs are no runs.
    runs: Vec<Attempts>,
    lost: u64,
    /// Of all runs: could not be encoded, or became dead letters.
    given_up: u64,
    evicted: u64,
    spilled: u64,
    next: usize,
}

impl World {
    fn new(sizes: Sizes) -> Self {
        let mut bench = Bench::new();
        bench.config.ring_capacity = sizes.ring;
        bench.config.batch_max = sizes.batch;
        bench.config.pending_max = Duration::from_millis(10);
        bench.config.backoff_max = Duration::from_millis(5);
        bench.config.entry_bytes_max = ENTRY_BYTES_MAX as u64;
        bench.config.spill_bytes_max = 1 << 20;
        bench.config.when_spill_full = sizes.when_spill_full;
        let drainer = bench.start();
        Self {
            publisher: drainer.publisher(),
            drainer: Some(drainer),
            bench,
            attempts: Vec::new(),
            returned: 0,
            runs: Vec::new(),
            lost: 0,
            given_up: 0,
            evicted: 0,
            spilled: 0,
            next: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Publish(count, kind) => {
                for _ in 0..count {
                    let note = self.note(kind);
                    self.attempts.push((note.text.clone(), kind));
                    self.publisher.publish(note);
                }
            }
            Op::TryPublish(count) => {
                for _ in 0..count {
                    let note = self.note(Kind::Sound);
                    let text = note.text.clone();
                    match self.publisher.try_publish(note) {
                        Ok(()) => self.attempts.push((text, Kind::Sound)),
                        Err(_full) => self.returned += 1,
                    }
                }
            }
            Op::Sink(mode) => self.bench.remote.set(mode),
            Op::Fault(fault) => self.bench.remote.next(fault),
            Op::Flush => self.flush(),
            Op::Quiet => self.quiet(),
            Op::Restart(limit) => {
                let attempted = self.attempts.len() as u64 + self.returned;
                let stats = end_within(self.drainer.take().unwrap(), limit, attempted);
                self.restart(&stats);
            }
        }
    }

    fn note(&mut self, kind: Kind) -> Note {
        self.next += 1;
        let size = match kind {
            Kind::Big => ENTRY_BYTES_MAX - 20,
            Kind::Oversize => ENTRY_BYTES_MAX + 1,
            Kind::Sound | Kind::Refused | Kind::Flawed(_) => 1,
        };
        let mut note = Note::new(format!("{:08} {}", self.next, "x".repeat(size)));
        match kind {
            Kind::Refused => self.bench.remote.refuse(note.text.clone()),
            Kind::Flawed(flaw) => note.flaw = flaw,
            Kind::Sound | Kind::Big | Kind::Oversize => {}
        }
        note
    }

    fn stats(&self) -> Stats {
        self.publisher.stats()
    }

    /// At the cap, and only there, may a flush have to wait for the sink.
    fn flush(&mut self) {
        let ticket = self.publisher.flush();
        eventually("the flush", || {
            ticket.wait(Duration::from_millis(5)).is_ok() || self.stats().state == State::SpillFull
        });
    }

    fn quiet(&mut self) {
        eventually("a quiet moment", || {
            let stats = self.stats();
            let settled = stats.in_ring + stats.in_memory == 0 || stats.state == State::SpillFull;
            settled && stats.entered() == stats.accounted()
        });
        assert_law(&self.stats(), self.attempts.len() as u64 + self.returned);
    }

    fn restart(&mut self, account: &Stats) {
        assert_eq!((account.in_ring, account.in_memory), (0, 0));
        assert_eq!(account.state, State::Stopped);
        self.lost += account.lost.total();
        self.given_up += account.discarded.encode_error + account.count(LossReason::DeadLettered);
        self.evicted += account.discarded.spill_evicted;
        assert_eq!(account.discarded.corrupt, 0);
        self.spilled = account.spilled;
        self.returned = 0;
        let attempts = std::mem::take(&mut self.attempts);
        if !attempts.is_empty() {
            self.runs.push(attempts);
        }
        let drainer = self.bench.start();
        self.publisher = drainer.publisher();
        self.drainer = Some(drainer);
        eventually("the inheritance", || self.stats().inherited == self.spilled);
    }

    /// With the sink up everything comes out; a last entry tells of what was lost before it.
    fn finish(mut self) {
        self.bench.remote.set(Mode::Up);
        until_delivered(self.drainer.as_ref().unwrap());
        self.apply(Op::Publish(1, Kind::Sound));
        self.apply(Op::Restart(LIMIT));
        assert_eq!(self.spilled, 0);
        end_within(self.drainer.take().unwrap(), LIMIT, 0);
        let stored = self.bench.remote.stored();
        assert_announced(&stored);
        let attempts: usize = self.runs.iter().map(Vec::len).sum();
        let missing = (attempts - stored.len()) as u64;
        assert_eq!(missing, self.lost + self.given_up + self.evicted);
        assert!(
            self.check_runs(&stored) <= self.lost + self.evicted,
            "fewer were refused or evicted"
        );
    }

    /// Every record is the attempt of its number. Answers how many are missing that must have been refused or
    /// evicted.
    fn check_runs(&self, stored: &[Stored]) -> u64 {
        let mut by_run: HashMap<RunId, Vec<&Stored>> = HashMap::new();
        let mut order = Vec::new();
        for record in stored {
            if !order.contains(&record.run) {
                order.push(record.run);
            }
            by_run.entry(record.run).or_default().push(record);
        }
        // A run of which nothing came out has no records; each other one is known by its first text.
        let mut runs = order.iter();
        let mut present = runs.next();
        let mut refused = 0;
        for attempts in &self.runs {
            let of_this = |run: &&RunId| {
                let first = by_run[*run][0];
                attempts
                    .get(first.n as usize - 1)
                    .is_some_and(|(text, _)| *text == first.text)
            };
            let Some(run) = present.filter(of_this) else {
                refused += gap(attempts, &[]);
                continue;
            };
            present = runs.next();
            let mut last = 0;
            for record in &by_run[run] {
                let (n, first) = (record.n as usize, last as usize);
                assert_eq!(record.text, attempts[n - 1].0, "number {n}");
                assert!(matches!(attempts[n - 1].1, Kind::Sound | Kind::Big));
                refused += gap(&attempts[first..n - 1], &record.losses);
                last = record.n;
            }
            refused += gap(&attempts[last as usize..], &[]);
        }
        assert_eq!(present, None, "a run that never was");
        refused
    }
}

/// What is missing between two records, or behind the last one, against what is told about it.
fn gap(attempts: &[(String, Kind)], losses: &[(u64, LossReason)]) -> u64 {
    let of = |reason: &[LossReason]| -> u64 {
        let losses = losses.iter().filter(|(_, why)| reason.contains(why));
        losses.map(|(count, _)| count).sum()
    };
    let count =
        |wanted: fn(Kind) -> bool| attempts.iter().filter(|(_, kind)| wanted(*kind)).count() as u64;
    let sound = count(|kind| matches!(kind, Kind::Sound | Kind::Big));
    if losses.is_empty() {
        return sound;
    }
    let buried = count(|kind| matches!(kind, Kind::Oversize | Kind::Refused));
    let flawed = count(|kind| matches!(kind, Kind::Flawed(_)));
    let full = of(&[
        LossReason::QueueFull,
        LossReason::SpillFull,
        LossReason::SpillEvicted,
    ]);
    assert!(
        of(&[LossReason::DeadLettered]) <= buried,
        "{losses:?} of {attempts:?}"
    );
    assert!(
        of(&[LossReason::EncodeError]) <= flawed,
        "{losses:?} of {attempts:?}"
    );
    assert!(full >= sound, "{losses:?} of {attempts:?}");
    sound
}

fn ops() -> impl Strategy<Value = Op> {
    let flaw = prop_oneof![
        Just(Flaw::Fails),
        Just(Flaw::Panics),
        Just(Flaw::PanicsAtSubject)
    ];
    let mode = prop_oneof![
        3 => Just(Mode::Up),
        2 => Just(Mode::Down),
        2 => Just(Mode::Stalled),
        1 => (0..4_usize).prop_map(Mode::Prefixes),
    ];
    let fault = prop_oneof![
        Just(Fault::AnswerLost),
        (0..4_usize).prop_map(Fault::AnswerLostAfter),
        (0..4_usize).prop_map(Fault::PanicAfter),
    ];
    prop_oneof![
        6 => (1..12_usize).prop_map(|count| Op::Publish(count, Kind::Sound)),
        3 => (1..12_usize).prop_map(Op::TryPublish),
        2 => (1..6_usize).prop_map(|count| Op::Publish(count, Kind::Big)),
        1 => (1..3_usize).prop_map(|count| Op::Publish(count, Kind::Oversize)),
        2 => (1..3_usize).prop_map(|count| Op::Publish(count, Kind::Refused)),
        2 => flaw.prop_map(|flaw| Op::Publish(1, Kind::Flawed(flaw))),
        5 => mode.prop_map(Op::Sink),
        2 => fault.prop_map(Op::Fault),
        2 => Just(Op::Flush),
        3 => Just(Op::Quiet),
        1 => Just(Op::Restart(Duration::ZERO)),
        1 => Just(Op::Restart(Duration::from_millis(15))),
    ]
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let ring = prop_oneof![Just(2), Just(8), Just(64)];
    let when_spill_full = prop_oneof![
        Just(WhenSpillFull::RefuseNew),
        Just(WhenSpillFull::EvictOldest)
    ];
    (ring, 1..12_usize, when_spill_full).prop_map(|(ring, batch, when_spill_full)| Sizes {
        ring,
        batch,
        when_spill_full,
    })
}

/// The same cases each time; others with `PROPTEST_RNG_SEED`.
fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given @ RngSeed::Fixed(_) => given,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        max_shrink_iters: 300,
        failure_persistence: None,
        rng_seed: seed(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_the_stream_holds_it_or_reports_its_loss(
        sizes in sizes(),
        ops in proptest::collection::vec(ops(), 1..40),
    ) {
        let mut world = World::new(sizes);
        for op in ops {
            world.apply(op);
        }
        world.finish();
    }
}

/// Lost after a dead letter that the spill holds, and before one that it never held.
#[test]
fn losses_around_dead_letters_are_announced() {
    let mut world = World::new(Sizes {
        ring: 8,
        batch: 5,
        when_spill_full: WhenSpillFull::RefuseNew,
    });
    for op in [
        Op::Publish(1, Kind::Oversize),
        Op::Publish(1, Kind::Flawed(Flaw::Fails)),
        Op::Flush,
        Op::Publish(1, Kind::Refused),
        Op::Quiet,
    ] {
        world.apply(op);
    }
    world.finish();
}

/// Their successor on disk tells of them, and so of numbers that are on disk before it.
#[test]
fn dead_letters_that_were_spilled_hide_nothing_that_comes_after_them() {
    let mut world = World::new(Sizes {
        ring: 8,
        batch: 6,
        when_spill_full: WhenSpillFull::RefuseNew,
    });
    for op in [
        Op::TryPublish(2),
        Op::Quiet,
        Op::Sink(Mode::Down),
        Op::Publish(2, Kind::Oversize),
        Op::Flush,
        Op::Quiet,
        Op::Publish(3, Kind::Sound),
        Op::Flush,
        Op::Restart(Duration::ZERO),
    ] {
        world.apply(op);
    }
    world.finish();
}
