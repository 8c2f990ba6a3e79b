//! Setting a database aside that cannot be used: its folder is renamed as a whole, so that the log goes along.
//!
//! ```text
//! db.salvaging.<unix seconds>/     set aside; its rows have still to be carried over
//! db.quarantined.<unix seconds>/   carried over as far as it can be read; kept for whoever wants to look
//! ```
//!
//! The name says how far it has come, so that a start goes on where a killed process stopped. Where the database's
//! folder is a mount point, and cannot be renamed, its files are moved into such a folder inside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::directory::{DATABASE, DATABASE_FOLDER, sync_folder};
use crate::error::SpillError;

use super::io_error;

const SALVAGING: &str = "salvaging";
const QUARANTINED: &str = "quarantined";

/// How many quarantined databases are kept; the oldest goes.
pub(super) const QUARANTINES_MAX: usize = 3;

/// Sets the database aside, if there is one, to be salvaged.
pub(super) fn set_aside(dir: &Path) -> Result<(), SpillError> {
    let folder = dir.join(DATABASE_FOLDER);
    if !folder.exists() {
        return Ok(());
    }
    let [beside, inside] = places(dir);
    let aside = beside.name(SALVAGING, free_second(dir));
    match fs::rename(&folder, &aside) {
        Err(error) if mounted(&error) => {
            let aside = inside.name(SALVAGING, free_second(dir));
            move_files(&folder, &aside).map_err(io_error("set aside", folder.clone()))?;
            sync_folder(&folder)
        }
        renamed => {
            renamed.map_err(io_error("set aside", folder))?;
            sync_folder(dir)
        }
    }
}

/// The database that waits to be salvaged for longest, if any.
pub(super) fn waiting(dir: &Path) -> Result<Option<PathBuf>, SpillError> {
    Ok(all_waiting(dir)?.into_iter().next())
}

/// The databases that wait to be salvaged, oldest first.
pub(super) fn all_waiting(dir: &Path) -> Result<Vec<PathBuf>, SpillError> {
    list(dir, SALVAGING)
}

/// Notes that a database has been salvaged, and removes the oldest ones beyond those that are kept.
pub(super) fn conclude(dir: &Path, folder: &Path) -> Result<PathBuf, SpillError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let done = folder.with_file_name(name.replacen(SALVAGING, QUARANTINED, 1));
    match fs::rename(folder, &done) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(target: "spillring", folder = %folder.display(), "what was set aside has been taken away");
        }
        renamed => renamed.map_err(io_error("rename", folder.to_owned()))?,
    }
    let mut kept = quarantined(dir)?;
    let excess = kept.len().saturating_sub(QUARANTINES_MAX);
    for oldest in kept.drain(..excess) {
        tracing::warn!(target: "spillring", folder = %oldest.display(), "removing the oldest quarantined database");
        if let Err(error) = fs::remove_dir_all(&oldest) {
            tracing::warn!(target: "spillring", %error, folder = %oldest.display(), "it could not be removed");
        }
    }
    Ok(done)
}

/// The quarantined databases, oldest first.
pub(crate) fn quarantined(dir: &Path) -> Result<Vec<PathBuf>, SpillError> {
    list(dir, QUARANTINED)
}

/// Where databases that are set aside lie, and how their names begin there.
struct Place {
    root: PathBuf,
    prefix: &'static str,
}

fn places(dir: &Path) -> [Place; 2] {
    [
        Place {
            root: dir.to_owned(),
            prefix: "db.",
        },
        Place {
            root: dir.join(DATABASE_FOLDER),
            prefix: "",
        },
    ]
}

impl Place {
    fn name(&self, state: &str, second: u64) -> PathBuf {
        self.root.join(format!("{}{state}.{second}", self.prefix))
    }
}

fn list(dir: &Path, state: &str) -> Result<Vec<PathBuf>, SpillError> {
    let mut found = Vec::new();
    for place in places(dir) {
        let entries = match fs::read_dir(&place.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(io_error("list", place.root.clone()))?,
        };
        for entry in entries {
            let path = entry.map_err(io_error("list", place.root.clone()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let second = name
                .strip_prefix(place.prefix)
                .and_then(|name| name.strip_prefix(state)?.strip_prefix('.')?.parse().ok());
            if let Some(second) = second {
                found.push((second, path));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path): (u64, _)| path).collect())
}

/// The time, or the next second that no folder is named by.
fn free_second(dir: &Path) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let taken = |second: &u64| {
        places(dir)
            .iter()
            .flat_map(|place| [SALVAGING, QUARANTINED].map(|state| place.name(state, *second)))
            .any(|path| path.exists())
    };
    let mut free = now;
    while taken(&free) {
        free += 1;
    }
    free
}

fn mounted(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
    )
}

/// The log first: a database without its log is old, a log beside a new database is dangerous.
fn move_files(folder: &Path, aside: &Path) -> io::Result<()> {
    fs::create_dir(aside)?;
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let name = format!("{DATABASE}{suffix}");
        match fs::rename(folder.join(&name), aside.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
