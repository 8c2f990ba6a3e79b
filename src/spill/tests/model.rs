//! Random operations, reopening among them, against a model that keeps one line per number.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::Key;
use crate::spill::{DeadLetterReason, Evictable};

#[derive(Debug, Clone)]
enum Op {
    /// Entries, some losses before the first.
    Append(u64, Vec<Loss>),
    /// As after an unknown outcome.
    AppendAgain,
    AppendLosses(Vec<Loss>),
    /// Entries delivered past the spill, as happens only when it holds none.
    DeliverLive(u64),
    /// Through the entry at about this place of the backlog.
    Remove(usize),
    DeadLetter(usize),
    DeadLetterUnspilled,
    /// Behind the entry at about this place, so many bytes.
    Evict(Option<usize>, u64),
    Reopen,
    NewRun,
    /// Behind the entry at about this place, so many rows, so many bytes.
    Read(usize, usize, u64),
}

enum Number {
    Entry { size: u64 },
    Lost(LossReason),
}

struct World {
    dir: tempfile::TempDir,
    spill: Spill,
    run: Arc<Run>,
    next: u64,
    model: BTreeMap<Key, Number>,
    dead_letters: u64,
    last: Vec<Record>,
}

fn losses() -> impl Strategy<Value = Vec<Loss>> {
    let reason = prop::sample::select(vec![
        LossReason::QueueFull,
        LossReason::EncodeError,
        LossReason::DeadLettered,
    ]);
    let loss = (1..4_u64, reason).prop_map(|(count, reason)| Loss { count, reason });
    prop::collection::vec(loss, 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..6_u64, losses()).prop_map(|(entries, losses)| Op::Append(entries, losses)),
        1 => Just(Op::AppendAgain),
        1 => losses().prop_map(Op::AppendLosses),
        1 => (1..4_u64).prop_map(Op::DeliverLive),
        3 => (0..12_usize).prop_map(Op::Remove),
        2 => (0..12_usize).prop_map(Op::DeadLetter),
        1 => Just(Op::DeadLetterUnspilled),
        2 => (prop::option::of(0..12_usize), 1..300_u64).prop_map(|(after, bytes)| Op::Evict(after, bytes)),
        1 => Just(Op::Reopen),
        1 => Just(Op::NewRun),
        3 => (0..12_usize, 1..8_usize, 1..400_u64).prop_map(|(after, rows, bytes)| Op::Read(after, rows, bytes)),
    ]
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let mut spill = open(dir.path())?;
        Ok(Self {
            run: spill.begin_run()?,
            spill,
            dir,
            next: 1,
            model: BTreeMap::new(),
            dead_letters: 0,
            last: Vec::new(),
        })
    }

    fn step(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Append(entries, losses) => self.append(*entries, losses)?,
            Op::AppendAgain => assert_eq!(self.spill.append(&self.last)?, 0),
            Op::AppendLosses(losses) => {
                self.spill.append_losses(&self.run, self.next, losses)?;
                self.lose(losses);
            }
            Op::DeliverLive(entries) if self.entries().is_empty() => self.next += entries,
            Op::DeliverLive(_) => {}
            Op::Remove(place) => self.remove(*place)?,
            Op::DeadLetter(place) => self.dead_letter(*place)?,
            Op::DeadLetterUnspilled => self.dead_letter_unspilled()?,
            Op::Evict(after, bytes) => self.evict(*after, *bytes)?,
            Op::Reopen => self.reopen()?,
            Op::NewRun => {
                self.run = self.spill.begin_run()?;
                self.next = 1;
            }
            Op::Read(after, rows, bytes) => self.read(*after, *rows, *bytes)?,
        }
        self.check()
    }

    fn append(&mut self, entries: u64, losses: &[Loss]) -> Outcome {
        self.lose(losses);
        let mut batch = records(&self.run, self.next..self.next + entries);
        batch[0].losses = losses.to_vec();
        for record in &batch {
            let size = record.size();
            self.model.insert(record.key(), Number::Entry { size });
        }
        self.next += entries;
        assert_eq!(self.spill.append(&batch)?, entries);
        self.last = batch;
        Ok(())
    }

    fn lose(&mut self, losses: &[Loss]) {
        for loss in losses {
            for _ in 0..loss.count {
                self.model.insert(
                    Key::new(self.run.local, self.next),
                    Number::Lost(loss.reason),
                );
                self.next += 1;
            }
        }
    }

    fn remove(&mut self, place: usize) -> Outcome {
        let Some(key) = self.entry_at(place) else {
            return Ok(());
        };
        let before = self.entries().len();
        self.model.retain(|&number, _| number > key);
        let gone = before - self.entries().len();
        assert_eq!(self.spill.remove_through(key)?, gone as u64);
        assert_eq!(self.spill.remove_through(key)?, 0);
        self.last.clear();
        Ok(())
    }

    fn dead_letter(&mut self, place: usize) -> Outcome {
        let Some(key) = self.entry_at(place) else {
            return Ok(());
        };
        let read = all(&mut self.spill)?;
        let record = read
            .iter()
            .find(|record| record.key() == key)
            .ok_or("unread")?;
        self.bury(record)
    }

    fn dead_letter_unspilled(&mut self) -> Outcome {
        let record = record(&self.run, self.next);
        self.next += 1;
        self.bury(&record)
    }

    /// Twice, as after an unknown outcome.
    fn bury(&mut self, record: &Record) -> Outcome {
        for _ in 0..2 {
            self.spill
                .dead_letter(record, DeadLetterReason::Rejected, "odd")?;
        }
        self.dead_letters += 1;
        self.model
            .insert(record.key(), Number::Lost(LossReason::DeadLettered));
        self.last.clear();
        Ok(())
    }

    /// Of each run the newest entry stays.
    fn evict(&mut self, after: Option<usize>, bytes: u64) -> Outcome {
        let after = after.and_then(|place| self.entry_at(place));
        let entries = self.entries();
        let behind = entries.iter().filter(|&&key| Some(key) > after);
        let followed = behind.zip(entries.iter().filter(|&&key| Some(key) > after).skip(1));
        let mut sum = 0;
        let mut gone = Vec::new();
        for (&key, next) in followed {
            if sum >= bytes {
                break;
            }
            if let (Some(Number::Entry { size }), true) =
                (self.model.get(&key), key.local_run() == next.local_run())
            {
                sum += size;
                gone.push(key);
            }
        }
        let before = None;
        let evicted = self.spill.evict(Evictable { after, before }, bytes)?;
        assert_eq!(evicted, gone.len() as u64);
        for key in gone {
            self.model
                .insert(key, Number::Lost(LossReason::SpillEvicted));
            self.last.clear();
        }
        Ok(())
    }

    fn reopen(&mut self) -> Outcome {
        let elsewhere = tempfile::tempdir()?;
        self.spill = open(elsewhere.path())?;
        self.spill = open(self.dir.path())?;
        Ok(())
    }

    fn read(&mut self, after: usize, rows: usize, bytes: u64) -> Outcome {
        let after = self.entry_at(after);
        let read = self.spill.oldest(after, rows, bytes)?;
        let mut wanted = self.expected(after);
        let read = gist(&read);
        assert_eq!(joined(&read), joined(&wanted[..read.len()]));
        wanted.truncate(rows);
        let mut sum = 0;
        let fitting = self.sizes_behind(after).take_while(|size| {
            sum += size;
            sum <= bytes
        });
        assert_eq!(read.len(), fitting.count().max(1).min(wanted.len()));
        Ok(())
    }

    fn check(&mut self) -> Outcome {
        let read = gist(&all(&mut self.spill)?);
        assert_eq!(joined(&read), joined(&self.expected(None)));
        let totals = self.spill.totals();
        assert_eq!(totals.entries, self.entries().len() as u64);
        assert_eq!(totals.bytes, self.sizes_behind(None).sum::<u64>());
        assert_eq!(totals.dead_letters, self.dead_letters);
        assert_eq!(totals.losses == 0, self.model.len() == self.entries().len());
        assert_eq!(self.spill.newest(), self.entries().last().copied());
        let oldest = self.entries().first().map(|key| 1_000 + key.n());
        assert_eq!(self.spill.oldest_popped_ms(), oldest);
        assert_eq!(self.spill.corrupt(), 0);
        audit(&self.spill)
    }

    fn entries(&self) -> Vec<Key> {
        let entry = |number: &Number| matches!(number, Number::Entry { .. });
        self.model
            .iter()
            .filter_map(|(&key, number)| entry(number).then_some(key))
            .collect()
    }

    fn entry_at(&self, place: usize) -> Option<Key> {
        let entries = self.entries();
        entries
            .get(place.min(entries.len().checked_sub(1)?))
            .copied()
    }

    fn sizes_behind(&self, after: Option<Key>) -> impl Iterator<Item = u64> {
        self.model
            .iter()
            .filter_map(move |(&key, number)| match number {
                Number::Entry { size } if Some(key) > after => Some(*size),
                _ => None,
            })
    }

    fn expected(&self, after: Option<Key>) -> Vec<Gist> {
        self.entries()
            .into_iter()
            .filter(|&key| Some(key) > after)
            .map(|key| {
                let (local, n) = (key.local_run(), key.n());
                (local, n, self.losses_before(key), content(local, n))
            })
            .collect()
    }

    fn losses_before(&self, key: Key) -> Vec<Loss> {
        let mut found: Vec<Loss> = Vec::new();
        for n in (1..key.n()).rev() {
            let Some(&Number::Lost(reason)) = self.model.get(&Key::new(key.local_run(), n)) else {
                break;
            };
            match found.first_mut() {
                Some(first) if first.reason == reason => first.count += 1,
                _ => found.insert(0, loss(1, reason)),
            }
        }
        found
    }
}

/// Beyond some stretches losses are joined by their reasons: where that begins depends on what was evicted when.
fn joined(read: &[Gist]) -> Vec<Gist> {
    let join = |losses: &[Loss]| {
        let mut sums: Vec<Loss> = Vec::new();
        for &loss in losses {
            match sums.iter_mut().find(|sum| sum.reason == loss.reason) {
                Some(sum) => sum.count += loss.count,
                None => sums.push(loss),
            }
        }
        sums.sort_by_key(|sum| sum.reason);
        sums
    };
    read.iter()
        .map(|(run, n, losses, content)| {
            let losses = match losses.len() {
                0..10 => losses.clone(),
                _ => join(losses),
            };
            (*run, *n, losses, content.clone())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_spill_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        let run = || -> Outcome {
            let mut world = World::new()?;
            ops.iter().try_for_each(|op| world.step(op))
        };
        run().map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}
