//! The sink that appends entries to a file, one per line, and keeps a ledger next to it. [`JsonLinesSink`] documents
//! the format. An entry is stored once a whole line of the ledger covers it, not before.
//!
//! # What survives what
//!
//! A batch is written to the output, the output is synced, its lines are appended to the ledger, each synced before
//! the next; only then is the batch acknowledged. With [`SpillDurability::PowerLoss`] an acknowledged entry survives a
//! power cut, as far as the disk keeps its word. With [`SpillDurability::ProcessCrash`] there are no syncs: the entry
//! survives the death of the process, not of the machine.
//!
//! After either crash, whatever the ledger does not cover is cut off: first a torn last line of the ledger, then the
//! output after the ledger's end. So nothing acknowledged is lost, and nothing is stored twice.
//!
//! A file that may be another one is never cut: the checksum of the last range must match. Before the first range, a
//! `begun` line identifies the file being written by its time of birth. If the file system keeps none, a torn first
//! write stays, and is sent again after it.
//!
//! The ledger is rewritten when it is opened and when it has doubled, with contiguous ranges merged (up to
//! [`RANGE_BYTES_MAX`](range::RANGE_BYTES_MAX)). The new ledger is synced, then renamed over the old one.
//!
//! # When somebody else changed the output
//!
//! Before each delivery the sink checks that the output is still the same file, at the expected length.
//!
//! - *No ledger, a shorter output, another file in its place, or a file that cannot be shown to be the output*: the
//!   ledger starts over. What it knew becomes `before` lines, so every position stays (those entries were stored once;
//!   they are not sent again). If it covered any range, the old ledger is kept. The present content of the output
//!   becomes `unaccounted`, and new entries follow it on their own line: a last line without `\n` gets one. An entry
//!   written between the check and a renaming is in the renamed file.
//! - *A damaged ledger* (a bad line before a good one, as a power cut without syncs can leave it, or ranges with a
//!   gap) starts over too, and is kept. The positions on its good lines remain valid. What had been written but not
//!   acknowledged may then be there twice.
//! - *A removed output* is created again, and the ledger starts over.
//! - *A longer output* is cut back to the ledger's end, since a torn write looks the same: nobody else may append to
//!   it.
//! - *A removed ledger* is written again from memory while the sink runs. If it is removed while the sink is stopped,
//!   the positions are gone: what had not been acknowledged is sent again and may be there twice.
//!
//! One process at a time holds the ledger and the output, by kernel locks that die with it. Locking the ledger alone
//! would not be enough: through a second hard link the output has another ledger. Several publishers may write to one
//! output one after another. Directories are never created. New files are readable only by their owner; existing ones
//! keep their mode.

mod files;
mod ledger;
mod ledger_file;
mod open;
mod output;
mod page;
mod range;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId};
use crate::seal::Signer;
use crate::sink::{BoxFuture, Delivery, Sink};
use open::Open;

/// Appends entries to a file, one JSON line each, and acknowledges them once they are on disk.
///
/// Next to `<output>` it keeps `<output>.ledger`, which locates each run and its losses, and is the cursor: a crash at
/// any moment loses nothing acknowledged and stores nothing twice. Both are locked while the sink has them open. A
/// symbolic link is followed: the ledger is next to the file that it points to. Nobody else may append to the output:
/// bytes that the ledger does not cover are cut off its end. Do not use one output through several hard links.
///
/// Nothing is opened before the first use. A missing output is created; a missing directory is not.
///
/// # Rotation
///
/// Rotate by renaming, whether the sink runs or not: it begins a new output at its next delivery. Do not truncate, and
/// do not copy and then truncate (logrotate's `copytruncate`): entries written in between are lost, acknowledged or
/// not.
///
/// The ledger of an output that is gone is kept as `<output>.ledger.<seconds>`: the UTC unix time at which this was
/// noticed, in ten digits, or the next free number. It describes the rotated output as `<output>.ledger` did before.
/// The sink never reads or removes it: remove it together with the rotated output. A ledger without numbers is not
/// kept.
///
/// # The ledger
///
/// Each line is the CRC-32 (IEEE) of the JSON after it in 8 lower-case hex digits, a space, a JSON object, `\n`. An
/// incomplete last line was torn by a crash: ignore it. Bytes are counted from 0, numbers from 1. The object's `kind`
/// is
///
/// - `ledger`: the first line, with the `version` of the format, 1;
/// - `before`: `publisher` had reached number `last` of `run` in an earlier output, and had signed `seal`;
/// - `unaccounted`: the first `bytes` of the output are not covered by this ledger;
/// - `begun`: the first write since then was to the file numbered `inode`, made `born_ns` nanoseconds after the unix
///   epoch; readers can ignore it;
/// - `stored`: the bytes from `start` up to, not including, `end` are `entries` lines of `run` of `publisher`. They
///   cover the numbers `first` to `last`: those that `losses` does not name (`first`, `count`, and the `reason` if
///   known) are the entries, in order. Those that `requeued` names (`first`, `count`) had been dead letters: the
///   numbers `was` and following of `run`, which were announced as lost. `crc32` is over the bytes, as a number.
///   On the range that opens a run, `audit_run` is the value of the header `Audit-Run`. `seal` is the
///   [`Seal`](crate::seal::Seal) of the entries up to its end;
/// - `sealed`: `publisher` has signed `seal` again while nothing was written.
///
/// The ranges follow one another without a gap in bytes, from `unaccounted` on; the last line of a publisher is its
/// cursor. Bytes after the last range are not stored yet. Losses after the last entry are recorded at once, without a
/// reason. The next range of the run may repeat them with reasons: it then begins at a `first` that the range before
/// it had already passed. Believe the later one.
///
/// ```
/// use spillring::JsonLinesSink;
/// use spillring::config::SpillDurability;
///
/// let sink = JsonLinesSink::new("/var/log/agent/audit.jsonl")
///     .durability(SpillDurability::ProcessCrash);
/// ```
#[derive(Debug)]
pub struct JsonLinesSink {
    path: PathBuf,
    durability: SpillDurability,
    open: Option<Open>,
}

impl JsonLinesSink {
    /// Appends entries to the file at `path`. A relative path is resolved against the current directory now, so the
    /// file stays the same if the host changes its directory later.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            // Without a current directory, opening the file reports the error.
            path: std::path::absolute(&path).unwrap_or(path),
            durability: SpillDurability::default(),
            open: None,
        }
    }

    /// What an acknowledged entry survives. Default [`SpillDurability::PowerLoss`].
    #[must_use]
    pub fn durability(mut self, durability: SpillDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Opens the files, or checks that the open ones are still those at the path. Taken out: an error closes them.
    fn take_open(&mut self) -> Result<Open, SinkError> {
        if let Some(mut open) = self.open.take()
            && open.is_undisturbed()?
        {
            return Ok(open);
        }
        // The disturbed files were dropped, and their locks with them.
        Open::new(&self.path, self.durability)
    }

    fn store(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let mut open = self.take_open()?;
        let delivery = open.store(batch)?;
        self.open = Some(open);
        Ok(delivery)
    }
}

impl Sink for JsonLinesSink {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async move {
            let open = self.take_open()?;
            Ok(self.open.insert(open).cursor(of))
        })
    }

    // Both calls block, and cannot be dropped half-way: the sink has its own thread.
    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let stored = self.store(batch);
            stored.unwrap_or_else(|why| Delivery::stopped(0, why))
        })
    }

    fn renew<'a>(
        &'a mut self,
        of: &'a PublisherId,
        signer: &'a Arc<Signer>,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let open = self.take_open()?;
            self.open.insert(open).renew(*of, signer)
        })
    }
}
