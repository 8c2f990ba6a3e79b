//! Whether a deep backlog is slower than a shallow one: to write to, to read from, to open, to hold in memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use spillring::{Config, Drainer};
use tempfile::TempDir;

use crate::door::Door;
use crate::ear::Appends;
use crate::measure::{LIMIT, Note, median, mib, notes, publish, room_for, shuffled, watching_wal};
use crate::support::args::Args;
use crate::support::usage::{forget_peak, memory};

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
    /// In MiB: before it was filled, behind that, and the most in between.
    memory: [f64; 3],
    wal: u64,
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
    println!(
        "\nflat: 300-byte entries, PowerLoss, the next {block} at each depth; medians of {rounds} turns; MiB\n\
         {:>9} {:>11} {:>11} {:>11} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "depth",
        "published/s",
        "appended/s",
        "replayed/s",
        "open, ms",
        "memory",
        "filled",
        "peak",
        "WAL"
    );
    for backlog in &backlogs {
        let [before, behind, peak] = backlog.memory;
        println!(
            "{:>9} {:>11.0} {:>11.0} {:>11.0} {:>9.1} {before:>9.1} {behind:>9.1} {peak:>9.1} {:>7.1}",
            backlog.depth,
            median(&backlog.published),
            median(&backlog.appended),
            median(&backlog.replayed),
            median(&backlog.opened),
            mib(backlog.wal),
        );
    }
    let shallow = &backlogs[0];
    for backlog in &backlogs[1..] {
        let ratio = |of: fn(&Backlog) -> &Vec<f64>| median(of(backlog)) / median(of(shallow));
        println!(
            "{:>9} {:>11.2} {:>11.2} {:>11.2}  of the first",
            backlog.depth,
            ratio(|backlog| &backlog.published),
            ratio(|backlog| &backlog.appended),
            ratio(|backlog| &backlog.replayed),
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
            wal: 0,
        };
        backlog.start();
        // Once around the ring, past the spill or through it: from here on only the backlog grows.
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
        let begin = Instant::now();
        while self.drainer().stats().spilled != self.depth {
            assert!(
                begin.elapsed() < LIMIT,
                "the backlog is not as deep as before"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn reopen(&mut self) {
        let drainer = self.drainer.take().expect("it runs");
        let ticket = drainer.shutdown(Duration::ZERO);
        ticket.wait(LIMIT).expect("an account");
        let begin = Instant::now();
        self.start();
        self.opened.push(begin.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(self.drainer().stats().inherited, self.depth);
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
        let (value, wal) = watching_wal(&self.spill(), || work(self));
        self.wal = self.wal.max(wal);
        value
    }
}
