//! When the sink cannot store, it must say so in the terms that the publisher acts on, with a sentence that says how to
//! mend it, and go on by itself once it is mended.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use seccompiler::SeccompCmpOp;
use spillring::JsonLinesSink;
use spillring::config::SpillDurability;
use spillring::error::SinkError;
use spillring::event::{LossReason, RunEnd};
use spillring::sink::conformance::{Draft, resend};

use super::bench::{Bench, append, deliver, lines, position, store, three};
use super::kernel::{
    EACCES, EIO, ENOSPC, FDATASYNC, FTRUNCATE, OPENAT, WRITE, descriptor_of, forbid, forbid_where,
    on_a_thread,
};

fn unavailable(why: &SinkError, text: &str) {
    assert!(matches!(why, SinkError::Unavailable(_)), "{why:?}");
    assert!(why.to_string().contains(text), "{why}");
}

fn misconfigured(why: &SinkError, text: &str) {
    assert!(matches!(why, SinkError::Misconfigured(_)), "{why:?}");
    assert!(why.to_string().contains(text), "{why}");
}

#[test]
fn a_second_sink_waits_until_the_first_is_gone() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let (mut one, mut other) = (bench.sink(), bench.sink());
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut one, &first);
    unavailable(
        &deliver(&mut other, &second).stopped.unwrap(),
        "give each its own output",
    );
    // The first one takes over the output that it finds, and with it must not lose its own lock.
    fs::remove_file(bench.output()).unwrap();
    store(&mut one, &second);
    unavailable(
        &deliver(&mut other, &second).stopped.unwrap(),
        "held by another",
    );
    drop(one);
    assert_eq!(
        position(&mut other, draft.publisher()),
        Ok(Some(second.through()))
    );
}

/// A hard link gives the output a second name, and with it a second ledger that nobody has locked.
#[test]
fn a_second_sink_does_not_come_in_by_another_name() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut one = bench.sink();
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut one, &first);
    let link = bench.dir.path().join("link.jsonl");
    fs::hard_link(bench.output(), &link).unwrap();
    let mut other = JsonLinesSink::new(&link);
    unavailable(
        &deliver(&mut other, &second).stopped.unwrap(),
        "link.jsonl is held by another process or sink",
    );
    store(&mut one, &second);
    assert_eq!(bench.text(), lines(&[&first, &second]));
}

#[test]
fn a_missing_directory_is_never_created() {
    let bench = Bench::new();
    let path = bench.dir.path().join("missing/audit.jsonl");
    let mut sink = JsonLinesSink::new(&path);
    let mut draft = Draft::new();
    let first = three(&mut draft);
    unavailable(
        &deliver(&mut sink, &first).stopped.unwrap(),
        "create its directory",
    );
    assert!(!path.parent().unwrap().exists());
    fs::create_dir(path.parent().unwrap()).unwrap();
    store(&mut sink, &first);
}

#[test]
fn a_directory_is_no_output() {
    let bench = Bench::new();
    fs::create_dir(bench.output()).unwrap();
    let why = position(&mut bench.sink(), Draft::new().publisher()).unwrap_err();
    misconfigured(&why, "give the path of a file");
    assert!(!bench.ledger().exists());
}

#[test]
fn a_device_is_no_output() {
    let why = position(
        &mut JsonLinesSink::new("/dev/null"),
        Draft::new().publisher(),
    )
    .unwrap_err();
    misconfigured(&why, "not a regular file");
}

#[test]
fn a_refused_permission_is_reported_as_a_matter_of_settings() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let first = three(&mut draft);
    let (mut sink, why) = on_a_thread(
        bench.sink(),
        || forbid(OPENAT, None, EACCES),
        |sink| deliver(sink, &first).stopped.unwrap(),
    );
    misconfigured(&why, "let this process write there");
    store(&mut sink, &first);
}

/// The disk fills up while a batch is written: its first bytes are there, the rest is refused.
#[test]
fn a_full_disk_is_waited_out_and_the_torn_entry_cut_back() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let first = three(&mut draft);
    store(&mut sink, &first);
    let large = draft.entry(vec![b'x'; 9_000]).entry("{}").batch();
    let (mut sink, why) = on_a_thread(
        sink,
        || forbid(WRITE, Some(8_192), ENOSPC),
        |sink| deliver(sink, &large).stopped.unwrap(),
    );
    unavailable(&why, "make room on its disk");
    assert_eq!(bench.text(), lines(&[&first]));
    append(&bench.output(), &lines(&[&large]).as_bytes()[..4_096]);
    store(&mut sink, &large);
    assert_eq!(bench.text(), lines(&[&first, &large]));
}

/// The entries still fit, the ledger's line does not: the entries were never acknowledged, so they are cut off.
#[test]
fn a_disk_that_is_full_for_the_ledger_takes_the_entries_back() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let first = three(&mut draft);
    store(&mut sink, &first);
    let small = draft.entry("{}").batch();
    let (mut sink, why) = on_a_thread(
        sink,
        || forbid(WRITE, Some(100), ENOSPC),
        |sink| deliver(sink, &small).stopped.unwrap(),
    );
    unavailable(&why, "audit.jsonl.ledger");
    assert_eq!(bench.text(), lines(&[&first]));
    store(&mut sink, &small);
    assert_eq!(bench.text(), lines(&[&first, &small]));
}

/// What could not be synced is not acknowledged, and must not be found stored later on, by a second sync that knows
/// nothing of what the first one lost.
#[test]
fn a_failed_sync_is_no_acknowledgement() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let first = three(&mut draft);
    store(&mut sink, &first);
    let ledger = fs::read(bench.ledger()).unwrap();
    let entries = three(&mut draft);
    let without_syncs = || forbid(FDATASYNC, None, EIO);
    let (mut sink, why) = on_a_thread(sink, without_syncs, |sink| {
        deliver(sink, &entries).stopped.unwrap()
    });
    unavailable(&why, "cannot sync");
    unavailable(&why, "audit.jsonl:");
    assert_eq!(bench.text(), lines(&[&first]));
    store(&mut sink, &entries);

    let stored = fs::read(bench.ledger()).unwrap();
    assert!(stored.len() > ledger.len());
    // Without entries only the ledger has to be synced.
    let losses = draft.lose(1, LossReason::QueueFull).batch();
    let (mut sink, why) = on_a_thread(sink, without_syncs, |sink| {
        deliver(sink, &losses).stopped.unwrap()
    });
    unavailable(&why, "audit.jsonl.ledger:");
    assert_eq!(fs::read(bench.ledger()).unwrap(), stored);
    assert_eq!(
        position(&mut sink, draft.publisher()),
        Ok(Some(entries.through()))
    );
}

/// Were two lines written before either is synced, a power cut could keep the later one only.
#[test]
fn each_line_of_the_ledger_is_synced_before_the_next_is_written() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    store(&mut sink, &three(&mut draft));
    let before = bench.told().len();
    draft.entry("1").restart(RunEnd::Clean).entry("2");
    let two_runs = draft.batch();
    let descriptor = descriptor_of(&bench.ledger());
    // Without `ftruncate` the failed append is not taken back, and can be looked at.
    let without_syncs = || {
        forbid_where(FDATASYNC, (0, SeccompCmpOp::Eq, descriptor), EIO);
        forbid(FTRUNCATE, None, EIO);
    };
    let (mut sink, why) = on_a_thread(sink, without_syncs, |sink| {
        deliver(sink, &two_runs).stopped.unwrap()
    });
    unavailable(&why, "audit.jsonl.ledger:");
    assert_eq!(bench.told().len(), before + 1);
    let told = position(&mut sink, draft.publisher()).unwrap();
    store(&mut sink, &resend(&two_runs, told));
    assert!(bench.text().ends_with("\n1\n2\n"), "{}", bench.text());
}

#[test]
fn without_a_promise_for_power_cuts_nothing_is_synced() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink().durability(SpillDurability::ProcessCrash);
    let (first, second) = (three(&mut draft), three(&mut draft));
    store(&mut sink, &first);
    let (_, ()) = on_a_thread(
        sink,
        || forbid(FDATASYNC, None, EIO),
        |sink| store(sink, &second),
    );
    assert_eq!(bench.text(), lines(&[&first, &second]));
}

/// What a crash left unsynced must not be answered as a position before it is synced.
#[test]
fn nothing_is_believed_at_the_start_before_it_is_synced() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    store(&mut bench.sink(), &three(&mut draft));
    let (_, told) = on_a_thread(
        bench.sink(),
        || forbid(FDATASYNC, None, EIO),
        |sink| position(sink, draft.publisher()),
    );
    unavailable(&told.unwrap_err(), "cannot sync");
}

#[test]
fn a_line_break_is_refused_and_the_others_go_on() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mut sink = bench.sink();
    let batch = draft.entry("1").entry("two\nlines").entry("3").batch();
    let delivery = deliver(&mut sink, &batch);
    assert_eq!(delivery.stored, 1);
    let why = delivery.stopped.unwrap();
    assert!(matches!(why, SinkError::Rejected(_)), "{why:?}");
    assert_eq!(
        position(&mut sink, draft.publisher()),
        Ok(Some(batch.records()[0].id()))
    );
    assert_eq!(bench.text(), "1\n");
}

#[test]
fn new_files_are_for_their_owner_and_old_modes_are_kept() {
    let bench = Bench::new();
    let mut draft = Draft::new();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    store(&mut bench.sink(), &three(&mut draft));
    assert_eq!((mode(bench.output()), mode(bench.ledger())), (0o600, 0o600));
    for path in [bench.output(), bench.ledger()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    fs::write(bench.output(), "").unwrap();
    store(&mut bench.sink(), &three(&mut draft));
    assert_eq!((mode(bench.output()), mode(bench.ledger())), (0o640, 0o640));
}
