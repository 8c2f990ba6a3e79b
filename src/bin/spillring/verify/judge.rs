//! Says of a trail whether it is complete and whether it is intact. It is shown one entry after the other, in the order
//! of the trail, and keeps none: what it remembers grows with publishers, runs, sessions, breaks and
//! requeued entries.
//!
//! *Complete*: every number of every run, up to the last one that anything tells of, is an entry or announced as lost.
//! *Intact*: what is there is what was published, each entry once, in order, unchanged, and under its own name.
//!
//! A loss that is announced breaks neither.

mod line;
mod payload;
mod requeued;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use spillring::event::{Position, PublisherId, RunId};

use super::chains::{Absent, Chains, Payload, Source};
use super::finding::{Findings, Kind};
use super::numbers::{Numbers, Step};
use super::trail::{Account, Observed, Place, Way};
pub(super) use settle::{Judgement, RunTold};

/// Whether what holds the trail may have let go of its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// It keeps everything.
    Kept,
    MayBeGone {
        /// What began later, in milliseconds since 1970, is still there.
        kept_from_ms: Option<u64>,
    },
}

/// Whether somebody was writing while the trail was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Still,
    /// There may be entries behind the cursors that were read.
    Moving,
}

#[derive(Debug)]
pub(super) struct Judge {
    head: Head,
    pace: Pace,
    runs: HashMap<RunId, Run>,
    /// In the order in which they appear.
    order: Vec<RunId>,
    publishers: BTreeMap<PublisherId, Publisher>,
    /// Whose the runs are that the newest cursors name.
    by_cursor: HashMap<RunId, PublisherId>,
    absent: HashMap<Source, Absent>,
    chains: Chains,
    /// The old numbers of those that were requeued.
    requeued: HashSet<Position>,
    pub(super) findings: Findings,
    counts: Counts,
    extra: payload::Extra,
    /// The spill of a publisher says that all was acknowledged up to here.
    acknowledged: Option<Position>,
}

/// How much was looked at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    pub(super) entries: u64,
    /// Those of them whose hashes are checked.
    pub(super) audit_entries: u64,
    /// Those that had been dead letters.
    pub(super) requeued: u64,
    pub(super) sessions: usize,
}

#[derive(Debug)]
struct Run {
    publisher: Option<PublisherId>,
    /// How many runs appeared before it.
    appeared: usize,
    numbers: Numbers,
    ended: Ended,
    opened: bool,
    way: Way,
    /// What the next run says of it.
    told: Option<Told>,
    last_place: Option<Place>,
    /// Entries that have a hash, and others.
    sealed: u64,
    unsealed: u64,
    first_unsealed: Option<Place>,
}

/// How far a run came, as somebody else says it.
#[derive(Debug, Clone, Copy)]
struct Told {
    account: Account,
    /// Its last number, if it is known; those behind the account were lost before they came here.
    last: u64,
}

/// How a run ended, as far as the trail tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    /// It is the last one of its publisher, and may go on.
    Open,
    Clean,
    Killed,
    /// Killed, but its ring was not: nothing of it is missing.
    Outlived,
    /// Runs of which nothing is here came between it and the next.
    Untold,
}

#[derive(Debug, Default)]
struct Publisher {
    /// In the order of the trail.
    runs: Vec<RunId>,
    cursor: Option<(Account, Option<Place>)>,
}

impl Judge {
    pub(super) fn new(head: Head, pace: Pace) -> Self {
        Self {
            head,
            pace,
            runs: HashMap::new(),
            order: Vec::new(),
            publishers: BTreeMap::new(),
            by_cursor: HashMap::new(),
            absent: HashMap::new(),
            chains: Chains::new(head != Head::Kept),
            requeued: HashSet::new(),
            findings: Findings::default(),
            counts: Counts::default(),
            extra: payload::Extra::default(),
            acknowledged: None,
        }
    }

    /// What was acknowledged must be there.
    pub(super) fn expecting(self, acknowledged: Option<Position>) -> Self {
        Self {
            acknowledged,
            ..self
        }
    }

    /// Takes what says how far a publisher has come in this trail.
    pub(super) fn cursor(&mut self, of: PublisherId, account: Account, place: Option<Place>) {
        self.by_cursor.entry(account.run).or_insert(of);
        self.publishers.entry(of).or_default().cursor = Some((account, place));
    }

    /// Takes that a publisher had come to this position before this trail.
    pub(super) fn before(&mut self, publisher: PublisherId, at: Position) {
        self.enter(at.run, Some(publisher), Way::WithAccount);
        if let Some(run) = self.runs.get_mut(&at.run) {
            run.numbers = Numbers::from(at.n.saturating_add(1));
            run.opened = true;
        }
        let source = Source::Publisher(publisher);
        self.absent.entry(source).or_default().begins_late = true;
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
        if let Some(gap) = run.numbers.forget() {
            self.tell_missing(id, gap);
        }
        if step != Step::Doubled {
            self.check_opening(seen);
            self.check_requeued(seen);
        }
        let in_line = self.tell_step(seen, step);
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

    /// Takes a line that nobody has numbered: its hash and its chain are looked at. Its run may be known all the same.
    pub(super) fn take_unnumbered(&mut self, place: Place, run: Option<RunId>, bytes: &[u8]) {
        self.counts.entries += 1;
        let source = run.map_or(Source::Nobody, |run| self.source(run));
        if source == Source::Nobody {
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

    /// Takes numbers of a run of which only counts are known.
    pub(super) fn pass(&mut self, seen: &Observed<'_>, account: &Account, there: u64) {
        self.enter(account.run, seen.publisher, seen.way);
        if let Some(opening) = &seen.opening {
            self.open(seen, opening);
        }
        let lost = account.lost.unwrap_or(0);
        if let Some(run) = self.runs.get_mut(&account.run) {
            run.numbers.pass(account.last, there, lost);
            run.last_place = Some(seen.place);
        }
        let source = self.source(account.run);
        let absent = self.absent.entry(source).or_default();
        absent.near = lost.saturating_add(account.entries().saturating_sub(there));
        absent.add(absent.near);
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    pub(super) fn find(
        &mut self,
        kind: Kind,
        run: Option<RunId>,
        place: Option<Place>,
        text: String,
    ) {
        self.findings.add(kind, run, place, text);
    }

    /// Whether this is a step to the next entry, be it over a gap; if it is not, it is told.
    fn tell_step(&mut self, seen: &Observed<'_>, step: Step) -> bool {
        let Position { run, n } = seen.id;
        let kind_and_text = match step {
            Step::Doubled => Some((Kind::Doubled, format!("number {n} again"))),
            Step::Late => Some((
                Kind::OutOfOrder,
                format!("number {n} stands behind later ones"),
            )),
            Step::FalseLoss(there) => Some((
                Kind::FalseLoss,
                format!(
                    "number {n} says that {} before it are lost, but {there} of them stand there",
                    seen.lost
                ),
            )),
            Step::Follows | Step::Jumps(_) if !self.is_latest(run) => Some((
                Kind::OutOfOrder,
                format!("number {n} stands behind the next run of its publisher"),
            )),
            Step::Follows | Step::Jumps(_) => None,
        };
        let (run, place) = (Some(run), Some(seen.place));
        if seen.lost > 0 && matches!(step, Step::Follows | Step::Jumps(_)) {
            let text = format!(
                "the {} before number {n}",
                super::counted(seen.lost, "number")
            );
            self.find(Kind::Lost, run, place, text);
        }
        let in_line = kind_and_text.is_none() || matches!(step, Step::FalseLoss(_));
        if let Some((kind, text)) = kind_and_text {
            self.find(kind, run, place, text);
        }
        in_line
    }

    fn count_absent(&mut self, source: Source, seen: &Observed<'_>, step: Step) {
        let absent = self.absent.entry(source).or_default();
        absent.near = 0;
        match step {
            Step::Follows => absent.add(seen.lost),
            Step::Jumps(jumped) => absent.add(seen.lost.saturating_add(jumped)),
            Step::FalseLoss(_) | Step::Late | Step::Doubled => {}
        }
        // A run that is met in its middle has its beginning elsewhere, and its sessions with it.
        let in_middle = matches!(step, Step::Jumps(jumped) if jumped + seen.lost + 1 == seen.id.n);
        let begins_late =
            matches!(source, Source::Run(_)) || in_middle && self.may_be_gone(seen.id.run);
        self.absent.entry(source).or_default().begins_late |= begins_late;
    }

    /// Whether what holds the trail may have let go of the beginning of a run. Its id says when it began.
    pub(super) fn may_be_gone(&self, run: RunId) -> bool {
        let Head::MayBeGone { kept_from_ms } = self.head else {
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

    /// How many gaps of sessions, told or not, have been found.
    pub(super) fn chain_gaps(&self) -> u64 {
        self.chains.gaps
    }

    fn source(&self, run: RunId) -> Source {
        let publisher = self.runs.get(&run).and_then(|run| run.publisher);
        publisher.map_or(Source::Run(run), Source::Publisher)
    }
}
