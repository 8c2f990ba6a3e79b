//! Reading past damage: where a page cannot be read, the search goes on after it.

use rusqlite::Connection;

use crate::event::Key;

use super::dead_letters::add_nonce_tag;
use super::row::NONCE_TAG;
use super::schema::has_column;

/// The first key after `failed` from which on rows can be read again, and below `end`; `None` if nothing more can.
///
/// A search by key does not touch the pages before it. So the distance is doubled until a search succeeds, and then
/// halved down to the first that does.
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
    let has = |column| has_column(from, "dead_letters", column);
    let mut columns = vec![
        "key",
        "run",
        "reason",
        "detail",
        "popped_ms",
        "at_ms",
        "checksum",
    ];
    if has("requeued") {
        columns.push("requeued");
    }
    if has(NONCE_TAG) {
        add_nonce_tag(to)?;
        columns.push(NONCE_TAG);
    }
    columns.extend(["subject", "bytes"]);
    copy(from, to, "dead_letters", &columns)
}

/// Copies the digests of imported rows that can be read.
pub(super) fn imported(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    if has_column(from, "imported", "id") {
        copy(from, to, "imported", &["id", "digest"])?;
    }
    Ok(())
}

/// The first column is the key.
fn copy(from: &Connection, to: &Connection, table: &str, columns: &[&str]) -> rusqlite::Result<()> {
    let (key, names) = (columns[0], columns.join(", "));
    let select = format!("SELECT {names} FROM {table} WHERE {key} >= ?1 ORDER BY {key}");
    let places = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
    let mut target = to.prepare(&insert)?;
    let mut start = Key::default();
    loop {
        let Some(failed) = copy_from(from, &mut target, &select, columns.len(), start)? else {
            return Ok(());
        };
        let end = Key::from_number(i64::MAX.unsigned_abs());
        match seek(failed, end, |key| is_readable(from, &select, key)) {
            Some(next) => start = next,
            None => return Ok(()),
        }
    }
}

/// Returns where reading failed, if it did. Errors are those of writing.
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
    let look = || -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(&format!("{select} LIMIT 1"))?;
        let mut rows = statement.query([key.row()])?;
        if let Some(row) = rows.next()? {
            // The bytes of a long row lie in pages of their own.
            row.get_ref(row.as_ref().column_count() - 1)?;
        }
        Ok(())
    };
    look().is_ok()
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
