//! The bytes of the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::verify::ledger::Range;

/// Read at a time.
const BUFFER: usize = 64 << 10;

pub(super) struct Output {
    pub(super) file: File,
    /// As of opening it.
    pub(super) length: u64,
}

impl Output {
    /// Whether the bytes at `shift` from the range's offset have its checksum.
    pub(super) fn matches(&self, range: &Range, shift: i64) -> io::Result<bool> {
        let from = range.start.checked_add_signed(shift);
        let to = range.end.checked_add_signed(shift);
        let (Some(from), Some(to)) = (from, to.filter(|to| *to <= self.length)) else {
            return Ok(false);
        };
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; BUFFER];
        let mut at = from;
        while at < to {
            let wanted = usize::try_from(to - at).map_or(BUFFER, |left| left.min(BUFFER));
            self.file.read_exact_at(&mut buffer[..wanted], at)?;
            hasher.update(&buffer[..wanted]);
            at += wanted as u64;
        }
        Ok(hasher.finalize() == range.crc32)
    }

    /// The number of line feeds in these bytes.
    pub(super) fn count(&self, from: u64, to: u64) -> io::Result<u64> {
        let mut reader = self.reader(from, to)?;
        let mut count = 0;
        while reader.skip_until(b'\n')? > 0 {
            count += 1;
        }
        // An unfinished last line does not count.
        if from < to {
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, to - 1)?;
            count -= u64::from(byte != *b"\n");
        }
        Ok(count)
    }

    pub(super) fn reader(&self, from: u64, to: u64) -> io::Result<impl BufRead + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(from))?;
        let part = file.take(to.saturating_sub(from));
        Ok(BufReader::with_capacity(BUFFER, part))
    }
}
