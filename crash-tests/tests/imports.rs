//! The power fails after each call that an import makes, on the spill's files or on those of the buffer that it takes
//! over: with what the disk has kept, the next import completes it, by hand or at a start, and each row of the buffer
//! is delivered once and in order, but for those that are no entry: they are dead letters. The buffer is filled,
//! imported, filled again and imported again.
//!
//! Each filling is one page of an import. Between two pages it is killed by `tests/moving/import.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stdout, reason = "said by the test itself")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crash_tests::{Call, Disk, Event, Mark, SPILL_BYTES_MAX, Step, Trace, Verdict, Watch};
use crash_tests::{check_each, memory, vfs};
use parking_lot::Mutex;
use rusqlite::Connection;
use spillring::assembly::{AgentId, AuditEventType, SessionId};
use spillring::config::SpillDurability;
use spillring::error::SinkError;
use spillring::event::Record;
use spillring::operate::DeadLetters;
use spillring::sink::EmitSink;
use spillring::{AuditEntry, Config, Sink};

const LIMIT: Duration = Duration::from_secs(30);

/// Below the spill directory, so that one trace has both.
const BUFFER: &str = "theirs/buffer.db";

/// How many rows the buffer is filled with each time.
const FILLS: [u64; 2] = [5, 4];

/// Rows that are no entry.
const JUNK: [u64; 2] = [2, 8];

#[test]
fn an_import_by_hand_survives_a_power_cut_at_any_call() {
    let events = record(|dir| {
        spillring::operate::import(dir.join(BUFFER), dir).unwrap();
    });
    check_all(&events);
}

/// Even where commits of the spill are not synced: those that let rows be removed are.
#[test]
fn an_import_at_a_start_survives_a_power_cut_at_any_call() {
    let events = record(|dir| {
        let drainer = spillring::start::<AuditEntry>(importing(dir), away()).unwrap();
        drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    });
    check_all(&events);
}

fn record(import: impl Fn(&Path)) -> Vec<Event> {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    fs::create_dir(dir.path().join("theirs")).unwrap();
    let trace = Trace::of(dir.path());
    let watch = Arc::new(AsShipped(Arc::clone(&trace)));
    let _watching = vfs::watch(dir.path(), watch);
    let mut rows = 0;
    for fill in FILLS {
        fill_buffer(&dir.path().join(BUFFER), rows, fill);
        rows += fill;
        trace.mark(Mark::Flushed(rows.try_into().unwrap()));
        import(dir.path());
    }
    trace.events()
}

/// Without the scaled checkpoints: they would sync each page of an import, and hide that nothing else does.
struct AsShipped(Arc<Trace>);

impl Watch for AsShipped {
    fn before(&self, call: Call<'_>) -> Verdict {
        self.0.before(call)
    }

    fn after(&self, call: Call<'_>) {
        self.0.after(call);
    }
}

/// Closed, so that all of it is safe.
fn fill_buffer(buffer: &Path, from: u64, count: u64) {
    let conn = Connection::open(buffer).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS events \
         (id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, enqueued_at INTEGER NOT NULL)",
    )
    .unwrap();
    for seq in from..from + count {
        conn.execute(
            "INSERT INTO events (payload, enqueued_at) VALUES (?1, 7)",
            [payload(seq)],
        )
        .unwrap();
    }
    conn.close().unwrap();
}

fn check_all(events: &[Event]) {
    let of_buffer = |event: &&Event| matches!(&event.step, Step::Write { file, .. } if file.starts_with("theirs"));
    println!(
        "{} events, {} of them writes to the buffer",
        events.len(),
        events.iter().filter(of_buffer).count()
    );
    let checked = AtomicUsize::new(0);
    check_each(events, |disk| {
        // Until then the buffer was being made.
        if disk.flushed > 0 {
            check(disk);
            checked.fetch_add(1, Ordering::Relaxed);
        }
    });
    let checked = checked.into_inner();
    println!("{checked} disks checked");
    assert!(checked > 300, "{checked}");
}

/// Imports what is still there, and delivers; then once more, from a copy of what was there.
fn check(disk: &Disk) {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let spill = dir.path().join("spill");
    disk.write(&spill);
    let copy = dir.path().join("theirs");
    copy_folder(&spill.join("theirs"), &copy);
    if disk.events.is_multiple_of(2) {
        spillring::operate::import(spill.join(BUFFER), &spill).unwrap();
    }
    let mut delivered = Vec::new();
    deliver(importing(&spill), &mut delivered);
    let rows = delivered.len();
    // Some of them are enough.
    if disk.there.is_empty() {
        let mut again = importing(&spill);
        again.import = Some(copy.join("buffer.db"));
        deliver(again, &mut delivered);
        assert_eq!(rows, delivered.len(), "doubled from a copy");
    }
    let letters = DeadLetters::open(&spill).unwrap().iter().count();
    let junk = JUNK
        .iter()
        .filter(|junk| **junk < (rows + letters) as u64)
        .count();
    assert_eq!(letters, junk);
    let entries = (0..).filter(|seq| !JUNK.contains(seq)).take(rows);
    assert!(delivered.iter().copied().eq(entries), "{delivered:?}");
    assert!(
        rows + letters >= disk.flushed,
        "lost from {}",
        rows + letters
    );
}

fn deliver(config: Config, delivered: &mut Vec<u64>) {
    let seqs = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&seqs);
    let sink = EmitSink::new(move |record: Record| {
        let entry: AuditEntry = serde_json::from_slice(record.bytes()).unwrap();
        theirs.lock().push(entry.seq());
        // An import is no publisher that was killed.
        let begins = record.opens_run().map(ToString::to_string);
        assert!(
            begins.is_none_or(|begins| !begins.contains("killed")),
            "{:?}",
            record.opens_run()
        );
        async { Ok(()) }
    });
    let drainer = spillring::start::<AuditEntry>(config, sink).unwrap();
    let begun = Instant::now();
    while drainer.stats().spilled > 0 {
        assert!(begun.elapsed() < LIMIT, "it is never delivered");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = drainer.shutdown(LIMIT).wait(LIMIT * 2).unwrap();
    assert_eq!(
        (stats.accounted(), stats.discarded.total()),
        (stats.entered(), 0)
    );
    delivered.append(&mut seqs.lock());
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn importing(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.import = Some(dir.join(BUFFER));
    config.spill_durability = SpillDurability::ProcessCrash;
    config.spill_bytes_max = SPILL_BYTES_MAX;
    config
}

fn away() -> impl Sink {
    EmitSink::new(|_| async { Err(SinkError::Unavailable("away".to_owned())) })
}

fn payload(seq: u64) -> Vec<u8> {
    if JUNK.contains(&seq) {
        return b"no entry".to_vec();
    }
    serde_json::to_vec(&entry(seq)).unwrap()
}

fn entry(seq: u64) -> AuditEntry {
    AuditEntry::new(
        seq,
        seq,
        AuditEventType::ToolCallIntercepted,
        AgentId::from_bytes([7; 16]),
        SessionId::from_bytes([8; 16]),
        "{}".to_owned(),
        [0; 32],
    )
}
