//! Files that are replaced as a whole, or overwritten.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::change::Change;

/// What a replaced file survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// A power cut.
    Synced,
    /// The death of the process; after a power cut it may be empty.
    Unsynced,
}

/// Puts a file of mode 0600 into a folder: a reader sees the old content or the new one, nothing between.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8], persist: Persist) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let make = || private_file(OpenOptions::new().create(true).truncate(true), &new);
    let mut file = Change::Make(&new).make(make)?;
    Change::Write(&new, 0, content).make(|| file.write_all(content))?;
    if persist == Persist::Synced {
        Change::Sync(&new).make(|| file.sync_all())?;
    }
    let to = dir.join(name);
    Change::Rename(&new, &to).make(|| std::fs::rename(&new, &to))?;
    if persist == Persist::Synced {
        Change::SyncFolder(dir).make(|| File::open(dir)?.sync_all())?;
    }
    Ok(())
}

/// Writes over a file where it is, which needs no room. A reader may meet the old content and the new one mixed.
pub(crate) fn overwrite(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = dir.join(name);
    let file = OpenOptions::new().write(true).open(&path)?;
    Change::Write(&path, 0, content).make(|| {
        file.write_all_at(content, 0)?;
        file.set_len(content.len() as u64)
    })
}

pub(crate) fn private_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}
