//! The file of a ring that no process uses any more.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{WORD, because, lock, options};
use crate::config::Config;
use crate::error::RingError;
use crate::event::unix_ms;
use crate::file_ring::{CONTROL, Created, FileRing};
use crate::host::log;
use crate::stats::RingStatus;

/// How many bytes are read at once.
const READ_BYTES: usize = 1 << 20;

/// The content read from a file.
pub(crate) type Image = FileRing<Box<[AtomicU64]>>;

/// The file that a process has left, locked until it is removed.
#[derive(Debug)]
pub(crate) struct LeftFile<'p> {
    path: &'p Path,
    file: File,
}

/// What is in the file.
pub(crate) enum LeftContent {
    /// The process was killed while creating it.
    NeverMade,
    Ring(Image, Created),
    /// Not a ring, or a damaged one.
    Unusable(&'static str),
}

impl<'p> LeftFile<'p> {
    /// The file, if there is one.
    pub(crate) fn open(path: &'p Path) -> Result<Option<Self>, RingError> {
        let file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(because("open", path)(error)),
        };
        lock(&file).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => RingError::InUse {
                file: path.to_owned(),
            },
            _ => because("lock", path)(error),
        })?;
        check(&file).map_err(because("use", path))?;
        Ok(Some(Self { path, file }))
    }

    pub(crate) fn content(&self) -> Result<LeftContent, RingError> {
        let words = read(&self.file).map_err(because("read", self.path))?;
        let unmade = match words.first() {
            Some(word) => word.load(Ordering::Relaxed) == 0,
            None => self.file.metadata().is_ok_and(|file| file.len() == 0),
        };
        if unmade {
            return Ok(LeftContent::NeverMade);
        }
        Ok(match FileRing::read(words) {
            Ok((image, created)) => LeftContent::Ring(image, created),
            Err(why) => LeftContent::Unusable(why),
        })
    }

    /// Nothing is left under a second name either. Otherwise the file keeps its length: a publisher of this process may
    /// still have it mapped.
    pub(crate) fn remove(self) -> Result<(), RingError> {
        let remove = || {
            if self.file.metadata()?.nlink() > 1 {
                self.file.set_len(0)?;
            }
            fs::remove_file(self.path)
        };
        remove().map_err(because("remove", self.path))
    }

    /// No entry can be read from it; a person may inspect it.
    pub(crate) fn put_aside(self, why: &str) -> Result<(), RingError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let aside = self
            .path
            .with_file_name(format!("{name}.damaged-{}", unix_ms()));
        fs::rename(self.path, &aside).map_err(because("put aside", self.path))?;
        log::error!(file = %aside.display(), why, "the ring of the last process cannot be used: put aside");
        Ok(())
    }
}

/// What is left in the ring of a publisher that is not running, if its file is there and can be read.
pub(crate) fn left_in(path: &Path) -> Option<RingStatus> {
    let words = read(&options().open(path).ok()?).ok()?;
    let (image, _) = FileRing::read(words).ok()?;
    Some(RingStatus {
        file: path.to_owned(),
        in_place: true,
        bytes: image.inside().bytes,
    })
}

/// Does not touch another user's ring, or anything but a regular file.
fn check(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_file() && own {
        return Ok(());
    }
    let why = "it is not a file of this user";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn read(file: &File) -> io::Result<Box<[AtomicU64]>> {
    let length = file
        .metadata()?
        .len()
        .min(Config::RING_FILE_BYTES_MAX + (CONTROL * WORD) as u64);
    let count = usize::try_from(length).unwrap_or(0) / WORD;
    let mut from = BufReader::with_capacity(READ_BYTES, file);
    let mut word = [0; WORD];
    let words = (0..count).map(|_| {
        from.read_exact(&mut word)?;
        Ok(AtomicU64::new(u64::from_ne_bytes(word)))
    });
    words.collect()
}
