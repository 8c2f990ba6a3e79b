//! What others can see of a publisher: `status.json`, its refresh, and who may read its files.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use spillring::State;
use spillring::stats::Status;

use test_support::bench::{
    Bench, LIMIT, Note, end, end_within, eventually, publish, until_delivered, until_spilled,
};
use test_support::sinks::Mode;

fn said(bench: &Bench) -> Option<Status> {
    serde_json::from_slice(&fs::read(bench.spill().join("status.json")).ok()?).ok()
}

/// Without opening the database: depths, state and counts, brought up to date while it runs and at its end.
#[test]
fn status_json_says_how_things_stand() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..40);
    until_spilled(&drainer);
    eventually("the backlog is told", || {
        said(&bench).is_some_and(|said| said.stats.spilled == 40)
    });
    let told = said(&bench).unwrap();
    assert_eq!(told.pid, Some(std::process::id()));
    assert_eq!(told.stats.state, State::Spilling);
    assert_eq!((told.stats.accepted, told.stats.appended), (40, 40));
    assert!(told.stats.spill_bytes > 0 && told.stats.oldest_entry_age.is_some());
    assert_eq!(
        spillring::operate::status(&bench.spill())
            .unwrap()
            .stats
            .spilled,
        40
    );
    bench.remote.set(Mode::Up);
    until_delivered(&drainer);
    eventually("the delivery is told", || {
        said(&bench).is_some_and(|said| said.stats.delivered == 40 && said.at_ms > told.at_ms)
    });
    let run = bench.remote.stored()[0].run;
    end(drainer, 40);
    let last = said(&bench).unwrap();
    assert_eq!((last.pid, last.run), (None, Some(run)));
    assert_eq!((last.stats.state, last.stats.spilled), (State::Stopped, 0));
    assert_eq!(last.publisher, told.publisher);
}

/// What only the ring and its publishers know is in the last word as well: losses, and what was handed back.
#[test]
fn the_last_status_is_the_account() {
    let mut bench = Bench::down();
    bench.config.ring_capacity = 2;
    let drainer = bench.start();
    let publisher = drainer.publisher();
    eventually("a full ring", || {
        publish(&publisher, 0..20);
        drainer.stats().lost.total() > 0
    });
    while publisher.try_publish(Note::new("another")).is_ok() {}
    let account = drainer.shutdown(Duration::ZERO).wait(LIMIT).unwrap();
    let last = said(&bench).unwrap().stats;
    assert_eq!((last.lost, last.returned), (account.lost, account.returned));
    assert_eq!(
        (last.accepted, last.spilled),
        (account.accepted, account.spilled)
    );
}

/// Of a publisher that is not running, the database itself is asked.
#[test]
fn the_status_of_a_publisher_at_rest_is_that_of_its_spill() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..40);
    end_within(drainer, Duration::ZERO, 40);
    let status = spillring::operate::status(&bench.spill()).unwrap();
    assert_eq!((status.pid, status.stats.spilled), (None, 40));
    assert_eq!(status.stats.state, State::Stopped);
    assert!(spillring::operate::status(bench.dir.path()).is_err());
}

/// Audit entries are nobody else's business: 0700 for folders, 0600 for files, whatever the umask.
#[test]
fn nobody_else_may_read_the_spill() {
    let bench = Bench::down();
    let drainer = bench.start();
    publish(&drainer.publisher(), 0..40);
    until_spilled(&drainer);
    eventually("status.json", || said(&bench).is_some());
    let mut files = 0;
    assert_private(&bench.spill(), &mut files);
    assert!(
        files >= 5,
        "lock, identity, status, database and WAL: {files}"
    );
    end_within(drainer, Duration::ZERO, 40);
    assert_private(&bench.spill(), &mut files);
}

fn assert_private(folder: &Path, files: &mut usize) {
    let mode = |metadata: &Metadata| metadata.permissions().mode() & 0o777;
    let folder_mode = mode(&fs::metadata(folder).unwrap());
    assert_eq!(folder_mode, 0o700, "{}", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match fs::metadata(&path) {
            // A new status.json is renamed into place meanwhile.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            Ok(found) if found.is_dir() => assert_private(&path, files),
            Ok(found) => {
                *files += 1;
                assert_eq!(mode(&found), 0o600, "{}", path.display());
            }
        }
    }
}
