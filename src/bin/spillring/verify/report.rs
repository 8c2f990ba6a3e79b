//! The report on a trail, as text and as JSON.

use std::collections::HashMap;
use std::fmt;

use indicatif::HumanCount;
use serde::Serialize;
use spillring::event::{PublisherId, RunId};

use super::finding::{Breaks, Finding, Kind};
use super::judge::{Judgement, RunFate, RunSummary};
use super::seals::{Authentic, Trust};
use super::{counted, numbers_in_words};
use crate::console::{Exit, Problem};

/// A judgement and the name of its trail.
#[derive(Debug, Serialize)]
pub(super) struct TrailReport {
    trail: String,
    #[serde(flatten)]
    judgement: Judgement,
    #[serde(skip)]
    must_be_authentic: bool,
}

impl TrailReport {
    /// With `--publishers` or `--since`, the trail must be authentic.
    pub(super) fn new(trail: String, judgement: Judgement, trust: &Trust) -> Self {
        Self {
            trail,
            judgement,
            must_be_authentic: trust.is_given(),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        let authentic = match self.judgement.signed.verdict {
            Authentic::Yes => true,
            Authentic::No => false,
            Authentic::Unsigned | Authentic::Untrusted => !self.must_be_authentic,
        };
        if self.judgement.complete && self.judgement.intact && authentic {
            Exit::Done
        } else {
            Exit::Broken
        }
    }

    pub(super) fn to_json(&self) -> Result<String, Problem> {
        serde_json::to_string(self)
            .map(|json| json + "\n")
            .map_err(Problem::new)
    }

    /// With their runs, in the order in which their first runs appear; runs without a publisher come last.
    fn publishers(&self) -> Vec<(Option<PublisherId>, Vec<&RunSummary>)> {
        let mut publishers: Vec<(_, Vec<_>)> = Vec::new();
        let mut places = HashMap::new();
        for run in &self.judgement.runs {
            let at = *places.entry(run.publisher).or_insert(publishers.len());
            if at == publishers.len() {
                publishers.push((run.publisher, Vec::new()));
            }
            publishers[at].1.push(run);
        }
        publishers.sort_by_key(|(publisher, _)| publisher.is_none());
        publishers
    }

    fn findings_of(&self, run: Option<RunId>) -> impl Iterator<Item = &Finding> {
        let findings = self.judgement.findings.iter();
        findings.filter(move |finding| finding.run == run)
    }

    /// Findings that belong to no listed run.
    fn other_findings(&self) -> impl Iterator<Item = &Finding> {
        let runs = &self.judgement.runs;
        let has_line = move |id: RunId| runs.iter().any(|run| run.run == id);
        let findings = self.judgement.findings.iter();
        findings.filter(move |finding| finding.run.is_none_or(|run| !has_line(run)))
    }

    fn write_run(&self, run: &RunSummary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (run.missing, run.lost) {
            (0, 0) => "complete".to_owned(),
            (0, lost) => format!("complete but for {} announced", counted(lost, "loss")),
            (missing, 0) => format!("{} missing", HumanCount(missing)),
            (missing, lost) => {
                let lost = counted(lost, "announced loss");
                format!("{} missing, {lost}", HumanCount(missing))
            }
        };
        writeln!(
            f,
            "  run {}: {}, {}, {state}, {}",
            run.run,
            numbers_in_words(run.first, run.last),
            counted(run.entries, "entry"),
            run.ended
        )?;
        self.findings_of(Some(run.run))
            .try_for_each(|finding| writeln!(f, "    {finding}"))
    }
}

impl fmt::Display for TrailReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let judgement = &self.judgement;
        writeln!(f, "{}", self.trail)?;
        for (publisher, runs) in self.publishers() {
            match publisher {
                Some(publisher) => writeln!(f, "publisher {publisher}")?,
                None => writeln!(f, "publisher unknown")?,
            }
            runs.into_iter()
                .try_for_each(|run| self.write_run(run, f))?;
        }
        self.other_findings()
            .try_for_each(|finding| match finding.run {
                Some(run) => writeln!(f, "run {run}: {finding}"),
                None => writeln!(f, "{finding}"),
            })?;
        if judgement.unlisted > 0 {
            writeln!(f, "and {} more", HumanCount(judgement.unlisted))?;
        }
        let counts = &judgement.counts;
        let others = counts.entries.saturating_sub(counts.audit_entries);
        write!(
            f,
            "{}; hashes and chains: {} in {}",
            counted(counts.entries, "entry"),
            counted(counts.audit_entries, "audit entry"),
            counted(counts.sessions as u64, "session"),
        )?;
        if others > 0 {
            write!(f, "; without a hash: {}", HumanCount(others))?;
        }
        if counts.requeued > 0 {
            write!(f, "; requeued: {}", HumanCount(counts.requeued))?;
        }
        writeln!(f, "\n")?;
        verdict(
            f,
            "complete",
            judgement.complete,
            judgement.against_complete,
        )?;
        verdict(f, "intact", judgement.intact, judgement.against_intact)?;
        match judgement.signed.verdict {
            Authentic::Yes => writeln!(f, "authentic: yes"),
            Authentic::No => verdict(f, "authentic", false, judgement.against_authentic),
            Authentic::Unsigned => writeln!(f, "authentic: unsigned"),
            Authentic::Untrusted => writeln!(
                f,
                "authentic: untrusted, signed with keys that nobody has verified: give `--publishers`"
            ),
        }
    }
}

fn verdict(f: &mut fmt::Formatter<'_>, name: &str, holds: bool, against: u64) -> fmt::Result {
    if holds {
        writeln!(f, "{name}: yes")
    } else {
        writeln!(f, "{name}: no, {}", counted(against, "break"))
    }
}

/// The broken verdict, if any, the name, the text and the place.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.breaks {
            Some(Breaks::Complete) => f.write_str("NOT COMPLETE, ")?,
            Some(Breaks::Intact) => f.write_str("NOT INTACT, ")?,
            Some(Breaks::Authentic) => f.write_str("NOT AUTHENTIC, ")?,
            None => {}
        }
        write!(f, "{}: {}", self.name, self.text)?;
        match self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// As in JSON.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for RunFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open: the last one so far",
            Self::Clean => "ended clean",
            Self::Killed => "killed: entries that were only in memory are gone",
            Self::Outlived => "killed: its ring survived, nothing is gone",
            Self::Unknown => "ended, not known how",
        })
    }
}
