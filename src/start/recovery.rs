//! Moves what a killed process left in its ring into the backlog, under the numbers that it had or would have had.
//!
//! The file is read, not mapped. From `tail` on each record has its place. A place without a record means that a
//! publisher was killed before its `publish` returned; the next unit is tried. Numbers that were assigned are in the
//! records. The other records follow, with the losses between them, as the drainer would have numbered them.
//!
//! Everything is committed to the spill before the file is removed, together with the run's end: killed, with a last
//! number. If this is interrupted, the next start repeats it, and the spill skips what it has.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::drainer::{Encoded, Encoder, Sequencer};
use crate::durable::{Durable, Unpacker};
use crate::error::{SpillError, StartError};
use crate::event::{Key, Loss, LossReason, Record, RunId, unix_ms};
use crate::file_ring::{Created, RecordKind, Taken};
use crate::host::{self, log};
use crate::ring_file::{self, Image, LeftContent, LeftFile, NO_BOOT_ID, boot_id};
use crate::spill::{KilledRun, Spill};
use crate::stats::Lost;

/// Moves the entries in the ring of the spill's publisher into the spill, and removes the file. A file that is
/// damaged, or in a format unknown to `E`, is put aside.
pub(super) fn recover<E: Durable>(dir: &Path, spill: &mut Spill) -> Result<(), StartError> {
    let path = ring_file::path_of(dir, spill.publisher());
    let Some(file) = LeftFile::open(&path)? else {
        return Ok(());
    };
    match file.content()? {
        LeftContent::NeverMade => {}
        LeftContent::Ring(image, created) if knows::<E>(&image, &created) => {
            if let Some(left) = left_of_run::<E>(&image, &created, spill)? {
                take_over(&left, spill)?;
            }
        }
        LeftContent::Ring(..) => {
            return Ok(file.put_aside("its entries are in an unknown format")?);
        }
        LeftContent::Unusable(why) => return Ok(file.put_aside(why)?),
    }
    Ok(file.remove()?)
}

/// An entry type knows its own format, and earlier ones if it can unpack the first entry.
fn knows<E: Durable>(image: &Image, created: &Created) -> bool {
    let (mut any, mut known) = (false, created.format == E::FORMAT);
    image.left(|taken, payload| {
        if taken.kind == RecordKind::Entry && !any {
            any = true;
            let unpack = || E::unpack(created.format, &mut Unpacker::new(payload)).is_some();
            known |= host::call(unpack) == Some(true);
        }
    });
    known || !any
}

fn take_over(left: &KilledRun, spill: &mut Spill) -> Result<(), SpillError> {
    spill.take_killed_run(left)?;
    let entries = left.records.len();
    if entries > 0 {
        log::warning!(entries, run = %left.run.id, "the last process was killed: its ring was moved into the spill");
    }
    Ok(())
}

/// What the spill lacks of the run, or `None` if it was moved before.
fn left_of_run<E: Durable>(
    image: &Image,
    created: &Created,
    spill: &mut Spill,
) -> Result<Option<KilledRun>, SpillError> {
    let last = Key::from_number(image.last().max(image.last_entry()));
    let id = RunId(Uuid::from_u64_pair(created.run.0, created.run.1));
    let turned_over = last.local_run() != created.local;
    let run = spill.run_of_ring((!turned_over).then_some(id), last.local_run())?;
    let Some(mut run) = run else {
        return Ok(None);
    };
    let mut numbers = Numbering::New;
    if turned_over || run.id == id {
        if created.boot == boot_id() && created.boot != NO_BOOT_ID {
            numbers = Numbering::Kept;
        } else {
            // Some pages may be older than others: what is left is neither complete nor numbered in order.
            run = spill.begin_ended_run()?;
        }
    }
    let mut left = Leftover {
        sequencer: Sequencer::new(run),
        encoder: Encoder::default(),
        records: Vec::new(),
        gone: Vec::new(),
        numbers,
        spilled: spill.newest_of(last.local_run()),
        trailing: 0,
        format: created.format,
        now_ms: unix_ms(),
    };
    let entry = Key::from_number(image.last_entry());
    let losses = if entry.local_run() == last.local_run() {
        last.n() - entry.n()
    } else {
        last.n()
    };
    match numbers {
        Numbering::New => {
            left.sequencer.resume(0, 0, image.numbered());
            left.trailing = losses;
        }
        Numbering::Kept => left.sequencer.resume(last.n(), losses, image.numbered()),
    }
    image.left(|taken, payload| left.take::<E>(taken, payload));
    Ok(Some(left.finish(image.lost())))
}

/// Whether entries keep the numbers that they were assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Kept,
    /// They get new numbers: the spill has gone on without this ring, or the machine has stopped meanwhile. What was
    /// being sent to the sink may come twice.
    New,
}

/// Entries on their way from the ring to the spill.
struct Leftover {
    sequencer: Sequencer,
    encoder: Encoder,
    records: Vec<Record>,
    /// Entries with numbers that could not be read, and the losses before them: announced by the next entry.
    gone: Vec<Loss>,
    numbers: Numbering,
    /// The newest entry of the run that the spill has.
    spilled: Key,
    /// Losses after the last numbered entry, which no reader may have seen.
    trailing: u64,
    format: u32,
    now_ms: u64,
}

impl Leftover {
    fn take<E: Durable>(&mut self, taken: &Taken, payload: &[u8]) {
        let key = Key::from_number(taken.number);
        let is_numbered = key.local_run() == self.spilled.local_run() && key.n() > 0;
        if is_numbered && key <= self.spilled {
            if self.numbers == Numbering::Kept {
                // Later entries without a number get the same ones as when an earlier start moved them.
                self.sequencer.has_reached(key.n(), taken.lost);
            }
            return;
        }
        let encoded = self.encode::<E>(taken, payload);
        if is_numbered && self.numbers == Numbering::Kept {
            self.keep_number(taken, encoded);
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            self.sequencer.carry(gone);
        }
        if taken.kind == RecordKind::Damaged {
            self.sequencer.lose(1, LossReason::Corrupt);
            return;
        }
        if is_numbered {
            // Losses that had numbers in the old run: those before an entry, and the entry itself if it is lost.
            if taken.is_lost() {
                return;
            }
            self.sequencer.lose(taken.before, LossReason::QueueFull);
        }
        self.number_losses(taken.lost);
        let record = self.sequencer.number(encoded, self.now_ms, Instant::now());
        self.records.extend(record);
    }

    fn encode<E: Durable>(&mut self, taken: &Taken, payload: &[u8]) -> Encoded {
        match taken.kind {
            RecordKind::Void => Err("it could not be packed".to_owned()),
            RecordKind::Damaged | RecordKind::Pad => Err("it is damaged".to_owned()),
            RecordKind::Entry => self.encoder.unpack_and_encode::<E>(self.format, payload),
        }
    }

    fn keep_number(&mut self, taken: &Taken, encoded: Encoded) {
        let n = Key::from_number(taken.number).n();
        if taken.is_lost() {
            // If the process was killed before it had noted that, nobody has counted it.
            if n > self.sequencer.last_n() {
                self.number_losses(taken.lost);
                let new = n.saturating_sub(self.sequencer.last_n());
                self.sequencer.lose(new, LossReason::EncodeError);
            }
            self.sequencer.has_reached(n, taken.lost);
            return;
        }
        let loss = |count, reason| Loss { count, reason };
        loss(taken.before, LossReason::QueueFull).join(&mut self.gone);
        match encoded {
            Ok((subject, bytes)) => self.records.push(Record {
                run: Arc::clone(self.sequencer.run()),
                n,
                losses: std::mem::take(&mut self.gone),
                popped_ms: self.now_ms,
                requeued: None,
                since: Instant::now(),
                subject,
                bytes,
            }),
            Err(_) => loss(1, LossReason::Corrupt).join(&mut self.gone),
        }
        self.sequencer.has_reached(n, taken.lost);
    }

    /// Their reasons are unknown, but for most of them the ring was full.
    fn number_losses(&mut self, lost: u64) {
        let by_reason = || Lost {
            queue_full: lost,
            ..Lost::default()
        };
        self.sequencer.number_losses(lost, by_reason);
    }

    fn finish(mut self, lost: u64) -> KilledRun {
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            self.sequencer.carry(gone);
        }
        self.sequencer.lose(self.trailing, LossReason::QueueFull);
        self.number_losses(lost);
        let (first_n, losses) = self.sequencer.trailing();
        KilledRun {
            run: Arc::clone(self.sequencer.run()),
            last_n: self.sequencer.last_n(),
            records: self.records,
            first_n,
            losses,
        }
    }
}

#[cfg(test)]
mod tests;
