//! The file of a ring that outlives the process: creating, watching and removing it.
//!
//! `<ring_dir>/spillring-<publisher id>`, readable only by its owner, locked by the process that uses it. It exists
//! from the start of a run to a clean end that leaves it empty.

mod leftover;
mod orphans;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use spillring_mapping::Mapping;
use uuid::Uuid;

use crate::error::RingError;
use crate::event::{PublisherId, Run, fresh_uuid};
use crate::file_ring::{CONTROL, Created, FileRing, Words};
use crate::host::log;
use crate::stats::RingStatus;
pub(crate) use leftover::{Image, LeftContent, LeftFile, left_in};
pub(crate) use orphans::orphans_beside;

/// A ring in a file.
pub(crate) type MappedRing = FileRing<Mapping>;

const WORD: usize = size_of::<u64>();
/// How many bytes are written at once.
const ZEROS: usize = 1 << 20;

/// The file, as watched by the spill worker.
#[derive(Debug)]
pub(crate) struct RingFile {
    path: PathBuf,
    /// Holds the lock.
    file: File,
    ring: Arc<MappedRing>,
    /// The second name, while its publisher takes another id.
    second: Option<PathBuf>,
    /// It was moved or removed.
    gone: bool,
}

impl Words for Mapping {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        self.words()
    }
}

/// The content read from a file.
impl Words for Box<[AtomicU64]> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

pub(crate) fn path_of(dir: &Path, publisher: PublisherId) -> PathBuf {
    dir.join(format!("{}{publisher}", orphans::PREFIX))
}

impl RingFile {
    /// Creates the file with all its blocks: a hole would kill the process once the file system is full.
    pub(crate) fn create(
        dir: &Path,
        run: &Run,
        format: u32,
        bytes: u64,
        entries_max: usize,
    ) -> Result<Self, RingError> {
        fs::create_dir_all(dir).map_err(because("create the directory of", dir))?;
        let path = path_of(dir, run.publisher());
        let file = options().create_new(true).mode(0o600).open(&path);
        let file = file.map_err(because("create", &path))?;
        let made = Self::fill(
            file,
            &path,
            run,
            format,
            bytes.next_power_of_two(),
            entries_max,
        );
        made.map_err(|source| {
            if let Err(error) = fs::remove_file(&path) {
                log::debug!(%error, "a ring that was not made cannot be removed");
            }
            because("create", &path)(source)
        })
    }

    fn fill(
        mut file: File,
        path: &Path,
        run: &Run,
        format: u32,
        bytes: u64,
        entries_max: usize,
    ) -> io::Result<Self> {
        lock(&file)?;
        let control = (CONTROL * WORD) as u64;
        fallocate(&file, FallocateFlags::empty(), 0, control + bytes)?;
        let zeros = vec![0; ZEROS];
        let mut left = control + bytes;
        while left > 0 {
            let some = left.min(ZEROS as u64);
            file.write_all(&zeros[..usize::try_from(some).unwrap_or(ZEROS)])?;
            left -= some;
        }
        let words = usize::try_from((control + bytes) / WORD as u64).unwrap_or(usize::MAX);
        let memory = Mapping::new(&file, words)?;
        let created = Created {
            // The random half.
            key: fresh_uuid().as_u64_pair().1,
            run: run.id.0.as_u64_pair(),
            local: run.local,
            format,
            boot: boot_id(),
            base: fastrand::u32(..).into(),
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            ring: Arc::new(FileRing::create(memory, entries_max, &created)),
            second: None,
            gone: false,
        })
    }

    pub(crate) fn ring(&self) -> &Arc<MappedRing> {
        &self.ring
    }

    /// The state of the file. Logs once if it was removed.
    pub(crate) fn status(&mut self) -> RingStatus {
        let id = |file: io::Result<Metadata>| file.ok().map(|file| (file.dev(), file.ino()));
        let here = id(self.path.metadata());
        let in_place = here.is_some() && here == id(self.file.metadata());
        if !in_place && !self.gone {
            self.gone = true;
            log::error!(
                file = %self.path.display(),
                "the file of the ring was moved or removed: entries neither delivered nor spilled die with the process, until \
                 the next start"
            );
        }
        RingStatus {
            file: self.path.clone(),
            in_place,
            bytes: self.ring.inside().bytes,
        }
    }

    /// Gives it a second name, for the id that its publisher is about to take.
    pub(crate) fn link(&mut self, publisher: PublisherId) {
        let second = self.path_of(publisher);
        match fs::hard_link(&self.path, &second) {
            Ok(()) => self.second = Some(second),
            Err(error) => {
                log::debug!(%error, file = %self.path.display(), "the ring cannot have two names here: it is renamed later");
            }
        }
    }

    /// Its publisher now has this id: removes the other name.
    pub(crate) fn keep_one_name(&mut self, publisher: PublisherId) {
        let path = self.path_of(publisher);
        let kept = match self.second.take() {
            Some(second) if self.path == path => fs::remove_file(second),
            Some(_) => fs::remove_file(std::mem::replace(&mut self.path, path)),
            None if self.path == path => Ok(()),
            None => fs::rename(&self.path, &path).map(|()| self.path = path),
        };
        if let Err(error) = kept {
            log::error!(%error, file = %self.path.display(), "the file of the ring has a wrong or an additional name");
        }
    }

    fn path_of(&self, publisher: PublisherId) -> PathBuf {
        path_of(self.path.parent().unwrap_or(Path::new(".")), publisher)
    }

    /// Ends the ring. An empty one is removed; any other waits for the next start.
    pub(crate) fn end(self) {
        let left = self.ring.inside();
        if left.bytes > 0 || left.entries > 0 {
            log::warning!(file = %self.path.display(), bytes = left.bytes, "the ring keeps entries for the next start");
        } else if let Err(error) = fs::remove_file(&self.path) {
            log::debug!(%error, file = %self.path.display(), "the file of the ring cannot be removed");
        }
    }
}

impl Drop for RingFile {
    /// A publisher that still exists keeps the mapping, and with it the lock, but can enter nothing any more.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            log::debug!(%error, "the ring stays locked as long as a publisher exists");
        }
    }
}

/// Used if the boot id is unknown.
pub(crate) const NO_BOOT_ID: (u64, u64) = (0, 0);

/// Identifies this boot of the machine.
pub(crate) fn boot_id() -> (u64, u64) {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Uuid::try_parse(text.trim())
        .unwrap_or_default()
        .as_u64_pair()
}

/// Opens for reading and writing, without following symbolic links.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    options.read(true).write(true);
    options.custom_flags(flags.bits().cast_signed());
    options
}

fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
}

fn because(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> RingError {
    let file = file.to_owned();
    move |source| RingError::Io {
        action,
        file,
        source,
    }
}

#[cfg(test)]
mod tests;
