//! The first page of a database, without which `SQLite` reads none of the others: header and table of contents. It is the
//! same in all databases of a schema but for some numbers, so a damaged one can be replaced.
//!
//! Source: the `SQLite` documentation, "Database File Format", section 1.3.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::directory::{DATABASE, io_error};
use super::schema;
use crate::config::SpillDurability;
use crate::error::SpillError;

/// Where the damaged page is kept, beside the database.
const DAMAGED: &str = "first-page.damaged";
const TEMPLATE: &str = "template.sqlite3";

const PAGE_BITS: u32 = 14;
const PAGE: usize = 1 << PAGE_BITS;
const _: () = assert!(schema::PAGE_BYTES == 1 << PAGE_BITS);

/// Offsets in the header.
const CHANGES: usize = 24;
const PAGES: usize = 28;
const FREE_PAGES: std::ops::Range<usize> = 32..40;
const VALID_FOR: usize = 92;

/// Puts the first page of an empty database in the place of the one in this folder.
pub(super) fn replace(folder: &Path) -> Result<(), SpillError> {
    let template = folder.join(TEMPLATE);
    let page = first_page(&template);
    remove(&template);
    write(&folder.join(DATABASE), &folder.join(DAMAGED), page?)
        .map_err(io_error("mend", folder.join(DATABASE)))
}

fn first_page(template: &Path) -> Result<[u8; PAGE], SpillError> {
    let make = || File::create(template).map(drop);
    make().map_err(io_error("make", template.to_owned()))?;
    drop(schema::open(
        template,
        SpillDurability::ProcessCrash,
        schema::WAL_BYTES,
    )?);
    let mut page = [0; PAGE];
    File::open(template)
        .and_then(|file| file.read_exact_at(&mut page, 0))
        .map_err(io_error("read", template.to_owned()))?;
    Ok(page)
}

fn write(database: &Path, damaged: &Path, mut page: [u8; PAGE]) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(database)?;
    let pages = u32::try_from(file.metadata()?.len() / PAGE as u64).unwrap_or(u32::MAX);
    let mut number = |at: usize, number: u32| {
        page[at..at + 4].copy_from_slice(&number.to_be_bytes());
    };
    // The number of pages counts only if these two agree.
    number(CHANGES, 1);
    number(VALID_FOR, 1);
    number(PAGES, pages);
    page[FREE_PAGES].fill(0);
    if !damaged.exists() {
        let mut before = [0; PAGE];
        file.read_exact_at(&mut before, 0)?;
        fs::write(damaged, before)?;
    }
    file.write_all_at(&page, 0)
}

fn remove(template: &Path) {
    if let Err(error) = fs::remove_file(template) {
        tracing::debug!(target: "spillring", %error, "a scratch database is left behind");
    }
}
