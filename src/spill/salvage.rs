//! Reading past damage: where a page cannot be read, the search goes on after it.

use rusqlite::{Connection, Params};

use crate::event::Key;

use super::dead_letters as letters;

/// The first key after `failed` from which on rows can be read again, and below `end`; `None` if nothing more can.
///
/// A search by key does not touch the pages before it. So the distance is doubled until a search succeeds, and then halved
/// down to the first that does.
pub(super) fn seek(failed: Key, end: Key, mut readable: impl FnMut(Key) -> bool) -> Option<Key> {
    let (mut bad, mut step) = (failed, 1);
    let last = end.before();
    let mut good = loop {
        let probe = failed.after(step).min(last);
        if probe <= bad {
            return None;
        }
        if readable(probe) {
            break probe;
        }
        bad = probe;
        step = step.saturating_mul(2);
    };
    while bad.distance(good) > 1 {
        let middle = bad.after(bad.distance(good) / 2);
        if readable(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

/// Copies the dead letters that can be read.
pub(super) fn dead_letters(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    const COLUMNS: &str =
        "key, run, reason, detail, popped_ms, at_ms, checksum, requeued, subject, bytes";
    if letters::is_encrypted(from) {
        letters::add_nonce_tag(to)?;
        let columns = COLUMNS.replace("subject", "nonce_tag, subject");
        return copy(
            from,
            to,
            &format!("SELECT {columns} FROM dead_letters WHERE key >= ?1 ORDER BY key"),
            &format!(
                "INSERT OR IGNORE INTO dead_letters ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ),
            11,
        );
    }
    let requeued = from.prepare("SELECT requeued FROM dead_letters").is_ok();
    let columns = if requeued {
        COLUMNS.to_owned()
    } else {
        COLUMNS.replace("requeued", "NULL")
    };
    copy(
        from,
        to,
        &format!("SELECT {columns} FROM dead_letters WHERE key >= ?1 ORDER BY key"),
        &format!(
            "INSERT OR IGNORE INTO dead_letters ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ),
        10,
    )
}

/// Copies the digests of imported rows that can be read.
pub(super) fn imported(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    if from.prepare("SELECT id FROM imported").is_err() {
        return Ok(());
    }
    copy(
        from,
        to,
        "SELECT id, digest FROM imported WHERE id >= ?1 ORDER BY id",
        "INSERT OR IGNORE INTO imported (id, digest) VALUES (?1, ?2)",
        2,
    )
}

/// The first column is the key.
fn copy(
    from: &Connection,
    to: &Connection,
    select: &str,
    insert: &str,
    columns: usize,
) -> rusqlite::Result<()> {
    let mut target = to.prepare(insert)?;
    let mut start = Key::default();
    loop {
        let Some(failed) = copy_from(from, &mut target, select, columns, start)? else {
            return Ok(());
        };
        let end = Key::from_number(i64::MAX.unsigned_abs());
        match seek(failed, end, |key| is_readable(from, select, key)) {
            Some(next) => start = next,
            None => return Ok(()),
        }
    }
}

/// Answers where reading failed, if it did. Errors are those of writing.
fn copy_from(
    from: &Connection,
    target: &mut rusqlite::Statement<'_>,
    select: &str,
    columns: usize,
    start: Key,
) -> rusqlite::Result<Option<Key>> {
    let mut at = start;
    let Ok(mut statement) = from.prepare(select) else {
        return Ok(Some(at));
    };
    let Ok(mut rows) = statement.query([start.row()]) else {
        return Ok(Some(at));
    };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(at)),
        };
        let values: Result<Vec<rusqlite::types::Value>, _> =
            (0..columns).map(|column| row.get(column)).collect();
        let key = row.get(0).ok().and_then(Key::from_row).unwrap_or(at);
        if let Ok(values) = values {
            target.execute(rusqlite::params_from_iter(values))?;
        }
        at = key.after(1);
    }
}

/// Whether a search for this key, and the row it finds if any, can be read.
fn is_readable(conn: &Connection, select: &str, key: Key) -> bool {
    first_row(conn, &format!("{select} LIMIT 1"), [key.row()]).is_ok()
}

fn first_row(conn: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    if let Some(row) = rows.next()? {
        // The bytes of a long row lie in pages of their own.
        row.get_ref(row.as_ref().column_count() - 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_readable_key_after_damage_is_found_in_few_probes() {
        let key = |n| Key::new(1, n);
        let mut probes = 0;
        let found = seek(key(10), key(1 << 30), |probe| {
            probes += 1;
            probe >= key(5_000)
        });
        assert_eq!(found, Some(key(5_000)));
        assert!(probes < 40, "{probes}");
        let reaches = |probe| probe >= key(4_900);
        assert_eq!(seek(key(10), key(5_000), reaches), Some(key(4_900)));
        assert_eq!(seek(key(10), key(5_000), |_| false), None);
        assert_eq!(seek(key(10), key(12), |_| true), Some(key(11)));
    }

    #[test]
    fn digests_of_imported_rows_are_copied_if_there_are_any() -> rusqlite::Result<()> {
        let from = Connection::open_in_memory()?;
        let to = Connection::open_in_memory()?;
        let table = "CREATE TABLE imported (id INTEGER PRIMARY KEY, digest BLOB UNIQUE)";
        to.execute_batch(table)?;
        imported(&from, &to)?;
        from.execute_batch(table)?;
        let some = |digests: &str| format!("INSERT INTO imported (digest) VALUES {digests}");
        from.execute_batch(&some("(x'0a'), (x'0b'), (x'0c')"))?;
        to.execute_batch(&some("(x'0a')"))?;
        imported(&from, &to)?;
        let digests = "SELECT group_concat(hex(digest), ' ' ORDER BY id) FROM imported";
        let copied: String = to.query_row(digests, (), |row| row.get(0))?;
        assert_eq!(copied, "0A 0B 0C");
        Ok(())
    }
}
