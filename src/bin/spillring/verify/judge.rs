//! Judges whether a trail is complete and intact. It takes one entry at a time, in the order of the trail, and keeps
//! none: its memory grows with publishers, runs, sessions, breaks and requeued entries.
//!
//! *Complete*: every number of every run, up to the last known one, is an entry or an announced loss.
//! *Intact*: each entry is there once, in order, unchanged, and under its own number.
//!
//! An announced loss breaks neither.

mod line;
mod payload;
mod requeued;
mod settle;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use spillring::event::{Position, PublisherId, RunId};

use super::chains::{AbsentEntries, Chains, Counter, Payload};
use super::finding::{Findings, Kind};
use super::numbers::{NumberStep, Numbers};
use super::trail::{Observed, RunAccount, TrailPlace, Way};
pub(super) use settle::{Judgement, RunSummary};

/// Whether the beginning of the trail may have been removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrailHead {
    /// Nothing is removed.
    Kept,
    MayBeGone {
        /// Runs that began at this time or later, in milliseconds since 1970, are still whole.
        kept_from_ms: Option<u64>,
    },
}

/// Whether publishers were writing while the trail was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    Idle,
    /// There may be entries after the cursors that were read.
    Active,
}

#[derive(Debug)]
pub(super) struct Judge {
    head: TrailHead,
    writers: Writers,
    runs: HashMap<RunId, JudgedRun>,
    /// In the order in which they appear.
    order: Vec<RunId>,
    publishers: BTreeMap<PublisherId, JudgedPublisher>,
    /// The publishers of the runs that the newest cursors name.
    by_cursor: HashMap<RunId, PublisherId>,
    absent: HashMap<Counter, AbsentEntries>,
    chains: Chains,
    /// The old numbers of requeued entries.
    requeued: HashSet<Position>,
    pub(super) findings: Findings,
    counts: JudgedCounts,
    extra: payload::Extra,
    /// According to a publisher's spill, all entries up to here were acknowledged.
    acknowledged: Option<Position>,
}

/// How much was checked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct JudgedCounts {
    pub(super) entries: u64,
    /// Entries with a hash.
    pub(super) audit_entries: u64,
    /// Entries that had been dead letters.
    pub(super) requeued: u64,
    pub(super) sessions: usize,
}

#[derive(Debug)]
struct JudgedRun {
    publisher: Option<PublisherId>,
    /// How many runs appeared before it.
    appeared: usize,
    numbers: Numbers,
    /// The highest number of an entry that was not stored alone: an account must include it.
    counted_to: u64,
    ended: RunFate,
    opened: bool,
    way: Way,
    /// The end of the run, according to the next one.
    claim: Option<RunClaim>,
    last_place: Option<TrailPlace>,
    /// Entries with a hash, and without.
    sealed: u64,
    unsealed: u64,
    first_unsealed: Option<TrailPlace>,
}

/// How far a run came, according to the next run or a cursor.
#[derive(Debug, Clone, Copy)]
struct RunClaim {
    account: RunAccount,
    /// Its last number, or the account's if unknown. Numbers after the account's were lost before reaching the sink.
    last: u64,
}

/// How a run ended, as far as the trail shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunFate {
    /// It is its publisher's last one, and may go on.
    Open,
    Clean,
    Killed,
    /// Killed, but its ring survived: nothing is missing.
    Outlived,
    /// Runs without a trace came between it and the next one.
    Unknown,
}

#[derive(Debug, Default)]
struct JudgedPublisher {
    /// In the order of the trail.
    runs: Vec<RunId>,
    cursor: Option<(RunAccount, Option<TrailPlace>)>,
}

impl Judge {
    pub(super) fn new(head: TrailHead, writers: Writers) -> Self {
        Self {
            head,
            writers,
            runs: HashMap::new(),
            order: Vec::new(),
            publishers: BTreeMap::new(),
            by_cursor: HashMap::new(),
            absent: HashMap::new(),
            chains: Chains::new(head != TrailHead::Kept),
            requeued: HashSet::new(),
            findings: Findings::default(),
            counts: JudgedCounts::default(),
            extra: payload::Extra::default(),
            acknowledged: None,
        }
    }

    /// Entries up to this acknowledged position must be there.
    pub(super) fn expecting(self, acknowledged: Option<Position>) -> Self {
        Self {
            acknowledged,
            ..self
        }
    }

    /// Takes a publisher's newest cursor.
    pub(super) fn cursor(
        &mut self,
        of: PublisherId,
        account: RunAccount,
        place: Option<TrailPlace>,
    ) {
        self.by_cursor.entry(account.run).or_insert(of);
        self.publishers.entry(of).or_default().cursor = Some((account, place));
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, seen: &Observed<'_>) {
        self.counts.entries += 1;
        let Position { run: id, n } = seen.id;
        self.enter(id, seen.publisher, seen.way);
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let step = run.numbers.take(n, seen.lost, seen.place);
        run.last_place = Some(seen.place);
        if seen.way == Way::WithAccount {
            run.counted_to = run.counted_to.max(n);
        }
        if let Some(gap) = run.numbers.forget() {
            self.report_missing(id, gap);
        }
        if step != NumberStep::Doubled {
            self.check_opening(seen);
            self.check_requeued(seen);
        }
        let in_line = self.report_step(seen, step);
        let payload = Payload::of(seen.bytes);
        let source = self.source(id);
        self.count_absent(source, seen, step);
        self.check_subject(seen, &payload);
        self.note_seal(seen, &payload);
        let requeued = seen.requeued.is_some();
        let chained = in_line && (!requeued || self.chains.has_place_for(&payload));
        let content = (&payload, seen.bytes);
        self.check_payload(
            Some(id),
            seen.place,
            content,
            chained.then_some(source),
            requeued,
        );
    }

    /// Takes a line without a number: only its hash and its chain are checked. Its run may be known.
    pub(super) fn take_unnumbered(&mut self, place: TrailPlace, run: Option<RunId>, bytes: &[u8]) {
        self.counts.entries += 1;
        let source = run.map_or(Counter::Nobody, |run| self.source(run));
        if source == Counter::Nobody {
            self.absent.entry(source).or_default().begins_late = true;
        }
        self.check_payload(
            run,
            place,
            (&Payload::of(bytes), bytes),
            Some(source),
            false,
        );
    }

    /// Takes numbers of a run when only counts are known.
    pub(super) fn pass(&mut self, seen: &Observed<'_>, account: &RunAccount, there: u64) {
        self.enter(account.run, seen.publisher, seen.way);
        if let Some(opening) = &seen.opening {
            self.open(seen, opening);
        }
        let lost = account.lost.unwrap_or(0);
        if let Some(run) = self.runs.get_mut(&account.run) {
            run.numbers.pass(account.last, there, lost);
            run.counted_to = run.counted_to.max(account.last);
            run.last_place = Some(seen.place);
        }
        let source = self.source(account.run);
        let absent = self.absent.entry(source).or_default();
        absent.near = lost.saturating_add(account.entries().saturating_sub(there));
        absent.add(absent.near);
    }

    pub(super) fn writers(&self) -> Writers {
        self.writers
    }

    pub(super) fn find(
        &mut self,
        kind: Kind,
        run: Option<RunId>,
        place: Option<TrailPlace>,
        text: String,
    ) {
        self.findings.add(kind, run, place, text);
    }

    /// Whether this step leads forward, possibly over a gap. Reports it if not.
    fn report_step(&mut self, seen: &Observed<'_>, step: NumberStep) -> bool {
        let Position { run, n } = seen.id;
        let kind_and_text = match step {
            NumberStep::Doubled => Some((Kind::Doubled, format!("number {n} again"))),
            NumberStep::Late => Some((
                Kind::OutOfOrder,
                format!("number {n} comes after later ones"),
            )),
            NumberStep::FalseLoss(there) => Some((
                Kind::FalseLoss,
                format!(
                    "number {n} says that {} before it are lost, but {there} of them are there",
                    seen.lost
                ),
            )),
            NumberStep::Follows | NumberStep::Jumps(_) if !self.is_latest(run) => Some((
                Kind::OutOfOrder,
                format!("number {n} comes after the next run of its publisher"),
            )),
            NumberStep::Follows | NumberStep::Jumps(_) => None,
        };
        let (run, place) = (Some(run), Some(seen.place));
        if seen.lost > 0 && matches!(step, NumberStep::Follows | NumberStep::Jumps(_)) {
            let text = format!(
                "the {} before number {n}",
                super::counted(seen.lost, "number")
            );
            self.find(Kind::Lost, run, place, text);
        }
        let in_line = kind_and_text.is_none() || matches!(step, NumberStep::FalseLoss(_));
        if let Some((kind, text)) = kind_and_text {
            self.find(kind, run, place, text);
        }
        in_line
    }

    fn count_absent(&mut self, source: Counter, seen: &Observed<'_>, step: NumberStep) {
        let absent = self.absent.entry(source).or_default();
        absent.near = 0;
        match step {
            NumberStep::Follows => absent.add(seen.lost),
            NumberStep::Jumps(jumped) => absent.add(seen.lost.saturating_add(jumped)),
            NumberStep::FalseLoss(_) | NumberStep::Late | NumberStep::Doubled => {}
        }
        // If a run begins in its middle, so do its sessions.
        let in_middle =
            matches!(step, NumberStep::Jumps(jumped) if jumped + seen.lost + 1 == seen.id.n);
        let begins_late =
            matches!(source, Counter::Run(_)) || in_middle && self.may_be_gone(seen.id.run);
        self.absent.entry(source).or_default().begins_late |= begins_late;
    }

    /// Whether the beginning of a run may have been removed. The run's id contains the time of its start.
    pub(super) fn may_be_gone(&self, run: RunId) -> bool {
        let TrailHead::MayBeGone { kept_from_ms } = self.head else {
            return false;
        };
        let began = run.0.get_timestamp().map(|time| time.to_unix());
        let began_ms = began.map(|(seconds, nanos)| seconds * 1_000 + u64::from(nanos) / 1_000_000);
        kept_from_ms.is_none_or(|from| began_ms.is_none_or(|began| began < from))
    }

    fn check_opening(&mut self, seen: &Observed<'_>) {
        let Position { run, n } = seen.id;
        let is_first = n == seen.lost + 1;
        let opened = self.runs.get(&run).is_some_and(|run| run.opened);
        let wrong = match &seen.opening {
            Some(opening) if is_first && !opened => {
                self.open(seen, opening);
                return;
            }
            Some(_) => (
                Kind::BadHeader,
                format!("number {n} opens the run, and is not its first"),
            ),
            None if is_first && !opened => (
                Kind::RunUnopened,
                format!("number {n} is the first of the run, and does not open it"),
            ),
            None => return,
        };
        self.find(wrong.0, Some(run), Some(seen.place), wrong.1);
    }

    /// How many gaps of sessions have been found so far.
    pub(super) fn chain_gaps(&self) -> u64 {
        self.chains.gaps
    }

    fn source(&self, run: RunId) -> Counter {
        let publisher = self.runs.get(&run).and_then(|run| run.publisher);
        publisher.map_or(Counter::Run(run), Counter::Publisher)
    }
}
