//! Carrying out the drainer's orders, on the spill's own thread.

use std::time::Instant;

use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, RunEnd};
use crate::host::log;
use crate::ring_file::RingFile;
use crate::stats::Status;
use crate::worker::Desk;

use super::active::first_key;
use super::files::{free_bytes, has_room, io_error};
use super::orders::{Counted, Done, Keep, NewDeadLetter, Order, Outcome, Renumbering, Room};
use super::row::{ACCOUNTED, kind};
use super::segments::{Origin, Segment};
use super::status_file::write_status;
use super::tally::Tally;
use super::unlock::write_check;
use super::{Spill, adopt, dead_letters, imports, schema};

/// A disk that was full has room again once it has so many bytes.
const ROOM_BYTES: u64 = 1 << 20;

/// Serves the drainer until it wants no more. The directory is free again when this returns.
pub(crate) fn serve(mut spill: Spill, desk: &Desk<Order, Outcome>) {
    while let Some(order) = desk.next() {
        let outcome = spill.carry_out(order, Instant::now());
        desk.put(outcome);
    }
}

impl Spill {
    /// Carries out one order.
    pub(crate) fn carry_out(&mut self, order: Order, now: Instant) -> Outcome {
        self.now = now;
        let done = if self.room == Room::Absent {
            order.without_spill()
        } else {
            self.carry(order)
        };
        Outcome {
            done,
            view: self.view(),
        }
    }

    fn carry(&mut self, order: Order) -> Result<Done, SpillError> {
        Ok(match order {
            Order::Append(records) => {
                let start = Instant::now();
                Done::Appended {
                    entries: self.append(&records)?,
                    took: start.elapsed(),
                }
            }
            Order::Read {
                after,
                entries_max,
                bytes_max,
            } => Done::Read(self.read(after, entries_max, bytes_max)?),
            Order::Settle { through, entries } => {
                self.note_cursor_seen(through, entries);
                Done::Settled(self.settle(through, entries)?)
            }
            Order::DeadLetter(letters) => {
                self.dead_letter(&letters)?;
                Done::DeadLettered
            }
            Order::Evict(evictable) => Done::Evicted {
                entries: self.evict(evictable)?,
            },
            Order::OpenRuns(local) => {
                self.open_runs(local)?;
                Done::RunsOpened(local)
            }
            Order::Renumber(renumbering) => {
                self.renumber(&renumbering)?;
                Done::Renumbered
            }
            Order::Check => {
                self.check()?;
                Done::Checked
            }
            Order::RenewIdentity => Done::Renewed(self.renew_identity()?),
            Order::TurnOver { last_n } => Done::TurnedOver(self.turn_over(last_n)?),
            Order::Tick(status) => {
                self.tick(*status)?;
                Done::Ticked
            }
            Order::End {
                last_n,
                first_n,
                losses,
            } => {
                self.end(last_n, first_n, &losses)?;
                Done::Ended
            }
        })
    }

    /// The sink's cursor was seen there: its run is not forgotten before the cursor has moved on.
    fn note_cursor_seen(&mut self, through: Key, counted: Counted) {
        let local = through.local_run();
        let cursor_seen = self
            .index
            .runs
            .get(local)
            .is_some_and(|known| known.cursor_seen);
        if counted == Counted::Unknown && !cursor_seen {
            self.index.runs.change(local, |known| {
                known.cursor_seen = true;
                known.opened = true;
            });
        }
    }

    /// Keeps entries as dead letters, in one transaction; losses take their places.
    fn dead_letter(&mut self, letters: &[NewDeadLetter]) -> Result<(), SpillError> {
        let reason = kind(LossReason::DeadLettered);
        for letter in letters {
            let (record, absent) = (&letter.record, &mut self.index.absent);
            // The losses before it may be in no segment.
            absent.cover_losses(first_key(record), &record.losses);
            absent.cover(record.key(), 1, reason);
        }
        let before = self.index.taken;
        let records = letters.iter().map(|letter| &letter.record);
        let spilled =
            Tally::of(records.filter(|record| {
                record.key() <= self.newest && Some(record.key()) > self.delivered
            }));
        self.index.taken += spilled.entries;
        let kept = letters.iter().filter(|letter| letter.keep == Keep::Yes);
        let cipher = self.cipher.as_ref();
        let done = self
            .index
            .transact("add a dead letter to", self.now, |conn| {
                let mut count = Tally::default();
                for letter in kept {
                    if dead_letters::insert(conn, letter, cipher)? {
                        count.add(letter.record.size());
                    }
                }
                Ok(count)
            });
        let count = done.inspect_err(|_| {
            self.index.taken = before;
            // No other transaction may note the loss before the letter is kept.
            for letter in letters {
                self.index.absent.uncover(letter.record.key());
            }
        })?;
        self.index.dead_letters += count;
        self.take_out(spilled);
        self.write_watermark();
        Ok(())
    }

    fn open_runs(&mut self, local: u32) -> Result<(), SpillError> {
        let runs = &mut self.index.runs;
        let open = runs.iter().filter(|known| !known.opened);
        let open = open.filter(|known| {
            known.run.local == local || (known.run.local < local && known.spilled_n > 0)
        });
        let open: Vec<_> = open.map(|known| known.run.local).collect();
        for local in open {
            runs.change(local, |known| known.opened = true);
        }
        self.index.save(self.now)
    }

    fn renumber(&mut self, renumbering: &Renumbering) -> Result<(), SpillError> {
        let absent = &mut self.index.absent;
        let mut count = 0;
        for orphan in &renumbering.orphans {
            absent.cover(orphan.first, orphan.count, ACCOUNTED);
            count += orphan.count;
        }
        let reason = kind(LossReason::Corrupt);
        absent.cover(renumbering.first, count, reason);
        self.index.save(self.now)
    }

    /// Checks that all files are in place, and recreates those that are not.
    pub(super) fn check(&mut self) -> Result<(), SpillError> {
        if self.directory.restore(self.publisher)? {
            log::error!(dir = %self.directory.path().display(), "the spill directory was moved or deleted: it is made again");
            if let Some(cipher) = &self.cipher {
                write_check(&self.directory, cipher)?;
            }
        }
        if self.watermark.has_left(&self.directory.watermark()) {
            let file = self.directory.watermark();
            self.watermark
                .reopen(&file)
                .map_err(io_error("create", &file))?;
        }
        self.index.check_place();
        if let Some(active) = self.active.take_if(|active| active.has_left()) {
            log::error!(file = %active.segment.path.display(), "a segment of the spill was moved or deleted: another is begun");
            active.abandon();
        }
        for segment in self.segments.vanished() {
            log::error!(file = %segment.path.display(), "a segment of the spill is gone");
            self.segments.lose(&segment);
        }
        self.index.save(self.now)
    }

    /// Once a second.
    fn tick(&mut self, mut status: Status) -> Result<(), SpillError> {
        let synced = self.watermark.sync();
        if synced || self.may_unlink_unsynced() {
            self.unlink_delivered();
        }
        self.find_oldest();
        self.widen();
        if self.room == Room::Full
            && free_bytes(self.directory.path()).is_ok_and(|free| free >= ROOM_BYTES)
            && has_room(self.directory.path())
        {
            log::info!("the disk has room again");
            self.room = Room::Some;
        }
        if let Some(signer) = &self.signer {
            signer.keep();
        }
        status.ring = self.ring.as_mut().map(RingFile::status);
        status.delivered = status.delivered.or(self.delivered_position());
        let checked = self.check();
        if let Err(error) = write_status(self.directory.path(), &status) {
            log::debug!(%error, "status.json cannot be written");
        }
        checked
    }

    /// A full disk that cannot sync must free space: an unsynced watermark still survives the process.
    fn may_unlink_unsynced(&self) -> bool {
        self.room == Room::Full && self.watermark.is_written()
    }

    /// Segments wholly below the watermark, which is synced, are of no use any more.
    fn unlink_delivered(&mut self) {
        let next = self.delivered.unwrap_or_default().after(1);
        let drained = self
            .delivered
            .is_some_and(|delivered| delivered >= self.newest);
        let active = self.active.as_ref().map(|active| active.segment.clone());
        let passed = |segment: &&Segment| match self.segments.end_of(segment) {
            Some(end) => end <= next,
            None => drained,
        };
        let passed: Vec<_> = self
            .segments
            .iter()
            .take_while(passed)
            .filter(|segment| Some(*segment) != active.as_ref())
            .cloned()
            .collect();
        if let (Some(delivered), false) = (self.delivered, passed.is_empty()) {
            self.index.note_settled(delivered, self.now);
        }
        for segment in passed {
            if let Err(error) = self.unlink(&segment) {
                log::debug!(%error, file = %segment.path.display(), "a delivered segment cannot be removed yet");
                break;
            }
        }
    }

    fn unlink(&mut self, segment: &Segment) -> Result<(), SpillError> {
        self.keep_digests(segment)?;
        self.evicted_already.remove(&segment.path);
        let done = if self.reader.has_lost_rows(segment) {
            self.segments.keep_damaged(segment)
        } else {
            if segment.origin == Origin::Adopted {
                adopt::copy_one(&mut self.index, &segment.path, self.now)?;
            }
            self.segments.delete(segment)
        };
        done.map_err(io_error("remove", &segment.path))
    }

    /// Notes the clean end of the run, and removes what is delivered.
    fn end(&mut self, last_n: u64, first_n: u64, losses: &[Loss]) -> Result<(), SpillError> {
        let ended = self.end_run(self.present_run(), RunEnd::Clean, last_n, first_n, losses);
        if let Some(active) = self.active.take() {
            active.seal();
        }
        if self.watermark.sync() || self.may_unlink_unsynced() {
            self.unlink_delivered();
        }
        if ended.is_ok()
            && let Some(ring) = self.ring.take()
        {
            ring.end();
        }
        ended
    }

    /// Keeps the digests of imported rows: they must outlive their segment.
    pub(super) fn keep_digests(&mut self, segment: &Segment) -> Result<(), SpillError> {
        let Ok(conn) = schema::open_to_read(&segment.path) else {
            return Ok(());
        };
        let digests = imports::digests(&conn).unwrap_or_default();
        if digests.is_empty() {
            return Ok(());
        }
        self.index
            .transact("write to the index of", self.now, |conn| {
                digests
                    .iter()
                    .try_for_each(|digest| imports::remember(conn, digest).map(drop))
            })
    }
}
