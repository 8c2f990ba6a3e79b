//! What was delivered cannot be deleted for a while: the folder refuses, or the disk fails. It is not delivered again,
//! by this run or the next, to a sink that cannot say how far it has come; and it is deleted as soon as that works.

use std::time::Duration;

use rustix::io::Errno;

use crate::child::{at_once, with_shim};
use crate::shim::{RENAME, Rule, Shim, UNLINK};
use crate::stock::{blind, end_whole, publish, segments};
use test_support::bench::{Bench, end_within, eventually, until_delivered, until_spilled};
use test_support::sinks::Mode;

#[test]
fn what_cannot_be_deleted_is_not_delivered_again() {
    with_shim(what_cannot_be_deleted_is_not_delivered_again, |shim| {
        let errors = [Errno::IO, Errno::ACCESS, Errno::ROFS, Errno::NOSPC];
        at_once(errors, |error| not_again(shim, error));
    });
}

fn not_again(shim: &Shim, error: Errno) {
    let mut bench = blind();
    // Many segments.
    bench.config.spill_bytes_max = 8 << 20;
    let files = format!("{}/segments/*.sqlite3", bench.spill().display());
    let fault = shim.begin(&Rule::fail(UNLINK | RENAME, error, files));
    let drainer = bench.start();
    publish(&drainer, 0..3_000);
    until_spilled(&drainer);
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    fault.until_hit();
    end_within(drainer, Duration::from_secs(20), 3_000);
    assert!(segments(&bench.spill()).len() > 2, "deleted all the same");

    let drainer = bench.start();
    publish(&drainer, 3_000..3_100);
    until_delivered(&drainer);
    assert!(fault.lift() > 0);
    until_deleted(&bench);
    publish(&drainer, 3_100..3_200);
    end_whole(&bench, drainer, 200, 0..3_200);
}

/// But for the one that is being written to, and its log.
fn until_deleted(bench: &Bench) {
    eventually("segments are deleted", || {
        segments(&bench.spill()).len() <= 2
    });
}
