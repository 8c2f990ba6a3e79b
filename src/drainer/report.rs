//! Reports the state to `stats`, the metrics and the log.

use std::time::{Duration, Instant};

use super::DrainLoop;
use crate::event::{Position, unix_ms};
use crate::host::log;
use crate::metrics::Metrics;
use crate::policy::{Availability, Cap, Facts};
use crate::spill::View;
use crate::stats::{Discarded, Health, State, Stats, Status};

/// How often metrics are updated, and losses summed up in the log.
const EVERY: Duration = Duration::from_secs(1);

/// A disk that has not carried out an order for this long counts as away.
const DISK_AWAY: Duration = Duration::from_secs(5);

/// What was reported so far.
#[derive(Debug)]
pub(crate) struct Reporter {
    metrics: Metrics,
    next: Instant,
    state: State,
    lost: u64,
    evicted: u64,
}

impl Reporter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            metrics: Metrics::new(),
            next: now,
            state: State::Live,
            lost: 0,
            evicted: 0,
        }
    }

    /// The last report of a run.
    pub(crate) fn last(&mut self, view: &View, stats: &Stats) {
        self.log_state(stats);
        self.periodic(view, stats);
    }

    fn log_state(&mut self, stats: &Stats) {
        if self.state != stats.state {
            let (from, to) = (self.state.as_str(), stats.state.as_str());
            log::info!(from, to, spilled = stats.spilled, "the state has changed");
            self.state = stats.state;
        }
    }

    fn periodic(&mut self, view: &View, stats: &Stats) {
        let lost = stats.lost.total();
        if lost > self.lost {
            let new = lost - self.lost;
            log::error!(lost = new, "entries were lost: {:?} so far", stats.lost);
            self.lost = lost;
        }
        let evicted = stats.discarded.spill_evicted;
        if evicted > self.evicted {
            log::error!(
                evicted = evicted - self.evicted,
                so_far = evicted,
                "entries were evicted from the spill, which is at its cap"
            );
            self.evicted = evicted;
        }
        let backlog_max = view
            .bytes_max
            .saturating_sub(view.totals.dead_letters.bytes);
        self.metrics.report(stats, backlog_max);
    }
}

impl DrainLoop {
    /// Reports to `stats` at every turn, and metrics and losses once a second.
    pub(super) fn report(&mut self, facts: &Facts) {
        let stats = self.stats(self.state(facts));
        self.ring
            .entrance()
            .blame_spill(facts.disk.cap == Cap::Full);
        self.reports.log_state(&stats);
        self.control.report(stats);
        if facts.now >= self.reports.next {
            self.reports.next = facts.now + EVERY;
            let stats = self.ring.entrance().stats();
            self.reports.periodic(&self.disk.view, &stats);
        }
    }

    /// The stats, without what only the ring and its publishers know.
    pub(super) fn stats(&self, state: State) -> Stats {
        let (view, backlog) = (&self.disk.view, self.disk.backlog());
        Stats {
            state,
            inherited: self.counts.inherited + view.surplus + self.disk.uncounted(),
            accepted: self.ring.popped(),
            delivered: self.counts.delivered,
            replayed: self.counts.replayed,
            appended: self.counts.appended,
            in_memory: self.pipeline.unspilled() as u64,
            spilled: backlog.entries,
            dead_lettered: self.counts.oversize + self.counts.rejected,
            oversize: self.counts.oversize,
            rejected: self.counts.rejected,
            delivery_errors: self.counts.delivery_errors,
            discarded: Discarded {
                encode_error: self.sequencer.encode_errors(),
                corrupt: view.corrupt,
                spill_evicted: view.evicted,
                dead_letters_full: self.counts.dead_letters_full,
            },
            spill_bytes: backlog.bytes,
            spill_bytes_max: view.bytes_max,
            oldest_entry_age: self
                .oldest_popped_ms()
                .map(|ms| Duration::from_millis(unix_ms().saturating_sub(ms))),
            last: Some(Position {
                run: self.sequencer.run().id,
                n: self.sequencer.last_n(),
            }),
            sink_up: self.sink.is_up(),
            sink_trouble: self.sink.trouble.as_ref().map(ToString::to_string),
            ..Stats::default()
        }
    }

    fn oldest_popped_ms(&self) -> Option<u64> {
        let spilled = || {
            let oldest = self.disk.view.oldest_popped_ms;
            oldest.filter(|_| self.disk.backlog().entries > 0)
        };
        let staged = self.pipeline.first_staged();
        staged
            .map(|record| record.popped_ms)
            .or_else(spilled)
            .or_else(|| self.pipeline.oldest_drawn_ms())
    }

    fn state(&self, facts: &Facts) -> State {
        let backlog = self.disk.backlog().entries > 0;
        let trouble = self.sink.trouble.is_some();
        let order_since = facts.disk.order_since;
        let disk_away = facts.disk.cap == Cap::Absent
            || matches!(facts.disk.writes, Availability::RestsUntil(_))
            || order_since.is_some_and(|since| facts.now >= since + DISK_AWAY);
        if facts.stopping.is_some() {
            State::Stopping
        } else if facts.disk.cap == Cap::Full && (backlog || trouble) {
            // If dead letters alone have reached the cap, entries may still go to the sink.
            State::SpillFull
        } else if disk_away && trouble {
            State::DiskAway
        } else if trouble {
            State::Spilling
        } else if backlog {
            State::Replaying
        } else {
            State::Live
        }
    }

    /// The content of `status.json`.
    pub(super) fn status(&self, pid: Option<u32>, stats: Stats) -> Status {
        let dead_letters = self.disk.view.totals.dead_letters;
        let run = self.sequencer.run();
        let delivered = self.pipeline.settled();
        let delivered = delivered.filter(|key| key.local_run() == run.local && key.n() > 0);
        Status {
            publisher: Some(self.publisher),
            health: match pid {
                Some(_) => Health::InUse,
                None => Health::Healthy,
            },
            run: Some(run.id),
            pid,
            at_ms: unix_ms(),
            dead_letters: dead_letters.entries,
            dead_letter_bytes: dead_letters.bytes,
            delivered: delivered.map(|key| Position {
                run: run.id,
                n: key.n(),
            }),
            stats,
            ..Status::default()
        }
    }
}
