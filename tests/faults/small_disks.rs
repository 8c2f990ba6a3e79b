//! A real disk is full, of blocks or of inodes: while a publisher runs, when it starts, and when it was killed on it.
//! What is on it comes out all the same, and with room again all is as before. The same on tmpfs and on ext4, which
//! differ: ext4 has a journal, and allocates late.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{name_of, test_binary};
use crate::disks::{Kind, empty_inodes, fill_inodes, with_disk};
use crate::stock::{assert_same, end_whole, publish, segments, text, texts};
use test_support::bench::{
    Bench, LIMIT, Note, assert_announced, end, end_within, eventually, publish_until_refused,
    quick, until_delivered, until_spilled,
};
use test_support::child::Process;
use test_support::filler::{empty, fill};
use test_support::sinks::{Mode, Remote};

const SPILLED: usize = 5_000;

fn bench(disk: &Path) -> Bench {
    let mut bench = Bench::down();
    bench.config.spill_dir = disk.join("spill");
    bench.config.spill_durability = spillring::config::SpillDurability::PowerLoss;
    bench
}

fn fills_up_while_running(disk: &Path) {
    let bench = bench(disk);
    let drainer = bench.start();
    publish(&drainer, 0..SPILLED);
    until_spilled(&drainer);
    fill(disk);
    let next = publish_until_refused(&drainer, SPILLED, text);
    for _ in 0..7 {
        drainer.publisher().publish(Note::new("lost"));
    }
    let lost = drainer.stats().lost;
    assert_eq!((lost.spill_full, lost.total()), (7, 7));
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    eventually("what was delivered is deleted", || {
        segments(&bench.spill()).len() <= 2
    });
    empty(disk);
    bench.remote.set(Mode::Down);
    publish(&drainer, next..next + 1_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let returned = drainer.stats().returned;
    let stats = end(drainer, next as u64 + 1_007 + returned);
    assert_eq!(stats.discarded.total(), 0, "{stats:#?}");
    assert_same(&bench.remote.texts(), &texts(0..next + 1_000));
    assert_announced(&bench.remote.stored());
}

#[test]
fn a_tmpfs_fills_up() {
    with_disk(a_tmpfs_fills_up, Kind::Tmpfs, fills_up_while_running);
}

#[test]
fn an_ext4_fills_up() {
    with_disk(an_ext4_fills_up, Kind::Ext4, fills_up_while_running);
}

/// A kind of shortage, and its end.
type Shortage = (fn(&Path), fn(&Path));

const BLOCKS: Shortage = (fill, empty);
const INODES: Shortage = (fill_inodes, empty_inodes);

fn starts_on_a_full_one(disk: &Path) {
    for (from, (take, give)) in [(0, BLOCKS), (1, INODES)] {
        let mut bench = bench(disk);
        bench.config.spill_dir = disk.join(format!("spill{from}"));
        let drainer = bench.start();
        publish(&drainer, 0..SPILLED);
        until_spilled(&drainer);
        end_within(drainer, Duration::ZERO, SPILLED as u64);
        take(disk);
        // One run ends without having delivered anything, the next delivers.
        end_within(bench.start(), Duration::ZERO, 0);
        bench.remote.set(Mode::Up);
        let drainer = bench.start();
        publish(&drainer, SPILLED..SPILLED + 10);
        until_delivered(&drainer);
        give(disk);
        bench.remote.set(Mode::Down);
        publish(&drainer, SPILLED + 10..SPILLED + 20);
        until_spilled(&drainer);
        bench.remote.set(Mode::Up);
        end_whole(&bench, drainer, 20, 0..SPILLED + 20);
    }
}

#[test]
fn a_publisher_starts_on_a_full_tmpfs() {
    with_disk(
        a_publisher_starts_on_a_full_tmpfs,
        Kind::Tmpfs,
        starts_on_a_full_one,
    );
}

#[test]
fn a_publisher_starts_on_a_full_ext4() {
    with_disk(
        a_publisher_starts_on_a_full_ext4,
        Kind::Ext4,
        starts_on_a_full_one,
    );
}

/// For want of a file for another segment the spill counts as full; the sink is served from memory.
fn inodes_run_out_while_running(disk: &Path) {
    let mut bench = bench(disk);
    bench.config.spill_bytes_max = 8 << 20;
    let drainer = bench.start();
    publish(&drainer, 0..1_000);
    until_spilled(&drainer);
    fill_inodes(disk);
    let next = publish_until_refused(&drainer, 1_000, text);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    empty_inodes(disk);
    bench.remote.set(Mode::Down);
    publish(&drainer, next..next + 1_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    let returned = drainer.stats().returned;
    until_delivered(&drainer);
    let stats = end(drainer, next as u64 + 1_000 + returned);
    assert_eq!(stats.discarded.total(), 0, "{stats:#?}");
    assert_same(&bench.remote.texts(), &texts(0..next + 1_000));
}

#[test]
fn the_inodes_of_a_tmpfs_run_out() {
    with_disk(
        the_inodes_of_a_tmpfs_run_out,
        Kind::Tmpfs,
        inodes_run_out_while_running,
    );
}

#[test]
fn the_inodes_of_an_ext4_run_out() {
    with_disk(
        the_inodes_of_an_ext4_run_out,
        Kind::Ext4,
        inodes_run_out_while_running,
    );
}

/// In the process that is killed: where it works, and where it says how far it has come.
const WHERE: &str = "SPILLRING_FAULTS_KILLED";

/// A neighbour fills the disk, the publisher is killed on it, and the next one starts while it is still full.
fn killed_on_a_full_one(disk: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    let journal = elsewhere.path().join("journal");
    let places = format!("{}\n{}", disk.display(), journal.display());
    let child = test_binary(name_of_fn(killed)).env(WHERE, places).spawn();
    let child = Process::from(child.unwrap());
    let said = |what: &str| {
        let said = fs::read_to_string(&journal).unwrap_or_default();
        said.lines().any(|line| line == what)
    };
    eventually("it has flushed", || said("flushed"));
    fill(disk);
    eventually("it is refused", || said("refused"));
    drop(child);

    let bench = bench(disk);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    until_delivered(&drainer);
    let found = bench.remote.texts();
    assert!(found.len() >= SPILLED, "{} were delivered", found.len());
    assert_same(&found, &texts(0..found.len()));
    empty(disk);
    publish(&drainer, 1_000_000..1_000_001);
    until_delivered(&drainer);
    let stats = end(drainer, 1);
    assert_eq!(stats.discarded.total(), 0, "{stats:#?}");
    assert_announced(&bench.remote.stored());
}

fn name_of_fn<T>(_: T) -> &'static str {
    name_of::<T>()
}

#[test]
fn a_publisher_is_killed_on_a_full_tmpfs() {
    with_disk(
        a_publisher_is_killed_on_a_full_tmpfs,
        Kind::Tmpfs,
        killed_on_a_full_one,
    );
}

#[test]
fn a_publisher_is_killed_on_a_full_ext4() {
    with_disk(
        a_publisher_is_killed_on_a_full_ext4,
        Kind::Ext4,
        killed_on_a_full_one,
    );
}

/// Not a test, but the process that is killed: nothing happens without the variable.
#[test]
fn killed() {
    let Ok(places) = std::env::var(WHERE) else {
        return;
    };
    let (disk, journal) = places.split_once('\n').unwrap();
    let remote = Remote::in_memory(test_support::sinks::Cursor::Kept);
    remote.set(Mode::Down);
    let mut config = quick(&PathBuf::from(disk).join("spill"));
    config.spill_durability = spillring::config::SpillDurability::PowerLoss;
    let drainer = spillring::start(config, remote.sink()).unwrap();
    publish(&drainer, 0..SPILLED);
    drainer.publisher().flush().wait(LIMIT).unwrap();
    fs::write(journal, "flushed\n").unwrap();
    publish_until_refused(&drainer, SPILLED, text);
    fs::write(journal, "flushed\nrefused\n").unwrap();
    std::thread::park();
}
