//! Tells how things stand: to `stats`, to the metrics, to `status.json`, and to the log.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Drainer;
use crate::event::Run;
use crate::event::unix_ms;
use crate::metrics::Metrics;
use crate::policy::{Facts, Hand};
use crate::spill::Spill;
use crate::stats::{Discarded, Health, State, Stats, Status};
use crate::status::write_status;

/// How often metrics and `status.json` are brought up to date, and losses summed up in the log.
const EVERY: Duration = Duration::from_secs(1);

/// What has been told so far.
#[derive(Debug)]
pub(crate) struct Reporter {
    metrics: Metrics,
    next: Instant,
    state: State,
    lost: u64,
    evicted: u64,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        Self {
            metrics: Metrics::new(),
            next: Instant::now(),
            state: State::Live,
            lost: 0,
            evicted: 0,
        }
    }

    /// The last word of a run.
    pub(crate) fn last(&mut self, dir: &Path, spill: &Spill, run: &Run, stats: &Stats) {
        self.log_state(stats);
        self.periodic(dir, spill, run, stats, None);
    }

    fn log_state(&mut self, stats: &Stats) {
        if self.state != stats.state {
            let (from, to) = (self.state.as_str(), stats.state.as_str());
            tracing::info!(target: "spillring", from, to, spilled = stats.spilled, "the state has changed");
            self.state = stats.state;
        }
    }

    fn periodic(&mut self, dir: &Path, spill: &Spill, run: &Run, stats: &Stats, pid: Option<u32>) {
        let lost = stats.lost.total();
        if lost > self.lost {
            tracing::error!(target: "spillring", lost = lost - self.lost, "entries were lost: {:?} so far", stats.lost);
            self.lost = lost;
        }
        let evicted = stats.discarded.spill_evicted;
        if evicted > self.evicted {
            tracing::error!(
                target: "spillring", evicted = evicted - self.evicted, so_far = evicted,
                "entries were evicted from the spill, which is at its cap"
            );
            self.evicted = evicted;
        }
        let totals = spill.totals();
        let backlog_max = spill.bytes_max().saturating_sub(totals.dead_letter_bytes);
        self.metrics.tell(stats, backlog_max);
        let health = match pid {
            Some(_) => Health::InUse,
            None if spill.is_distrusted() || spill.is_salvaging() => Health::Damaged,
            None => Health::Healthy,
        };
        let said = Status {
            publisher: Some(spill.publisher()),
            health,
            damage: None,
            run: Some(run.id),
            pid,
            at_ms: unix_ms(),
            dead_letters: totals.dead_letters,
            dead_letter_bytes: totals.dead_letter_bytes,
            quarantined: Vec::new(),
            stats: stats.clone(),
        };
        if let Err(error) = write_status(dir, &said) {
            tracing::debug!(target: "spillring", %error, "status.json could not be written");
        }
    }
}

impl Drainer {
    /// Tells `stats` at every turn, the others once a second.
    pub(super) fn report(&mut self, facts: &Facts) {
        let stats = self.stats(self.state(facts));
        self.intake.blame_spill(facts.disk == Hand::Busy);
        self.reporter.log_state(&stats);
        self.control.tell(stats);
        if facts.now >= self.reporter.next {
            self.reporter.next = facts.now + EVERY;
            self.spill.tick();
            if self.counts.unremoved > 0 {
                self.tidy_settled(facts.now);
            }
            let stats = self.intake.stats();
            let pid = Some(std::process::id());
            self.reporter
                .periodic(&self.config.spill_dir, &self.spill, &self.run, &stats, pid);
        }
    }

    /// The stats, without what only the ring and its publishers know.
    pub(super) fn stats(&self, state: State) -> Stats {
        let totals = self.spill.totals();
        let oldest_ms = self
            .pipeline
            .oldest_popped_ms()
            .or_else(|| self.spill.oldest_popped_ms())
            .or_else(|| self.pipeline.oldest_drawn_ms());
        Stats {
            state,
            inherited: self.counts.inherited + self.spill.surplus(),
            delivered: self.counts.delivered,
            replayed: self.counts.replayed,
            appended: self.counts.appended,
            in_memory: self.pipeline.unspilled().count() as u64,
            spilled: totals.entries.saturating_sub(self.counts.unremoved),
            dead_lettered: self.counts.oversize + self.counts.rejected,
            oversize: self.counts.oversize,
            rejected: self.counts.rejected,
            delivery_errors: self.counts.delivery_errors,
            discarded: Discarded {
                encode_error: self.intake.encode_errors(),
                corrupt: self.spill.corrupt(),
                spill_evicted: self.spill.evicted(),
            },
            spill_bytes: totals.bytes,
            oldest_entry_age: oldest_ms
                .map(|ms| Duration::from_millis(unix_ms().saturating_sub(ms))),
            ..Stats::default()
        }
    }

    fn state(&self, facts: &Facts) -> State {
        let backlog = self.spill.totals().entries > self.counts.unremoved;
        match (facts.stopping, facts.disk, backlog) {
            (Some(_), _, _) => State::Stopping,
            // At a cap that dead letters alone have reached, entries may still go to the sink.
            (None, Hand::Busy, _) if backlog || self.sink.trouble.is_some() => State::SpillFull,
            (None, Hand::RestsUntil(_), _) if self.sink.trouble.is_some() => State::DiskAway,
            (None, _, true) if self.sink.trouble.is_some() => State::Spilling,
            (None, _, true) => State::Replaying,
            (None, _, false) => State::Live,
        }
    }
}
