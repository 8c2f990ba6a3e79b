//! Whether a deep backlog is slower than a shallow one: to write to, to read from, to open, to hold in memory. And how
//! large its directory is, with all of it and after the last delivery.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use spillring::{Config, Drainer};
use tempfile::TempDir;

use crate::door::Door;
use crate::ear::Appends;
use crate::measure::{
    Note, median, mib, millis, notes, publish, room_for, shuffled, size, watching_logs,
};
use crate::support::args::Args;
use crate::support::bench::{LIMIT, eventually};
use crate::support::usage::{forget_peak, memory};

/// How long after the last delivery the directory is looked at again.
const SETTLING: Duration = Duration::from_secs(3);

/// A backlog, and what was measured at its depth.
struct Backlog {
    depth: u64,
    dir: TempDir,
    door: Door,
    /// Taken while it is restarted.
    drainer: Option<Drainer<Note>>,
    published: Vec<f64>,
    appended: Vec<f64>,
    replayed: Vec<f64>,
    opened: Vec<f64>,
    /// In MiB: before it was filled, after that, and the most in between.
    memory: [f64; 3],
    /// The largest size of its logs.
    logs: u64,
    /// Bytes of the directory: full, just after the last delivery, and a while later.
    sizes: [u64; 3],
}

pub(crate) fn flat(args: &Args) {
    let (rounds, block) = args.choose((9, 100_000), (1, 2_000));
    // The first twice: what two equals differ by is noise.
    let mut depths = args.choose(vec![1_000, 1_000, 100_000, 1_000_000], vec![1_000, 10_000]);
    depths.extend(args.rows);
    if !room_for(depths.iter().sum()) {
        return;
    }
    let mut backlogs: Vec<_> = depths.into_iter().map(Backlog::fill).collect();
    for _ in 0..rounds {
        for turn in shuffled(backlogs.len()) {
            backlogs[turn].append(block);
            backlogs[turn].replay(block);
        }
    }
    for _ in 0..rounds {
        for backlog in &mut backlogs {
            backlog.reopen();
        }
    }
    for backlog in &mut backlogs {
        backlog.drain();
    }
    print_speeds(&backlogs, block, rounds);
    print_sizes(&backlogs);
}

fn print_speeds(backlogs: &[Backlog], block: u64, rounds: usize) {
    println!(
        "\nflat: 300-byte entries, PowerLoss, the next {block} at each depth; medians of {rounds} turns\n\
         {:>9} {:>11} {:>11} {:>11} {:>9}",
        "depth", "published/s", "appended/s", "replayed/s", "open, ms"
    );
    let speeds = |backlog: &Backlog| {
        [&backlog.published, &backlog.appended, &backlog.replayed].map(|rates| median(rates))
    };
    for backlog in backlogs {
        let [published, appended, replayed] = speeds(backlog);
        let opened = median(&backlog.opened);
        println!(
            "{:>9} {published:>11.0} {appended:>11.0} {replayed:>11.0} {opened:>9.1}",
            backlog.depth
        );
    }
    let first = speeds(&backlogs[0]);
    for backlog in &backlogs[1..] {
        let speeds = speeds(backlog);
        let [published, appended, replayed] = [0, 1, 2].map(|of| speeds[of] / first[of]);
        println!(
            "{:>9} {published:>11.2} {appended:>11.2} {replayed:>11.2}  of the first",
            backlog.depth
        );
    }
}

fn print_sizes(backlogs: &[Backlog]) {
    println!(
        "MiB: of memory before, filled, and at its peak; of logs at most; of the directory full, just delivered, and later\n\
         {:>9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9}",
        "depth", "memory", "filled", "peak", "logs", "full", "delivered", "later"
    );
    for backlog in backlogs {
        let [before, filled, peak] = backlog.memory;
        let [full, delivered, later] = backlog.sizes.map(mib);
        println!(
            "{:>9} {before:>9.1} {filled:>9.1} {peak:>9.1} {:>7.1} {full:>9.1} {delivered:>9.1} {later:>9.1}",
            backlog.depth,
            mib(backlog.logs)
        );
    }
}

impl Backlog {
    fn fill(depth: u64) -> Self {
        Appends::now();
        let mut backlog = Self {
            depth,
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory"),
            door: Door::default(),
            drainer: None,
            published: Vec::new(),
            appended: Vec::new(),
            replayed: Vec::new(),
            opened: Vec::new(),
            memory: [0.0; 3],
            logs: 0,
            sizes: [0; 3],
        };
        backlog.start();
        // Once around the ring, past the spill or through it: from now on only the backlog grows.
        backlog.door.open_for(100_000);
        backlog.watched(|backlog| {
            publish(&backlog.drainer().publisher(), notes(100_000));
            backlog.door.rate();
        });
        forget_peak();
        backlog.memory[0] = memory("VmRSS");
        backlog.watched(|backlog| {
            publish(&backlog.drainer().publisher(), notes(depth));
        });
        backlog.memory[1] = memory("VmRSS");
        backlog.memory[2] = memory("VmHWM");
        assert_eq!(backlog.drainer().stats().spilled, depth);
        backlog
    }

    fn append(&mut self, block: u64) {
        let before = Appends::now();
        let rate = self.watched(|backlog| publish(&backlog.drainer().publisher(), notes(block)));
        self.published.push(rate);
        self.appended.push(block as f64 / before.since().seconds);
    }

    fn replay(&mut self, block: u64) {
        self.door.open_for(block);
        let rate = self.watched(|backlog| backlog.door.rate());
        self.replayed.push(rate);
        eventually("the backlog is as deep as before", || {
            self.drainer().stats().spilled == self.depth
        });
    }

    fn reopen(&mut self) {
        let drainer = self.drainer.take().expect("it runs");
        let ticket = drainer.shutdown(Duration::ZERO);
        ticket.wait(LIMIT).expect("an account");
        let begin = Instant::now();
        self.start();
        self.opened.push(millis(begin.elapsed()));
        assert_eq!(self.drainer().stats().inherited, self.depth);
    }

    /// Lets all of it leave.
    fn drain(&mut self) {
        self.sizes[0] = size(&self.spill());
        self.door.open_for(u64::MAX);
        eventually("the backlog leaves", || self.drainer().stats().spilled == 0);
        self.sizes[1] = size(&self.spill());
        std::thread::sleep(SETTLING);
        self.sizes[2] = size(&self.spill());
    }

    fn start(&mut self) {
        let mut config = Config::new(self.spill());
        config.spill_bytes_max = 64 << 30;
        // It looks often whether the door is open.
        config.backoff_max = Duration::from_millis(100);
        let drainer = spillring::start(config, self.door.clone()).expect("a publisher");
        self.drainer = Some(drainer);
    }

    fn drainer(&self) -> &Drainer<Note> {
        self.drainer.as_ref().expect("it runs")
    }

    fn spill(&self) -> PathBuf {
        self.dir.path().join("spill")
    }

    fn watched<T>(&mut self, work: impl FnOnce(&Self) -> T) -> T {
        let (value, logs) = watching_logs(&self.spill(), || work(self));
        self.logs = self.logs.max(logs);
        value
    }
}
