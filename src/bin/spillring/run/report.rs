//! The report on a run, as text and as JSON.

use std::fmt;
use std::time::Duration;

use indicatif::HumanCount;
use serde::Serialize;

use super::ending::RunOutcome;
use super::feed::FeedCounts;
use crate::console::Problem;
use crate::latency::Percentiles;
use crate::verify::{counted, verb};

/// What happened to the input.
#[derive(Debug, Serialize)]
pub(super) struct InputReport {
    /// Lines that were published or rejected.
    read: u64,
    /// Lines that are not entries.
    rejected: u64,
    /// Entries published although their hashes are wrong.
    wrong_hashes: u64,
    accepted: u64,
    delivered: u64,
    /// Entries written to the spill in this run.
    spilled: u64,
    replayed: u64,
    /// Entries not delivered at the end.
    pending: u64,
    dead_lettered: u64,
    /// Entries dropped.
    refused: u64,
    full_attempts: u64,
    evicted: u64,
    /// Entries refused for good that found no room as dead letters.
    dead_letters_full: u64,
    /// Per attempt to publish.
    publish_ns: Percentiles,
    waited_s: f64,
    elapsed_s: f64,
    /// The name of the sink.
    #[serde(skip)]
    sink: String,
    /// Including those of earlier runs.
    #[serde(skip)]
    dead_letters: u64,
    #[serde(skip)]
    inherited: u64,
    #[serde(skip)]
    damaged: u64,
    /// The sink's last error.
    #[serde(skip)]
    trouble: Option<String>,
}

impl InputReport {
    pub(super) fn new(
        sink: String,
        counts: &FeedCounts,
        account: &RunOutcome,
        elapsed: Duration,
    ) -> Self {
        let stats = &account.stats;
        Self {
            read: counts.read,
            rejected: counts.rejected,
            wrong_hashes: counts.wrong_hashes,
            accepted: stats.accepted,
            delivered: stats.delivered,
            spilled: stats.appended,
            replayed: stats.replayed,
            pending: stats.in_ring + stats.in_memory + stats.spilled,
            dead_lettered: stats.dead_lettered,
            refused: stats.lost.total(),
            full_attempts: counts.full_attempts,
            evicted: stats.discarded.spill_evicted,
            dead_letters_full: stats.discarded.dead_letters_full,
            publish_ns: counts.attempts.percentiles(),
            waited_s: counts.waited.as_secs_f64(),
            elapsed_s: elapsed.as_secs_f64(),
            sink,
            dead_letters: account.dead_letters,
            inherited: stats.inherited,
            damaged: stats.discarded.encode_error + stats.discarded.corrupt,
            trouble: stats.sink_trouble.clone(),
        }
    }

    pub(super) fn to_json(&self) -> Result<String, Problem> {
        serde_json::to_string(self)
            .map(|json| json + "\n")
            .map_err(Problem::new)
    }

    fn verdict(&self) -> String {
        let count = |n| HumanCount(n);
        let lost = self.refused + self.evicted + self.dead_letters_full + self.damaged;
        if lost > 0 {
            let are = verb(lost, "is", "are");
            return format!("{} {are} lost.", counted(lost, "entry"));
        }
        let mut left = Vec::new();
        if self.pending > 0 {
            let wait = verb(self.pending, "waits", "wait");
            let entries = counted(self.pending, "entry");
            left.push(format!("{entries} {wait} for the next run"));
        }
        match (self.dead_letters, self.dead_letters - self.dead_lettered) {
            (0, _) => {}
            (kept, 0) => left.push(counted(kept, "dead letter")),
            (kept, earlier) => left.push(format!(
                "{} dead letters are kept, {} of them from earlier runs",
                count(kept),
                count(earlier)
            )),
        }
        if self.rejected > 0 {
            let (was, entries) = match self.rejected {
                1 => ("was", "an entry"),
                _ => ("were", "entries"),
            };
            let lines = counted(self.rejected, "line");
            left.push(format!("{lines} {was} not {entries}"));
        }
        match &self.trouble {
            _ if !left.is_empty() => format!("Nothing is lost; {}.", left.join(", ")),
            Some(trouble) if self.delivered == 0 => {
                format!("There was nothing to deliver, and the sink did not work: {trouble}.")
            }
            None if self.delivered == 0 => "There was nothing to deliver.".to_owned(),
            _ => "Everything is delivered.".to_owned(),
        }
    }
}

impl fmt::Display for InputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acknowledged = format!("acknowledged by {}", self.sink);
        let always = [
            ("read", self.read, "lines that are not blank"),
            ("accepted", self.accepted, "into the ring"),
            ("delivered", self.delivered, acknowledged.as_str()),
            ("spilled", self.spilled, "written to disk on the way"),
            ("replayed", self.replayed, "delivered from there"),
            ("pending", self.pending, "not delivered"),
        ];
        let if_any = [
            ("rejected", self.rejected, "lines that are not entries"),
            ("wrong hashes", self.wrong_hashes, "published all the same"),
            ("inherited", self.inherited, "from earlier runs"),
            (
                "dead letters",
                self.dead_letters,
                "refused for good, and kept, in this run or earlier",
            ),
            ("refused", self.refused, "dropped"),
            ("evicted", self.evicted, "from the spill at its cap"),
            (
                "not kept",
                self.dead_letters_full,
                "refused for good, with no room for a dead letter",
            ),
            (
                "damaged",
                self.damaged,
                "could not be encoded, or not be read back",
            ),
            (
                "full attempts",
                self.full_attempts,
                "found no room, and waited",
            ),
        ];
        let if_any = if_any.iter().filter(|(_, count, _)| *count > 0);
        for (name, count, meaning) in always.iter().chain(if_any) {
            let count = HumanCount(*count).to_string();
            writeln!(f, "{name:>14} {count:>13}  {meaning}")?;
        }
        if self.read > self.rejected {
            writeln!(f, "{:>14} {}", "publish", self.publish_ns)?;
        }
        writeln!(
            f,
            "{:>14} {:.3} s in all, {:.3} s of it waiting for room",
            "time", self.elapsed_s, self.waited_s
        )?;
        writeln!(f, "{}", self.verdict())
    }
}
