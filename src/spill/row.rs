//! A row of a segment, and its checksum.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row as SqlRow, Statement};

use crate::event::{Key, Loss, LossReason, Position, Record, Run, RunId};

use super::cipher::{AssociatedData, Cipher, NonceTag};
use super::schema::has_column;

/// The `kind` of an entry; others name the reason of a loss, or are [`ACCOUNTED`].
pub(super) const ENTRY: i64 = 0;
/// Numbers that were delivered without being written, or that are announced elsewhere.
pub(super) const ACCOUNTED: i64 = 8;

pub(super) const INSERT: &str = "INSERT INTO rows (key, kind, count, popped_ms, checksum, requeued, subject, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";

/// The same for an encrypted segment, which has one column more.
pub(super) const INSERT_ENCRYPTED: &str = "INSERT INTO rows (key, kind, count, popped_ms, checksum, requeued, subject, bytes, nonce_tag) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";

/// The column that only encrypted segments and indexes have.
pub(super) const NONCE_TAG: &str = "nonce_tag";

/// The columns that [`INSERT_ENCRYPTED`] names, as far as the segment has them. The first version of spillring did not
/// keep where entries were requeued from.
pub(super) fn columns(conn: &Connection) -> &'static str {
    if has_column(conn, "rows", NONCE_TAG) {
        "key, kind, count, popped_ms, checksum, requeued, subject, bytes, nonce_tag"
    } else if has_column(conn, "rows", "requeued") {
        "key, kind, count, popped_ms, checksum, requeued, subject, bytes, NULL"
    } else {
        "key, kind, count, popped_ms, checksum, NULL, subject, bytes, NULL"
    }
}

/// A row to be written.
pub(super) struct Row<'r> {
    pub(super) key: Key,
    pub(super) kind: i64,
    /// How many keys it covers.
    pub(super) count: u64,
    pub(super) popped_ms: u64,
    /// The number that the entry had before it was a dead letter.
    pub(super) requeued: Option<Position>,
    pub(super) subject: &'r str,
    /// Encrypted if there is a `nonce_tag`.
    pub(super) bytes: &'r [u8],
    pub(super) nonce_tag: Option<NonceTag>,
}

/// A row as it was found.
#[derive(Debug, Clone)]
pub(super) struct StoredRow {
    pub(super) first: Key,
    /// The first key after it.
    pub(super) end: Key,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Entry(StoredEntry),
    Loss(LossReason),
    Accounted,
    Damaged,
}

/// What is stored of a record beside its key.
#[derive(Debug, Clone)]
pub(super) struct StoredEntry {
    pub(super) popped_ms: u64,
    pub(super) requeued: Option<Position>,
    pub(super) subject: Box<str>,
    /// Encrypted if there is a `nonce_tag`.
    pub(super) bytes: Bytes,
    pub(super) nonce_tag: Option<NonceTag>,
}

impl<'r> Row<'r> {
    pub(super) fn entry(record: &'r Record) -> Self {
        Self {
            key: record.key(),
            kind: ENTRY,
            count: 1,
            popped_ms: record.popped_ms,
            requeued: record.requeued,
            subject: &record.subject,
            bytes: &record.bytes,
            nonce_tag: None,
        }
    }

    /// The same, encrypted into the buffer if there is a cipher.
    pub(super) fn encrypted(
        record: &'r Record,
        cipher: Option<&Cipher>,
        buffer: &'r mut Vec<u8>,
    ) -> rusqlite::Result<Self> {
        let plain = Self::entry(record);
        let Some(cipher) = cipher else {
            return Ok(plain);
        };
        buffer.clear();
        buffer.extend_from_slice(&record.bytes);
        let associated = AssociatedData {
            key: plain.key,
            run: record.run.id,
            popped_ms: plain.popped_ms,
            requeued: plain.requeued,
            subject: plain.subject,
        };
        let nonce_tag = Some(cipher.encrypt(associated, buffer)?);
        Ok(Self {
            bytes: buffer,
            nonce_tag,
            ..plain
        })
    }

    /// One that covers numbers without an entry.
    pub(super) fn stretch(first: Key, count: u64, kind: i64) -> Self {
        Self {
            key: first,
            kind,
            count,
            popped_ms: 0,
            requeued: None,
            subject: "",
            bytes: &[],
            nonce_tag: None,
        }
    }

    /// Writes it by [`INSERT`] or [`INSERT_ENCRYPTED`]; returns whether it is new.
    pub(super) fn insert(&self, statement: &mut Statement<'_>) -> rusqlite::Result<bool> {
        statement.raw_bind_parameter(1, self.key.row())?;
        statement.raw_bind_parameter(2, self.kind)?;
        statement.raw_bind_parameter(3, int(self.count))?;
        statement.raw_bind_parameter(4, int(self.popped_ms))?;
        statement.raw_bind_parameter(5, self.checksum())?;
        statement.raw_bind_parameter(6, self.requeued.map(Position::to_bytes))?;
        statement.raw_bind_parameter(7, self.subject)?;
        statement.raw_bind_parameter(8, self.bytes)?;
        if statement.parameter_count() > 8 {
            statement.raw_bind_parameter(9, self.nonce_tag)?;
        }
        Ok(statement.raw_execute()? > 0)
    }

    pub(super) fn checksum(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for number in [
            self.key.row(),
            self.kind,
            int(self.count),
            int(self.popped_ms),
        ] {
            crc.update(&number.to_le_bytes());
        }
        if let Some(old) = self.requeued {
            crc.update(&old.to_bytes());
        }
        crc.update(self.subject.as_bytes());
        crc.update(self.bytes);
        if let Some(nonce_tag) = &self.nonce_tag {
            crc.update(nonce_tag);
        }
        crc.finalize()
    }

    /// Reads the columns that [`columns`] names; `None` if they do not fit their checksum.
    pub(super) fn sound(key: Key, row: &'r SqlRow<'_>) -> Option<Self> {
        let integer = |column| row.get::<_, i64>(column).ok();
        let ValueRef::Blob(bytes) = row.get_ref(7).ok()? else {
            return None;
        };
        let found = Self {
            key,
            kind: integer(1)?,
            count: u64::try_from(integer(2)?).ok()?,
            popped_ms: u64::try_from(integer(3)?).ok()?,
            requeued: match row.get_ref(5).ok()? {
                ValueRef::Null => None,
                old => Some(Position::from_bytes(old.as_blob().ok()?)?),
            },
            subject: row.get_ref(6).ok()?.as_str().ok()?,
            bytes,
            nonce_tag: match row.get_ref(8).ok()? {
                ValueRef::Null => None,
                found => Some(found.as_blob().ok()?.try_into().ok()?),
            },
        };
        (u32::try_from(integer(4)?).ok()? == found.checksum()).then_some(found)
    }
}

impl StoredRow {
    pub(super) fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let first = Key::from_row(row.get(0)?).unwrap_or_default();
        let damaged = Self {
            first,
            end: first.after(1),
            content: Content::Damaged,
        };
        Ok(Row::sound(first, row).map_or(damaged, |row| Self::of(&row)))
    }

    fn of(row: &Row<'_>) -> Self {
        let content = match (row.kind, reason(row.kind)) {
            (ENTRY, _) => Content::Entry(StoredEntry {
                popped_ms: row.popped_ms,
                requeued: row.requeued,
                subject: row.subject.into(),
                bytes: Bytes::copy_from_slice(row.bytes),
                nonce_tag: row.nonce_tag,
            }),
            (ACCOUNTED, _) => Content::Accounted,
            (_, Some(reason)) => Content::Loss(reason),
            (_, None) => Content::Damaged,
        };
        Self {
            first: row.key,
            end: row.key.after(row.count.max(1)),
            content,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(&self.content, Content::Entry(entry) if entry.nonce_tag.is_some())
    }

    /// What it weighs in a bound of bytes.
    pub(super) fn size(&self) -> u64 {
        match &self.content {
            Content::Entry(entry) => entry.size(),
            _ => Record::OVERHEAD,
        }
    }
}

impl StoredEntry {
    /// As [`Record::size`].
    pub(super) fn size(&self) -> u64 {
        (self.subject.len() + self.bytes.len()) as u64 + Record::OVERHEAD
    }

    /// The same in plain text; `None` if it was changed since it was encrypted, or moved from where it was.
    pub(super) fn decrypted(self, key: Key, run: RunId, cipher: Option<&Cipher>) -> Option<Self> {
        let Some(nonce_tag) = self.nonce_tag else {
            return Some(self);
        };
        let associated = AssociatedData {
            key,
            run,
            popped_ms: self.popped_ms,
            requeued: self.requeued,
            subject: &self.subject,
        };
        let mut bytes = self.bytes.to_vec();
        cipher?.decrypt(associated, nonce_tag, &mut bytes)?;
        Some(Self {
            bytes: bytes.into(),
            nonce_tag: None,
            ..self
        })
    }

    /// Of one in plain text.
    pub(super) fn record(self, key: Key, run: &Arc<Run>, losses: Vec<Loss>) -> Record {
        Record {
            run: Arc::clone(run),
            n: key.n(),
            losses,
            popped_ms: self.popped_ms,
            requeued: self.requeued,
            since: Instant::now(),
            subject: self.subject.into(),
            bytes: self.bytes,
        }
    }
}

/// The numbers are part of the format: never change one. 8 is [`ACCOUNTED`]; the next free one is 9.
pub(super) fn kind(reason: LossReason) -> i64 {
    match reason {
        LossReason::QueueFull => 1,
        LossReason::AlreadyShutdown => 2,
        LossReason::SpillFull => 3,
        LossReason::SpillEvicted => 4,
        LossReason::EncodeError => 5,
        LossReason::Corrupt => 6,
        LossReason::DeadLettered => 7,
    }
}

pub(super) fn reason(of: i64) -> Option<LossReason> {
    LossReason::ALL
        .into_iter()
        .find(|&reason| kind(reason) == of)
}

/// As `SQLite` keeps integers. Counts and times stay below by far.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// As we keep counts. A negative one is damage, and reads as 0.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
