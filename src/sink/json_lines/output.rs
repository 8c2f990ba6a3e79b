//! The output: opened, locked, and cut back to what is told of it, if it is what is told of.

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
        "{} is no regular file: give the path of one",
        path.display()
    )))
}

/// Locks the output, so that nobody comes to it in another way: a ledger's lock is not met on a path that has another.
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

/// What tells the output from any other file; `None` where the file system keeps no time of birth.
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

/// Cuts the output back to what the account tells, if it is the output that the account tells of.
///
/// It is if the last range is in it; where there is none yet, if the first one was being written into this very file.
/// What cannot be checked is never cut.
pub(super) fn settle(output: &File, path: &Path, account: &Account) -> Result<bool, SinkError> {
    let length = output.metadata().step("look at", path)?.len();
    let told = account.end();
    let is_told = match account.last_bytes() {
        _ if length < told => false,
        Some(range) => checksum(output, range).step("read", path)? == range.crc32,
        None if length == told => true,
        None => account.begun.is_some() && account.begun == birth(output, path)?,
    };
    if !is_told {
        log::warning!(
            "{} is not as its ledger tells it ({length} bytes, {told} told): its content stays, entries go on behind it",
            path.display()
        );
    } else if length > told {
        log::warning!(
            "{} bytes at the end of {} were not acknowledged: cut off",
            length - told,
            path.display()
        );
        output.set_len(told).step("cut back", path)?;
    }
    Ok(is_told)
}

/// Ends the last line of the output, if it isn't, and tells the output's length.
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
