//! A process that publishes from four threads at full rate is killed with SIGKILL, again and again, also within its first
//! moments and while it takes over what the one before it has left. With `ring_dir`, whatever `publish` had returned for comes
//! out exactly once and in order, and each run says its last number.
//!
//! What had returned is known from counters in a file of their own, which is shared memory as well.
//!
//! `SPILLRING_KILLS=1000` kills so often; on a tmpfs if `TMPDIR` is one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation fails the test"
)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use spillring::{
    Config, Durable, EncodeError, Event, JsonLinesSink, Pack, Packer, SpillDurability, Unpacker,
};
use spillring_mapping::Mapping;

const WHERE: &str = "SPILLRING_OUTLIVES_DIR";
const HOW: &str = "SPILLRING_OUTLIVES_SINK";
const THREADS: usize = 4;
/// One counter for each thread of each life.
const LIVES_MAX: usize = 4_096;
/// How many entries a thread publishes before it ends the process.
const ENOUGH: u64 = 1_000;
const SIGABRT: i32 = 6;
const LIMIT: Duration = Duration::from_mins(1);

/// An entry that says who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    life: u64,
    thread: u64,
    n: u64,
    filling: String,
}

impl Mark {
    fn new(life: u64, thread: u64, n: u64) -> Self {
        let filling = "x".repeat(usize::try_from(n * 37 % 700).unwrap());
        Self {
            life,
            thread,
            n,
            filling,
        }
    }
}

impl Event for Mark {
    fn subject(&self) -> String {
        format!("thread.{}", self.thread)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Self {
            life,
            thread,
            n,
            filling,
        } = self;
        out.extend_from_slice(format!("{life} {thread} {n} {filling}").as_bytes());
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.filling.len()
    }
}

impl Pack for Mark {
    fn packed_words(&self) -> usize {
        3 + Packer::words_of(self.filling.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        for word in [self.life, self.thread, self.n] {
            out.put_u64(word);
        }
        out.put_bytes(self.filling.as_bytes());
    }
}

impl Durable for Mark {
    const FORMAT: u32 = 7;

    fn unpack(_: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            life: from.u64()?,
            thread: from.u64()?,
            n: from.u64()?,
            filling: from.str()?.to_owned(),
        })
    }
}

/// Where a test takes place.
struct Place {
    dir: PathBuf,
    returned: Mapping,
}

impl Place {
    fn new(dir: &Path) -> Self {
        let path = dir.join("returned");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let words = LIVES_MAX * THREADS;
        file.set_len((words * 8) as u64).unwrap();
        Self {
            dir: dir.to_owned(),
            returned: Mapping::new(&file, words).unwrap(),
        }
    }

    fn returned(&self, life: usize, thread: usize) -> u64 {
        self.returned.words()[life * THREADS + thread].load(Ordering::Relaxed)
    }

    fn config(&self) -> Config {
        let mut config = Config::new(self.dir.join("spill"));
        config.ring_dir = Some(self.dir.join("ring"));
        config.ring_bytes_max = 1 << 20;
        config.spill_durability = SpillDurability::ProcessCrash;
        config.pending_max = Duration::from_millis(50);
        config
    }

    fn sink(&self, how: &str) -> JsonLinesSink {
        let file = match how {
            "up" => self.dir.join("audit.jsonl"),
            // There is no such folder.
            _ => self.dir.join("away").join("audit.jsonl"),
        };
        JsonLinesSink::new(file).durability(SpillDurability::ProcessCrash)
    }

    /// `how`: the sink, `up` or `away`, and perhaps how it ends by itself.
    fn child(&self, life: usize, how: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(WHERE, &self.dir)
            .env(HOW, format!("{life} {how}"))
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.join("said")).unwrap())
            .spawn()
            .unwrap()
    }
}

#[test]
fn what_publish_has_returned_for_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let kills: usize = match std::env::var("SPILLRING_KILLS") {
        Ok(kills) => kills.parse().unwrap(),
        Err(_) => 200,
    };
    let mut random = fastrand::Rng::with_seed(kills as u64);
    for life in 0..kills {
        let how = if random.bool() { "up" } else { "away" };
        let mut child = place.child(life, how);
        // Half of them within their first moments: before anything was published, or while they take over.
        if random.bool() {
            thread::sleep(Duration::from_micros(random.u64(..50_000)));
        } else {
            let enough = random.u64(1..4_000);
            eventually(|| {
                let ended = child.try_wait().unwrap();
                assert_eq!(ended, None, "{}", said(&place));
                place.returned(life, 0) >= enough
            });
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    deliver(&place);
    assert_delivered(&place, kills);
    let left: Vec<_> = fs::read_dir(place.dir.join("ring")).unwrap().collect();
    assert_eq!(
        left.len(),
        0,
        "a ring in which nothing is left goes: {left:?}"
    );
}

/// A panic ends so as well where it aborts, and so does what the kernel kills for want of memory.
#[test]
fn so_does_what_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let ends = ["abort", "overflow", "exit"];
    for (life, end) in ends.iter().enumerate() {
        let mut child = place.child(life, &format!("away {end}"));
        let status = child.wait().unwrap();
        let expected = (*end != "exit").then_some(SIGABRT);
        assert_eq!(status.signal(), expected, "{status}: {}", said(&place));
    }
    deliver(&place);
    assert_delivered(&place, ends.len());
}

/// The process ends in the middle of its work, if it is to end by itself. None of its destructors run.
fn end(how: &str) {
    match how {
        "abort" => std::process::abort(),
        "overflow" => drop(black_box(overflow(&[0; 1_024]))),
        "exit" => std::process::exit(0),
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "until the stack is used up")]
fn overflow(before: &[u8; 1_024]) -> u8 {
    let mut frame = *black_box(before);
    frame[0] = frame[0].wrapping_add(1);
    overflow(&frame).wrapping_add(frame[1])
}

/// Everything goes to a sink that is up.
fn deliver(place: &Place) {
    let drainer = spillring::start_durable::<Mark>(place.config(), place.sink("up")).unwrap();
    let start = Instant::now();
    loop {
        let stats = drainer.stats();
        if stats.in_ring + stats.in_memory + stats.spilled == 0 {
            break;
        }
        assert!(start.elapsed() < LIMIT * 10, "not delivered: {stats:#?}");
        thread::sleep(Duration::from_millis(5));
    }
    let stats = drainer.shutdown(LIMIT).wait(LIMIT * 2).unwrap();
    assert_eq!(stats.entered(), stats.delivered, "{stats:#?}");
}

fn said(place: &Place) -> String {
    fs::read_to_string(place.dir.join("said")).unwrap_or_default()
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "never came to pass");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Each thread's entries are there once, in order, none missing of those that had returned, and at most one more.
fn assert_delivered(place: &Place, lives: usize) {
    let text = fs::read_to_string(place.dir.join("audit.jsonl")).unwrap();
    let mut found: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let mut number = || fields.next().unwrap().parse::<u64>().unwrap();
        let (life, thread, n) = (number(), number(), number());
        let whose = (
            usize::try_from(life).unwrap(),
            usize::try_from(thread).unwrap(),
        );
        let next = found.entry(whose).or_default();
        assert_eq!(n, *next, "of thread {whose:?}");
        assert_eq!(fields.next(), Some(&*Mark::new(life, thread, n).filling));
        *next += 1;
    }
    let mut all = 0;
    for life in 0..lives {
        for thread in 0..THREADS {
            let returned = place.returned(life, thread);
            let found = found.get(&(life, thread)).copied().unwrap_or(0);
            assert!(
                (returned..=returned + 1).contains(&found),
                "life {life}, thread {thread}: {returned} returned, {found} found"
            );
            all += returned;
        }
    }
    assert!(all > lives as u64 * 100, "hardly anything was published");
}

/// Not a test, but the process that is killed: nothing happens without the variable.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(WHERE).map(PathBuf::from) else {
        return;
    };
    let how = std::env::var(HOW).unwrap();
    let mut words = how.split(' ');
    let life: usize = words.next().unwrap().parse().unwrap();
    let (how, ends) = (words.next().unwrap(), words.next());
    let place = Place::new(&dir);
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let drainer = spillring::start_durable::<Mark>(place.config(), place.sink(how)).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (publisher, place) = (drainer.publisher(), &place);
            scope.spawn(move || {
                for n in 0.. {
                    let mark = Mark::new(life as u64, thread as u64, n);
                    publisher.publish_timeout(mark, LIMIT).unwrap();
                    place.returned.words()[life * THREADS + thread].store(n + 1, Ordering::Relaxed);
                    if n == ENOUGH && thread == 0 {
                        end(ends.unwrap_or_default());
                    }
                }
            });
        }
    });
}
