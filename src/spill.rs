//! The spill: the backlog on disk, for one publisher and one process at a time.
//!
//! # Segments
//!
//! Entries are appended to a segment, a `SQLite` file of its own; only the newest is ever written to, in transactions.
//! When it is full it is sealed, and from then on it is only read. Nothing is updated, and no row is ever deleted:
//! *delivered* is a number, kept in the [`watermark`], and a segment wholly below it is unlinked. So a full disk
//! drains.
//!
//! The [`index`] has what must be known beside the entries: the runs, the dead letters, and the numbers that will not
//! be delivered, because they were taken out after they were written (`absent`).
//!
//! # Faults
//!
//! Every write error has one answer: the active segment is abandoned as it is. What is in memory and not known to be on
//! disk is written again, under the same keys, into another. A segment owns the keys from its first one to the first of
//! the next segment, so rows that a failed commit has written all the same are never read.
//!
//! There is one reader, and nothing else searches for damage. Every number between *delivered* and the newest entry was
//! written, or it is recorded why not: any other is a loss with the reason `corrupt`.
//!
//! # What survives what
//!
//! A transaction that was committed survives a panic, an abort and a SIGKILL. Under [`SpillDurability::PowerLoss`] it
//! also survives a power cut; under [`SpillDurability::ProcessCrash`] the newest ones may then be gone, always from the
//! end. The index survives a power cut under either. The watermark is synced once a second.
//!
//! # Files
//!
//! - `files`; `lock`, `identity`, `directory`: who may be there, and what lies where;
//! - `schema`, `row`, `tally`: the formats; `cipher`, `unlock`: encryption at rest;
//! - `segments`, `active`, `append`: the files of the backlog; `watermark`, `level`: how far it has come;
//! - `index`, with `runs`, `absent` and `dead_letters`;
//! - `reader`, with `chunk`, `assembler` (numbers become losses) and `salvage` (reading past damage);
//! - `evict`, `imports`, `requeue`: what else moves entries; `adopt`: directories of the first versions;
//! - `orders`, `service`: what the drainer orders, and how it is carried out; `inspection`, `status_file`: what others
//!   see.

mod absent;
mod active;
mod adopt;
mod append;
mod assembler;
mod chunk;
mod cipher;
mod dead_letters;
mod directory;
mod evict;
mod files;
pub(crate) mod identity;
mod imports;
mod index;
mod inspection;
mod killed;
mod level;
mod lock;
mod opening;
mod orders;
mod patience;
mod reader;
mod requeue;
mod row;
mod runs;
mod salvage;
mod schema;
mod segments;
mod service;
mod status_file;
mod tally;
#[cfg(test)]
mod tests;
mod unlock;
mod watermark;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, LossReason, PublisherId, Run};
use crate::host::log;
use crate::ring_file::{MappedRing, RingFile};
use crate::seal::Signer;

use active::Active;
use cipher::Cipher;
pub use dead_letters::DeadLetter;
pub(crate) use dead_letters::{DeadLetterReader, PAGE_ROWS as DEAD_LETTERS_PAGE};
pub(crate) use directory::Directory;
use files::has_room;
pub(crate) use imports::Foreign;
pub use imports::Imported;
use index::Index;
pub(crate) use inspection::Inspection;
pub(crate) use killed::KilledRun;
pub(crate) use orders::*;
use reader::{Reader, Sources};
pub(crate) use runs::KnownRuns;
pub(crate) use segments::damaged;
use segments::{Segment, Segments};
pub(crate) use service::serve;
pub(crate) use status_file::read_status;
pub(crate) use tally::Tally;
use watermark::{Level, Watermark};

/// How many records a transaction should take: with more, the rate hardly rises, but each commit takes longer.
pub(crate) const APPEND_ROWS_MAX: usize = 1_024;

/// The drainer's end of the thread that owns the spill.
pub(crate) type SpillWorker = crate::worker::Worker<Order, Outcome>;

/// The backlog of one publisher.
#[derive(Debug)]
pub(crate) struct Spill {
    durability: SpillDurability,
    /// Of an encrypted spill.
    cipher: Option<Cipher>,
    publisher: PublisherId,
    index: Index,
    segments: Segments,
    /// The newest of them, if it is being written to.
    active: Option<Active>,
    reader: Reader,
    watermark: Watermark,
    /// Everything up to here is delivered; `None` while nobody knows.
    delivered: Option<Key>,
    /// The newest entry that was ever written.
    newest: Key,
    /// The newest one when the spill was opened.
    inherited: Key,
    /// The entries after what is delivered.
    backlog: Tally,
    /// At the start, when the newest entry was popped; later, when an entry was last written.
    inherited_until_ms: Option<u64>,
    /// The oldest entry of the backlog, and when it was popped.
    oldest: Option<(Key, u64)>,
    /// `spill_bytes_max` as configured.
    cap: u64,
    /// The same, as far as the disk has room.
    bytes_max: u64,
    /// At which size a segment is sealed.
    segment_bytes: u64,
    room: Room,
    corrupt: u64,
    surplus: u64,
    evicted: u64,
    /// Segments in which nothing is left to evict.
    evicted_already: BTreeSet<PathBuf>,
    /// Since when entries that the sink has cannot be counted.
    uncounted_since: Option<Instant>,
    /// When the present order was begun.
    now: Instant,
    /// Of a publisher whose ring is in a file.
    ring: Option<RingFile>,
    /// Of a publisher that signs checkpoints.
    signer: Option<Arc<Signer>>,
    /// Dropped last: nobody else may be in the directory before the files are closed.
    directory: Directory,
}

/// A run that has just begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) run: Arc<Run>,
    /// Losses of earlier runs that this one must announce.
    pub(crate) orphans: Vec<Orphan>,
}

impl Spill {
    /// Whether there is a directory to keep things in.
    pub(crate) fn is_kept(&self) -> bool {
        self.directory.is_held()
    }

    pub(crate) fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// Looks after its keys from now on.
    pub(crate) fn sign_with(&mut self, signer: Option<&Arc<Signer>>) {
        self.signer = signer.cloned();
    }

    /// Looks after this file from now on.
    pub(crate) fn watch(&mut self, file: RingFile) -> Arc<MappedRing> {
        let ring = Arc::clone(file.ring());
        self.ring = Some(file);
        ring
    }

    /// Where positions of the sink lie, with `present` as the newest run.
    pub(crate) fn known_runs(&self, present: &Run) -> KnownRuns {
        self.index.runs.known(present)
    }

    /// How the spill is now.
    pub(crate) fn view(&self) -> View {
        View {
            totals: Totals {
                backlog: self.backlog,
                dead_letters: self.index.dead_letters,
                absent: self.index.absent.len(),
            },
            newest: Some(self.newest).filter(|&newest| newest > Key::default()),
            bytes_max: self.bytes_max,
            oldest_popped_ms: self.oldest.map(|(_, popped_ms)| popped_ms),
            inherited_until_ms: self.inherited_until_ms,
            corrupt: self.corrupt,
            surplus: self.surplus,
            evicted: self.evicted,
            room: self.room,
        }
    }

    /// Reads what comes after a key.
    pub(crate) fn read(
        &mut self,
        after: Option<Key>,
        entries_max: usize,
        bytes_max: u64,
    ) -> Result<Reading, SpillError> {
        // Without the index nobody knows what is absent.
        self.index.ready(self.now)?;
        self.reader.go_to(after.max(self.delivered));
        let sources = Sources {
            segments: &self.segments,
            active: self.active.as_ref(),
            runs: &self.index.runs,
            absent: &self.index.absent,
            newest: self.newest,
            publisher: self.publisher,
            cipher: self.cipher.as_ref(),
        };
        let found = self.reader.read(&sources, entries_max, bytes_max, self.now);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.abandon_unreadable();
                return Err(error);
            }
        };
        for damage in &found.damage {
            log::error!(
                first = damage.first.n(),
                count = damage.count,
                "entries of the spill are damaged or missing"
            );
            let corrupt = row::kind(LossReason::Corrupt);
            self.index.absent.cover(damage.first, damage.count, corrupt);
            self.lose(damage.count);
        }
        if !found.damage.is_empty() {
            self.save_index();
            self.write_watermark();
        }
        let oldest = self.oldest.is_none() && after <= self.delivered;
        if let (Some(first), true) = (found.reading.records.first(), oldest) {
            self.oldest = Some((first.key(), first.popped_ms));
        }
        Ok(found.reading)
    }

    /// Abandons the segment whose handle failed: a fresh one may read it.
    fn abandon_unreadable(&mut self) {
        let failed = |active: &mut Active| Some(&active.segment) == self.reader.segment();
        if let Some(active) = self.active.take_if(failed) {
            active.abandon();
        }
    }

    /// Reads from a segment, which may be the one that is written to.
    fn look_into<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let active = self.active.as_ref();
        match active.filter(|active| active.segment == *segment) {
            Some(active) => look(active.connection()),
            None => look(&schema::open_to_read(&segment.path)?),
        }
    }

    /// Draws the consequence if an error means that the disk is full.
    fn note_room(&mut self, error: &SpillError) {
        let full = error.is_full() || (error.may_pass() && !has_room(self.directory.path()));
        if full && self.room == Room::Some {
            log::error!(dir = %self.directory.path().display(), "the disk is full: the spill takes nothing until it has room again");
            self.room = Room::Full;
        }
    }

    fn write_watermark(&mut self) {
        self.watermark.set(Level {
            delivered: self.delivered.unwrap_or_default(),
            newest: self.newest,
            backlog: self.backlog,
            dead_letters: self.index.dead_letters.entries,
            taken: self.index.taken,
        });
    }

    /// What cannot be saved now is saved with the next change.
    fn save_index(&mut self) {
        if let Err(error) = self.index.save(self.now) {
            log::debug!(%error, "the index of the spill cannot be written");
        }
    }
}
