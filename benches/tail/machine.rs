//! The machine that measures: what it is, what its clock costs, and what it takes away while a block runs.

use std::fs;
use std::time::Duration;

use quanta::Clock;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::times::{Latencies, latencies};

/// What the first lines of the output say.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// What the kernel itself takes the time from; where it is not `tsc`, quanta may have to ask the kernel.
    pub(crate) clock_source: String,
    /// The step in which it counts: the shortest time between two readings that differ.
    pub(crate) clock_step_ns: u64,
    /// The mean of a reading, one after the other in a tight loop.
    pub(crate) clock_mean_ns: f64,
    /// Between two readings with nothing in between.
    pub(crate) clock_p50_ns: u64,
    pub(crate) clock_p999_ns: u64,
}

impl Machine {
    pub(crate) fn read(clock: &Clock) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find(|line| line.starts_with("model name"));
        let (clock_mean_ns, clock_step_ns, between) = clock_cost(clock);
        Self {
            cpu: model.and_then(|line| line.split_once(": ")).map_or_else(
                || "an unnamed processor".to_owned(),
                |(_, it)| it.to_owned(),
            ),
            cores: cores().len(),
            kernel: line("/proc/sys/kernel/osrelease"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_step_ns,
            clock_mean_ns,
            clock_p50_ns: between.value_at_quantile(0.5),
            clock_p999_ns: between.value_at_quantile(0.999),
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "machine: {}, {} cores, Linux {}",
            self.cpu, self.cores, self.kernel
        );
        println!(
            "clock: quanta raw (kernel: {}), steps of {} ns, {:.1} ns a reading; between two readings p50 {} ns, p99.9 {} ns",
            self.clock_source,
            self.clock_step_ns,
            self.clock_mean_ns,
            self.clock_p50_ns,
            self.clock_p999_ns
        );
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
}

/// The mean of a reading, the clock's step, and the times between two readings.
fn clock_cost(clock: &Clock) -> (f64, u64, Latencies) {
    const READINGS: u32 = 1_000_000;
    let begin = clock.raw();
    for _ in 0..READINGS {
        std::hint::black_box(clock.raw());
    }
    let mean = clock.delta_as_nanos(begin, clock.raw()) as f64 / f64::from(READINGS);
    let (mut between, mut step) = (latencies(), u64::MAX);
    for _ in 0..READINGS {
        let before = clock.raw();
        let span = clock.delta_as_nanos(before, clock.raw());
        between.saturating_record(span);
        step = step.min(if span == 0 { step } else { span });
    }
    (mean, step, between)
}

/// What was taken away from the calling thread, and from the machine.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Noise {
    /// How often the thread was made to give up its core (what `getrusage` calls
    /// `ru_nivcsw` of `RUSAGE_THREAD`, read where Linux shows it as text).
    pub(crate) switches: u64,
    /// How long the machine's cores together were not given to it (`/proc/stat`, in grains of 10 ms).
    pub(crate) steal_ms: u64,
}

impl Noise {
    /// Since the thread and the machine were started.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let switches = status
            .lines()
            .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = stat.split_whitespace().nth(8);
        Self {
            switches: switches.and_then(|it| it.trim().parse().ok()).unwrap_or(0),
            steal_ms: ticks.and_then(|it| it.parse().ok()).unwrap_or(0) * 10,
        }
    }

    pub(crate) fn since(self) -> Self {
        let now = Self::now();
        Self {
            switches: now.switches - self.switches,
            steal_ms: now.steal_ms - self.steal_ms,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.switches += other.switches;
        self.steal_ms += other.steal_ms;
    }
}

/// The threads of a receiver.
#[derive(Debug, Clone)]
pub(crate) enum Threads {
    None,
    One(Pid),
    /// All of this process whose names begin so.
    Named(&'static str),
}

impl Threads {
    pub(crate) fn ids(&self) -> Vec<Pid> {
        match self {
            Self::None => Vec::new(),
            Self::One(id) => vec![*id],
            Self::Named(name) => fs::read_dir("/proc/self/task")
                .expect("Linux lists threads")
                .flatten()
                .filter(|task| line_of(&task.path().join("comm")).starts_with(name))
                .filter_map(|task| task.file_name().to_str()?.parse().ok())
                .filter_map(Pid::from_raw)
                .collect(),
        }
    }

    /// The processor time that they have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let used = |id: Pid| {
            let text = fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        self.ids()
            .into_iter()
            .filter_map(used)
            .map(Duration::from_nanos)
            .sum()
    }
}

fn line_of(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// How much the last cache holds.
pub(crate) fn cache_bytes() -> usize {
    let size = line("/sys/devices/system/cpu/cpu0/cache/index3/size");
    let kib = size.strip_suffix('K').and_then(|kib| kib.parse().ok());
    kib.unwrap_or(32 << 10) << 10
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("Linux knows it");
    (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect()
}

/// Lets the thread, or the calling one if none is named, run on these cores only.
pub(crate) fn pin(thread: Option<Pid>, cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(thread, &set).expect("a thread of this process");
}
