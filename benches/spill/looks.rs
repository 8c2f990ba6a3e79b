//! How long the drainer goes without a look at its ring, whatever the spill has to do: [`turns`](crate::turns) says how
//! that is seen. `poll_max` is a millisecond here: longer waits with nothing to do are no stalls.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use spillring::config::WhenSpillFull;
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::sink::{BoxFuture, Delivery};
use spillring::{Config, Drainer, Sink};

use crate::damage::damage;
use crate::door::Door;
use crate::measure::{Note, notes, publish, publish_all, room_for};
use crate::shim::Shim;
use crate::shimmed::{freeze, is_loaded, with_shim};
use crate::support::args::Args;
use crate::support::bench::{LIMIT, eventually};
use crate::support::{Away, start_with};
use crate::turns::{head, phase};

pub(crate) fn looks(args: &Args) {
    if !is_loaded() {
        head("looks: the longest time between two looks at the ring, ms");
        through_a_backlog(args);
        evicting(args);
        burying(args, "oversize", Door::open(), |config| {
            config.entry_bytes_max = 64;
        });
        burying(args, "rejected", Refusing, |_| {});
        // The publisher tries for ten seconds first.
        if args.choose(true, false) {
            damaged(args);
        }
    }
    with_shim("looks", |shim| frozen(shim, args));
}

fn quick(config: &mut Config) {
    config.spill_bytes_max = 64 << 30;
    config.poll_max = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(100);
}

fn through_a_backlog(args: &Args) {
    let rows = args.rows.unwrap_or(args.choose(1_000_000, 20_000));
    let quiet = args.choose(Duration::from_secs(5), Duration::from_millis(300));
    if !room_for(rows) {
        return;
    }
    let door = Door::open();
    let (drainer, _dir): (Drainer<Note>, _) = start_with(door.clone(), quick);
    let publisher = drainer.publisher();
    phase("live, nothing spilled", &publisher, || sleep(quiet));
    door.open_for(0);
    phase(&format!("appending {rows}"), &publisher, || {
        publish(&publisher, notes(rows));
    });
    phase("replaying them", &publisher, || {
        door.open_for(u64::MAX);
        eventually("the backlog leaves", || drainer.stats().spilled == 0);
    });
    phase("live again, the backlog drained", &publisher, || {
        sleep(quiet);
    });
}

fn evicting(args: &Args) {
    let (rows, cap) = args.choose((1_000_000, 64 << 20), (20_000, 1 << 20));
    let (drainer, _dir): (Drainer<Note>, _) = start_with(Away, |config| {
        quick(config);
        config.spill_bytes_max = cap;
        config.when_spill_full = WhenSpillFull::EvictOldest;
    });
    let publisher = drainer.publisher();
    phase(
        &format!("evicting, {rows} through {} MiB", cap >> 20),
        &publisher,
        || {
            publish(&publisher, notes(rows));
        },
    );
    let evicted = drainer.stats().discarded.spill_evicted;
    assert!(evicted > 0, "nothing was evicted");
}

/// Every entry becomes a dead letter.
fn burying(args: &Args, reason: &str, sink: impl Sink, change: impl FnOnce(&mut Config)) {
    let count = args.choose(10_000, 200);
    let (drainer, _dir): (Drainer<Note>, _) = start_with(sink, |config| {
        quick(config);
        change(config);
    });
    let publisher = drainer.publisher();
    phase(
        &format!("{count} dead letters, {reason}"),
        &publisher,
        || {
            publish_all(&publisher, notes(count));
            eventually("all are dead letters", || {
                drainer.stats().dead_lettered >= count
            });
        },
    );
}

/// A page of rows is damaged while no publisher runs.
fn damaged(args: &Args) {
    let rows = args.choose(200_000, 20_000);
    let door = Door::default();
    let (drainer, dir): (Drainer<Note>, _) = start_with(door.clone(), quick);
    publish(&drainer.publisher(), notes(rows));
    let end = drainer.shutdown(Duration::ZERO);
    end.wait(LIMIT).expect("an account");
    let spill = dir.path().join("spill");
    damage(&spill);
    let drainer = start_again(&spill, &door);
    let publisher = drainer.publisher();
    phase("replaying a damaged page", &publisher, || {
        door.open_for(u64::MAX);
        eventually("the rest leaves", || {
            let stats = drainer.stats();
            // A spill that is being salvaged may seem to be empty.
            stats.spilled == 0 && stats.replayed + stats.discarded.corrupt >= rows
        });
    });
    let stats = drainer.stats();
    println!(
        "    {} inherited, {} lost",
        stats.inherited, stats.discarded.corrupt
    );
}

/// New entries go to the disk at once: else they would wait in the ring for a second, and the observer would be blind.
fn start_again(spill: &Path, door: &Door) -> Drainer<Note> {
    let mut config = Config::new(spill);
    quick(&mut config);
    config.pending_max = Duration::from_millis(5);
    spillring::start(config, door.clone()).expect("a publisher")
}

/// Every call on the spill hangs, with a sink that takes everything, or nothing.
fn frozen(shim: &Shim, args: &Args) {
    let (rows, freeze_for) = args.choose(
        (50_000, Duration::from_secs(5)),
        (5_000, Duration::from_millis(300)),
    );
    let door = Door::open();
    let (drainer, dir): (Drainer<Note>, _) = start_with(door.clone(), quick);
    let (publisher, spill) = (drainer.publisher(), dir.path().join("spill"));
    let fault = freeze(shim, &spill);
    phase("frozen disk, empty spill, sink up", &publisher, || {
        sleep(freeze_for);
    });
    drop(fault);
    door.open_for(0);
    publish(&publisher, notes(rows));
    let fault = freeze(shim, &spill);
    phase("frozen disk, appending, sink away", &publisher, || {
        publish_all(&publisher, notes(rows / 2));
        sleep(freeze_for);
    });
    drop(fault);
    publisher.flush().wait(LIMIT).expect("a flush");
    let fault = freeze(shim, &spill);
    phase("frozen disk, a backlog, sink up", &publisher, || {
        door.open_for(u64::MAX);
        sleep(freeze_for);
    });
    drop(fault);
    eventually("the backlog leaves", || drainer.stats().spilled == 0);
}

/// Refuses every entry for good.
#[derive(Debug)]
struct Refusing;

impl Sink for Refusing {
    fn position<'a>(
        &'a mut self,
        _of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver<'a>(&'a mut self, _batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        Box::pin(async { Delivery::stopped(0, SinkError::Rejected("refused".to_owned())) })
    }
}
