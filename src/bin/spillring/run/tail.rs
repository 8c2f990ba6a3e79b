//! The file of `--follow`: it may grow, be rotated or truncated, or be a pipe whose writers come and go.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::lines::open;
use crate::console::errln;

/// The wait between two checks whether a file has grown.
const POLL: Duration = Duration::from_millis(50);

/// A rotated file is closed after not growing for this long: its writer may still have it open.
const ROTATED_WAIT: Duration = Duration::from_secs(1);

/// The checksum of a position covers this many bytes before it.
const BEFORE: u64 = 64;

/// A position in a file, which may have been renamed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct FilePosition {
    inode: u64,
    offset: u64,
    /// The checksum of the bytes before it: inodes are reused.
    before: u32,
}

/// The followed file.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// The inode of the open file; none while there is no file of that name.
    file: Option<u64>,
    /// When another file was found under the name; reset when this file grows.
    rotated: Option<Instant>,
}

/// What to do at the end of the file.
#[derive(Debug)]
pub(super) enum Turn {
    /// Wait for the file to grow.
    Wait,
    /// Read the same file from its beginning.
    Again(File),
    /// Read the file that has taken its name.
    Next(File),
}

impl FilePosition {
    /// Whether it is later in the same file.
    pub(super) fn comes_after(self, other: Self) -> bool {
        self.inode == other.inode && self.offset > other.offset
    }

    /// Whether it is in another file, or earlier in the same file.
    pub(super) fn is_elsewhere(self, other: Self) -> bool {
        self.inode != other.inode || self.offset < other.offset
    }

    fn is_in(self, file: &File) -> bool {
        checksum(file, self.offset).is_some_and(|before| before == self.before)
    }
}

/// The checksum of the bytes before the offset, if they exist.
fn checksum(file: &File, offset: u64) -> Option<u32> {
    let from = offset.saturating_sub(BEFORE);
    let mut bytes = vec![0; usize::try_from(offset - from).ok()?];
    file.read_exact_at(&mut bytes, from).ok()?;
    Some(crc32fast::hash(&bytes))
}

/// An open file, where to read it, and whether that is the requested position.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) tail: Tail,
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) found: bool,
}

impl Tail {
    /// Resumes at the position, if its file still exists, under any name. A missing file is waited for.
    pub(super) fn open(path: &Path, position: Option<FilePosition>) -> io::Result<OpenedFile> {
        let of = |file: Option<u64>| Self {
            path: path.to_owned(),
            file,
            rotated: None,
        };
        if let Some((position, mut file)) =
            position.and_then(|position| Some((position, find(path, position)?)))
        {
            file.seek(SeekFrom::Start(position.offset))?;
            return Ok(OpenedFile {
                tail: of(Some(position.inode)),
                file,
                offset: position.offset,
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
                if about.is_file() && position.is_some_and(|position| position.offset > 0) {
                    errln!(
                        "the file that was being read is gone or was truncated: {} is read from its beginning, and lines \
                         of it may be published again",
                        path.display()
                    );
                }
                (file, of(Some(about.ino())))
            }
        };
        Ok(OpenedFile {
            tail,
            file,
            offset: 0,
            found: false,
        })
    }

    pub(super) fn position(&self, offset: u64) -> FilePosition {
        FilePosition {
            inode: self.file.unwrap_or_default(),
            offset,
            before: 0,
        }
    }

    /// Adds the checksum to a position in the open file.
    pub(super) fn mark(&self, file: &File, position: FilePosition) -> Option<FilePosition> {
        let before = checksum(file, position.offset).unwrap_or_default();
        let here = position.inode == self.file.unwrap_or_default();
        here.then_some(FilePosition { before, ..position })
    }

    pub(super) fn has_grown(&mut self) {
        self.rotated = None;
    }

    /// Called at the end of the file, at this offset.
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
            // If it is being renamed, the next check finds it.
            if let Some(next) = path.and_then(|path| open(&path).ok()) {
                self.file = Some(next.metadata()?.ino());
                self.rotated = None;
                return Ok(Turn::Next(next));
            }
        }
        thread::sleep(POLL);
        Ok(Turn::Wait)
    }
}

/// The file of this name, or one of its rotated files.
struct Sibling {
    path: PathBuf,
    about: Metadata,
    rotated: bool,
}

/// Symbolic links are followed.
fn siblings(path: &Path) -> impl Iterator<Item = Sibling> {
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
        is_rotation(rest).then(|| Sibling {
            path: entry.path(),
            about,
            rotated: !rest.is_empty(),
        })
    })
}

/// Whether this is the suffix of a rotated file, such as `.1`, `-20261127`, `.2026-11-27T00`, or empty.
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

/// The file of the position, unless it is gone or its bytes differ.
fn find(path: &Path, position: FilePosition) -> Option<File> {
    let found = siblings(path).find(|it| it.about.ino() == position.inode)?;
    open(&found.path).ok().filter(|file| position.is_in(file))
}

/// The oldest file newer than the one that was read: it may have been rotated as well.
fn next(path: &Path, read: &Metadata) -> PathBuf {
    // The file system's clock may tick every few milliseconds. A file may be written to after its successor was made.
    let made = |it: &Metadata| it.created().or_else(|_| it.modified()).ok();
    let age = |it: &Metadata, rotated: bool| (made(it), it.modified().ok(), !rotated, it.ino());
    let newer = siblings(path)
        // An older file may have been restored since.
        .filter(|it| it.about.ino() != read.ino() && it.about.modified().ok() >= made(read))
        .map(|it| (age(&it.about, it.rotated), it.path))
        .filter(|(found, _)| *found > age(read, true));
    newer
        .min()
        .map_or_else(|| path.to_owned(), |(_, found)| found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Metadata};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{is_rotation, next};

    /// Last changed so many seconds after a time in 2106: after all files are made.
    fn create(path: &Path, modified: u64) -> Metadata {
        let file = File::create(path).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(0x1_0000_0000 + modified);
        file.set_modified(modified).unwrap();
        file.metadata().unwrap()
    }

    #[test]
    fn a_rotated_file_comes_before_the_current_one_of_the_same_age() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("app.log");
        let rotated = folder.path().join("app.log.1");
        let read = create(&folder.path().join("app.log.2"), 1);
        for _ in 0..100 {
            let (current, before) = (create(&log, 2), create(&rotated, 2));
            // Within a tick, and not in the order of their inodes.
            if current.created().ok() == before.created().ok() && current.ino() < before.ino() {
                assert_eq!(next(&log, &read), rotated);
            }
            fs::remove_file(&rotated).unwrap();
            assert_eq!(next(&log, &read), log);
            fs::remove_file(&log).unwrap();
        }
    }

    #[test]
    fn an_older_file_that_was_restored_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let [log, read, old] =
            ["app.log", "app.log.1", "app.log.2"].map(|it| folder.path().join(it));
        let read = create(&read, 1);
        while create(&old, 1).created().ok() == read.created().ok() && read.created().is_ok() {
            fs::remove_file(&old).unwrap();
        }
        let before = read.created().unwrap_or(SystemTime::UNIX_EPOCH) - Duration::from_secs(60);
        File::open(&old).unwrap().set_modified(before).unwrap();
        create(&log, 2);
        assert_eq!(next(&log, &read), log);
    }

    #[test]
    fn a_file_that_was_written_to_after_its_rotation_comes_before_its_successors() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("app.log");
        let [first, second] = ["app.log.2", "app.log.1"].map(|name| folder.path().join(name));
        let read = create(&first, 5);
        let Ok(made) = read.created() else {
            return; // The file system keeps no time of creation.
        };
        while create(&second, 2).created().unwrap() == made {
            fs::remove_file(&second).unwrap();
        }
        create(&log, 3);
        assert_eq!(next(&log, &read), second);
    }

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
