//! The result of checking the signatures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use spillring::event::PublisherId;

use super::Complaint;
use super::keys::Trusted;
use super::log::{BATCH_MAX, Log};
use super::proof::Proof;
use super::trust::{Seen, Trust};
use crate::console::Problem;
use crate::verify::counted;
use crate::verify::finding::Kind;

/// In a trimmed trail, at most this many entries of a publisher may precede its first checkpoint: two batches.
const HEAD_MAX: u64 = 2 * BATCH_MAX;

/// Whether the publishers have signed what is there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::verify) enum Authentic {
    Yes,
    No,
    /// Some entries are not signed.
    #[default]
    Unsigned,
    /// Everything is signed, but nothing shows whose the keys are.
    Untrusted,
}

/// The verdict, and how many entries the signatures cover.
#[derive(Debug, Default, Clone, Serialize)]
pub(in crate::verify) struct Signed {
    #[serde(rename = "authentic")]
    pub(in crate::verify) verdict: Authentic,
    /// Entries covered by a signature.
    #[serde(rename = "signed")]
    covered: u64,
    pub(super) unsigned: u64,
    before_first_seal: u64,
    after_newest_seal: u64,
    #[serde(skip)]
    pub(in crate::verify) proof: Option<Result<Proof, &'static str>>,
    #[serde(skip)]
    seen: BTreeMap<PublisherId, Seen>,
}

impl Signed {
    /// Counts the entries of a publisher.
    pub(super) fn add(&mut self, log: &Log) {
        self.covered += log.covered;
        self.after_newest_seal += log.tail;
        self.unsigned += log.unsigned;
        match log.newest() {
            Some(_) if log.head <= HEAD_MAX => self.before_first_seal += log.head,
            _ => self.unsigned += log.head,
        }
    }

    /// Findings about entries that no signature covers.
    pub(super) fn in_words(&self) -> Vec<Complaint> {
        let counts = [
            (Kind::Unsigned, self.unsigned, "that no checkpoint covers"),
            (
                Kind::HeadUnsigned,
                self.before_first_seal,
                "before the first checkpoint that is left: no signature covers them",
            ),
            (
                Kind::TailUnsigned,
                self.after_newest_seal,
                "after the newest checkpoint: no signature covers them yet",
            ),
        ];
        let some = |(_, count, _): &(Kind, u64, &str)| self.covered > 0 && *count > 0;
        let counts = counts.into_iter().filter(some);
        counts
            .map(|(kind, count, what)| (kind, format!("{} {what}", counted(count, "entry"))))
            .collect()
    }

    pub(super) fn judge(&mut self, against: u64, trusted: Trusted) {
        let uncovered = self.unsigned > 0;
        self.verdict = if against > 0 {
            Authentic::No
        } else if self.covered == 0 || uncovered {
            Authentic::Unsigned
        } else if trusted == Trusted::No {
            Authentic::Untrusted
        } else {
            Authentic::Yes
        };
    }

    pub(super) fn note(
        &mut self,
        publisher: PublisherId,
        key: &str,
        checkpoint: &str,
        vouched: Trusted,
    ) {
        let seen = Seen {
            key: key.to_owned(),
            checkpoint: checkpoint.to_owned(),
            vouched: vouched == Trusted::Yes,
        };
        self.seen.insert(publisher, seen);
    }

    /// Saves the keys and checkpoints for the next audit. Keeps publishers of the last audit that are absent now.
    pub(in crate::verify) fn save(&self, before: &Trust, path: &Path) -> Result<(), Problem> {
        let mut all: BTreeMap<_, _> = before
            .seen
            .iter()
            .map(|(id, (seen, _))| (*id, seen.clone()))
            .collect();
        all.extend(self.seen.clone());
        let new = path.with_extension("new");
        let text = serde_json::to_string_pretty(&all).map_err(Problem::new)?;
        let written = fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, path));
        written.map_err(|error| {
            Problem::new(format_args!(
                "{} cannot be written: {error}",
                path.display()
            ))
        })
    }
}
