//! Random orders, kills and starts among them, against a model that keeps one line per number.
//!
//! A kill is a copy of the directory as it is. A watermark that is lost, or an older copy, may bring back what was
//! delivered, and nothing else: whatever is not delivered comes out all the same, and nothing counts as damaged.

mod ops;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::spill::{DeadLetterReason, Evictable, Keep, NewDeadLetter, SinkMayHave, Tally};
use ops::{Op, Watermark, op, seed};

/// Small segments, so that there are many.
const SEGMENT_BYTES: u64 = 600;

enum Number {
    Entry { size: u64 },
    Lost(LossReason),
}

struct World {
    dir: tempfile::TempDir,
    spill: Spill,
    run: Arc<Run>,
    next: u64,
    delivered: Key,
    model: BTreeMap<Key, Number>,
    dead_letters: u64,
    saved: Option<Vec<u8>>,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let mut spill = open_small(dir.path(), SEGMENT_BYTES)?;
        Ok(Self {
            run: spill.begin()?.run,
            spill,
            dir,
            next: 1,
            delivered: Key::default(),
            model: BTreeMap::new(),
            dead_letters: 0,
            saved: None,
        })
    }

    fn step(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Append(entries, losses) => self.append(*entries, losses, None)?,
            Op::AppendFailing(entries, happened) => self.append(*entries, &[], Some(*happened))?,
            Op::DeliverLive(entries) if self.entries().is_empty() => self.deliver_live(*entries)?,
            Op::DeliverLive(_) => {}
            Op::Settle(place, counted) => self.settle(*place, *counted)?,
            Op::DeadLetter(place, count) => self.dead_letter(*place, *count)?,
            Op::DeadLetterUnspilled => {
                let record = record(&self.run, self.next);
                self.next += 1;
                self.dead_letter_all(vec![record])?;
            }
            Op::Evict(after, bytes) => self.evict(*after, *bytes)?,
            Op::Tick => tick(&mut self.spill)?,
            Op::SaveWatermark => {
                self.saved = Some(std::fs::read(self.dir.path().join("watermark"))?);
            }
            Op::Kill(watermark) => self.kill(*watermark)?,
            Op::End => {
                end(&mut self.spill, self.next - 1)?;
                self.start()?;
            }
            Op::Read(after, rows, bytes) => self.read(*after, *rows, *bytes)?,
        }
        self.check()
    }

    fn append(&mut self, entries: u64, losses: &[Loss], failing: Option<bool>) -> Outcome {
        for loss in losses {
            for _ in 0..loss.count {
                let key = Key::new(self.run.local, self.next);
                self.model.insert(key, Number::Lost(loss.reason));
                self.next += 1;
            }
        }
        let mut batch = records(&self.run, self.next..self.next + entries);
        // As the drainer carries what is lost between the newest entry and this one.
        batch[0].losses = self.losses_before(batch[0].key());
        for record in &batch {
            let size = record.size();
            self.model.insert(record.key(), Number::Entry { size });
        }
        self.next += entries;
        if let Some(happened) = failing {
            self.fail(&batch, happened)?;
        }
        assert_eq!(self.spill.append(&batch)?, entries);
        Ok(())
    }

    fn fail(&mut self, batch: &[Record], happened: bool) -> Outcome {
        let Some(active) = &mut self.spill.active else {
            return Ok(());
        };
        if happened {
            active.write(&crate::spill::active::Write {
                accounted: None,
                records: batch,
                digests: &[],
            })?;
        }
        let stop =
            "CREATE TEMP TRIGGER stop BEFORE INSERT ON rows BEGIN SELECT RAISE(FAIL, 'no'); END";
        active.connection().execute_batch(stop)?;
        assert!(self.spill.append(batch).is_err());
        Ok(())
    }

    fn deliver_live(&mut self, entries: u64) -> Outcome {
        self.next += entries;
        self.deliver(
            Key::new(self.run.local, self.next - 1),
            Counted::Known(Tally::default()),
        )
    }

    fn deliver(&mut self, through: Key, counted: Counted) -> Outcome {
        while self.spill.settle(through, counted)?.through < through {}
        self.delivered = self.delivered.max(through);
        self.model.retain(|&key, _| key > through);
        Ok(())
    }

    fn settle(&mut self, place: usize, counted: bool) -> Outcome {
        let Some(through) = self.entry_at(place) else {
            return Ok(());
        };
        let sizes = self.sizes(|key| key <= through);
        let known = Counted::Known(Tally {
            entries: sizes.len() as u64,
            bytes: sizes.iter().sum(),
        });
        self.deliver(through, if counted { known } else { Counted::Unknown })
    }

    fn dead_letter(&mut self, place: usize, count: usize) -> Outcome {
        let Some(key) = self.entry_at(place) else {
            return Ok(());
        };
        let read = all(&mut self.spill)?.into_iter();
        let letters = read.filter(|record| record.key() >= key);
        self.dead_letter_all(letters.take(count).collect())
    }

    fn dead_letter_all(&mut self, records: Vec<Record>) -> Outcome {
        for record in &records {
            let lost = Number::Lost(LossReason::DeadLettered);
            self.model.insert(record.key(), lost);
        }
        self.dead_letters += records.len() as u64;
        let letter = |record| NewDeadLetter {
            record,
            reason: DeadLetterReason::Rejected,
            detail: "odd".to_owned(),
            keep: Keep::Yes,
        };
        let letters = records.into_iter().map(letter).collect();
        let now = self.spill.now;
        self.spill.carry_out(Order::DeadLetter(letters), now).done?;
        Ok(())
    }

    /// Which segments go is the spill's affair; what goes must be announced, and the newest entry of each run stays.
    fn evict(&mut self, after: Option<usize>, bytes: u64) -> Outcome {
        let after = after.and_then(|place| self.entry_at(place));
        let before = self.spill.view().evicted;
        let order = Evictable {
            after,
            doubt: SinkMayHave::Nothing,
            bytes,
        };
        let evicted = self.spill.evict(order)?;
        assert_eq!(self.spill.view().evicted - before, evicted);
        let left: Vec<_> = all(&mut self.spill)?.iter().map(Record::key).collect();
        let entries = self.entries();
        let gone: Vec<_> = entries.iter().filter(|key| !left.contains(key)).collect();
        assert_eq!(gone.len() as u64, evicted);
        for &&key in &gone {
            assert!(Some(key) > after);
            let own = |other: &&Key| other.local_run() == key.local_run();
            assert_ne!(
                entries.iter().rfind(own),
                Some(&key),
                "the newest of its run"
            );
            let lost = Number::Lost(LossReason::SpillEvicted);
            self.model.insert(key, lost);
        }
        Ok(())
    }

    fn kill(&mut self, watermark: Watermark) -> Outcome {
        self.dir = killed(self.dir.path())?;
        let file = self.dir.path().join("watermark");
        match (watermark, &self.saved) {
            (Watermark::Kept, _) => return self.start(),
            (Watermark::RolledBack, Some(saved)) => std::fs::write(file, saved)?,
            (Watermark::RolledBack | Watermark::Lost, _) => std::fs::remove_file(file)?,
        }
        self.start()?;
        // What was delivered may come again, from a sink that cannot say how far it has come.
        let read = all(&mut self.spill)?;
        let keys: Vec<_> = read
            .iter()
            .map(Record::key)
            .filter(|&key| key > self.delivered)
            .collect();
        assert_eq!(keys, self.entries());
        assert_eq!(self.spill.view().corrupt, 0);
        self.saved = None;
        self.deliver(self.delivered, Counted::Unknown)
    }

    fn start(&mut self) -> Outcome {
        let elsewhere = tempfile::tempdir()?;
        self.spill = open(elsewhere.path())?;
        self.spill = open_small(self.dir.path(), SEGMENT_BYTES)?;
        let begun = self.spill.begin()?;
        assert_eq!(begun.orphans, []);
        (self.run, self.next) = (begun.run, 1);
        Ok(())
    }

    fn read(&mut self, after: usize, rows: usize, bytes: u64) -> Outcome {
        let after = self.entry_at(after);
        let read = gist(&self.spill.read(after, rows, bytes)?.records);
        let wanted = self.expected(after);
        assert_eq!(joined(&read), joined(&wanted[..read.len()]));
        assert!(read.len() <= rows && (!read.is_empty() || wanted.is_empty()));
        Ok(())
    }

    fn check(&mut self) -> Outcome {
        let reading = read_after(&mut self.spill, None)?;
        assert_eq!(
            joined(&gist(&reading.records)),
            joined(&self.expected(None))
        );
        assert_eq!(reading.orphans, []);
        let view = self.spill.view();
        let sizes = self.sizes(|_| true);
        assert_eq!(view.totals.backlog.entries, sizes.len() as u64);
        assert_eq!(view.totals.backlog.bytes, sizes.iter().sum::<u64>());
        assert_eq!(view.totals.dead_letters.entries, self.dead_letters);
        assert_eq!((view.corrupt, view.surplus), (0, 0));
        Ok(())
    }

    fn entries(&self) -> Vec<Key> {
        let entry = |number: &Number| matches!(number, Number::Entry { .. });
        let entries = self.model.iter().filter(|(_, number)| entry(number));
        entries.map(|(&key, _)| key).collect()
    }

    fn entry_at(&self, place: usize) -> Option<Key> {
        let entries = self.entries();
        entries
            .get(place.min(entries.len().checked_sub(1)?))
            .copied()
    }

    fn sizes(&self, wanted: impl Fn(Key) -> bool) -> Vec<u64> {
        let size = |(&key, number): (&Key, &Number)| match number {
            Number::Entry { size } if wanted(key) => Some(*size),
            _ => None,
        };
        self.model.iter().filter_map(size).collect()
    }

    fn expected(&self, after: Option<Key>) -> Vec<Gist> {
        let wanted = self.entries().into_iter().filter(|&key| Some(key) > after);
        wanted
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
        let mut sums: BTreeMap<LossReason, u64> = BTreeMap::new();
        for loss in losses {
            *sums.entry(loss.reason).or_default() += loss.count;
        }
        sums.into_iter()
            .map(|(reason, count)| Loss { count, reason })
            .collect()
    };
    let mut read = read.to_vec();
    for (_, _, losses, _) in &mut read {
        if losses.len() >= 10 {
            *losses = join(losses);
        }
    }
    read
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        rng_seed: seed(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_spill_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        let run = || -> Outcome {
            let mut world = World::new()?;
            ops.iter().try_for_each(|op| world.step(op))
        };
        run().map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}
