//! Opening a spill, beginning and ending runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{SpillDurability, SpillKey};
use crate::error::SpillError;
use crate::event::{Key, Loss, LossReason, PublisherId, Run, RunEnd, fresh_uuid};
use crate::host::log;

use super::index::{Index, PATIENCE};
use super::orders::{Orphan, Room};
use super::patience::patiently;
use super::reader::Reader;
use super::row::kind;
use super::runs::LOCAL_MAX;
use super::segments::Segments;
use super::tally::Tally;
use super::unlock::{unlock, unlock_to_write};
use super::watermark::Watermark;
use super::{Begun, Directory, Spill, adopt, identity};
use crate::change::now;

/// A segment is sealed at this size, or at a larger one if the cap is so large that there would be too many.
const SEGMENT_BYTES: u64 = 32 << 20;
const SEGMENTS_MAX: u64 = 256;
/// A small cap has smaller segments, so that eviction does not take most of what there is.
const SEGMENTS_MIN: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

impl Spill {
    /// Takes the directory, and makes in it what is missing.
    ///
    /// `cap` is bounded to half of what the disk would have free without this spill, but not below what is in it: that
    /// has its place.
    pub(crate) fn open(
        dir: &Path,
        key: Option<&SpillKey>,
        cap: u64,
        durability: SpillDurability,
    ) -> Result<Self, SpillError> {
        let directory = patiently(|| Directory::take(dir))?;
        let cipher = patiently(|| unlock_to_write(&directory, key))?;
        let publisher = patiently(|| identity::read_or_decide(dir))?;
        let adopted = Directory::old_databases(dir)?;
        let segments = Segments::read(directory.segments(), adopted.clone())?;
        let mut index = Index::new(directory.index(), publisher);
        // Numbers of runs, and what must not be delivered, are known only from there.
        patiently(|| index.ready(now())).or_else(|error| index.wait_for_damage(error))?;
        index.reserve();
        adopt::copy_to_index(&mut index, &adopted, now());
        let (watermark, level) = Watermark::open(&directory.watermark());
        let mut spill = Self::of(directory, publisher, index, segments, watermark, durability);
        spill.cipher = cipher;
        spill.load_runs();
        let level = level.or_else(|| adopt::level(dir, &adopted));
        spill.find_level(level);
        if !adopted.is_empty() && spill.watermark.sync() {
            adopt::clean(dir);
        }
        spill.bound(cap)?;
        Ok(spill)
    }

    /// Reads the spill of a publisher that is not running, and will change nothing. Also says what is wrong.
    pub(super) fn inspect(
        directory: Directory,
        key: Option<&SpillKey>,
        patience: Duration,
    ) -> Result<(Self, Vec<String>), SpillError> {
        let cipher = unlock(&directory, key)?;
        let adopted = Directory::old_databases(directory.path())?;
        let segments = Segments::read(directory.segments(), adopted.clone())?;
        let mut damage = Vec::new();
        let publisher = identity::read_sound(directory.path())?.unwrap_or_else(|| {
            damage.push("the publisher's id is missing or damaged".to_owned());
            PublisherId(uuid::Uuid::nil())
        });
        let (index, wrong) = Index::inspect(directory.dead_letters(), publisher);
        damage.extend(wrong);
        let watermark = directory.watermark();
        let level = Watermark::inspect(&watermark);
        if level.is_none() && !segments.is_empty() && adopted.is_empty() {
            damage.push(
                "the watermark is missing or damaged: delivered entries may come again".to_owned(),
            );
        }
        let level = level.or_else(|| adopt::level(directory.path(), &adopted));
        let durability = SpillDurability::ProcessCrash;
        let mut spill = Self::of(
            directory,
            publisher,
            index,
            segments,
            Watermark::nowhere(),
            durability,
        );
        spill.cipher = cipher;
        spill.load_runs();
        spill.find_level(level);
        spill.reader = Reader::new(spill.delivered, patience);
        Ok((spill, damage))
    }

    /// A spill that stores nothing, for a publisher that runs without one, under a temporary id.
    pub(crate) fn absent(dir: &Path) -> (Self, Arc<Run>) {
        let publisher = PublisherId(fresh_uuid());
        let run = Run::alone(publisher);
        let index = Index::nowhere(publisher);
        let directory = Directory::absent(dir);
        let mut spill = Self::of(
            directory,
            publisher,
            index,
            Segments::none(),
            Watermark::nowhere(),
            SpillDurability::ProcessCrash,
        );
        spill.index.runs = super::runs::Runs::of(&run);
        spill.room = Room::Absent;
        spill.bytes_max = u64::MAX;
        (spill, run)
    }

    fn of(
        directory: Directory,
        publisher: PublisherId,
        index: Index,
        segments: Segments,
        watermark: Watermark,
        durability: SpillDurability,
    ) -> Self {
        Self {
            directory,
            durability,
            cipher: None,
            publisher,
            index,
            segments,
            active: None,
            reader: Reader::new(None, PATIENCE),
            watermark,
            delivered: None,
            newest: Key::default(),
            inherited: Key::default(),
            backlog: Tally::default(),
            oldest: None,
            inherited_until_ms: None,
            cap: u64::MAX,
            bytes_max: u64::MAX,
            segment_bytes: SEGMENT_BYTES,
            room: Room::Some,
            corrupt: 0,
            surplus: 0,
            evicted: 0,
            evicted_already: std::collections::BTreeSet::new(),
            uncounted_since: None,
            now: now(),
            ring: None,
            signer: None,
        }
    }

    /// Segments name their runs, which an index that is damaged or cannot be read may not know.
    fn load_runs(&mut self) {
        let newest = self.present_run();
        let later = Key::new(newest + 1, 0);
        for segment in self.segments.iter().rev() {
            if newest > 0
                && self
                    .segments
                    .end_of(segment)
                    .is_some_and(|end| end <= later)
            {
                break;
            }
            let named = adopt::runs_of(&segment.path, self.publisher).into_iter();
            for known in named.filter(|known| known.run.local > newest) {
                let local = known.run.local;
                self.index.runs.load(known);
                self.index.runs.unsaved.insert(local);
            }
        }
    }

    fn bound(&mut self, cap: u64) -> Result<(), SpillError> {
        self.cap = cap;
        let used = self.view().bytes();
        let free = self.directory.half_of_free_bytes(self.bytes_on_disk())?;
        self.bytes_max = cap.min(free.max(used));
        self.segment_bytes = (self.bytes_max / SEGMENTS_MIN)
            .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES)
            .max(self.bytes_max / SEGMENTS_MAX);
        Ok(())
    }

    /// The disk may have had little room when the spill was opened, and has more now.
    pub(super) fn widen(&mut self) {
        if self.bytes_max < self.cap
            && let Ok(free) = self.directory.half_of_free_bytes(self.bytes_on_disk())
        {
            self.bytes_max = self.bytes_max.max(self.cap.min(free));
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        let files = self.segments.iter().map(|segment| segment.path.as_path());
        let files = files.chain([self.index.path.as_path()]);
        files
            .filter_map(|file| fs::metadata(file).ok())
            .map(|file| file.len())
            .sum()
    }

    /// Begins a run. Survives a power cut once it has returned, unless the disk takes nothing: then a backlog is
    /// delivered all the same, and the run is noted as soon as it can be.
    pub(crate) fn begin(&mut self) -> Result<Begun, SpillError> {
        let run = self.begin_run()?;
        if let Err(error) = patiently(|| self.index.save(now())) {
            if self.backlog.entries == 0 && !error.is_full() {
                return Err(error);
            }
            log::error!(%error, "the spill cannot be written to: its backlog is delivered, but it takes no new entries for now");
            self.note_room(&error);
        }
        let corrupt = kind(LossReason::Corrupt);
        let orphans = self.index.absent.iter().filter(|&(first, stretch)| {
            first > self.newest && first.local_run() < run.local && stretch.kind == corrupt
        });
        let orphans = orphans
            .map(|(first, stretch)| Orphan {
                first,
                count: stretch.count,
            })
            .collect();
        Ok(Begun { run, orphans })
    }

    /// The numbers of a run are used up: ends it, and begins another.
    pub(super) fn turn_over(&mut self, last_n: u64) -> Result<Arc<Run>, SpillError> {
        self.end_run(self.present_run(), RunEnd::Clean, last_n, 0, &[])?;
        let run = self.begin_run()?;
        if let Err(error) = self.index.save(self.now) {
            self.index.runs.take_back(run.local);
            return Err(error);
        }
        Ok(run)
    }

    /// The local number of the newest run.
    pub(super) fn present_run(&self) -> u32 {
        let newest = self.index.runs.iter().next_back();
        newest.map_or(0, |known| known.run.local)
    }

    /// Begins a run for entries that come from no ring. It counts as ended from the beginning, and again with each page
    /// of them. So if the process that appends them is killed, the run has ended clean with what is in it.
    pub(crate) fn begin_ended_run(&mut self) -> Result<Arc<Run>, SpillError> {
        let run = self.begin_run()?;
        self.index
            .runs
            .change(run.local, |known| known.end_at(0, RunEnd::Clean));
        self.index.save(self.now)?;
        Ok(run)
    }

    fn begin_run(&mut self) -> Result<Arc<Run>, SpillError> {
        let delivered = self.delivered.unwrap_or_default();
        let first = if self.backlog.entries > 0 {
            delivered
        } else {
            self.newest.max(delivered)
        };
        let used = first.local_run();
        let run = self
            .index
            .runs
            .begin(self.publisher, fresh_uuid(), self.newest, delivered);
        if run.local > LOCAL_MAX {
            self.index.runs.take_back(run.local);
            return Err(SpillError::RunsExhausted { runs: LOCAL_MAX });
        }
        let oldest_used = if self.backlog.entries > 0 {
            used
        } else {
            run.local
        };
        self.index.runs.prune(run.local, oldest_used);
        Ok(run)
    }

    /// Notes how a run has ended: its last number, entries and losses alike, 0 if there was none.
    pub(super) fn end_run(
        &mut self,
        local: u32,
        end: RunEnd,
        last_n: u64,
        first_n: u64,
        losses: &[Loss],
    ) -> Result<(), SpillError> {
        self.index
            .absent
            .cover_losses(Key::new(local, first_n), losses);
        self.index
            .runs
            .change(local, |known| known.end_at(last_n, end));
        self.index.save(self.now)
    }
}
