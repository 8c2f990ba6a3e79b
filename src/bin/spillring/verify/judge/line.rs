//! The sequence of a publisher's runs: each names the one before, and how far the publisher had come.

use spillring::event::{Position, PublisherId, RunId};

use super::{Counter, Judge, JudgedRun, RunClaim, RunFate};
use crate::verify::finding::Kind;
use crate::verify::numbers::{Gap, Numbers};
use crate::verify::trail::{AnnouncedEnd, Observed, Opening, Previous, RunAccount, Way};
use crate::verify::{counted, numbers_in_words};

impl Judge {
    /// Notes how far a publisher had come before this trail.
    pub(in crate::verify) fn before(&mut self, publisher: PublisherId, at: Position) {
        self.enter(at.run, Some(publisher), Way::WithAccount);
        if let Some(run) = self.runs.get_mut(&at.run) {
            run.numbers = Numbers::from(at.n.saturating_add(1));
            run.counted_to = at.n;
            run.opened = true;
        }
        let source = Counter::Publisher(publisher);
        self.absent.entry(source).or_default().begins_late = true;
    }

    /// Adds a run that is new.
    pub(super) fn enter(&mut self, id: RunId, publisher: Option<PublisherId>, way: Way) {
        if self.runs.contains_key(&id) {
            return;
        }
        let publisher = publisher.or_else(|| self.by_cursor.get(&id).copied());
        let run = JudgedRun {
            publisher,
            appeared: self.order.len(),
            numbers: Numbers::from(1),
            counted_to: 0,
            ended: RunFate::Open,
            opened: false,
            way,
            claim: None,
            last_place: None,
            sealed: 0,
            unsealed: 0,
            first_unsealed: None,
        };
        self.runs.insert(id, run);
        self.order.push(id);
        if let Some(publisher) = publisher {
            self.publishers.entry(publisher).or_default().runs.push(id);
        }
    }

    /// Whether no later run of its publisher has appeared.
    pub(super) fn is_latest(&self, id: RunId) -> bool {
        let publisher = self.runs.get(&id).and_then(|run| run.publisher);
        publisher.is_none_or(|of| self.runs_of(of).last() == Some(&id))
    }

    pub(super) fn runs_of(&self, publisher: PublisherId) -> &[RunId] {
        self.publishers.get(&publisher).map_or(&[], |it| &it.runs)
    }

    /// Takes the opening of a run: its publisher, and the runs before.
    pub(super) fn open(&mut self, seen: &Observed<'_>, opening: &Opening) {
        let id = seen.id.run;
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        run.opened = true;
        if let Some(other) = run.publisher.filter(|it| *it != opening.publisher) {
            let text = format!(
                "it opens a run of publisher {}, but the run belongs to {other}",
                opening.publisher
            );
            return self.find(Kind::BadHeader, Some(id), Some(seen.place), text);
        }
        let named = named(seen, opening);
        if let Some(named) = named {
            self.adopt(named, opening.publisher);
        }
        self.follow(seen, opening, named);
        self.adopt(id, opening.publisher);
        if opening.killed_starts > 0 {
            let source = Counter::Publisher(opening.publisher);
            self.absent.entry(source).or_default().kills += opening.killed_starts.min(1);
            let starts = counted(opening.killed_starts, "start");
            let text = format!("{starts} before it: killed before anything was stored");
            self.find(Kind::KilledStarts, Some(id), Some(seen.place), text);
        }
    }

    /// Sets the publisher of a run, if it was unknown.
    fn adopt(&mut self, id: RunId, publisher: PublisherId) {
        if let Some(run) = self.runs.get_mut(&id)
            && run.publisher.is_none()
        {
            run.publisher = Some(publisher);
            let appeared = run.appeared;
            let runs = &mut self.publishers.entry(publisher).or_default().runs;
            let earlier = |run: &RunId| {
                self.runs
                    .get(run)
                    .is_some_and(|run| run.appeared < appeared)
            };
            runs.insert(runs.partition_point(earlier), id);
        }
    }

    /// Compares the run that precedes this one with the one that it names.
    fn follow(&mut self, seen: &Observed<'_>, opening: &Opening, named: Option<RunId>) {
        let (id, publisher) = (seen.id.run, opening.publisher);
        let mut before = self.runs_of(publisher).iter().rev();
        let latest = before.find(|run| **run != id).copied();
        let source = Counter::Publisher(publisher);
        let wrong = match (latest, named) {
            (None, None) => None,
            (None, Some(named)) => {
                self.absent.entry(source).or_default().begins_late = true;
                let gone = match seen.after {
                    Some(_) => left_entries(seen, opening),
                    None => has_known_end(opening),
                };
                (gone && !self.may_be_gone(named)).then(|| missing(named))
            }
            (Some(latest), Some(named))
                if latest == named || self.went_without_cursor(latest, opening) =>
            {
                self.end_run(latest, seen, opening);
                None
            }
            (Some(_), Some(named)) if !self.runs.contains_key(&named) => {
                self.absent.entry(source).or_default().kills += 1;
                left_entries(seen, opening).then(|| missing(named))
            }
            (Some(latest), _) => {
                let text = format!(
                    "run {latest} comes before it, and its publisher does not know that run"
                );
                Some((Kind::Spliced, text))
            }
        };
        if let Some(latest) = latest
            && let Some(run) = self.runs.get_mut(&latest)
            && run.ended == RunFate::Open
        {
            run.ended = RunFate::Unknown;
        }
        if let Some((kind, text)) = wrong {
            self.find(kind, Some(id), Some(seen.place), text);
        }
        self.report_empty_run(seen, opening);
    }

    /// Whether the opening names this run, whose entries were stored alone: no cursor can confirm it.
    fn went_without_cursor(&self, latest: RunId, opening: &Opening) -> bool {
        let alone = self
            .runs
            .get(&latest)
            .is_some_and(|run| run.way == Way::Alone);
        alone
            && opening
                .previous
                .is_some_and(|previous| previous.run == latest)
    }

    /// Takes the end of run `id` from the opening of the next run.
    fn end_run(&mut self, id: RunId, seen: &Observed<'_>, opening: &Opening) {
        let previous = opening.previous.filter(|previous| previous.run == id);
        let absent = self.absent.entry(Counter::Publisher(opening.publisher));
        let absent = absent.or_default();
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let end = previous.map(|previous| previous.end);
        run.ended = match end {
            Some(AnnouncedEnd::Clean(_)) => RunFate::Clean,
            Some(AnnouncedEnd::Killed(None)) => RunFate::Killed,
            Some(AnnouncedEnd::Killed(Some(_))) => RunFate::Outlived,
            None => RunFate::Unknown,
        };
        let last = end.and_then(AnnouncedEnd::last);
        absent.kills += u64::from(last.is_none());
        let after = seen.after.filter(|after| after.run == id);
        let account = after.or(last.map(|last| RunAccount {
            run: id,
            first: 1,
            last,
            lost: None,
            open: false,
        }));
        run.claim = account.map(|account| RunClaim {
            account,
            last: last.unwrap_or(account.last),
        });
        let end = run
            .claim
            .map_or(0, |claim| claim.last.max(claim.account.last));
        absent.add(end.saturating_sub(run.numbers.last()));
    }

    /// Reports the numbers of a run before this one that left no entry in the trail.
    fn report_empty_run(&mut self, seen: &Observed<'_>, opening: &Opening) {
        let Some(Previous { run, end }) = opening.previous else {
            return;
        };
        let count = end.last().unwrap_or(0);
        let came_elsewhere = self
            .runs_of(opening.publisher)
            .iter()
            .all(|it| *it == seen.id.run);
        if count == 0 || came_elsewhere || seen.way == Way::Alone || self.runs.contains_key(&run) {
            return;
        }
        if seen.after.is_some_and(|after| after.run != run) {
            let numbers = counted(count, "number");
            let text = format!("all {numbers} of run {run}, which came before it");
            self.find(Kind::Lost, Some(seen.id.run), Some(seen.place), text);
            let source = Counter::Publisher(opening.publisher);
            self.absent.entry(source).or_default().add(count);
        }
    }

    pub(super) fn report_missing(&mut self, run: RunId, gap: Gap) {
        let text = format!(
            "{}, and nothing announces {} as lost",
            numbers_in_words(gap.first, gap.last),
            if gap.first == gap.last { "it" } else { "them" },
        );
        self.find(Kind::Missing, Some(run), Some(gap.place), text);
    }
}

/// The publisher's previous run in this trail. The account stored with the entries takes precedence over the
/// publisher's word, which may name a run that left nothing here. An account of this run itself, up to number 0, does
/// not count: its batch was cut off before the first entry.
fn named(seen: &Observed<'_>, opening: &Opening) -> Option<RunId> {
    let own = |after: &RunAccount| after.run == seen.id.run && after.last == 0;
    let after = seen.after.filter(|after| !own(after));
    let after = after.map(|after| after.run);
    after.or(opening.previous.map(|previous| previous.run))
}

/// Whether the previous run must have left entries in this trail. Where entries are stored alone, a run that had
/// numbers is assumed to have left some.
fn left_entries(seen: &Observed<'_>, opening: &Opening) -> bool {
    match (seen.after, opening.previous, seen.way) {
        (Some(after), ..) => after.lost.is_none() || after.entries() > 0,
        (None, Some(previous), Way::Alone) => previous.end.last() > Some(0),
        (None, ..) => false,
    }
}

/// Whether the last number of the run before is known: then its entries must be here, unless a cursor says that all
/// were lost.
fn has_known_end(opening: &Opening) -> bool {
    let end = opening.previous.map(|previous| previous.end);
    end.and_then(AnnouncedEnd::last) > Some(0)
}

fn missing(named: RunId) -> (Kind, String) {
    let text = format!("run {named}, which came before it, is absent");
    (Kind::RunMissing, text)
}
