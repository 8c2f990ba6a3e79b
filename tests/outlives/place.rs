//! Where a test takes place: the directories, the process that is killed, and what comes out in the end.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use spillring::config::SpillDurability;
use spillring::{Config, Drainer, JsonLinesSink};
#[cfg(feature = "nats")]
use spillring::{JetStreamSink, NatsConfig};
use spillring_mapping::Mapping;

use crate::mark::Mark;
use test_support::child::Process;

/// What the process that is killed is told: where, who, how.
const WHERE: &str = "SPILLRING_OUTLIVES_DIR";
const WHO: &str = "SPILLRING_OUTLIVES_LIFE";
const HOW: &str = "SPILLRING_OUTLIVES_SINK";
const ENDS: &str = "SPILLRING_OUTLIVES_ENDS";
pub(crate) const THREADS: usize = 4;
/// One counter for each thread of each life.
const LIVES_MAX: usize = 4_096;
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Where entries go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Lines,
    /// There is no such folder.
    NoLines,
    /// To a server with this address, which may be none.
    #[cfg(feature = "nats")]
    Nats(String),
}

/// The directories of a test.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    returned: Mapping,
}

/// What the process that is killed was told.
pub(crate) struct Task {
    pub(crate) place: Place,
    pub(crate) life: usize,
    pub(crate) way: Way,
    pub(crate) ends: String,
}

impl Task {
    /// None in a process that is not to be killed.
    pub(crate) fn found() -> Option<Self> {
        let dir = std::env::var_os(WHERE).map(PathBuf::from)?;
        Some(Self {
            place: Place::new(&dir),
            life: std::env::var(WHO).unwrap().parse().unwrap(),
            way: match std::env::var(HOW).unwrap().as_str() {
                "lines" => Way::Lines,
                "none" => Way::NoLines,
                #[cfg(feature = "nats")]
                url => Way::Nats(url.to_owned()),
                #[cfg(not(feature = "nats"))]
                url => panic!("{url}"),
            },
            ends: std::env::var(ENDS).unwrap(),
        })
    }
}

impl Place {
    pub(crate) fn new(dir: &Path) -> Self {
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

    /// How many `publish` has returned for.
    pub(crate) fn returned(&self, life: usize, thread: usize) -> u64 {
        self.returned.words()[life * THREADS + thread].load(Ordering::Relaxed)
    }

    pub(crate) fn note_returned(&self, life: usize, thread: usize, count: u64) {
        self.returned.words()[life * THREADS + thread].store(count, Ordering::Relaxed);
    }

    pub(crate) fn start(&self, way: &Way) -> Drainer<Mark> {
        let mut config = Config::new(self.dir.join("spill"));
        config.ring_dir = Some(self.dir.join("ring"));
        config.ring_bytes_max = 1 << 20;
        config.spill_durability = SpillDurability::ProcessCrash;
        config.pending_max = Duration::from_millis(50);
        let lines =
            |file: PathBuf| JsonLinesSink::new(file).durability(SpillDurability::ProcessCrash);
        let started = match way {
            Way::Lines => spillring::start_durable(config, lines(self.dir.join("audit.jsonl"))),
            Way::NoLines => {
                let file = self.dir.join("away").join("audit.jsonl");
                spillring::start_durable(config, lines(file))
            }
            #[cfg(feature = "nats")]
            Way::Nats(url) => {
                let mut nats = NatsConfig::default();
                nats.urls = vec![url.as_str().into()];
                spillring::start_durable(config, JetStreamSink::new(nats).unwrap())
            }
        };
        started.unwrap()
    }

    /// A process that publishes until it is killed, or until it ends by itself.
    pub(crate) fn child(&self, life: usize, way: &Way, ends: &str) -> Process {
        let how = match way {
            Way::Lines => "lines",
            Way::NoLines => "none",
            #[cfg(feature = "nats")]
            Way::Nats(url) => url,
        };
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(WHERE, &self.dir)
            .env(WHO, life.to_string())
            .env(HOW, how)
            .env(ENDS, ends)
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.join("said")).unwrap())
            .spawn()
            .unwrap()
            .into()
    }

    /// Kills processes, half of them within their first moments: before anything was published, or while they take
    /// over.
    pub(crate) fn kill(&self, kills: usize, mut way: impl FnMut(&mut fastrand::Rng) -> Way) {
        let mut random = fastrand::Rng::with_seed(kills as u64);
        for life in 0..kills {
            let mut child = self.child(life, &way(&mut random), "");
            if random.bool() {
                thread::sleep(Duration::from_micros(random.u64(..50_000)));
            } else {
                let enough = random.u64(1..4_000);
                eventually(|| {
                    let ended = child.try_wait().unwrap();
                    assert_eq!(ended, None, "{}", self.said());
                    self.returned(life, 0) >= enough
                });
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.join("said")).unwrap_or_default()
    }

    /// Everything goes to a sink that is up, and no ring is left.
    pub(crate) fn deliver(&self, way: &Way) {
        let drainer = self.start(way);
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
        let left: Vec<_> = fs::read_dir(self.dir.join("ring")).unwrap().collect();
        assert_eq!(
            left.len(),
            0,
            "a ring in which nothing is left goes: {left:?}"
        );
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("audit.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Each thread's entries are there once, in order, none missing of those that had returned, and at most one more.
    pub(crate) fn judge(&self, entries: &[String], lives: usize) {
        let mut found: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for entry in entries {
            let mut fields = entry.split(' ');
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
                let returned = self.returned(life, thread);
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
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "never came to pass");
        thread::sleep(Duration::from_micros(200));
    }
}
