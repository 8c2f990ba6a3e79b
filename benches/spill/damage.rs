//! Damage to a spill at rest.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use crate::measure::{Note, largest_database};

/// Bytes of a page of the spill's databases.
const PAGE_BYTES: usize = 16_384;
/// A page of rows holds dozens of notes; one above such pages holds none.
const NOTES_MIN: usize = 10;

/// Overwrites one page of rows, about in the middle of the largest database of the backlog.
pub(crate) fn damage(spill: &Path) {
    let database = largest_database(spill);
    // A newer version of the page may be in the log, and would hide the damage.
    let conn = Connection::open(&database).expect("a database");
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
        .expect("a checkpoint");
    conn.close().expect("it closes");
    let file = File::options()
        .read(true)
        .write(true)
        .open(&database)
        .expect("a database");
    let pages = file.metadata().expect("its size").len() / PAGE_BYTES as u64;
    let page = (pages / 2..pages)
        .map(|page| page * PAGE_BYTES as u64)
        .find(|at| holds_notes(&file, *at));
    file.write_all_at(&[0xA5; PAGE_BYTES], page.expect("a page of rows"))
        .expect("a write");
}

fn holds_notes(file: &File, at: u64) -> bool {
    let mut page = [0; PAGE_BYTES];
    file.read_exact_at(&mut page, at).expect("a page");
    let filling = page.iter().filter(|byte| **byte == Note::FILLING);
    filling.count() > NOTES_MIN * size_of::<Note>()
}
