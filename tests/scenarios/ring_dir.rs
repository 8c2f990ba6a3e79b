//! A ring that is kept in a file: what comes of it after a kill and after an end that found no place for entries, and
//! what keeps a start from having one. A kill is a copy of the files as they are; `tests/outlives/` kills real
//! processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spillring::config::WhenRingUnusable;
use spillring::error::{RingError, SpillError, StartError};
use spillring::event::{LossReason, RunEnd};
use spillring::operate::{DeadLetters, Selection};
use spillring::{Config, Drainer};

use test_support::bench::{
    Bench, LIMIT, Note, assert_announced, copy_folder, end, eventually, name, names, publish,
    until_delivered,
};
use test_support::sinks::Mode;

/// The sink is away, and nothing is spilled for long: entries stay in the ring.
fn bench() -> Bench {
    let mut bench = Bench::down();
    bench.config.ring_dir = Some(bench.dir.path().join("ring"));
    bench.config.ring_bytes_max = 64 << 10;
    bench.config.pending_max = Duration::from_secs(3_600);
    bench.config.ring_high_water = 1.0;
    bench
}

fn start(bench: &Bench) -> Drainer<Note> {
    try_start(bench).unwrap()
}

fn try_start(bench: &Bench) -> Result<Drainer<Note>, StartError> {
    spillring::start_durable(bench.config.clone(), bench.remote.sink())
}

fn ring_dir(bench: &Bench) -> PathBuf {
    bench.config.ring_dir.clone().unwrap()
}

/// The files in the ring's directory.
fn rings(bench: &Bench) -> Vec<PathBuf> {
    let files = fs::read_dir(ring_dir(bench)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Publishes, and waits until nothing moves any more: what the pipeline has no room for stays in the ring.
fn publish_until_still(drainer: &Drainer<Note>, numbers: std::ops::Range<usize>) {
    publish(&drainer.publisher(), numbers);
    let mut before = None;
    eventually("nothing moves any more", || {
        let stats = drainer.stats();
        let now = Some((stats.in_ring, stats.in_memory));
        std::mem::replace(&mut before, now) == now
    });
}

/// Goes on with a copy of what is on disk, as after a SIGKILL.
fn kill(bench: &mut Bench, drainer: Drainer<Note>) {
    let dir = bench.dir.path().join("after a kill");
    copy_folder(&ring_dir(bench), &dir);
    bench.config.ring_dir = Some(dir);
    bench.kill(drainer);
}

/// The sink is back: everything is delivered, with one more entry.
fn deliver(bench: &Bench, drainer: Drainer<Note>) -> Vec<String> {
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    drainer.publisher().publish(Note::new("afterwards"));
    end(drainer, 1);
    assert_announced(&bench.remote.stored());
    let mut texts = bench.remote.texts();
    assert_eq!(texts.pop().as_deref(), Some("afterwards"));
    texts
}

#[test]
fn after_a_kill_everything_is_there_and_the_run_is_known_to_be_complete() {
    let mut bench = bench();
    let drainer = start(&bench);
    let publisher = drainer.publisher();
    let panics = || {
        let call = AssertUnwindSafe(|| publisher.publish(Note::new("")));
        catch_unwind(call).expect_err("it cannot be packed");
    };
    publish(&publisher, 0..20);
    panics();
    let numbered = || drainer.stats().discarded.encode_error == 1;
    eventually("what is no entry has its number", numbered);
    publish_until_still(&drainer, 20..300);
    assert!(drainer.stats().in_ring > 0, "{:#?}", drainer.stats());
    panics();
    publisher.publish_packed(&Note::new("packed"));
    kill(&mut bench, drainer);

    let drainer = start(&bench);
    assert_eq!(drainer.stats().inherited, 301);
    let mut texts = deliver(&bench, drainer);
    assert_eq!(texts.pop().as_deref(), Some("packed"));
    assert_eq!(texts, names(0..300));
    let stored = bench.remote.stored();
    let packed = &stored[300];
    assert_eq!(packed.losses, [(1, LossReason::EncodeError)]);
    // That one had its number when the process died, and why it was lost died with it.
    assert_eq!(stored[20].losses, [(1, LossReason::QueueFull)]);
    let opening = stored.last().unwrap().opens.clone().unwrap();
    let expected = (packed.run, Some(packed.n), RunEnd::Killed);
    assert_eq!(opening.previous, Some(expected));
    let told = format!("ended=killed; last={}", packed.n);
    assert!(opening.header.contains(&told), "{}", opening.header);
    assert_eq!(rings(&bench), [] as [PathBuf; 0]);
}

/// Some entries have numbers by then, and the sink has some of those: each comes once, under the number that it had.
#[test]
fn what_the_sink_or_the_spill_has_by_then_is_not_doubled() {
    for spilled in [false, true] {
        let mut bench = bench();
        bench.remote.set(Mode::Prefixes(30));
        if spilled {
            bench.config.pending_max = Duration::from_millis(20);
        }
        let drainer = start(&bench);
        publish_until_still(&drainer, 0..500);
        bench.remote.set(Mode::Down);
        kill(&mut bench, drainer);
        let drainer = start(&bench);
        assert_eq!(deliver(&bench, drainer), names(0..500), "{spilled}");
    }
}

/// What was popped has its room in the ring until it is on disk: it does not wait there while publishers are refused.
#[test]
fn a_small_ring_is_relieved_in_time() {
    let mut bench = bench();
    bench.config.ring_high_water = 0.5;
    let drainer = start(&bench);
    let publisher = drainer.publisher();
    for number in 0..5_000 {
        let note = Note::new(name(number));
        publisher
            .publish_timeout(note, LIMIT)
            .expect("room in time");
    }
    assert_eq!(deliver_all(&bench, drainer, 5_000), names(0..5_000));
}

fn deliver_all(bench: &Bench, drainer: Drainer<Note>, attempted: u64) -> Vec<String> {
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, attempted);
    bench.remote.texts()
}

/// The start that takes over what is left is killed after that, and again.
#[test]
fn what_is_taken_over_twice_comes_once() {
    let mut bench = bench();
    let drainer = start(&bench);
    publish_until_still(&drainer, 0..200);
    let before = bench.dir.path().join("before");
    copy_folder(&ring_dir(&bench), &before);
    kill(&mut bench, drainer);
    let first = start(&bench);
    // As if the process had been killed before the file was removed.
    bench.config.ring_dir = Some(before);
    bench.config.spill_dir = copy(&bench, &first);
    let second = start(&bench);
    assert_eq!(second.stats().inherited, 200);
    first.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    assert_eq!(deliver(&bench, second), names(0..200));
}

/// The spill of a publisher that runs.
fn copy(bench: &Bench, _alive: &Drainer<Note>) -> PathBuf {
    let copy = bench.dir.path().join("copy");
    copy_folder(&bench.spill(), &copy);
    copy
}

/// A ring without a process shows in other publishers' status, too: its own publisher may never start again.
#[test]
fn a_ring_that_no_process_has_is_an_orphan() {
    let (mut gone, mut other) = (bench(), bench());
    let drainer = start(&gone);
    publish_until_still(&drainer, 0..20);
    kill(&mut gone, drainer);
    let file = rings(&gone).remove(0);
    other.config.ring_dir.clone_from(&gone.config.ring_dir);
    let drainer = start(&other);
    let orphans = || {
        eventually("it says how it is", || {
            spillring::operate::status(&other.spill()).is_ok_and(|status| status.ring.is_some())
        });
        let status = spillring::operate::status(&other.spill()).unwrap();
        let found = status.orphans.into_iter().map(|ring| ring.file);
        found.collect::<Vec<_>>()
    };
    assert_eq!(orphans(), [file]);
    let back = start(&gone);
    publish_until_still(&back, 20..40);
    assert_eq!(orphans(), Vec::<PathBuf>::new(), "it has a process again");
    drop((drainer, back));
}

/// The machine has stopped meanwhile: nobody knows which pages were written back. Nothing is taken for something that
/// the sink has, and the run is not said to be complete.
#[test]
fn a_ring_of_before_a_reboot_loses_nothing_that_is_in_it() {
    let mut bench = bench();
    let drainer = start(&bench);
    publish_until_still(&drainer, 0..300);
    let killed = drainer.run().id();
    kill(&mut bench, drainer);
    reboot(&rings(&bench)[0]);
    let drainer = start(&bench);
    assert_eq!(deliver(&bench, drainer), names(0..300));
    let stored = bench.remote.stored();
    assert_ne!(stored[0].run, killed);
    let opening = stored[0].opens.clone().unwrap();
    assert_eq!(opening.previous, None, "nothing of the killed run is known");
}

/// As if the machine had been started again since: another boot id, and the checksum over it.
fn reboot(ring: &Path) {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut bytes = fs::read(ring).unwrap();
    let (words, _) = bytes.as_chunks_mut::<8>();
    words[7][0] ^= 1;
    let mix = |sum: u64, word: &[u8; 8]| {
        let mixed = (sum ^ u64::from_ne_bytes(*word)).wrapping_mul(MIX);
        mixed.rotate_left(29)
    };
    words[10] = words[1..10].iter().fold(MIX, mix).to_ne_bytes();
    fs::write(ring, bytes).unwrap();
}

#[test]
fn an_invalid_ring_file_is_set_aside() {
    let bench = bench();
    bench.remote.set(Mode::Up);
    let drainer = start(&bench);
    let [file] = &rings(&bench)[..] else {
        panic!("one ring: {:?}", rings(&bench));
    };
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    end(drainer, 0);
    assert_eq!(rings(&bench), [] as [PathBuf; 0], "nothing is left in it");
    for image in [&b"no ring"[..], &vec![7; 100_000][..]] {
        fs::write(file, image).unwrap();
        let drainer = start(&bench);
        publish(&drainer.publisher(), 0..1);
        end(drainer, 1);
        let aside = rings(&bench).pop().unwrap();
        assert!(aside.to_string_lossy().contains(".damaged-"), "{aside:?}");
        assert_eq!(fs::read(&aside).unwrap(), image);
        fs::remove_file(aside).unwrap();
    }
    // One that was never completed has nothing.
    fs::write(file, [0; 10_000]).unwrap();
    end(start(&bench), 0);
    assert_eq!(rings(&bench), [] as [PathBuf; 0]);
}

fn assert_unusable(bench: &mut Bench, said: &str) {
    bench.config.when_ring_unusable = WhenRingUnusable::FailStart;
    let Err(StartError::Ring(error)) = try_start(bench) else {
        panic!("it starts although {said}");
    };
    assert!(error.to_string().contains(said), "{error}");
    bench.config.when_ring_unusable = WhenRingUnusable::UseMemory;
    bench.remote.set(Mode::Up);
    let drainer = start(bench);
    publish(&drainer.publisher(), 0..10);
    drainer.publisher().publish_packed(&Note::new("packed"));
    until_delivered(&drainer);
    end(drainer, 11);
}

#[test]
fn an_unusable_ring_file_fails_the_start_or_falls_back_to_memory() {
    let mut bench = bench();
    let file = bench.dir.path().join("file");
    fs::write(&file, "").unwrap();
    bench.config.ring_dir = Some(file.join("ring"));
    assert_unusable(&mut bench, "Not a directory");
    // A name that leads elsewhere.
    let dir = bench.dir.path().join("ring");
    bench.config.ring_dir = Some(dir);
    let drainer = start(&bench);
    let [ring] = &rings(&bench)[..] else {
        panic!("one ring: {:?}", rings(&bench));
    };
    end(drainer, 0);
    std::os::unix::fs::symlink(&file, ring).unwrap();
    assert_unusable(&mut bench, "symbolic link");
    assert!(fs::symlink_metadata(ring).unwrap().is_symlink());
}

/// The spill was copied, and the publisher of the copy has the same id until it has asked the sink.
#[test]
fn two_processes_never_have_one_ring() {
    let mut bench = bench();
    let first = start(&bench);
    publish(&first.publisher(), 0..3);
    bench.config.spill_dir = copy(&bench, &first);
    let Err(StartError::Ring(RingError::InUse { .. })) = try_start(&bench) else {
        panic!("it starts with the ring of another");
    };
    bench.remote.set(Mode::Up);
    until_delivered(&first);
    end(first, 3);
}

/// As tmpfiles or logind do it.
#[test]
fn a_file_that_vanishes_is_noticed_and_publishing_goes_on() {
    let bench = bench();
    let drainer = start(&bench);
    let ring = || spillring::operate::status(&bench.spill()).unwrap().ring;
    eventually("its first word", || {
        ring().is_some_and(|ring| ring.in_place)
    });
    publish_until_still(&drainer, 0..300);
    eventually("it says how much is in it", || {
        ring().is_some_and(|ring| ring.bytes >= 300 * 64)
    });
    fs::remove_file(&rings(&bench)[0]).unwrap();
    eventually("it is noticed", || {
        ring().is_some_and(|ring| !ring.in_place)
    });
    publish(&drainer.publisher(), 300..301);
    assert_eq!(deliver_all(&bench, drainer, 301), names(0..301));
}

/// Of a publisher that was killed.
#[test]
fn status_reports_what_is_left_in_a_ring() {
    let bench = bench();
    let drainer = start(&bench);
    publish_until_still(&drainer, 0..300);
    let said = || spillring::operate::status(&bench.spill()).unwrap().ring;
    eventually("it says so itself", || {
        said().is_some_and(|ring| ring.bytes > 0)
    });
    let status = fs::read(bench.spill().join("status.json")).unwrap();
    let ring = rings(&bench).pop().unwrap();
    let aside = bench.dir.path().join("aside");
    fs::copy(&ring, &aside).unwrap();
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    end(drainer, 300);
    fs::rename(&aside, &ring).unwrap();
    fs::write(bench.spill().join("status.json"), status).unwrap();
    let left = spillring::operate::status(&bench.spill())
        .unwrap()
        .ring
        .unwrap();
    assert_eq!((left.file, left.in_place), (ring, true));
    assert!(left.bytes >= 300 * 64, "{}", left.bytes);
    // What is added now would come before it.
    let letters = DeadLetters::open(bench.spill()).unwrap();
    let refused = letters.requeue(&Selection::All, |_, _| {}).unwrap_err();
    assert!(matches!(refused, SpillError::RingLeft { .. }), "{refused}");
}

#[test]
fn entries_that_cannot_be_packed_need_a_ring_in_memory() {
    let bench = bench();
    let started = spillring::start::<Note>(bench.config.clone(), bench.remote.sink());
    let Err(StartError::Config(error)) = started else {
        panic!("it starts");
    };
    assert!(error.to_string().contains("start_durable"), "{error}");
    let mut config = Config::new(bench.spill());
    config.ring_dir = Some(Path::new("ring").into());
    config.ring_bytes_max = 1 << 30;
    let error = config.validate().unwrap_err();
    assert!(error.to_string().contains("`ring_dir`"), "{error}");
}
