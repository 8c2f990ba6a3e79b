//! Checks after each turn of the drainer.

use std::time::Duration;

use super::judge::Found;
use super::weather::Weather;
use super::world::{DISK_MAX, World};
use crate::spill::Room;

/// How much longer than `pending_max` an entry may be in memory only: the sink has just failed, an order is under way.
const AGE_SLACK: Duration = Duration::from_secs(3);

impl World {
    /// Memory holds two batches and two chunks.
    pub(super) fn check_memory(&self) -> Found {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let (batches, chunks) = process.drainer.held();
        let batch = self.plan.config.batch_max;
        if batches > 2 * batch || chunks > 2 * crate::spill::APPEND_ROWS_MAX {
            return Err(format!("memory holds {batches} and {chunks} records"));
        }
        Ok(())
    }

    pub(super) fn check_law(&self, when: &str) -> Found {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let stats = process.publisher.stats();
        if stats.entered() == stats.accounted() {
            return Ok(());
        }
        Err(format!(
            "the law is broken {when}: {} is not {}: {stats:?}",
            stats.entered(),
            stats.accounted()
        ))
    }

    pub(super) fn check_age(&mut self) -> Found {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let view = process.spill.view();
        let slow = process
            .spill_job
            .as_ref()
            .is_some_and(|(at, _)| *at > self.now + DISK_MAX);
        let well = self.disk.weather() == Weather::Fair && self.latency <= DISK_MAX && !slow;
        if !well || view.room != Room::Some || view.is_at_cap() || self.disk.faults() > self.faults
        {
            self.faults = self.disk.faults();
            self.unwell();
        }
        let config = &self.plan.config;
        let max = config.pending_max + config.backoff_max + AGE_SLACK;
        self.judge.check_age(self.well_since, max, self.now)
    }
}
