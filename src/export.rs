//! The backlog as JSON lines, for use without a publisher.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::SpillKey;
use crate::error::ExportError;
use crate::event::{Record, RunId};
use crate::spill::{Directory, Inspection};

/// The result of an [`export`].
///
/// See its example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Entries that were written.
    pub entries: u64,
    /// Entries that are damaged or missing.
    pub missing: u64,
    /// Dead letters, which are not exported.
    pub dead_letters: u64,
    /// Segments that lost rows earlier and are kept next to the others: not exported.
    pub quarantined: Vec<PathBuf>,
}

impl Exported {
    /// Whether everything was there and readable.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

/// An entry as a line.
#[derive(Serialize)]
struct ExportedLine<'r> {
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

/// Writes the backlog of a publisher that is not running as JSON lines, oldest first, without changing anything.
///
/// The output is what the next start would deliver; from a damaged spill, as far as it can be read. Each line is an
/// object: `run` and `n`, the `Audit-Id`; `lost`, how many numbers directly before it are missing; `subject`;
/// `popped_ms`, when it was popped from the ring, in milliseconds since 1970; and `entry`, the bytes of the entry
/// unchanged, if they are JSON in one line, or else `bytes`, the same in Base64.
///
/// ```no_run
/// use std::{fs::File, io::BufWriter};
///
/// let mut file = BufWriter::new(File::create("backlog.jsonl")?);
/// let done = spillring::operate::export("/var/lib/agent/spill".as_ref(), &mut file)?;
/// println!("{} entries, {} damaged or missing", done.entries, done.missing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ExportError::Write`] if `out` fails; [`ExportError::Spill`] with [`SpillError::InUse`] if a publisher is running,
/// or has started meanwhile: the output so far is then incomplete.
///
/// [`SpillError::InUse`]: crate::error::SpillError::InUse
pub fn export(dir: &Path, out: &mut impl Write) -> Result<Exported, ExportError> {
    export_from(dir, None, out)
}

/// Like [`export`], for a spill that may be encrypted.
///
/// See the examples of [`export`] and [`SpillKey`].
///
/// # Errors
///
/// As [`export`]; and [`SpillError::Encrypted`] or [`SpillError::WrongKey`] if the key is missing or wrong.
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
    let mut inspection = Inspection::of(directory, key)?;
    while let Some(record) = inspection.next()? {
        write(&record, out).map_err(ExportError::Write)?;
    }
    out.flush().map_err(ExportError::Write)?;
    let found = inspection.findings()?;
    Ok(Exported {
        entries: found.backlog.entries,
        missing: found.missing,
        dead_letters: found.dead_letters.entries,
        quarantined: found.quarantined,
    })
}

fn write(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let entry = in_one_line(record.bytes());
    let line = ExportedLine {
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

/// The bytes, if they are a JSON text in one line, with nothing around it that would be lost.
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
