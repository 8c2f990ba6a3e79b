//! The end of the drainer: a regular one, and one after panics.

use std::thread;
use std::time::{Duration, Instant};

use super::DrainLoop;
use super::pipeline::Pipeline;
use crate::host::{self, log};
use crate::policy::{End, STOP_GRACE, STOP_ORDER_MAX};
use crate::spill::Order;
use crate::stats::{State, Stats};

/// How long to wait for a sink that does not stop.
const SINK_STOP_MAX: Duration = Duration::from_millis(250);

/// How long a drainer that panicked waits for the disk to take its records.
const SAVE_MAX: Duration = Duration::from_secs(1);

/// How often it checks.
const SAVE_POLL: Duration = Duration::from_millis(1);

impl DrainLoop {
    /// Everything is settled or on disk, or nothing took it: closes the books.
    pub(crate) fn finish(mut self) {
        let stats = host::call(|| self.account());
        self.stop_workers();
        if let Some(stats) = stats {
            self.requests.account(&stats);
        }
    }

    fn account(&mut self) -> Stats {
        self.control.report(self.stats(State::Stopped));
        let mut stats = self.ring.entrance().stats();
        if self.disk.end == End::Done {
            // The ring was closed and empty. What the gate still counts is a publisher that is being refused.
            stats.accepted -= stats.in_ring;
            (stats.in_ring, stats.ring_bytes) = (0, 0);
        }
        let abandoned = stats.in_ring + stats.in_memory;
        if abandoned > 0 && self.ring.outlives() {
            log::warning!(
                entries = abandoned,
                "neither sink nor disk took these entries: they wait in the ring for the next start"
            );
        } else if abandoned > 0 {
            log::error!(
                abandoned,
                "neither sink nor disk took these entries: they are lost"
            );
        } else if self.disk.end == End::Unnoted {
            log::error!("the end of the run could not be recorded in the spill");
        }
        self.reports.last(&self.disk.view, &stats);
        stats
    }

    /// When this returns, the directory can be opened again, unless the disk hangs.
    fn stop_workers(&mut self) {
        if !self.sink.worker.stop(SINK_STOP_MAX) {
            log::warning!("the sink does not stop; its thread is left running");
        }
        // If it still has an order under way, it hangs.
        let limit = match self.disk.order() {
            None => STOP_ORDER_MAX,
            Some(_) => STOP_GRACE,
        };
        if !self.disk.worker.stop(limit) {
            log::warning!("the disk does not respond; the spill's thread is left running");
        }
    }

    /// After panics: everything in memory, and the rest of the ring, goes to the disk in one append. Tickets learn
    /// that the drainer has ended.
    pub(super) fn save(mut self) {
        log::error!("the drainer panicked again: saving its entries, and ending");
        let deadline = Instant::now() + SAVE_MAX;
        self.ring.entrance().close();
        host::call(|| self.draw_all(deadline));
        host::call(|| self.append_all(deadline));
        self.stop_workers();
    }

    fn draw_all(&mut self, deadline: Instant) {
        while self.ring.entrance().inside().entries > 0 && Instant::now() < deadline {
            let now = Instant::now();
            self.ring.inspect(false, now);
            if self.pop((usize::MAX, u64::MAX), now, Pipeline::draw) == 0 {
                thread::park_timeout(SAVE_POLL);
            }
        }
    }

    fn append_all(&mut self, deadline: Instant) {
        if !self.await_disk(deadline) {
            return;
        }
        let order = Order::Append(self.pipeline.append_all());
        self.disk.send(order, Instant::now());
        if self.await_disk(deadline) && self.pipeline.first_unspilled().is_none() {
            log::warning!("all entries of the drainer are on disk");
        }
    }

    /// Whether the disk has carried out its order by then.
    fn await_disk(&mut self, deadline: Instant) -> bool {
        loop {
            self.collect_disk(Instant::now());
            if self.disk.order().is_none() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::park_timeout(SAVE_POLL);
        }
    }
}
