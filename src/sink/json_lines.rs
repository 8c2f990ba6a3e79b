//! The sink that appends entries to a file, one a line, and keeps a ledger beside it, whose format is in
//! docs/wire-format.md. An entry is stored when a whole line of the ledger tells it, not before.
//!
//! # What survives what
//!
//! A batch is written to the output, the output is synced, its lines are appended to the ledger, each is synced before
//! the next; only then is it acknowledged. With [`SpillDurability::PowerLoss`] an acknowledged entry survives a power
//! cut, as far as the disk keeps its word. With [`SpillDurability::ProcessCrash`] the syncs are left out: it survives
//! the death of the process, not that of the machine. After either crash, wherever it struck, what the ledger does not
//! tell is cut off: a torn last line of the ledger first, then what the output has beyond the ledger's end. So nothing
//! acknowledged is lost, and what is sent again is not doubled.
//!
//! Nothing is cut off a file that may be another one: the checksum of the last range must match. While there is no
//! range yet, a `begun` line tells by its time of birth which file was being written to; where the file system keeps
//! none, a torn first write stays, and is sent again behind it.
//!
//! The ledger is rewritten when it is opened and when it has doubled, with contiguous ranges as one (up to
//! [`RANGE_BYTES_MAX`](range::RANGE_BYTES_MAX)), into a file beside it that is synced and renamed over it.
//!
//! # When somebody else was at the output
//!
//! Before each delivery the sink looks whether the output is still the file it knows, at the length it knows.
//!
//! - *No ledger, a shorter output, another file in its place, or one that cannot be shown to be the output*: the ledger
//!   starts over. What it knew becomes `before` lines, so every position stays (those entries were stored once; they
//!   are not sent again); if it told any range, it is kept as it was; whatever the output holds now is kept as
//!   `unaccounted`; and entries go on behind it, on a line of their own: a last line without `\n` is given one. An entry
//!   written between the look and a renaming is in the renamed file.
//! - *A damaged ledger* (a bad line before a good one, as a power cut can leave it where nothing is synced, or ranges
//!   with a gap) starts over too, and is kept. The positions that its good lines tell hold. What had been written but
//!   not acknowledged may then stand twice.
//! - *A removed output* is created anew, and the ledger starts over.
//! - *A longer output* is cut back to the ledger's end, since this is how a torn write looks: nobody else may append
//!   to it.
//! - *A removed ledger* is written again from memory while the sink runs. Removed while it does not, the positions are
//!   gone: what had not been acknowledged is sent again and may stand twice.
//!
//! One process at a time holds the ledger and the output, by locks of the kernel that die with it. The ledger alone
//! would not do: through a second hard link the output has another one. Several publishers may write to one output
//! after one another. Directories are never created. New files are readable to their owner only; the mode of existing
//! ones is kept.

mod files;
mod ledger;
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
use page::Page;

/// Appends entries to a file, one JSON line each, and acknowledges them when they are on disk.
///
/// Beside `<output>` it keeps `<output>.ledger`, which says where each run and its losses stand, and is the cursor: a
/// crash at any moment loses nothing acknowledged and doubles nothing. Both are locked while the sink has them open.
/// A symbolic link is followed: the ledger stands beside the file that it points to. Nobody else may append to the
/// output: what the ledger does not tell is cut off its end. Do not use one output through several hard links.
///
/// Nothing is opened until the sink is first used. A missing directory is never created; a missing output is.
///
/// # Rotation
///
/// Rotate by renaming, while the sink runs or not: it begins a new output at its next delivery. Truncating destroys
/// what nobody has copied, and that includes copying and then truncating (logrotate's `copytruncate`): entries written
/// between the two are lost, acknowledged or not.
///
/// The ledger of an output that is gone is kept as `<output>.ledger.<seconds>`, the UTC unix time at which that was
/// noticed in ten digits, or the next free number. It tells of the rotated output what `<output>.ledger` told of it
/// before. The sink never reads it again, nor removes it: take it away together with the rotated output. None is kept
/// if it told of no numbers.
///
/// # The ledger
///
/// [wire-format.md] describes each line of it, for readers in any language.
///
/// [wire-format.md]: https://docs.rs/crate/spillring/latest/source/docs/wire-format.md
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
    page: Page,
    open: Option<Open>,
}

impl JsonLinesSink {
    /// Entries go to the end of the file at `path`. If relative, then to the current directory at this call: the file
    /// stays where it is when the host changes its directory later.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            // Where there is no current directory, opening the file will say so.
            path: std::path::absolute(&path).unwrap_or(path),
            durability: SpillDurability::default(),
            page: Page::default(),
            open: None,
        }
    }

    /// What an acknowledged entry survives. Default [`SpillDurability::PowerLoss`].
    #[must_use]
    pub fn durability(mut self, durability: SpillDurability) -> Self {
        self.durability = durability;
        self
    }

    fn store(&mut self, batch: &Batch) -> Delivery {
        if let Err(why) = self.make_ready() {
            return Delivery::stopped(0, why);
        }
        let Some(open) = &mut self.open else {
            return Delivery::stopped(0, SinkError::Unavailable("the output is closed".into()));
        };
        self.page.lay_out(batch, &open.account);
        if let Err(why) = open.append(&self.page, &self.path, self.durability) {
            self.open = None;
            return Delivery::stopped(0, why);
        }
        let newest = self
            .page
            .ranges()
            .last()
            .and_then(|range| range.seal.as_ref());
        if let (Some(signer), Some(seal)) = (batch.signer(), newest) {
            signer.stored(seal);
        }
        self.page.outcome()
    }

    /// Opens the files, or looks whether the open ones are still those at the path.
    fn make_ready(&mut self) -> Result<(), SinkError> {
        if let Some(mut open) = self.open.take()
            && open.is_undisturbed(&self.path)?
        {
            if open.ledger.has_grown() {
                open.ledger.rewrite(&open.account)?;
            }
            self.open = Some(open);
            return Ok(());
        }
        // Here the disturbed one is dropped, and with it its lock.
        let open = Open::new(&self.path, self.durability)?;
        self.open = Some(open);
        Ok(())
    }
}

impl Sink for JsonLinesSink {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async move {
            self.make_ready()?;
            Ok(self.open.as_ref().and_then(|open| open.account.cursor(of)))
        })
    }

    // Both calls block, and have no point at which they could be dropped half-way: the sink has a thread of its own.
    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async move { self.store(batch) })
    }

    fn renew<'a>(
        &'a mut self,
        of: &'a PublisherId,
        signer: &'a Arc<Signer>,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.make_ready()?;
            let durability = self.durability;
            let open = self.open.as_mut();
            open.map_or(Ok(()), |open| open.renew(*of, signer, durability))
        })
    }
}
