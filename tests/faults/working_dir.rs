//! The directory of the spill is relative, and the host changes its working directory while the publisher works. There
//! is one spill all the same, where the publisher was started.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child::alone;
use crate::stock::{blind, end_whole, publish, segments};
use test_support::bench::{Bench, end_within, until_spilled};
use test_support::sinks::Mode;

#[test]
fn a_host_that_changes_its_directory_has_one_spill() {
    alone(a_host_that_changes_its_directory_has_one_spill, || {
        for relative in ["spill", "./spill", "a/../spill", "deep/er/spill"] {
            changes_its_directory(relative);
        }
    });
}

fn changes_its_directory(relative: &str) {
    let mut bench = blind();
    // A segment is sealed, and another made, every few hundred entries.
    bench.config.spill_bytes_max = 8 << 20;
    let home = bench.dir.path().to_owned();
    let [before, after] = ["before", "after"].map(|name| home.join(name));
    fs::create_dir_all(before.join("a")).unwrap();
    fs::create_dir(&after).unwrap();
    bench.config.spill_dir = relative.into();

    std::env::set_current_dir(&before).unwrap();
    let drainer = bench.start();
    publish(&drainer, 0..1_000);
    until_spilled(&drainer);
    std::env::set_current_dir(&after).unwrap();
    publish(&drainer, 1_000..3_000);
    until_spilled(&drainer);
    drainer
        .publisher()
        .flush()
        .wait(Duration::from_secs(20))
        .unwrap();
    end_within(drainer, Duration::ZERO, 3_000);

    assert_eq!(names(&after), Vec::<String>::new(), "{relative}");
    std::env::set_current_dir(&before).unwrap();
    assert!(segments(&bench.spill()).len() > 1, "{relative}");
    finish(&bench, &after);
}

/// The next run, from the same place, changes its directory while it delivers.
fn finish(bench: &Bench, elsewhere: &Path) {
    let before = std::env::current_dir().unwrap();
    let drainer = bench.start();
    std::env::set_current_dir(elsewhere).unwrap();
    bench.remote.set(Mode::Up);
    publish(&drainer, 3_000..3_100);
    test_support::bench::until_delivered(&drainer);
    std::env::set_current_dir(before).unwrap();
    end_whole(bench, drainer, 100, 0..3_100);
    std::env::set_current_dir("/").unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}
