//! The disk has no room: no block, no inode, or none for this user. The backlog drains without any write, what finds no
//! place is refused as `spill_full`, and once there is room, all is as before.

use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use spillring::config::WhenSpillUnusable;
use spillring::event::LossReason;

use crate::child::{at_once, with_shim};
use crate::shim::{CREATE, Fault, Rule, Shim, WRITE};
use crate::stock::{
    assert_same, blind, deliver_some, end_whole, leave_backlog, leave_killed_backlog, publish,
    text, texts,
};
use test_support::bench::{
    Bench, Note, announced, assert_announced, end, end_within, publish_until_refused,
    until_delivered, until_spilled,
};
use test_support::sinks::{Cursor, Mode};

const SPILLED: usize = 3_000;

/// A disk that has room for nothing, and one that has inodes, but no blocks for them.
const WAYS: [u32; 2] = [WRITE | CREATE, WRITE];

fn without_room<'s>(shim: &'s Shim, bench: &Bench, calls: u32, error: Errno) -> Fault<'s> {
    let path = format!("{}*", bench.spill().display());
    shim.begin(&Rule::fail(calls, error, path))
}

fn without_inodes<'s>(shim: &'s Shim, bench: &Bench) -> Fault<'s> {
    let path = format!("{}*", bench.spill().display());
    shim.begin(&Rule::fail(CREATE, Errno::NOSPC, path))
}

/// The disk fills up under a publisher, and the sink comes back before it has room.
fn fills_up(shim: &Shim, calls: u32, error: Errno) {
    let bench = blind();
    let drainer = bench.start();
    publish(&drainer, 0..SPILLED);
    until_spilled(&drainer);
    let fault = without_room(shim, &bench, calls, error);
    let accepted = publish_until_refused(&drainer, SPILLED, text);
    for _ in 0..7 {
        drainer.publisher().publish(Note::new("lost"));
    }
    let lost = drainer.stats().lost;
    assert_eq!((lost.spill_full, lost.total()), (7, 7), "{error}");
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    assert_same(&bench.remote.texts(), &texts(0..accepted));
    drop(fault);
    bench.remote.set(Mode::Down);
    publish(&drainer, accepted..accepted + 1_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    let returned = drainer.stats().returned;
    let stats = end(drainer, accepted as u64 + 1_007 + returned);
    assert_eq!(stats.discarded.total(), 0, "{stats:#?}");
    assert_same(&bench.remote.texts(), &texts(0..accepted + 1_000));
    assert_announced(&bench.remote.stored());
    assert_eq!(announced(&bench.remote.stored(), LossReason::SpillFull), 7);
}

#[test]
fn a_full_disk_drains_without_a_write() {
    with_shim(a_full_disk_drains_without_a_write, |shim| {
        at_once(WAYS, |calls| fills_up(shim, calls, Errno::NOSPC));
    });
}

#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    with_shim(a_quota_that_is_used_up_is_a_full_disk, |shim| {
        at_once(WAYS, |calls| fills_up(shim, calls, Errno::DQUOT));
    });
}

/// A run ends, and the next one starts and delivers, while the disk takes nothing.
#[test]
fn runs_come_and_go_on_a_full_disk() {
    with_shim(runs_come_and_go_on_a_full_disk, |shim| {
        let errors = [Errno::NOSPC, Errno::DQUOT];
        let cursors = [Cursor::Kept, Cursor::None];
        let cases = errors
            .iter()
            .flat_map(|error| cursors.map(|cursor| (*error, cursor)));
        at_once(cases, |(error, cursor)| come_and_go(shim, error, cursor));
    });
}

fn come_and_go(shim: &Shim, error: Errno, cursor: Cursor) {
    let bench = Bench::with_cursor(cursor);
    bench.remote.set(Mode::Down);
    leave_backlog(&bench, 0..SPILLED);
    let fault = without_room(shim, &bench, WAYS[0], error);
    bench.remote.set(Mode::Up);
    for run in 0..3 {
        let drainer = bench.start();
        publish(&drainer, SPILLED + run..=SPILLED + run);
        until_delivered(&drainer);
        let stats = end(drainer, 1);
        assert_eq!(
            stats.discarded.total(),
            0,
            "{error}, {cursor:?}: {stats:#?}"
        );
    }
    drop(fault);
    let drainer = bench.start();
    publish(&drainer, SPILLED + 3..SPILLED + 4);
    until_delivered(&drainer);
    let stats = end(drainer, 1);
    assert_eq!(
        stats.discarded.total(),
        0,
        "{error}, {cursor:?}: {stats:#?}"
    );
    assert_reported_once(&bench, cursor);
}

/// A sink that cannot say how far it has come may get again what could not be noted as delivered.
fn assert_reported_once(bench: &Bench, cursor: Cursor) {
    let mut found = bench.remote.texts();
    if cursor == Cursor::None {
        found.sort_by_key(|text| (text.len(), text.clone()));
        found.dedup();
    } else {
        assert_announced(&bench.remote.stored());
    }
    assert_same(&found, &texts(0..SPILLED + 4));
}

/// What a start finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backlog {
    AtRest,
    HalfDelivered,
    OfAKilledRun,
}

#[test]
fn a_start_without_inodes_delivers_the_backlog() {
    with_shim(a_start_without_inodes_delivers_the_backlog, |shim| {
        let backlogs = [
            Backlog::AtRest,
            Backlog::HalfDelivered,
            Backlog::OfAKilledRun,
        ];
        at_once(backlogs, |backlog| {
            let mut bench = blind();
            let mut delivered = 0;
            match backlog {
                Backlog::AtRest => leave_backlog(&bench, 0..SPILLED),
                Backlog::OfAKilledRun => leave_killed_backlog(&mut bench, 0..SPILLED),
                Backlog::HalfDelivered => {
                    let drainer = bench.start();
                    delivered = deliver_some(&bench, &drainer, 0..SPILLED);
                    end_within(drainer, Duration::ZERO, SPILLED as u64);
                }
            }
            starts_without_inodes(shim, &bench, delivered);
        });
    });
}

fn starts_without_inodes(shim: &Shim, bench: &Bench, delivered: usize) {
    assert_eq!(bench.remote.stored().len(), delivered);
    let fault = without_inodes(shim, bench);
    bench.remote.set(Mode::Up);
    let drainer = bench.start();
    publish(&drainer, SPILLED..SPILLED + 10);
    until_delivered(&drainer);
    assert!(fault.lift() > 0, "nothing was made");
    bench.remote.set(Mode::Down);
    publish(&drainer, SPILLED + 10..SPILLED + 20);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    end_whole(bench, drainer, 20, 0..SPILLED + 20);
}

#[test]
fn a_first_start_without_room_is_an_error_with_a_sentence() {
    with_shim(
        a_first_start_without_room_is_an_error_with_a_sentence,
        |shim| {
            for (error, words) in [(Errno::NOSPC, "No space left"), (Errno::DQUOT, "quota")] {
                for folder in [false, true] {
                    first_start(shim, error, words, folder);
                }
            }
        },
    );
}

fn first_start(shim: &Shim, error: Errno, words: &str, folder: bool) {
    let mut bench = Bench::new();
    if folder {
        fs::create_dir(bench.spill()).unwrap();
    }
    let path = format!("{}*", bench.spill().display());
    let fault = shim.begin(&Rule::fail(CREATE, error, path));
    let refused = spillring::start::<Note>(bench.config.clone(), bench.remote.sink());
    let said = refused.unwrap_err().to_string();
    assert!(said.contains(words), "{said}");
    assert!(said.contains(&*bench.spill().to_string_lossy()), "{said}");

    // Who would rather go without may.
    bench.config.when_spill_unusable = WhenSpillUnusable::StartWithout;
    let drainer = bench.start();
    publish(&drainer, 0..10);
    until_delivered(&drainer);
    end(drainer, 10);
    assert_same(&bench.remote.texts(), &texts(0..10));
    drop(fault);
    let drainer = bench.start();
    publish(&drainer, 10..20);
    until_delivered(&drainer);
    end(drainer, 10);
    assert_same(&bench.remote.texts(), &texts(0..20));
}
