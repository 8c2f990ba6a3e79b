//! Makes the buffer file that spillring's tests import, with Agent Assembly's own crate, of entries without the keys
//! that came later (`PROTOC` as in `benches/versus/run`):
//!
//!     grep -v 'policy_doc_id\|decision_id' tests/data/sessions.jsonl | head -n 40 |
//!         cargo run --manifest-path benches/versus/original/Cargo.toml --example buffer -- tests/data/buffer_alpha8.db

#![allow(clippy::expect_used, reason = "what fails says so and ends")]

use std::io::stdin;

use aa_storage_sqlite_buffer::{AuditEntry, EventBuffer};

fn main() {
    let path = std::env::args().nth(1).expect("the path of the file");
    let buffer = EventBuffer::new(path, 1_000).expect("a buffer");
    for line in stdin().lines() {
        let entry: AuditEntry = serde_json::from_str(&line.expect("a line")).expect("an entry");
        buffer.enqueue(&entry).expect("it is buffered");
    }
}
