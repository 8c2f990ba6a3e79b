//! The output: opening it, locking it, and cutting it back to what its ledger covers.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::files::{self, Step};
use super::ledger::{Account, Birth};
use super::range::Range;
use crate::error::SinkError;
use crate::host::log;

/// How much of the output is read at a time to check it.
const CHECK_BYTES: usize = 64 << 10;

/// Opens the output for appending; creates it, but never its directory.
pub(super) fn open(path: &Path) -> Result<File, SinkError> {
    let file = files::open(path).step("open", path)?;
    if file.metadata().step("look at", path)?.is_file() {
        return Ok(file);
    }
    Err(SinkError::Misconfigured(format!(
        "{} is not a regular file: give the path of one",
        path.display()
    )))
}

/// Locks the output, in case another path leads to it: each path has its own ledger, whose lock does not help.
pub(super) fn lock(output: &File, path: &Path) -> Result<(), SinkError> {
    files::lock(output, path)?;
    if files::is_at(output, path) {
        return Ok(());
    }
    Err(SinkError::Unavailable(format!(
        "{} was replaced while it was opened",
        path.display()
    )))
}

/// Identifies the output; `None` where the file system keeps no time of birth.
pub(super) fn birth(output: &File, path: &Path) -> Result<Option<Birth>, SinkError> {
    let metadata = output.metadata().step("look at", path)?;
    let born = metadata.created().ok();
    let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born_ns = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Ok(born_ns.map(|born_ns| Birth {
        inode: metadata.ino(),
        born_ns,
    }))
}

/// Cuts the output back to what the account covers, if it is the right file.
///
/// It is the right file if the last range matches; before the first range, if that was being written into this very
/// file. A file that cannot be checked is never cut. Returns whether it is the right file.
pub(super) fn settle(output: &File, path: &Path, account: &Account) -> Result<bool, SinkError> {
    let length = output.metadata().step("look at", path)?.len();
    let covered = account.end();
    let is_ours = match account.last_bytes() {
        _ if length < covered => false,
        Some(range) => checksum(output, range).step("read", path)? == range.crc32,
        None if length == covered => true,
        None => account.begun.is_some() && account.begun == birth(output, path)?,
    };
    if !is_ours {
        log::warning!(
            "{} does not match its ledger ({length} bytes, {covered} in the ledger): its content stays, new entries follow it",
            path.display()
        );
    } else if length > covered {
        log::warning!(
            "{} bytes at the end of {} were not acknowledged: cut off",
            length - covered,
            path.display()
        );
        output.set_len(covered).step("cut back", path)?;
    }
    Ok(is_ours)
}

/// Ends the last line of the output, if needed, and returns the output's length.
pub(super) fn finish_line(mut output: &File, path: &Path) -> Result<u64, SinkError> {
    let length = output.metadata().step("look at", path)?.len();
    let Some(last) = length.checked_sub(1) else {
        return Ok(0);
    };
    let mut byte = [0];
    output.read_exact_at(&mut byte, last).step("read", path)?;
    if byte == *b"\n" {
        return Ok(length);
    }
    output.write_all(b"\n").step("write to", path)?;
    Ok(length + 1)
}

/// The CRC-32 of a range of the output.
fn checksum(output: &File, range: &Range) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHECK_BYTES];
    let mut at = range.start;
    while at < range.end {
        let wanted =
            usize::try_from(range.end - at).map_or(CHECK_BYTES, |left| left.min(CHECK_BYTES));
        output.read_exact_at(&mut buffer[..wanted], at)?;
        hasher.update(&buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(hasher.finalize())
}
