//! The end of the trail: reports whatever is still missing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::HumanCount;
use serde::Serialize;
use spillring::event::{PublisherId, RunId};

use super::{Judge, JudgedCounts, RunFate, Writers};
use crate::verify::finding::{Finding, Kind};
use crate::verify::seals::{Seals, Signed};
use crate::verify::trail::{RunAccount, TrailPlace};
use crate::verify::{counted, numbers_in_words};

/// The judgement on a trail.
#[derive(Debug, Serialize)]
pub(in crate::verify) struct Judgement {
    pub(in crate::verify) complete: bool,
    pub(in crate::verify) intact: bool,
    #[serde(flatten)]
    pub(in crate::verify) counts: JudgedCounts,
    pub(in crate::verify) against_complete: u64,
    pub(in crate::verify) against_intact: u64,
    pub(in crate::verify) against_authentic: u64,
    #[serde(flatten)]
    pub(in crate::verify) signed: Signed,
    /// In the order in which they appear.
    pub(in crate::verify) runs: Vec<RunSummary>,
    pub(in crate::verify) findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub(in crate::verify) unlisted: u64,
}

/// The judgement on a run.
#[derive(Debug, Serialize)]
pub(in crate::verify) struct RunSummary {
    pub(in crate::verify) publisher: Option<PublisherId>,
    pub(in crate::verify) run: RunId,
    pub(in crate::verify) first: u64,
    /// The last number, of an entry or a loss.
    pub(in crate::verify) last: u64,
    pub(in crate::verify) entries: u64,
    pub(in crate::verify) lost: u64,
    pub(in crate::verify) missing: u64,
    pub(in crate::verify) ended: RunFate,
}

/// Entries of a publisher with a hash, and without.
#[derive(Debug, Default)]
struct Hashed {
    with: u64,
    without: u64,
    first: Option<(RunId, TrailPlace)>,
}

impl Judge {
    /// The trail ends here.
    pub(in crate::verify) fn finish(mut self, seals: Seals) -> Judgement {
        let signed = seals.finish(&mut self, now_s());
        for id in self.order.clone() {
            self.settle_beginning(id);
            self.settle_end(id);
        }
        self.settle_hashed();
        self.settle_extra(signed.verdict);
        self.settle_acknowledged();
        let gaps = self.chains.take_gaps();
        self.report_gaps(gaps);
        if self.counts.entries == 0 {
            let text = "there are no entries".to_owned();
            self.find(Kind::Nothing, None, None, text);
        }
        for id in self.publishers.keys().copied().collect::<Vec<_>>() {
            self.settle_cursor(id);
        }
        let runs = self.order.iter().filter_map(|id| {
            let run = self.runs.get(id)?;
            let numbers = &run.numbers;
            let summary = RunSummary {
                publisher: run.publisher,
                run: *id,
                first: numbers.begin(),
                last: numbers.last(),
                entries: numbers.entries,
                lost: numbers.lost,
                missing: numbers.missing(),
                ended: run.ended,
            };
            (summary.entries + summary.lost + summary.missing > 0).then_some(summary)
        });
        Judgement {
            complete: self.findings.against_complete == 0,
            intact: self.findings.against_intact == 0,
            counts: JudgedCounts {
                sessions: self.chains.count(),
                ..self.counts
            },
            runs: runs.collect(),
            against_complete: self.findings.against_complete,
            against_intact: self.findings.against_intact,
            against_authentic: self.findings.against_authentic,
            signed,
            unlisted: self.findings.unlisted,
            findings: self.findings.into_sorted(),
        }
    }

    /// A gap at the beginning of a publisher's first run is no break if the beginning of the trail may be gone.
    fn settle_beginning(&mut self, id: RunId) {
        let may_be_gone = self.may_be_gone(id);
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let gaps = run.numbers.gaps().to_vec();
        let (head, others) = match gaps.split_first() {
            Some((gap, others)) if gap.first == 1 => (Some(*gap), others),
            _ => (None, &gaps[..]),
        };
        if let Some(gap) = head {
            let is_first = run.publisher.is_none_or(|of| {
                let runs = self.publishers.get(&of).map(|it| &it.runs);
                runs.is_some_and(|runs| runs.first() == Some(&id))
            });
            let (kind, text) = if is_first && may_be_gone {
                run.numbers.begin_late();
                let text = format!("the trail begins at number {} of it", gap.last + 1);
                (Kind::BeginsAt, text)
            } else {
                let text = format!(
                    "{}, the beginning of the run",
                    numbers_in_words(1, gap.last)
                );
                (Kind::HeadMissing, text)
            };
            self.find(kind, Some(id), Some(gap.place), text);
        }
        for gap in others {
            self.report_missing(id, *gap);
        }
    }

    /// Compares the end of a run with the acknowledged position in its publisher's spill.
    fn settle_acknowledged(&mut self) {
        let Some(at) = self.acknowledged else { return };
        let run = self.runs.get(&at.run);
        let seen = run.map_or(0, |run| run.numbers.last());
        let cursors = self.publishers.values();
        let cursors = cursors.filter_map(|publisher| publisher.cursor.as_ref());
        let by_cursor = cursors.filter(|(account, _)| account.run == at.run);
        let by_cursor = by_cursor.map(|(account, _)| account.last).max();
        let last = seen.max(by_cursor.unwrap_or(0));
        // Older runs are removed first.
        let is_oldest = self
            .order
            .iter()
            .all(|id| id.0.as_bytes() > at.run.0.as_bytes());
        let gone = run.is_none() && is_oldest && self.may_be_gone(at.run);
        if last >= at.n || gone {
            return;
        }
        let text = format!(
            "{} of run {}: according to its publisher's spill they were acknowledged",
            numbers_in_words(last + 1, at.n),
            at.run
        );
        let place = run.and_then(|run| run.last_place);
        self.find(Kind::AcknowledgedMissing, Some(at.run), place, text);
    }

    /// Reports publishers that have entries with and without a hash.
    fn settle_hashed(&mut self) {
        let runs = self
            .order
            .iter()
            .filter_map(|id| Some((*id, self.runs.get(id)?)));
        let mut publishers: BTreeMap<Option<PublisherId>, Hashed> = BTreeMap::new();
        for (id, run) in runs {
            let of = publishers.entry(run.publisher).or_default();
            of.with += run.sealed;
            of.without += run.unsealed;
            let first = run.first_unsealed.map(|place| (id, place));
            of.first = of.first.or(first);
        }
        for of in publishers.into_values().filter(|of| of.with > 0) {
            let Some((run, place)) = of.first else {
                continue;
            };
            let text = format!(
                "{} of its publisher without a hash, among {} that have one",
                counted(of.without, "entry"),
                HumanCount(of.with)
            );
            self.find(Kind::Unsealed, Some(run), Some(place), text);
        }
    }

    /// A cursor must name its publisher's last run, not counting runs whose entries were all stored alone.
    fn settle_cursor(&mut self, id: PublisherId) {
        let Some(publisher) = self.publishers.get(&id) else {
            return;
        };
        let Some((account, place)) = publisher.cursor else {
            return;
        };
        let counted = |id: &&RunId| self.runs.get(id).is_some_and(|run| run.counted_to > 0);
        let latest = publisher.runs.iter().rev().find(counted).copied();
        if latest == Some(account.run) {
            return;
        }
        let run = account.run;
        if !self.runs.contains_key(&run) {
            return self.settle_absent_run(account, place, latest);
        }
        if self.writers == Writers::Idle && !account.open {
            let text = "the cursor of its publisher still names an earlier run".to_owned();
            let place = latest.and_then(|latest| self.runs.get(&latest)?.last_place);
            self.find(Kind::CursorBehind, latest, place, text);
        }
    }

    fn settle_absent_run(
        &mut self,
        account: RunAccount,
        place: Option<TrailPlace>,
        latest: Option<RunId>,
    ) {
        let (kind, text) = match account.entries() {
            0 => return,
            _ if latest.is_none() && self.may_be_gone(account.run) => {
                let text = "the trail begins after it: none of its entries is left".to_owned();
                (Kind::BeginsAt, text)
            }
            entries => {
                let text = format!(
                    "the cursor counts {} in it, none is there",
                    counted(entries, "entry")
                );
                (Kind::TailMissing, text)
            }
        };
        self.find(kind, Some(account.run), place, text);
    }
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
