//! The checks at the end: what happened to every entry, and whether all guarantees held.

use std::time::Duration;

use indicatif::HumanCount;
use spillring::Stats;

use super::entries::DemoPlan;
use crate::console::Problem;

/// One guarantee, and whether it held.
#[derive(Debug)]
struct Check {
    promise: &'static str,
    kept: bool,
    detail: String,
}

#[derive(Debug)]
pub(super) struct PromiseChecks {
    checks: Vec<Check>,
}

impl PromiseChecks {
    /// `attempts` counts the calls; `found` counts the entries that were read back and are correct.
    pub(super) fn new(
        plan: &DemoPlan,
        stats: &Stats,
        attempts: u64,
        found: Result<u64, Problem>,
    ) -> Self {
        let planned = plan.entries();
        let lost = stats.lost.total() + stats.discarded.total();
        Self {
            checks: vec![
                Check {
                    promise: "nothing is lost",
                    kept: lost == 0 && stats.accepted == planned,
                    detail: format!(
                        "{} published, {} accepted, {} lost",
                        count(planned),
                        count(stats.accepted),
                        count(lost)
                    ),
                },
                Check {
                    promise: "every call is accounted for",
                    kept: attempts == stats.accepted + stats.returned + stats.lost.total(),
                    detail: format!(
                        "{} = {} accepted + {} handed back + {} lost",
                        count(attempts),
                        count(stats.accepted),
                        count(stats.returned),
                        count(stats.lost.total())
                    ),
                },
                Check {
                    promise: "every entry is accounted for",
                    kept: stats.entered() == stats.accounted(),
                    detail: whereabouts(stats),
                },
                delivered(plan, found),
            ],
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.kept)
    }

    /// The checks and the verdict.
    pub(super) fn describe(&self, took: Duration) -> String {
        let lines: String = self.checks.iter().map(Check::describe).collect();
        let verdict = if self.holds() {
            "All checks hold"
        } else {
            "NOT all checks hold"
        };
        format!(
            "\nThe account:\n\n{lines}\n{verdict}, after {:.1} s.\n",
            took.as_secs_f64()
        )
    }
}

impl Check {
    fn describe(&self) -> String {
        let mark = if self.kept { "✓" } else { "✗ BROKEN:" };
        format!("  {mark} {}\n      {}\n", self.promise, self.detail)
    }
}

fn whereabouts(stats: &Stats) -> String {
    let elsewhere = [
        ("in the spill", stats.spilled),
        ("in memory", stats.in_ring + stats.in_memory),
        ("dead-lettered", stats.dead_lettered),
        ("discarded", stats.discarded.total()),
    ];
    let elsewhere: Vec<_> = elsewhere
        .into_iter()
        .filter(|(_, entries)| *entries > 0)
        .map(|(place, entries)| format!(" + {} {place}", count(entries)))
        .collect();
    format!(
        "{} = {} delivered, {} of them out of the spill{}",
        count(stats.entered()),
        count(stats.delivered),
        count(stats.replayed),
        elsewhere.concat()
    )
}

fn delivered(plan: &DemoPlan, found: Result<u64, Problem>) -> Check {
    let (kept, detail) = match found {
        Ok(entries) => (
            entries == plan.entries(),
            format!(
                "{} read back; {} chains unbroken, each hash recomputed",
                count(entries),
                count(plan.sessions())
            ),
        ),
        Err(problem) => (false, problem.to_string()),
    };
    Check {
        promise: "every entry was delivered once, in the order of its thread",
        kept,
        detail,
    }
}

fn count(entries: u64) -> String {
    HumanCount(entries).to_string()
}
