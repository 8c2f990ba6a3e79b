//! The disk is full: what is on it comes out all the same, what finds no place is refused with its reason, and once
//! there is room again, all is as before.
//!
//! The disk is a small tmpfs of its own: this test binary is started again in a mount namespace. Where that cannot be
//! had, the tests are skipped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use spillring::assembly::{AgentId, AuditEventType, SessionId};
use spillring::config::{WhenRingUnusable, WhenSpillFull, WhenSpillUnusable};
use spillring::error::{SinkError, StartError};
use spillring::event::LossReason;
use spillring::sink::EmitSink;
use spillring::{AuditEntry, Config, Drainer, Sink, State};

use test_support::bench::{
    Bench, LIMIT, Note, announced, assert_announced, end, end_within, eventually, name,
    publish_until_refused, until_delivered, until_spilled,
};
use test_support::child::assert_one_passed;
use test_support::filler::{FILLER, empty, fill};
use test_support::sinks::Mode;
use test_support::skipped::skipped;

/// Where the small disk is mounted, for the child.
const DISK: &str = "SPILLRING_SMALL_DISK";
const BYTES: u64 = 96 << 20;

/// Runs the test in a child that has a disk of its own; answers where, if this is the child.
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={BYTES} tmpfs \"${DISK}\"");
    let in_namespace = |script: &str| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env(DISK, disk.path())
            .output()
    };
    if !in_namespace(&mount).is_ok_and(|output| output.status.success()) {
        skipped("no tmpfs can be mounted here");
        return None;
    }
    let child =
        format!("{mount} && exec \"$0\" --exact full_disk::{test} --nocapture --test-threads=1");
    let output = in_namespace(&child).unwrap();
    assert_one_passed(&output);
    None
}

fn bench(disk: &Path) -> Bench {
    let mut bench = Bench::down();
    bench.config.spill_dir = disk.join("spill");
    bench
}

fn text(number: usize) -> String {
    format!("{} {}", name(number), "x".repeat(1_000))
}

fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

fn until_full(disk: &Path) {
    eventually("the disk is full", || {
        rustix::fs::statvfs(disk).unwrap().f_bavail == 0
    });
}

/// The backlog is gone.
struct Drained {
    drainer: Drainer<Note>,
    /// How many of the entries that were accepted found no place until the end of a run.
    abandoned: usize,
    /// The losses that entries announce.
    announced: u64,
}

impl Drained {
    fn by(drainer: Drainer<Note>, announced: u64) -> Self {
        Self {
            drainer,
            abandoned: 0,
            announced,
        }
    }
}

/// The story of all tests here, with what happens while the disk is full.
fn full_and_empty_again(test: &str, meanwhile: fn(&Path, &Bench, Drainer<Note>) -> Drained) {
    let Some(disk) = small_disk(test) else { return };
    let bench = bench(&disk);
    let drainer = bench.start();
    for n in 0..10_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    fill(&disk);
    let accepted = publish_until_refused(&drainer, 10_000, text);
    for _ in 0..7 {
        drainer.publisher().publish(Note::new("lost"));
    }
    let lost = drainer.stats().lost;
    assert_eq!((lost.spill_full, lost.queue_full), (7, 0));
    let Drained {
        drainer,
        abandoned,
        announced: expected,
    } = meanwhile(&disk, &bench, drainer);
    let accepted = accepted - abandoned;
    assert_eq!(drainer.stats().spilled, 0);
    assert_eq!(bench.remote.texts()[..accepted], texts(0..accepted));
    if disk.join(FILLER).exists() {
        empty(&disk);
    }
    bench.remote.set(Mode::Down);
    let next = 100_000;
    for n in next..next + 1_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let stats = drainer.stats();
    end(
        drainer,
        stats.accepted + stats.lost.total() + stats.returned,
    );
    assert_eq!(stats.discarded.total(), 0);
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(announced(&stored, LossReason::SpillFull), expected);
    assert_eq!(bench.remote.texts()[accepted..], texts(next..next + 1_000));
}

#[test]
fn a_full_disk_drains_and_works_again() {
    full_and_empty_again("a_full_disk_drains_and_works_again", |_, bench, drainer| {
        bench.remote.set(Mode::Up);
        until_delivered(&drainer);
        Drained::by(drainer, 7)
    });
}

/// Whatever is freed is taken by somebody else at once: nothing can be deleted, and yet all comes out, once.
#[test]
fn a_disk_that_somebody_else_keeps_full_holds_nothing_up() {
    full_and_empty_again(
        "a_disk_that_somebody_else_keeps_full_holds_nothing_up",
        |disk, bench, drainer| {
            let stop = Arc::new(AtomicBool::new(false));
            let greedy = std::thread::spawn({
                let (disk, stop) = (disk.to_owned(), Arc::clone(&stop));
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        fill(&disk);
                    }
                }
            });
            bench.remote.set(Mode::Up);
            until_delivered(&drainer);
            stop.store(true, Ordering::Relaxed);
            greedy.join().unwrap();
            Drained::by(drainer, 7)
        },
    );
}

/// A run ends, and another starts, while the disk is full. What found no place is accounted for; the rest comes out.
#[test]
fn a_publisher_starts_on_a_full_disk() {
    full_and_empty_again(
        "a_publisher_starts_on_a_full_disk",
        |disk, bench, drainer| {
            let stats = drainer.stats();
            let attempted = stats.accepted + stats.lost.total() + stats.returned;
            let before = end_within(drainer, Duration::ZERO, attempted);
            assert!(before.spilled >= 10_000, "{before:#?}");
            assert_eq!(before.discarded.total(), 0);
            fill(disk);
            let drainer = bench.start();
            bench.remote.set(Mode::Up);
            until_delivered(&drainer);
            // The losses come after the last entry of their run: the next one says how far that had come.
            Drained {
                abandoned: usize::try_from(before.in_ring + before.in_memory).unwrap(),
                ..Drained::by(drainer, 0)
            }
        },
    );
}

/// The folder of the segments is a disk of its own, from which nothing can be moved.
#[test]
fn a_damaged_segment_on_a_disk_of_its_own_is_kept_there() {
    let Some(disk) = small_disk("a_damaged_segment_on_a_disk_of_its_own_is_kept_there") else {
        return;
    };
    let bench = bench(&disk);
    let folder = bench.spill().join("segments");
    fs::create_dir_all(&folder).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(mounted.success());
    let drainer = bench.start();
    for n in 0..100 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    end_within(drainer, Duration::ZERO, 100);
    let segment = the_segment(&bench);
    fs::write(&segment, vec![7; 100_000]).unwrap();
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new(text(100)));
    let stats = end(drainer, 1);
    assert_eq!(stats.discarded.corrupt, 100);
    assert_eq!(bench.remote.texts(), texts(100..=100));
    assert!(segment.with_extension("damaged").exists());
    let stored = bench.remote.stored();
    assert_announced(&stored);
    assert_eq!(announced(&stored, LossReason::Corrupt), 100);
}

fn the_segment(bench: &Bench) -> PathBuf {
    let segments = fs::read_dir(bench.spill().join("segments")).unwrap();
    let segments: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].clone()
}

/// A backlog that is larger than a cap which was lowered since is read and drained.
#[test]
fn a_backlog_beyond_a_lowered_cap_is_drained() {
    let mut bench = Bench::down();
    let drainer = bench.start();
    for n in 0..5_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    end_within(drainer, Duration::ZERO, 5_000);
    bench.config.spill_bytes_max = 1 << 20;
    let drainer = bench.start();
    assert!(drainer.stats().spill_bytes > 4 << 20);
    let accepted = publish_until_refused(&drainer, 5_000, text);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let returned = drainer.stats().returned;
    end(drainer, (accepted - 5_000) as u64 + returned);
    assert_eq!(bench.remote.texts(), texts(0..accepted));
}

/// The last run ended clean, and so left no log behind: opening a database to write to it makes one.
#[test]
fn a_publisher_that_ended_clean_starts_on_a_full_disk() {
    let test = "a_publisher_that_ended_clean_starts_on_a_full_disk";
    let Some(disk) = small_disk(test) else { return };
    let bench = bench(&disk);
    bench.remote.set(Mode::Up);
    end(bench.start(), 0);
    fill(&disk);
    let drainer = bench.start();
    drainer.publisher().publish(Note::new(text(0)));
    until_delivered(&drainer);
    end(drainer, 1);
    assert_eq!(bench.remote.texts(), texts(0..1));
}

/// Somebody else's file took the disk just when the publisher started; it has gone since.
#[test]
fn a_start_on_a_full_disk_does_not_keep_the_spill_small() {
    let test = "a_start_on_a_full_disk_does_not_keep_the_spill_small";
    let Some(disk) = small_disk(test) else { return };
    let bench = bench(&disk);
    end(bench.start(), 0);
    fill(&disk);
    let drainer = bench.start();
    empty(&disk);
    // There is room for 48 MiB.
    for n in 0..30_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 30_000);
    assert_eq!(bench.remote.texts(), texts(0..30_000));
}

/// Evicting makes no room on a disk that somebody else has filled: the backlog has its place already.
#[test]
fn a_start_on_a_full_disk_evicts_nothing_for_want_of_free_room() {
    let test = "a_start_on_a_full_disk_evicts_nothing_for_want_of_free_room";
    let Some(disk) = small_disk(test) else { return };
    let mut bench = bench(&disk);
    bench.config.when_spill_full = WhenSpillFull::EvictOldest;
    let drainer = bench.start();
    for n in 0..20_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    end_within(drainer, Duration::ZERO, 20_000);
    fill(&disk);
    bench.remote.set(Mode::Prefixes(0));
    let drainer = bench.start();
    for n in 20_000..20_500 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    eventually("the new ones are on disk, or will not be", || {
        let stats = drainer.stats();
        stats.in_ring + stats.in_memory == 0 || stats.state == State::SpillFull
    });
    let evicted = drainer.stats().discarded.spill_evicted;
    drop(drainer);
    assert!(evicted < 5_000, "{evicted} of 20,000 were given up for 500");
}

/// A start goes on without the rest of an import that finds no room, and the backlog that is there comes first.
#[test]
fn an_import_that_finds_no_room_keeps_nobody_from_starting() {
    let test = "an_import_that_finds_no_room_keeps_nobody_from_starting";
    let Some(disk) = small_disk(test) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let buffer = elsewhere.path().join("buffer.db");
    fill_buffer(&buffer, 1_000..21_000);
    let mut config = Config::new(disk.join("spill"));
    let drainer = spillring::start(config.clone(), numbers_to(None)).unwrap();
    for seq in 0..1_000 {
        drainer.publisher().publish(audit_entry(seq));
    }
    drainer.publisher().flush().wait(LIMIT).unwrap();
    drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    fill(&disk);
    let filler = File::options().write(true).open(disk.join(FILLER)).unwrap();
    filler
        .set_len(filler.metadata().unwrap().len() - (6 << 20))
        .unwrap();
    drop(filler);
    config.import = Some(buffer.clone());
    config.when_spill_unusable = WhenSpillUnusable::StartWithout;
    let delivered = Arc::new(Mutex::new(Vec::new()));
    for room in [false, true] {
        if room {
            empty(&disk);
        }
        let sink = numbers_to(Some(Arc::clone(&delivered)));
        let drainer = spillring::start::<AuditEntry>(config.clone(), sink).unwrap();
        eventually("all is delivered", || drainer.stats().spilled == 0);
        drainer.shutdown(LIMIT).wait(LIMIT).unwrap();
        let count = delivered.lock().len();

        assert_eq!(count == 21_000, room, "{count}");
        assert!(count > 1_000);
    }
    assert!(delivered.lock().iter().copied().eq(0..21_000));
}

fn fill_buffer(buffer: &Path, seqs: std::ops::Range<u64>) {
    let conn = Connection::open(buffer).unwrap();
    conn.execute_batch(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, payload BLOB, enqueued_at INTEGER)",
    )
    .unwrap();
    let work = conn.unchecked_transaction().unwrap();
    for seq in seqs {
        let payload = serde_json::to_vec(&audit_entry(seq)).unwrap();
        work.execute(
            "INSERT INTO events (payload, enqueued_at) VALUES (?1, 7)",
            [payload],
        )
        .unwrap();
    }
    work.commit().unwrap();
}

fn audit_entry(seq: u64) -> AuditEntry {
    let (agent, session) = (AgentId::from_bytes([0; 16]), SessionId::from_bytes([0; 16]));
    let event = AuditEventType::ToolCallIntercepted;
    AuditEntry::new(seq, seq, event, agent, session, "x".repeat(800), [0; 32])
}

/// A sink that keeps the numbers; without a place for them it is away.
fn numbers_to(place: Option<Arc<Mutex<Vec<u64>>>>) -> impl Sink {
    EmitSink::entries(move |entry: AuditEntry| {
        let taken = match &place {
            Some(place) => {
                place.lock().push(entry.seq());
                Ok(())
            }
            None => Err(SinkError::Unavailable("away".to_owned())),
        };
        async { taken }
    })
}

/// Takes whatever becomes free on the disk, as somebody else might.
struct Greedy {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Greedy {
    fn on(disk: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (disk, stop) = (disk.to_owned(), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    fill(&disk);
                }
            }
        });
        Self { stop, thread }
    }

    fn leave(self, disk: &Path) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        empty(disk);
    }
}

/// However often it is tried: a disk without room is not one that is away, and what is lost is lost for want of room.
#[test]
fn a_disk_that_stays_full_is_reported_as_full() {
    let Some(disk) = small_disk("a_disk_that_stays_full_is_reported_as_full") else {
        return;
    };
    let bench = bench(&disk);
    let drainer = bench.start();
    drainer.publisher().publish(Note::new(text(0)));
    until_spilled(&drainer);
    let greedy = Greedy::on(&disk);
    let accepted = publish_until_refused(&drainer, 1, text);
    let returned = drainer.stats().returned;
    for _ in 0..100 {
        drainer.publisher().publish(Note::new("lost"));
        let asked = bench.remote.questions();
        eventually("the drainer has had a turn", || {
            bench.remote.questions() > asked
        });
    }
    let lost = drainer.stats().lost;
    assert_eq!((lost.spill_full, lost.queue_full), (100, 0));
    greedy.leave(&disk);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, accepted as u64 + returned + 100);
}

/// A row is damaged, and the disk has no room to note it: the other rows are delivered all the same, and the damaged
/// one is announced and counted once.
#[test]
fn a_damaged_row_on_a_full_disk_holds_nothing_up() {
    let test = "a_damaged_row_on_a_full_disk_holds_nothing_up";
    let Some(disk) = small_disk(test) else { return };
    let bench = bench(&disk);
    let drainer = bench.start();
    for n in 0..10_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(text(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    end_within(drainer, Duration::ZERO, 10_000);
    damage(&bench, &text(5_000));
    let drainer = bench.start();
    let greedy = Greedy::on(&disk);
    until_full(&disk);
    bench.remote.set(Mode::Up);
    eventually("the others are delivered", || {
        bench.remote.stored().len() >= 9_999
    });
    greedy.leave(&disk);
    until_delivered(&drainer);
    assert_eq!(drainer.stats().discarded.corrupt, 1);
}

/// Flips a bit in the text of an entry, in the segment that holds it.
fn damage(bench: &Bench, text: &str) {
    let head = text.split(" x").next().unwrap().as_bytes();
    for segment in fs::read_dir(bench.spill().join("segments")).unwrap() {
        let segment = segment.unwrap().path();
        let mut bytes = fs::read(&segment).unwrap();
        let at = bytes
            .windows(head.len() + 2)
            .position(|window| window.starts_with(head) && window.ends_with(b" x"));
        if let Some(at) = at {
            bytes[at] ^= 1;
            fs::write(segment, bytes).unwrap();
            return;
        }
    }
    panic!("no segment holds it");
}

/// Nothing grows with what is delivered and cannot be noted, or unlinked.
#[test]
fn a_long_backlog_drains_as_fast_from_a_disk_that_stays_full() {
    let test = "a_long_backlog_drains_as_fast_from_a_disk_that_stays_full";
    let Some(disk) = small_disk(test) else { return };
    let mut bench = bench(&disk);
    bench.config.batch_max = 200;
    bench.config.backoff_max = Duration::from_secs(1);
    let drainer = bench.start();
    for n in 0..300_000 {
        drainer
            .publisher()
            .publish_timeout(Note::new(name(n)), LIMIT)
            .unwrap();
    }
    until_spilled(&drainer);
    let greedy = Greedy::on(&disk);
    until_full(&disk);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    greedy.leave(&disk);
    end(drainer, 300_000);
}

/// The ring is on another file system, and survives what neither sink nor disk took.
#[test]
fn entries_that_a_shutdown_cannot_store_stay_in_the_ring_file() {
    let Some(disk) = small_disk("entries_that_a_shutdown_cannot_store_stay_in_the_ring_file")
    else {
        return;
    };
    let mut bench = bench(&disk);
    bench.config.ring_dir = Some(bench.dir.path().join("ring"));
    bench.config.ring_bytes_max = 1 << 20;
    let start = || -> Drainer<Note> {
        spillring::start_durable(bench.config.clone(), bench.remote.sink()).unwrap()
    };
    let drainer = start();
    fill(&disk);
    until_full(&disk);
    let publisher = drainer.publisher();
    (0..400).for_each(|number| publisher.publish(Note::new(text(number))));
    let stats = end_within(drainer, Duration::ZERO, 400);
    assert!(stats.in_ring + stats.in_memory > 0, "{stats:#?}");

    empty(&disk);
    bench.remote.set(Mode::Up);
    let drainer = start();
    assert_eq!(drainer.stats().inherited, 400);
    until_delivered(&drainer);
    end(drainer, 0);
    assert_eq!(bench.remote.texts(), texts(0..400));
}

/// A ring has all its blocks from the beginning: a hole in it would end the process once the file system is full.
#[test]
fn a_ring_finds_no_room() {
    let Some(disk) = small_disk("a_ring_finds_no_room") else {
        return;
    };
    let mut bench = Bench::new();
    bench.config.ring_dir = Some(disk.join("ring"));
    bench.config.ring_bytes_max = 128 << 20;
    let start =
        |bench: &Bench| spillring::start_durable::<Note>(bench.config.clone(), bench.remote.sink());
    let error = start(&bench).map(drop).unwrap_err();
    assert!(matches!(error, StartError::Ring(_)), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    let left = fs::read_dir(disk.join("ring")).unwrap().count();
    assert_eq!(left, 0, "what was half made goes");
    bench.config.when_ring_unusable = WhenRingUnusable::UseMemory;
    let drainer = start(&bench).unwrap();
    drainer.publisher().publish(Note::new(text(1)));
    until_delivered(&drainer);
    end(drainer, 1);
}
