//! Whether the open files of the database are still where they were: `SQLite` goes on writing to files that nobody will
//! find again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::schema::log_of;

/// Device and inode.
type Id = (u64, u64);

/// The database and its log.
#[derive(Debug)]
pub(super) struct Places {
    files: [(PathBuf, Option<Id>); 2],
}

impl Places {
    /// The log may come to be later.
    pub(super) fn of(database: &Path) -> Self {
        let mut places = Self {
            files: [database.to_owned(), log_of(database)].map(|path| (path, None)),
        };
        places.moved();
        places
    }

    /// Whether a file is gone, or another one in its place. That it cannot be looked at says nothing.
    pub(super) fn moved(&mut self) -> bool {
        self.files.iter_mut().any(|(path, seen)| {
            let now = match fs::metadata(path) {
                Ok(file) => Some((file.dev(), file.ino())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(_) => return false,
            };
            if seen.is_none() {
                *seen = now;
            }
            *seen != now
        })
    }
}
