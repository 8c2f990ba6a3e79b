//! `status.json`: the state of a publisher, as it reports it.

use std::io;
use std::path::Path;

use crate::error::SpillError;
use crate::replace::{Persist, overwrite, replace};
use crate::stats::Status;

use super::files::read_if_there;

const STATUS: &str = "status.json";

/// The file has at least this length, so that it can be overwritten in place.
const BYTES_MIN: usize = 8 << 10;

/// Writes the state. Not synced: after a power cut nobody is running. If a full disk has no room for another file, the
/// old one is overwritten.
pub(crate) fn write_status(dir: &Path, status: &Status) -> io::Result<()> {
    let mut text = serde_json::to_vec(status)?;
    text.resize(text.len().max(BYTES_MIN), b' ');
    replace(dir, STATUS, &text, Persist::Unsynced).or_else(|_| overwrite(dir, STATUS, &text))
}

/// The content of the file, if it is there and whole.
pub(crate) fn read_status(dir: &Path) -> Result<Option<Status>, SpillError> {
    let text = read_if_there(&dir.join(STATUS))?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}
