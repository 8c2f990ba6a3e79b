//! What a careful user of rusqlite would write for the same rows: batches in transactions, one prepared statement, one
//! database.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use spillring::config::SpillDurability;
use spillring::{AuditEntry, Event};

use crate::measure::{largest_database, publish};
use crate::support::bench::LIMIT;
use crate::support::{Away, entries, start_with};

/// Rows of a transaction, as many as spillring takes.
pub(crate) const ROWS: usize = 1_024;

/// A database that spillring has made, with the connection set up as spillring's is.
#[derive(Debug)]
pub(crate) struct Plain {
    conn: Connection,
    rows: Vec<Ready>,
    next: i64,
    _dir: tempfile::TempDir,
}

/// All that is stored of an entry, ready made.
#[derive(Debug)]
struct Ready {
    checksum: u32,
    subject: String,
    bytes: Vec<u8>,
}

impl Plain {
    pub(crate) fn new(durability: SpillDurability) -> Self {
        let entries = entries();
        let (drainer, dir) = start_with::<AuditEntry>(Away, |_| {});
        // An empty spill may have no file for rows.
        publish(&drainer.publisher(), entries[..1].iter().cloned());
        let end = drainer.shutdown(Duration::ZERO);
        end.wait(LIMIT).expect("an account");
        let database = largest_database(&dir.path().join("spill"));
        let conn = Connection::open(database).expect("a database");
        let synchronous = match durability {
            SpillDurability::ProcessCrash => "NORMAL",
            _ => "FULL",
        };
        for (name, value) in [
            ("locking_mode", "EXCLUSIVE"),
            ("journal_mode", "WAL"),
            ("wal_autocheckpoint", "1024"),
            ("journal_size_limit", "33554432"),
            ("cache_size", "-8192"),
            ("synchronous", synchronous),
        ] {
            conn.pragma_update(None, name, value).expect("a setting");
        }
        Self {
            conn,
            rows: entries.iter().map(Ready::new).collect(),
            next: 1 << 50,
            _dir: dir,
        }
    }

    /// The rate at which so many rows are inserted.
    pub(crate) fn insert(&mut self, count: usize) -> f64 {
        let sql = "INSERT INTO rows (key, kind, count, popped_ms, checksum, subject, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut insert = self.conn.prepare(sql).expect("a statement");
        let mut rows = self.rows.iter().cycle().take(count);
        let begin = Instant::now();
        for _ in 0..count.div_ceil(ROWS) {
            let transaction = self.conn.unchecked_transaction().expect("a transaction");
            for row in rows.by_ref().take(ROWS) {
                self.next += 1;
                let popped_ms = 1_790_000_000_000_i64;
                let values = params![
                    self.next,
                    0,
                    1,
                    popped_ms,
                    row.checksum,
                    row.subject,
                    row.bytes
                ];
                insert.execute(values).expect("a row");
            }
            transaction.commit().expect("a commit");
        }
        count as f64 / begin.elapsed().as_secs_f64()
    }
}

impl Ready {
    fn new(entry: &AuditEntry) -> Self {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes).expect("it can be encoded");
        Self {
            checksum: crc32fast::hash(&bytes),
            subject: entry.subject(),
            bytes,
        }
    }
}
