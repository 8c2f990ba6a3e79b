//! Rings that no process uses, for `status`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::left_in;
use crate::stats::RingStatus;

/// The prefix of a ring's name; the id of its publisher follows.
pub(super) const PREFIX: &str = "spillring-";
/// Lists the locked files, one per line. The sixth field ends with the inode, after a colon.
const LOCKS: &str = "/proc/locks";

/// Rings next to this one that hold entries and that no process has open.
pub(crate) fn orphans_beside(ring: &Path) -> Vec<RingStatus> {
    let files = ring.parent().map(fs::read_dir);
    let files = files.into_iter().flatten().flatten().flatten();
    let locks = fs::read_to_string(LOCKS).unwrap_or_default();
    let mut orphans: Vec<_> = files
        .map(|file| file.path())
        .filter(|file| file != ring && is_ring(file) && !is_locked(file, &locks))
        .filter_map(|file| left_in(&file))
        .filter(|left| left.bytes > 0)
        .collect();
    orphans.sort_by(|one, other| one.file.cmp(&other.file));
    orphans
}

fn is_ring(file: &PathBuf) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let id = name.strip_prefix(PREFIX);
    id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
        && fs::symlink_metadata(file).is_ok_and(|file| file.is_file())
}

fn is_locked(file: &PathBuf, locks: &str) -> bool {
    let Ok(inode) = fs::metadata(file).map(|file| file.ino().to_string()) else {
        return false;
    };
    let of = |line: &str| {
        line.split(' ')
            .filter(|word| !word.is_empty())
            .nth(5)
            .map(str::to_owned)
    };
    locks
        .lines()
        .filter_map(of)
        .any(|place| place.rsplit(':').next() == Some(&inode))
}
