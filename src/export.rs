//! The backlog as JSON lines, for whoever wants it without a publisher.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::SpillKey;
use crate::error::ExportError;
use crate::event::{Record, RunId};
use crate::spill::{Directory, Look};

/// What [`export`] has written, and what it has left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Entries that were written.
    pub entries: u64,
    /// Entries that are damaged or missing.
    pub missing: u64,
    /// Dead letters, which are not written.
    pub dead_letters: u64,
    /// Segments that lost rows earlier and are kept beside the others: not looked into.
    pub quarantined: Vec<PathBuf>,
}

impl Exported {
    /// Whether everything could be read that ought to be there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

/// As one line.
#[derive(Serialize)]
struct Line<'r> {
    run: RunId,
    n: u64,
    lost: u64,
    subject: &'r str,
    popped_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'r RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

/// Writes the backlog of a publisher that is not running as JSON lines, oldest first, and changes nothing.
///
/// What comes out is what the next start would deliver, from a damaged spill as far as it can be read. Each line is an
/// object: `run` and `n`, the `Audit-Id`; `lost`, how many numbers directly before it are not there; `subject`;
/// `popped_ms`, when it was popped from the ring, in milliseconds since 1970; and `entry`, the bytes of the entry as they
/// are, if they are JSON in one line, or else `bytes`, the same in Base64.
///
/// # Errors
///
/// [`ExportError::Write`] if `out` takes no more; [`ExportError::Spill`] with [`SpillError::InUse`] if a publisher is
/// running, or has started meanwhile: what was written until then is not all.
///
/// [`SpillError::InUse`]: crate::error::SpillError::InUse
pub fn export(dir: &Path, out: &mut impl Write) -> Result<Exported, ExportError> {
    export_from(dir, None, out)
}

/// The same of a spill that may be encrypted.
///
/// # Errors
///
/// As [`export`]; and [`SpillError::Encrypted`] or [`SpillError::WrongKey`] if the key is missing or another one.
///
/// [`SpillError::Encrypted`]: crate::error::SpillError::Encrypted
/// [`SpillError::WrongKey`]: crate::error::SpillError::WrongKey
#[cfg(feature = "encryption")]
pub fn export_with_key(
    dir: &Path,
    key: Option<&SpillKey>,
    out: &mut impl Write,
) -> Result<Exported, ExportError> {
    export_from(dir, key, out)
}

fn export_from(
    dir: &Path,
    key: Option<&SpillKey>,
    out: &mut impl Write,
) -> Result<Exported, ExportError> {
    let directory = Directory::take_existing(dir)?;
    let mut look = Look::at(directory, key)?;
    while let Some(record) = look.next()? {
        write(&record, out).map_err(ExportError::Write)?;
    }
    out.flush().map_err(ExportError::Write)?;
    let found = look.findings()?;
    Ok(Exported {
        entries: found.entries,
        missing: found.missing,
        dead_letters: found.dead_letters,
        quarantined: found.quarantined,
    })
}

fn write(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let entry = in_one_line(record.bytes());
    let line = Line {
        run: record.run().id,
        n: record.n,
        lost: record.lost_before(),
        subject: record.subject(),
        popped_ms: record.popped_ms,
        entry,
        bytes: entry.is_none().then(|| BASE64.encode(record.bytes())),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// The bytes, if they are a JSON text as it stands: with nothing around it that would be lost, and no end of a line.
fn in_one_line(bytes: &[u8]) -> Option<&RawValue> {
    let value: &RawValue = serde_json::from_slice(bytes).ok()?;
    let whole = value.get().len() == bytes.len();
    (whole && !bytes.iter().any(|byte| b"\r\n".contains(byte))).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_that_fits_into_a_line_is_embedded() {
        for json in [
            r#"{"b": 1,  "a":1e999}"#,
            "[]",
            "\"\u{e9}\\n\"",
            "18446744073709551616",
            "null",
        ] {
            let embedded = in_one_line(json.as_bytes()).map(RawValue::get);
            assert_eq!(embedded, Some(json));
        }
        for other in [
            "", " {}", "{} ", "{\n}", "{\r}", "{} {}", "{", "\"\n\"", "entry 1",
        ] {
            assert!(in_one_line(other.as_bytes()).is_none(), "{other:?}");
        }
        assert!(in_one_line(b"\"\xff\"").is_none());
    }
}
