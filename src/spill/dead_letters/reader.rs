//! Reading the dead letters of a publisher that is not running.

use rusqlite::Connection;

use super::{DeadLetter, LocalRuns, ONE, PAGE_ROWS, found, known_columns, list};
use crate::config::SpillKey;
use crate::error::SpillError;
use crate::event::{Key, Position};
use crate::spill::cipher::Cipher;
use crate::spill::directory::Directory;
use crate::spill::schema::{self, database_error};
use crate::spill::unlock::unlock;

/// The dead letters of a publisher that is not running, for inspectors. The directory stays taken meanwhile.
#[derive(Debug)]
pub(crate) struct DeadLetterReader {
    /// Closed before the lock of the directory is released. `None` if nothing was ever kept.
    conn: Option<Connection>,
    cipher: Option<Cipher>,
    _directory: Directory,
}

impl DeadLetterReader {
    pub(crate) fn open(directory: Directory, key: Option<&SpillKey>) -> Result<Self, SpillError> {
        let cipher = unlock(&directory, key)?;
        let place = directory.dead_letters();
        let conn = place.map(|file| schema::open_to_read(&file)).transpose();
        Ok(Self {
            conn: conn.map_err(database_error("open"))?,
            cipher,
            _directory: directory,
        })
    }

    /// The oldest after `after`, with the keys to go on from.
    pub(crate) fn page(&self, after: Option<Key>) -> Result<Vec<(Key, DeadLetter)>, SpillError> {
        let Some(conn) = &self.conn else {
            return Ok(Vec::new());
        };
        list(conn, after, PAGE_ROWS).map_err(database_error("read"))
    }

    /// The letter of this number with its bytes, if there is one.
    pub(crate) fn get(&self, id: Position) -> Result<Option<(DeadLetter, Vec<u8>)>, SpillError> {
        let Some(conn) = &self.conn else {
            return Ok(None);
        };
        let look = || -> rusqlite::Result<_> {
            let Some(key) = LocalRuns::read(conn)?.key(conn, id)? else {
                return Ok(None);
            };
            let before = key.row().checked_sub(1).and_then(Key::from_row);
            let letter = list(conn, before, 1)?.pop();
            let entry = conn
                .prepare_cached(&known_columns(conn, ONE))?
                .query_row([key.row()], |row| found(row, self.cipher.as_ref()))?;
            let bytes = entry.map(|entry| entry.bytes.to_vec());
            Ok(letter.map(|(_, letter)| (letter, bytes)))
        };
        match look().map_err(database_error("read"))? {
            None => Ok(None),
            Some((letter, Some(bytes))) => Ok(Some((letter, bytes))),
            Some((_, None)) => Err(SpillError::DamagedDeadLetters { ids: vec![id] }),
        }
    }
}
