//! The file of `--follow`: it grows, is rotated or truncated, or is a pipe whose writers come and go.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::lines::open;
use crate::console::errln;

/// The wait between two looks at a file that has not grown.
const LOOK: Duration = Duration::from_millis(50);

/// How long a file that was rotated away must not have grown before it is left: its writer may still have it open.
const ROTATED_WAIT: Duration = Duration::from_secs(1);

/// How many bytes before a place tell whether a file is still the same.
const BEFORE: u64 = 64;

/// A place in a file, which keeps its name or not.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Place {
    inode: u64,
    offset: u64,
    /// The checksum of what is before the place: an inode may be used again.
    before: u32,
}

/// The file that is being read, and the name that it had.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// The inode of the file; none while there is no file of that name.
    file: Option<u64>,
    /// Since when the name has belonged to another file, and nothing was read.
    rotated: Option<Instant>,
}

/// What comes after the end of what there was to read.
#[derive(Debug)]
pub(super) enum Turn {
    /// The same file may grow.
    Wait,
    /// The same file, from its beginning.
    Again(File),
    /// Another file took its name.
    Next(File),
}

impl Place {
    /// Whether lines were read between the two, of one file.
    pub(super) fn comes_after(self, other: Self) -> bool {
        self.inode == other.inode && self.offset > other.offset
    }

    /// Whether the file is another one than at `other`, or begins again.
    pub(super) fn is_elsewhere(self, other: Self) -> bool {
        self.inode != other.inode || self.offset < other.offset
    }

    fn is_in(self, file: &File) -> bool {
        checksum(file, self.offset).is_some_and(|before| before == self.before)
    }
}

/// Of the bytes before the offset, if they are there.
fn checksum(file: &File, offset: u64) -> Option<u32> {
    let from = offset.saturating_sub(BEFORE);
    let mut bytes = vec![0; usize::try_from(offset - from).ok()?];
    file.read_exact_at(&mut bytes, from).ok()?;
    Some(crc32fast::hash(&bytes))
}

/// Where a file is begun to be read, and whether that is the place that was wanted.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) tail: Tail,
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) found: bool,
}

impl Tail {
    /// Goes on at the place, if its file is still there under whatever name. A file that is not there yet is waited for.
    pub(super) fn open(path: &Path, place: Option<Place>) -> io::Result<Opened> {
        let of = |file: Option<u64>| Self {
            path: path.to_owned(),
            file,
            rotated: None,
        };
        if let Some((place, mut file)) = place.and_then(|place| Some((place, find(path, place)?))) {
            file.seek(SeekFrom::Start(place.offset))?;
            return Ok(Opened {
                tail: of(Some(place.inode)),
                file,
                offset: place.offset,
                found: true,
            });
        }
        let (file, tail) = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (File::open("/dev/null")?, of(None))
            }
            opened => {
                let file = opened?;
                let about = file.metadata()?;
                if about.is_file() && place.is_some_and(|place| place.offset > 0) {
                    errln!(
                        "the file that was being read is gone or was truncated: {} is read from its beginning, and lines \
                         of it may be published again",
                        path.display()
                    );
                }
                (file, of(Some(about.ino())))
            }
        };
        Ok(Opened {
            tail,
            file,
            offset: 0,
            found: false,
        })
    }

    pub(super) fn place(&self, offset: u64) -> Place {
        Place {
            inode: self.file.unwrap_or_default(),
            offset,
            before: 0,
        }
    }

    /// The place in the file that is read, to be found again.
    pub(super) fn mark(&self, file: &File, place: Place) -> Option<Place> {
        let before = checksum(file, place.offset).unwrap_or_default();
        let here = place.inode == self.file.unwrap_or_default();
        here.then_some(Place { before, ..place })
    }

    pub(super) fn has_grown(&mut self) {
        self.rotated = None;
    }

    /// There is nothing to read after this offset, just now.
    pub(super) fn turn(&mut self, file: &File, offset: u64) -> io::Result<Turn> {
        let now = file.metadata()?;
        if now.is_file() && now.len() < offset {
            errln!(
                "{} was truncated: it is read from its beginning",
                self.path.display()
            );
            let mut again = file.try_clone()?;
            again.seek(SeekFrom::Start(0))?;
            return Ok(Turn::Again(again));
        }
        let named = fs::metadata(&self.path).ok().map(|it| it.ino());
        if named.is_some() && named != self.file {
            let since = *self.rotated.get_or_insert_with(Instant::now);
            let path = match self.file {
                None => Some(self.path.clone()),
                Some(_) if since.elapsed() >= ROTATED_WAIT => Some(next(&self.path, &now)),
                Some(_) => None,
            };
            // It may be renamed just now: then the next look finds it.
            if let Some(next) = path.and_then(|path| open(&path).ok()) {
                self.file = Some(next.metadata()?.ino());
                self.rotated = None;
                return Ok(Turn::Next(next));
            }
        }
        thread::sleep(LOOK);
        Ok(Turn::Wait)
    }
}

/// The file of this name, and those that it was rotated to. A link is followed.
fn siblings(path: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_owned();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let alike = entry.file_name();
        let rest = alike
            .as_encoded_bytes()
            .strip_prefix(name.as_encoded_bytes())?;
        let about = entry.metadata().ok().filter(Metadata::is_file)?;
        is_rotation(rest).then(|| (entry.path(), about))
    })
}

/// What is appended to a name at a rotation: nothing yet, `.1`, `-20261127`, `.2026-11-27T00`.
fn is_rotation(rest: &[u8]) -> bool {
    let date =
        |it: u8| it.is_ascii_digit() || matches!(it, b'.' | b'-' | b'_' | b':' | b'T' | b'Z');
    match rest {
        [] => true,
        [b'.' | b'-', digit, more @ ..] => {
            digit.is_ascii_digit() && more.iter().all(|it| date(*it))
        }
        _ => false,
    }
}

/// The file of the place, unless it is gone, or its bytes are others.
fn find(path: &Path, place: Place) -> Option<File> {
    let (found, _) = siblings(path).find(|(_, about)| about.ino() == place.inode)?;
    open(&found).ok().filter(|file| place.is_in(file))
}

/// The oldest file that is newer than the one that was read: it may have been rotated away as well.
fn next(path: &Path, read: &Metadata) -> PathBuf {
    let time = |it: &Metadata| (it.mtime(), it.mtime_nsec());
    let newer = siblings(path).filter(|(_, it)| it.ino() != read.ino() && time(it) > time(read));
    let oldest = newer.min_by_key(|(_, it)| time(it));
    oldest.map_or_else(|| path.to_owned(), |(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::is_rotation;

    #[test]
    fn names_of_rotations_end_with_numbers_or_dates() {
        for rest in [
            "",
            ".1",
            ".10",
            "-20261127",
            ".2026-11-27T00:00:00Z",
            ".001950",
        ] {
            assert!(is_rotation(rest.as_bytes()), "{rest}");
        }
        for rest in [".gz", ".1.gz", "-errors", "2", ".", ".old", "-"] {
            assert!(!is_rotation(rest.as_bytes()), "{rest}");
        }
    }
}
