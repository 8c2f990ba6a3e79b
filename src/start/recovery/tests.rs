//! A drainer that is killed between any two of its stores, and a start that is killed during recovery.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::config::SpillDurability;
use crate::durable::{Pack, Packer};
use crate::event::{EncodeError, Event, PreviousRun, PublisherId, Run, RunEnd, fresh_uuid};
use crate::file_ring::CONTROL;
use crate::ring::Refusal;
use crate::ring_file::RingFile;

type Outcome = Result<(), Box<dyn Error>>;

const ENTRIES: u64 = 6;
fn image(path: &Path) -> Result<(Image, Created), Box<dyn Error>> {
    let file = LeftFile::open(path)?.ok_or("no file")?;
    match file.content()? {
        LeftContent::Ring(image, created) => Ok((image, created)),
        _ => Err("no ring".into()),
    }
}

/// One that cannot be unpacked: its number is a loss.
const NO_ENTRY: u64 = 3;
/// This many are refused for lack of room before each of these, the last time after all entries.
const LOST_BEFORE: [u64; 3] = [2, NO_ENTRY, ENTRIES];
const LOST: u64 = 3;
/// Words of the file, in the order in which the drainer stores them once the record has its number.
const STORES: [u64; 3] = [41, 40, NUMBERED];
const NUMBERED: u64 = 42;

#[derive(Debug)]
struct Number(u64);

impl Event for Number {
    fn subject(&self) -> String {
        "a.number".to_owned()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(self.0.to_string().as_bytes());
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Pack for Number {
    fn packed_words(&self) -> usize {
        1
    }

    fn pack(&self, out: &mut Packer<'_>) {
        out.put_u64(self.0);
    }
}

impl Durable for Number {
    const FORMAT: u32 = 1;

    fn unpack(_: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        from.u64().filter(|&number| number != NO_ENTRY).map(Self)
    }
}

/// Where a drainer is killed.
#[derive(Debug, Clone, Copy)]
struct Kill {
    /// It has numbered this many entries; at one more, also the losses after them.
    numbered: u64,
    /// How many of the stores after that of the last number were made.
    stores: usize,
}

struct Bench {
    dir: tempfile::TempDir,
    run: Arc<Run>,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let run = open_spill(dir.path())?.begin()?.run;
        Ok(Self { dir, run })
    }

    fn path(&self) -> PathBuf {
        ring_file::path_of(self.dir.path(), self.run.publisher())
    }

    /// Publishes, and takes some entries as the drainer does, until it is killed.
    fn leave_ring(&self, kill: Kill) -> Outcome {
        let made = RingFile::create(self.dir.path(), &self.run, Number::FORMAT, 1 << 16, 100)?;
        let ring = made.ring();
        for number in 0..=ENTRIES {
            if LOST_BEFORE.contains(&number) {
                (0..LOST).for_each(|_| ring.lose());
            }
            if number == ENTRIES {
                break;
            }
            let mut claim = ring.claim(1).map_err(|_| "no room")?;
            claim.put(number);
            claim.commit();
        }
        let mut sequencer = Sequencer::new(Arc::clone(&self.run));
        let (mut next, mut payload) = (ring.tail(), Vec::new());
        let mut before = [0; STORES.len()];
        for _ in 0..kill.numbered {
            before = self.stored()?;
            let Some(taken) = ring.take(next, &mut payload) else {
                sequencer.number_losses(ring.lost(), Lost::default);
                ring.number_losses(sequencer.last_key().number(), sequencer.numbered());
                break;
            };
            next = taken.next;
            sequencer.number_losses(taken.lost, Lost::default);
            let encoded = Encoder::default().unpack_and_encode::<Number>(1, &payload);
            let record = sequencer.number(encoded, 0, Instant::now());
            let (last, numbered) = (sequencer.last_key().number(), sequencer.numbered());
            match &record {
                Some(record) => ring.number_entry(&taken, last, record.lost_before(), numbered),
                None => ring.number_loss(&taken, last, numbered),
            }
        }
        let file = OpenOptions::new().write(true).open(self.path())?;
        for (at, word) in STORES.iter().zip(before).skip(kill.stores) {
            file.write_all_at(&word.to_ne_bytes(), at * 8)?;
        }
        Ok(())
    }

    fn stored(&self) -> io::Result<[u64; STORES.len()]> {
        let words = fs::read(self.path())?;
        let (words, _) = words.as_chunks::<8>();
        Ok(STORES
            .map(|at| words[usize::try_from(at).unwrap_or(0)])
            .map(u64::from_ne_bytes))
    }

    /// Changes the word of an entry.
    fn damage(&self, entry: u64) -> Outcome {
        let mut bytes = fs::read(self.path())?;
        let (words, _) = bytes.as_chunks_mut::<8>();
        let mut records = words[CONTROL..].chunks_exact_mut(8);
        let record = records.find(|it| it[0] != [0; 8] && it[5] == entry.to_ne_bytes());
        record.ok_or("no such entry")?[5] = [7; 8];
        Ok(fs::write(self.path(), bytes)?)
    }

    /// Killed when this many of the remaining records are in the spill.
    fn begin_take_over(&self, records: usize) -> Outcome {
        let mut spill = open_spill(self.dir.path())?;
        let (image, created) = image(&self.path())?;
        let left = left_of_run::<Number>(&image, &created, &mut spill)?.ok_or("the run")?;
        spill.append(&left.records[..records.min(left.records.len())])?;
        Ok(())
    }
}

fn open_spill(dir: &Path) -> Result<Spill, SpillError> {
    Spill::open(
        &dir.join("spill"),
        None,
        1 << 30,
        SpillDurability::ProcessCrash,
    )
}

#[test]
fn each_entry_is_taken_over_once_wherever_the_kills_come() -> Outcome {
    let mut kills = Vec::new();
    for numbered in 0..=ENTRIES + 1 {
        let stores = if numbered == 0 { 3..4 } else { 0..4 };
        kills.extend(stores.map(|stores| Kill { numbered, stores }));
    }
    let entries: Vec<_> = (0..ENTRIES).filter(|&number| number != NO_ENTRY).collect();
    for kill in kills {
        for taken_over in 0..=entries.len() {
            let bench = Bench::new()?;
            bench.leave_ring(kill)?;
            bench.begin_take_over(taken_over)?;
            let mut spill = open_spill(bench.dir.path())?;
            let start_ms = unix_ms();
            recover::<Number>(bench.dir.path(), &mut spill)?;
            assert!(!bench.path().exists());
            if taken_over < entries.len() {
                // No earlier run has them, whatever the sink reports.
                assert!(spill.view().inherited_until_ms >= Some(start_ms));
            }
            let next = spill.begin()?.run;
            // The one moment at which nobody knows whether they have numbers.
            let twice = kill.numbered > ENTRIES && STORES.get(kill.stores) == Some(&NUMBERED);
            let trailing = if twice { 2 * LOST } else { LOST };
            let expected = PreviousRun {
                id: bench.run.id,
                last: Some(ENTRIES + 2 * LOST + trailing),
                end: RunEnd::Killed,
            };
            let case = format!("{kill:?}, {taken_over} taken over");
            assert_eq!(next.previous, Some(expected), "{case}");
            let found = spill.read(None, 100, u64::MAX)?.records;
            let texts = found
                .iter()
                .map(|record| String::from_utf8_lossy(&record.bytes));
            let expected = entries.iter().map(u64::to_string);
            assert!(texts.eq(expected), "{case}: {found:#?}");
            let lost: u64 = found.iter().map(Record::lost_before).sum();
            assert_eq!(lost, 2 * LOST + 1, "{case}: {found:#?}");
        }
    }
    Ok(())
}

/// A process takes another id, and is killed before or after the spill has it.
#[test]
fn a_ring_with_two_names_is_taken_over_once() -> Outcome {
    for renewed in [false, true] {
        let bench = Bench::new()?;
        let mut made = RingFile::create(bench.dir.path(), &bench.run, Number::FORMAT, 1 << 16, 9)?;
        for number in 0..3 {
            let mut claim = made.ring().claim(1).map_err(|_| "no room")?;
            claim.put(number);
            claim.commit();
        }
        let id = PublisherId(fresh_uuid());
        made.link(id);
        drop(made);
        if renewed {
            fs::write(bench.dir.path().join("spill/identity"), format!("{id}\n"))?;
        }
        let mut spill = open_spill(bench.dir.path())?;
        recover::<Number>(bench.dir.path(), &mut spill)?;
        assert_eq!(spill.read(None, 100, u64::MAX)?.records.len(), 3);
        drop(spill);
        for name in [bench.path(), ring_file::path_of(bench.dir.path(), id)] {
            assert!(
                ring_file::left_in(&name).is_none_or(|left| left.bytes == 0),
                "{name:?}"
            );
        }
    }
    Ok(())
}

/// Where a file cannot have two names, it is renamed.
#[test]
fn a_ring_with_one_name_gets_the_new_one() -> Outcome {
    let bench = Bench::new()?;
    let mut made = RingFile::create(bench.dir.path(), &bench.run, Number::FORMAT, 1 << 16, 9)?;
    let id = PublisherId(fresh_uuid());
    made.keep_one_name(id);
    let renamed = ring_file::path_of(bench.dir.path(), id);
    assert_eq!((bench.path().exists(), renamed.exists()), (false, true));
    assert!(made.status().in_place);
    Ok(())
}

#[test]
fn one_of_two_names_is_kept() -> Outcome {
    for renewed in [false, true] {
        let bench = Bench::new()?;
        let mut made = RingFile::create(bench.dir.path(), &bench.run, Number::FORMAT, 1 << 16, 9)?;
        let id = PublisherId(fresh_uuid());
        made.link(id);
        made.keep_one_name(if renewed { id } else { bench.run.publisher() });
        let other = ring_file::path_of(bench.dir.path(), id);
        assert_eq!((bench.path().exists(), other.exists()), (!renewed, renewed));
        assert!(made.status().in_place);
    }
    Ok(())
}

/// Entries left at an end are recovered by a start in the same process; a publisher from before the end still exists.
#[test]
fn a_publisher_that_is_still_there_is_refused() -> Outcome {
    let bench = Bench::new()?;
    let made = RingFile::create(bench.dir.path(), &bench.run, Number::FORMAT, 1 << 16, 9)?;
    let ring = Arc::clone(made.ring());
    let mut claim = ring.claim(1).map_err(|_| "no room")?;
    claim.put(7);
    claim.commit();
    ring.close();
    drop(made);
    let mut spill = open_spill(bench.dir.path())?;
    recover::<Number>(bench.dir.path(), &mut spill)?;
    assert_eq!(spill.read(None, 100, u64::MAX)?.records.len(), 1);
    assert_eq!(ring.claim(1).err(), Some(Refusal::Closed));
    Ok(())
}

#[test]
fn a_damaged_entry_is_a_loss_whether_it_has_a_number_or_not() -> Outcome {
    for numbered in 0..=ENTRIES {
        let bench = Bench::new()?;
        bench.leave_ring(Kill {
            numbered,
            stores: STORES.len(),
        })?;
        bench.damage(4)?;
        let mut spill = open_spill(bench.dir.path())?;
        recover::<Number>(bench.dir.path(), &mut spill)?;
        let found = spill.read(None, 100, u64::MAX)?.records;
        let texts: Vec<_> = found.iter().map(|record| &record.bytes[..]).collect();
        assert_eq!(texts, [b"0", b"1", b"2", b"5"]);
        let corrupt = found[3].losses.last();
        let expected = Loss {
            count: 1,
            reason: LossReason::Corrupt,
        };
        assert_eq!(corrupt, Some(&expected), "{numbered}: {found:#?}");
    }
    Ok(())
}

/// The machine has stopped since: entries get other numbers, and so do losses that perhaps no reader has seen.
#[test]
fn losses_with_numbers_that_no_reader_has_seen_get_others() -> Outcome {
    for numbered in 0..=ENTRIES + 1 {
        let bench = Bench::new()?;
        bench.leave_ring(Kill {
            numbered,
            stores: STORES.len(),
        })?;
        let (image, created) = image(&bench.path())?;
        let before = Created {
            boot: (1, 2),
            ..created
        };
        let spilled = numbered.min(1);
        bench.begin_take_over(usize::try_from(spilled)?)?;
        let mut spill = open_spill(bench.dir.path())?;
        let left = left_of_run::<Number>(&image, &before, &mut spill)?.ok_or("a run")?;
        assert_eq!(left.records.len() as u64, ENTRIES - 1 - spilled);
        let announced = left.records.iter().map(Record::lost_before).sum::<u64>();
        let trailing = left.losses.iter().map(|loss| loss.count).sum::<u64>();
        assert_eq!(announced + trailing, 3 * LOST + 1, "{numbered}: {left:#?}");
    }
    Ok(())
}
