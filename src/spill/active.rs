//! The segment that is written to.

use std::borrow::Cow;
use std::path::Path;

use rusqlite::{Connection, Statement};

use crate::config::SpillDurability;
use crate::error::SpillError;
use crate::event::{Key, Position, Record, Run};
use crate::host::log;

use super::cipher::Cipher;
use super::files::{DatabaseFiles, discard_database, make_folder, sync_folder};
use super::row::{ACCOUNTED, INSERT, INSERT_ENCRYPTED, Row, kind};
use super::runs;
use super::schema::{self, database_error};
use super::segments::Segment;
use super::tally::Tally;

/// An open segment. After any error it must be [abandoned](Self::abandon).
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Segment,
    conn: Connection,
    files: DatabaseFiles,
    /// What was written to it, as [`Record::size`] counts.
    bytes: u64,
    /// Of an encrypted segment.
    cipher: Option<Cipher>,
}

/// One transaction.
pub(super) struct Write<'w> {
    /// The first key and the count of numbers that are accounted for without being written.
    pub(super) accounted: Option<(Key, u64)>,
    pub(super) records: &'w [Record],
    /// The digests of imported rows.
    pub(super) digests: &'w [[u8; 16]],
}

impl Active {
    pub(super) fn create(
        segment: Segment,
        durability: SpillDurability,
        cipher: Option<&Cipher>,
    ) -> Result<Self, SpillError> {
        let folder = segment.path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let tables = match cipher {
            None => Cow::Borrowed(schema::SEGMENT),
            Some(_) => [schema::SEGMENT, schema::ENCRYPTED_SEGMENT].concat().into(),
        };
        let made = schema::open(&segment.path, &tables, durability)
            .and_then(|conn| sync_folder(folder).map(|()| conn));
        let conn = made.inspect_err(|_| discard_database(&segment.path))?;
        let files = DatabaseFiles::of(&segment.path)?;
        Ok(Self {
            segment,
            conn,
            files,
            bytes: 0,
            cipher: cipher.cloned(),
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether its file, or its log, is no longer where it was.
    pub(super) fn has_left(&self) -> bool {
        self.files.have_left(&self.segment.path)
    }

    /// Writes all of it in one transaction.
    pub(super) fn write(&mut self, write: &Write<'_>) -> Result<Tally, SpillError> {
        let added = self.attempt(write).map_err(database_error("append to"))?;
        self.bytes += added.bytes;
        if self.has_left() {
            return Err(SpillError::Vanished {
                file: self.segment.path.clone(),
            });
        }
        Ok(added)
    }

    /// The same, and it survives a power cut whatever the durability of the rest.
    pub(super) fn write_synced(
        &mut self,
        write: &Write<'_>,
        durability: SpillDurability,
    ) -> Result<Tally, SpillError> {
        self.set_durability(SpillDurability::PowerLoss)?;
        let added = self.write(write)?;
        self.set_durability(durability)?;
        Ok(added)
    }

    fn set_durability(&self, durability: SpillDurability) -> Result<(), SpillError> {
        schema::set_durability(&self.conn, durability).map_err(database_error("append to"))
    }

    fn attempt(&self, write: &Write<'_>) -> rusqlite::Result<Tally> {
        let conn = &self.conn;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let mut added = Tally::default();
        {
            let cipher = self.cipher.as_ref();
            let insert = cipher.map_or(INSERT, |_| INSERT_ENCRYPTED);
            let mut statement = conn.prepare_cached(insert)?;
            let mut buffer = Vec::new();
            if let Some((first, count)) = write.accounted {
                Row::stretch(first, count, ACCOUNTED).insert(&mut statement)?;
            }
            let mut run: Option<&Run> = None;
            for record in write.records {
                if run.is_none_or(|run| run.local != record.run.local) {
                    runs::write_to_segment(conn, &record.run)?;
                    run = Some(&record.run);
                }
                insert_losses(&mut statement, record)?;
                if Row::encrypted(record, cipher, &mut buffer)?.insert(&mut statement)? {
                    added.add(record.size());
                }
            }
        }
        for digest in write.digests {
            conn.prepare_cached("INSERT OR IGNORE INTO imported (digest) VALUES (?1)")?
                .execute([digest])?;
        }
        conn.prepare_cached("COMMIT")?.execute(())?;
        Ok(added)
    }

    /// Carries its log into the database and closes it. From then on it is only read.
    pub(super) fn seal(self) {
        if let Err(error) = schema::checkpoint(&self.conn) {
            log::warning!(%error, "the log of a segment cannot be checkpointed, and is kept");
            self.abandon();
        }
    }

    /// Closes it as it is, after a fault. What was committed to it is read from there.
    pub(super) fn abandon(self) {
        if let Err(error) = schema::leave_log(&self.conn) {
            log::debug!(%error, "closing a segment may change its log");
        }
    }
}

/// The first number that the record covers: that of the losses before it, if there are any.
pub(super) fn first_key(record: &Record) -> Key {
    let n = record.n.saturating_sub(record.lost_before());
    Key::new(record.run.local, n)
}

/// Losses are rows of their own, before their entry.
fn insert_losses(statement: &mut Statement<'_>, record: &Record) -> rusqlite::Result<()> {
    let mut first = first_key(record);
    for loss in record.losses.iter().filter(|loss| loss.count > 0) {
        Row::stretch(first, loss.count, kind(loss.reason)).insert(statement)?;
        first = first.after(loss.count);
    }
    Ok(())
}

/// The numbers that entries of a segment had before they were dead letters.
pub(super) fn requeued(conn: &Connection) -> rusqlite::Result<Vec<Position>> {
    let mut statement = conn.prepare("SELECT requeued FROM rows WHERE requeued IS NOT NULL")?;
    let found = statement.query_map((), |row| row.get::<_, Vec<u8>>(0))?;
    let found: Vec<Vec<u8>> = found.collect::<rusqlite::Result<_>>()?;
    Ok(found
        .iter()
        .filter_map(|bytes| Position::from_bytes(bytes))
        .collect())
}
