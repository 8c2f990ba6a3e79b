//! The power fails after each call that an import makes, on the spill's files or on those of the buffer that it takes
//! over: with what the disk has kept, the next import completes it, and each row of the buffer is delivered once and in
//! order. The buffer is filled, imported, filled again and imported again, by hand or at a start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]
#![allow(clippy::print_stdout, reason = "said by the test itself")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_tests::{Disk, Event, Mark, Step, Trace, check_each, memory, vfs};
use parking_lot::Mutex;
use rusqlite::Connection;
use spillring::{
    AgentId, AuditEntry, AuditEventType, Config, EmitSink, SessionId, Sink, SinkError,
    SpillDurability,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Below the spill directory, so that one trace has both.
const BUFFER: &str = "theirs/buffer.db";

/// How many rows the buffer is filled with each time.
const FILLS: [u64; 2] = [5, 4];

#[test]
fn an_import_by_hand_survives_a_power_cut_at_any_call() {
    let events = record(|dir| {
        spillring::import(dir.join(BUFFER), dir).unwrap();
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
    let _watching = vfs::watch(dir.path(), Arc::clone(&trace) as _);
    let mut rows = 0;
    for fill in FILLS {
        fill_buffer(&dir.path().join(BUFFER), rows, fill);
        rows += fill;
        trace.mark(Mark::Flushed(rows.try_into().unwrap()));
        import(dir.path());
    }
    trace.events()
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
            [serde_json::to_vec(&entry(seq)).unwrap()],
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
    let disks = check_each(events, check);
    println!("{disks} disks rebuilt");
    assert!(disks > 500);
}

/// Imports what is still there, and delivers.
fn check(disk: &Disk) {
    if disk.flushed == 0 {
        // The buffer was still being made.
        return;
    }
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let spill = dir.path().join("spill");
    disk.write(&spill);
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&delivered);
    let sink = EmitSink::entries(move |entry: AuditEntry| {
        theirs.lock().push(entry.seq());
        async { Ok(()) }
    });
    let drainer = spillring::start::<AuditEntry>(importing(&spill), sink).unwrap();
    let begun = Instant::now();
    while drainer.stats().spilled > 0 {
        assert!(begun.elapsed() < LIMIT, "it is never delivered");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = drainer.shutdown(LIMIT).wait(LIMIT * 2).unwrap();
    assert_eq!((stats.dead_lettered, stats.discarded.total()), (0, 0));
    let delivered = delivered.lock();
    assert!(
        delivered.iter().copied().eq(0..delivered.len() as u64),
        "{delivered:?}"
    );
    assert!(
        delivered.len() >= disk.flushed,
        "lost from {}",
        delivered.len()
    );
}

fn importing(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.import = Some(dir.join(BUFFER));
    config.spill_durability = SpillDurability::ProcessCrash;
    // Its reserve is a part of this, and made anew on each of the disks.
    config.spill_bytes_max = 8 << 20;
    config
}

fn away() -> impl Sink {
    EmitSink::new(|_| async { Err(SinkError::Unavailable("away".to_owned())) })
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
