//! The state of a schedule, and the events that may happen to it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_tests::vfs::{self, Watching};
use fastrand::Rng;
use futures_util::FutureExt;

use super::breaks::Break;
use super::disk::Disk;
use super::judge::{Fact, Fate, Found, Judge};
use super::plan::{Plan, entry};
use super::process::Process;
use super::sinks::SinkModel;
use super::verdict::Excuses;
use crate::change::watch_changes;
use crate::config::SpillDurability;
use crate::control::Until;
use crate::policy::Step;

/// The longest time that a healthy disk takes for an order.
pub(super) const DISK_MAX: Duration = Duration::from_millis(20);
/// How often the drainer may run without a wait: it has no more to do than the ring holds.
const BUSY_MAX: u32 = 20_000;

pub(super) struct World {
    pub(super) random: Rng,
    pub(super) plan: Plan,
    pub(super) now: Duration,
    pub(super) base: Instant,
    pub(super) disk: Arc<Disk>,
    pub(super) sink: SinkModel,
    pub(super) process: Option<Process>,
    pub(super) judge: Judge,
    pub(super) trace: String,
    /// Errors, whose text may differ between two runs of one schedule.
    pub(super) errors: Vec<String>,
    pub(super) processes: usize,
    /// Since when disk and spill accept everything.
    pub(super) well_since: Duration,
    /// The longest time that orders of the disk take.
    pub(super) latency: Duration,
    pub(super) excuses: Excuses,
    pub(super) broken: Option<Break>,
    /// Failed calls of the disk as of the last check.
    pub(super) faults: u64,
    /// An append was under way when the process died: its rows may be there, unsynced.
    pub(super) torn: bool,
    _watching: Watching,
}

impl World {
    pub(super) fn new(seed: u64, dir: &Path, broken: Option<Break>) -> Self {
        fastrand::seed(seed);
        let mut random = Rng::with_seed(seed);
        let plan = Plan::of(&mut random, &dir.join("spill"));
        std::fs::create_dir(&plan.config.spill_dir).expect("the spill directory");
        let disk = Disk::new(&plan.config.spill_dir, random.u64(..), broken);
        watch_changes(Some(Arc::clone(&disk) as _));
        let mut world = Self {
            random,
            now: Duration::ZERO,
            base: Instant::now() + Duration::from_secs(1 << 20),
            sink: SinkModel::new(plan.memory, plan.picky, broken),
            process: None,
            judge: Judge::new(plan.memory),
            trace: String::new(),
            errors: Vec::new(),
            processes: 0,
            well_since: Duration::ZERO,
            latency: DISK_MAX,
            excuses: Excuses::default(),
            broken,
            faults: 0,
            torn: false,
            _watching: vfs::watch(&plan.config.spill_dir, Arc::clone(&disk) as _),
            disk,
            plan,
        };
        let plan = Plan {
            config: crate::config::Config::new(""),
            ..world.plan.clone()
        };
        let config = crate::config::Config {
            spill_dir: PathBuf::new(),
            ..world.plan.config.clone()
        };
        world.note(format_args!("{plan:?} {config:?}"));
        world
    }

    pub(super) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.trace, "{:?} {what}", self.now).expect("a string");
    }

    /// Something prevents the disk from working at this moment.
    pub(super) fn unwell(&mut self) {
        self.well_since = self.now;
    }

    pub(super) fn start(&mut self) -> Found {
        let faults = self.disk.faults();
        self.disk.set_clock(self.base + self.now);
        let started = Process::start(&self.plan.config, self.processes, || self.disk.clock());
        // A start may have waited for the disk.
        self.now = self.disk.clock() - self.base;
        self.processes += 1;
        self.unwell();
        if self.disk.is_dead() {
            drop(started);
            self.note(format_args!("died at the start"));
            self.after_death();
            return Ok(());
        }
        match started {
            Ok((mut process, run)) => {
                (process.wake_at, process.looked_at) = (self.now, self.now);
                process.watermark = self.disk.faults() == faults;
                self.note(format_args!(
                    "start of run {}, killed starts {}",
                    run.local, run.killed_starts
                ));
                self.judge.begun(&run, process.ordinal)?;
                self.process = Some(process);
                self.check_law("at the start")
            }
            Err(error) => {
                self.errors.push(error.to_string());
                self.note(format_args!("no start ({})", self.errors.len()));
                Ok(())
            }
        }
    }

    /// Kills the process; perhaps the power fails as well.
    pub(super) fn kill(&mut self) {
        self.disk.die_after(0);
        self.note(format_args!("killed"));
        self.after_death();
    }

    pub(super) fn after_death(&mut self) {
        self.process = None;
        self.judge.died();
        if self.random.u8(..5) < 2 {
            let said = self.disk.cut_power();
            self.note(format_args!("power cut: {said}"));
            self.judge.power_failed();
            self.excuses.torn |= self.torn;
            self.excuses.unsynced |=
                self.plan.config.spill_durability == SpillDurability::ProcessCrash;
        }
        self.disk.revive();
        self.latency = DISK_MAX;
    }

    pub(super) fn publish(&mut self) {
        let Some(process) = &self.process else { return };
        let burst = self.random.usize(1..=self.plan.burst_max);
        let keeps = self.random.bool();
        let mut fates = [0_u32; 3];
        for _ in 0..burst {
            let id = self.judge.facts.len() as u64;
            let entry = entry(id, &self.plan, &mut self.random);
            let lost = process.shared.ingress.lost();
            let fate = if keeps && process.publisher.try_publish(entry.clone()).is_err() {
                Fate::Returned
            } else {
                if !keeps {
                    process.publisher.publish(entry.clone());
                }
                if process.shared.ingress.lost() > lost {
                    Fate::Lost
                } else {
                    Fate::Accepted
                }
            };
            fates[fate as usize] += 1;
            self.judge.facts.push(Fact {
                process: process.ordinal,
                at: self.now,
                entry,
                fate,
                number: None,
                stored: 0,
                on_disk: false,
                promised: false,
                dead_lettered: false,
            });
        }
        let [accepted, returned, lost] = fates;
        self.note(format_args!(
            "publish: {accepted} accepted, {returned} returned, {lost} lost"
        ));
    }

    pub(super) fn flush(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let flush = process.publisher.flush();
        let delivered = process.publisher.delivered();
        if self.broken == Some(Break::FlushEarly) {
            for request in process.control.take_requests() {
                if let crate::control::Request::Flush(_, promise) = request {
                    promise.keep(());
                }
            }
        }
        process.wake_at = self.now;
        self.judge.flush(flush, Until::Safe, process.ordinal);
        self.judge
            .flush(delivered, Until::Delivered, process.ordinal);
        self.note(format_args!("flush"));
    }

    pub(super) fn shutdown(&mut self, limit: Duration) {
        let Some(process) = &mut self.process else {
            return;
        };
        let ticket = process.control.shutdown(limit);
        if process.shutdown.is_none() {
            process.shutdown = Some((ticket, self.now + limit));
        }
        process.wake_at = self.now;
        self.note(format_args!("shutdown within {limit:?}"));
    }

    pub(super) fn turn(&mut self) -> Found {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let config = &self.plan.config;
        let since = self.now.saturating_sub(process.looked_at);
        if since > config.poll_max + Duration::from_millis(2) {
            return Err(format!("the ring was not checked for {since:?}"));
        }
        process.looked_at = self.now;
        let step = process.drainer.turn(self.base + self.now);
        process.busy += 1;
        process.wake_at = self.now;
        if let Step::Wait(limit) = step {
            process.busy = 0;
            let oversleeps = self.broken == Some(Break::OversleepPoll);
            process.wake_at += if oversleeps { limit * 4 } else { limit };
        }
        if process.busy > BUSY_MAX {
            return Err("the drainer spins".to_owned());
        }
        self.check_memory()?;
        if !matches!(step, Step::Wait(_)) {
            self.note(format_args!("{step:?}"));
        }
        if !matches!(step, Step::StageRing | Step::Draw) {
            self.check_law("after a turn")?;
        }
        self.judge.check_tickets(self.excuses.evicted)?;
        self.check_age()?;
        self.now += Duration::from_micros(self.random.u64(1..50));
        if step == Step::Stop {
            self.finish()
        } else {
            Ok(())
        }
    }

    /// The drainer has ended.
    fn finish(&mut self) -> Found {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        if let Some(order) = process.desk.try_next()
            && self.random.bool()
        {
            let outcome = self.carry_out(&mut process, order);
            drop(outcome?);
        }
        let shutdown = process.shutdown.take();
        let (ordinal, ended) = (process.ordinal, process.ended);
        process.drainer.finish();
        drop(process.spill);
        self.judge.check_tickets(self.excuses.evicted)?;
        let stats = shutdown.and_then(|(ticket, _)| ticket.now_or_never());
        let Some(Ok(stats)) = stats else {
            return Err("a shutdown has ended without its account".to_owned());
        };
        let left = stats.in_ring + stats.in_memory;
        self.note(format_args!(
            "the end: {left} left, ended {ended}, {:?}",
            stats.lost
        ));
        if stats.entered() != stats.accounted() {
            return Err(format!("the last account breaks the law: {stats:?}"));
        }
        if left == 0 && !self.disk.is_dead() {
            self.judge.accounted(ordinal)?;
        }
        self.judge.died();
        if self.disk.is_dead() {
            self.after_death();
        }
        Ok(())
    }

    /// Delivers the outcomes that are due.
    pub(super) fn deliver_outcomes(&mut self) {
        let now = self.now;
        let Some(process) = &mut self.process else {
            return;
        };
        if let Some((_, outcome)) = process.sink_job.take_if(|(at, _)| *at <= now) {
            process.sink.put(outcome);
            process.wake_at = now;
        }
        if let Some((_, outcome)) = process.spill_job.take_if(|(at, _)| *at <= now) {
            process.desk.put(outcome);
            process.wake_at = now;
        }
    }
}
