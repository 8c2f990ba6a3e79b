//! Somebody else's file on the same disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Its name.
pub const FILLER: &str = "filler";

/// Takes all bytes that are free.
pub fn fill(disk: &Path) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(disk.join(FILLER))
        .unwrap();
    for size in [1 << 20, 4_096, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}

pub fn empty(disk: &Path) {
    fs::remove_file(disk.join(FILLER)).unwrap();
}
