//! The output: opening it, locking it, and cutting it back to what its ledger covers.

use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::files::{FileStep, Held};
use super::ledger::{Account, Birth};
use super::range::Range;
use crate::config::SpillDurability;
use crate::error::SinkError;
use crate::host::log;

/// How much of the output is read at a time to check it.
const CHECK_BYTES: usize = 64 << 10;

pub(super) fn open(path: &Path, durability: SpillDurability) -> Result<Held, SinkError> {
    let output = Held::open(path.to_owned(), durability)?;
    if output.metadata()?.is_file() {
        return Ok(output);
    }
    Err(SinkError::Misconfigured(format!(
        "{} is not a regular file: give the path of one",
        path.display()
    )))
}

/// Locks the output, in case another path leads to it: each path has its own ledger, whose lock does not help.
pub(super) fn lock(output: &Held) -> Result<(), SinkError> {
    output.lock()?;
    if output.is_in_place() {
        return Ok(());
    }
    Err(SinkError::Unavailable(format!(
        "{} was replaced while it was opened",
        output.path.display()
    )))
}

/// Identifies the output; `None` where the file system keeps no time of birth.
pub(super) fn birth(output: &Held) -> Result<Option<Birth>, SinkError> {
    let metadata = output.metadata()?;
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
/// It is the right file if the last range matches, or, without a range yet, if the first one was being written to this
/// very file. A file that cannot be checked is never cut. Returns whether it is the right file.
pub(super) fn settle(output: &Held, account: &Account) -> Result<bool, SinkError> {
    let (length, covered) = (output.metadata()?.len(), account.end());
    let is_ours = match account.last_bytes() {
        _ if length < covered => false,
        Some(range) => checksum(output, range).step("read", &output.path)? == range.crc32,
        None if length == covered => true,
        None => account.begun.is_some() && account.begun == birth(output)?,
    };
    let path = output.path.display();
    if !is_ours {
        log::warning!(
            "{path} does not match its ledger ({length} bytes, {covered} in the ledger): its content stays, new entries follow it"
        );
    } else if length > covered {
        let more = length - covered;
        log::warning!("{more} bytes at the end of {path} were not acknowledged: cut off");
        output.cut(covered)?;
    }
    Ok(is_ours)
}

/// Ends the last line of the output, if needed, and returns the output's length.
pub(super) fn finish_line(output: &mut Held) -> Result<u64, SinkError> {
    let length = output.metadata()?.len();
    let Some(last) = length.checked_sub(1) else {
        return Ok(0);
    };
    let mut byte = [0];
    let read = output.file.read_exact_at(&mut byte, last);
    read.step("read", &output.path)?;
    if byte == *b"\n" {
        return Ok(length);
    }
    let written = output.file.write_all(b"\n");
    written.step("write to", &output.path)?;
    Ok(length + 1)
}

/// The CRC-32 of a range of the output.
fn checksum(output: &Held, range: &Range) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHECK_BYTES];
    let mut at = range.start;
    while at < range.end {
        let wanted =
            usize::try_from(range.end - at).map_or(CHECK_BYTES, |left| left.min(CHECK_BYTES));
        output.file.read_exact_at(&mut buffer[..wanted], at)?;
        hasher.update(&buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(hasher.finalize())
}
