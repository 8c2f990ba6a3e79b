//! Whether a directory may be opened with a key, or without one. A wrong or missing key is an error before anything is
//! touched, and never damage.
//!
//! The file `encryption` holds a check that only the directory's key fits. It is made, and synced, before the first
//! entry is encrypted. If it is missing or damaged, the entries themselves are the check: one that decrypts proves the
//! key. So the operator who wants another key, or none, may remove the file once nothing encrypted is left, and loses
//! nothing by removing it earlier.

use data_encoding::HEXLOWER;
use rusqlite::Connection;
use uuid::Uuid;

use crate::config::SpillKey;
use crate::error::SpillError;
use crate::event::RunId;

use super::cipher::{Cipher, NonceTag};
use super::directory::Directory;
use super::files::{io_error, read_if_there};
use super::row::{Content, NONCE_TAG, StoredRow};
use super::schema::{self, database_error};
use super::segments::Segments;
use crate::replace::{Persist, replace};

const CHECK: &str = "encryption";
/// What the line of the file begins with.
const ALGORITHM: &str = "xchacha20poly1305";
/// How many entries of a file are tried.
const TRIED_MAX: usize = 64;

/// How a key fits what is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Nothing is encrypted.
    Nothing,
    Fits,
    Fails,
}

/// Checks the key for a reader. Writes nothing.
pub(super) fn unlock(
    directory: &Directory,
    key: Option<&SpillKey>,
) -> Result<Option<Cipher>, SpillError> {
    let cipher = key.map(Cipher::new);
    let fit = match read_check(directory)? {
        Some(check) => match &cipher {
            Some(cipher) if cipher.fits(check) => Fit::Fits,
            _ => Fit::Fails,
        },
        None => fit_of_entries(directory, cipher.as_ref())?,
    };
    let dir = directory.path().to_owned();
    match (fit, &cipher) {
        (Fit::Fails, None) => Err(SpillError::Encrypted { dir }),
        (Fit::Fails, Some(_)) => Err(SpillError::WrongKey { dir }),
        _ => Ok(cipher),
    }
}

/// Checks the key of a publisher, and writes its check value.
pub(super) fn unlock_to_write(
    directory: &Directory,
    key: Option<&SpillKey>,
) -> Result<Option<Cipher>, SpillError> {
    let cipher = unlock(directory, key)?;
    if let Some(cipher) = &cipher
        && read_check(directory)?.is_none()
    {
        write_check(directory, cipher)?;
    }
    Ok(cipher)
}

/// Survives a power cut.
pub(super) fn write_check(directory: &Directory, cipher: &Cipher) -> Result<(), SpillError> {
    let check = cipher.check().map_err(database_error("encrypt"))?;
    let line = format!("{ALGORITHM} {}\n", HEXLOWER.encode(&check));
    replace(directory.path(), CHECK, line.as_bytes(), Persist::Synced)
        .map_err(io_error("write", &directory.path().join(CHECK)))
}

/// `None` if it is missing or damaged.
fn read_check(directory: &Directory) -> Result<Option<NonceTag>, SpillError> {
    let Some(text) = read_if_there(&directory.path().join(CHECK))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&text);
    let hex = text.trim().strip_prefix(ALGORITHM).unwrap_or_default();
    let check = HEXLOWER.decode(hex.trim().as_bytes()).ok();
    Ok(check.and_then(|check| check.try_into().ok()))
}

/// Without a key the newest file that has entries decides: after an encrypted one there is no plain one unless it was
/// begun without a key, which was refused.
fn fit_of_entries(directory: &Directory, cipher: Option<&Cipher>) -> Result<Fit, SpillError> {
    let letters = directory
        .dead_letters()
        .and_then(|file| schema::open_to_read(&file).ok());
    let mut fit = letters.map_or(Fit::Nothing, |conn| {
        fit_of(&conn, "dead_letters", "run", "0, 1", cipher)
    });
    let segments = Segments::read(directory.segments(), Vec::new())?;
    for segment in segments.iter().rev() {
        if fit == Fit::Fits || (fit == Fit::Fails && cipher.is_none()) {
            break;
        }
        let Ok(conn) = schema::open_to_read(&segment.path) else {
            continue;
        };
        let run = "(SELECT id FROM runs WHERE local = key >> 40)";
        match fit_of(&conn, "rows", run, "kind, count", cipher) {
            Fit::Nothing if cipher.is_none() && has_entries(&conn) => break,
            Fit::Nothing => {}
            other => fit = other,
        }
    }
    Ok(fit)
}

fn has_entries(conn: &Connection) -> bool {
    conn.prepare("SELECT 1 FROM rows WHERE kind = 0 LIMIT 1")
        .and_then(|mut first| first.exists(()))
        .unwrap_or(false)
}

/// What cannot be read proves nothing.
fn fit_of(
    conn: &Connection,
    table: &str,
    run: &str,
    kind_and_count: &str,
    cipher: Option<&Cipher>,
) -> Fit {
    let sql = format!(
        "SELECT key, {kind_and_count}, popped_ms, checksum, requeued, subject, bytes, {NONCE_TAG}, {run} \
         FROM {table} WHERE {NONCE_TAG} IS NOT NULL LIMIT {TRIED_MAX}"
    );
    let mut fit = Fit::Nothing;
    let Ok(mut statement) = conn.prepare(&sql) else {
        return fit;
    };
    let Ok(mut rows) = statement.query(()) else {
        return fit;
    };
    while let Ok(Some(row)) = rows.next() {
        fit = Fit::Fails;
        let (Ok(found), Ok(run)) = (StoredRow::read(row), row.get(9)) else {
            continue;
        };
        let run = RunId(Uuid::from_bytes(run));
        if let Content::Entry(entry) = found.content
            && entry.decrypted(found.first, run, cipher).is_some()
        {
            return Fit::Fits;
        }
    }
    fit
}
