//! Reads the rows of a segment in chunks.

use rusqlite::Connection;

use crate::event::Key;

use super::row::{Content, StoredRow, columns};
use super::schema;

/// How many rows are read at once, and how many bytes of them.
pub(super) const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: u64 = 1 << 20;

/// Where reading from a key begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// At the row that covers the key, which may begin before it.
    Covering,
    /// At the key itself.
    Key,
}

/// Rows of a chunk, and how it ended.
pub(super) struct Chunk {
    pub(super) rows: Vec<StoredRow>,
    pub(super) end: ChunkEnd,
}

pub(super) enum ChunkEnd {
    Full,
    /// There are no more rows in the segment.
    Last,
    Failed(rusqlite::Error),
}

/// The row after which reading continues: the last sound one, as a damaged row's key may be wrong; without one, the
/// last.
pub(super) fn last_read(rows: &[StoredRow]) -> Option<&StoredRow> {
    let sound = |row: &&StoredRow| !matches!(row.content, Content::Damaged);
    rows.iter().rfind(sound).or(rows.last())
}

/// Whether the segment has no table: its process was killed while making it, and no row was ever in it.
pub(super) fn was_never_made(conn: &Connection) -> bool {
    schema::has_table(conn, "rows").is_ok_and(|exists| !exists)
}

/// Reads the rows with keys in `from..below`. The row that covers `from` may begin before it.
///
/// Rows come in the order of the file: a damaged one whose key is past the range does not end the reading.
pub(super) fn read_rows(
    conn: &Connection,
    from: Key,
    below: Key,
    read_from: ReadFrom,
    limit: usize,
) -> Chunk {
    let mut rows = Vec::new();
    let end = match read_into(&mut rows, conn, from, below, read_from, limit) {
        Ok(end) => end,
        Err(error) => ChunkEnd::Failed(error),
    };
    Chunk { rows, end }
}

fn read_into(
    out: &mut Vec<StoredRow>,
    conn: &Connection,
    from: Key,
    below: Key,
    read_from: ReadFrom,
    limit: usize,
) -> rusqlite::Result<ChunkEnd> {
    let mut statement = conn.prepare_cached(&select(conn, read_from))?;
    let mut rows = statement.query([from.row()])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let found = StoredRow::read(row)?;
        let damaged = matches!(found.content, Content::Damaged);
        if found.first >= below {
            if damaged {
                continue;
            }
            return Ok(ChunkEnd::Last);
        }
        bytes += found.size();
        out.push(found);
        if bytes >= CHUNK_BYTES || out.len() >= limit {
            return Ok(ChunkEnd::Full);
        }
    }
    Ok(ChunkEnd::Last)
}

fn select(conn: &Connection, read_from: ReadFrom) -> String {
    let columns = columns(conn);
    let from = match read_from {
        ReadFrom::Covering => "coalesce((SELECT max(key) FROM rows WHERE key <= ?1), ?1)",
        ReadFrom::Key => "?1",
    };
    format!("SELECT {columns} FROM rows WHERE key >= {from} ORDER BY key")
}
