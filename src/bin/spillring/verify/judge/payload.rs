//! The contents of an entry: its subject, its hash, and its place in its session.

use spillring::Event;
use spillring::event::RunId;

use super::Judge;
use crate::verify::chains::{Counter, Payload, Placed};
use crate::verify::counted;
use crate::verify::finding::Kind;
use crate::verify::overtaken::SessionGap;
use crate::verify::seals::Authentic;
use crate::verify::trail::{Observed, TrailPlace};

/// Entries with fields that their hashes do not cover.
#[derive(Debug, Default)]
pub(super) struct Extra {
    count: u64,
    first: Option<(Option<RunId>, TrailPlace)>,
}

impl Judge {
    pub(super) fn check_subject(&mut self, seen: &Observed<'_>, payload: &Payload) {
        if let (Some(subject), Payload::Entry(entry)) = (seen.subject, payload) {
            let own = entry.subject();
            if own != subject {
                let text = format!("number {} belongs on {own}, but is on {subject}", seen.id.n);
                self.find(
                    Kind::WrongSubject,
                    Some(seen.id.run),
                    Some(seen.place),
                    text,
                );
            }
        }
    }

    /// Counts entries with and without a hash: a publisher has only one kind.
    pub(super) fn note_seal(&mut self, seen: &Observed<'_>, payload: &Payload) {
        if let Some(run) = self.runs.get_mut(&seen.id.run) {
            if let Payload::Other = payload {
                run.unsealed += 1;
                run.first_unsealed.get_or_insert(seen.place);
            } else {
                run.sealed += 1;
            }
        }
    }

    pub(super) fn check_payload(
        &mut self,
        run: Option<RunId>,
        place: TrailPlace,
        (payload, bytes): (&Payload, &[u8]),
        source: Option<Counter>,
        requeued: bool,
    ) {
        let entry = match payload {
            Payload::Other => return,
            Payload::Unreadable => {
                let text = "it looks like an audit entry, but cannot be parsed".to_owned();
                return self.find(Kind::Edited, run, Some(place), text);
            }
            Payload::Entry(entry) => entry,
        };
        self.counts.audit_entries += 1;
        if !entry.verify_integrity() {
            let text = format!(
                "session {}: seq {} does not match its hash",
                entry.session_id(),
                entry.seq()
            );
            self.find(Kind::Edited, run, Some(place), text);
        }
        let mut own = Vec::with_capacity(bytes.len());
        if entry.encode(&mut own).is_err() || own != bytes {
            self.extra.count += 1;
            self.extra.first.get_or_insert((run, place));
        }
        let Some(source) = source else { return };
        let absent = self.absent.entry(source).or_default();
        let at = Placed {
            entry,
            source,
            run,
            place,
            requeued,
        };
        let (found, gaps) = self.chains.take(at, absent);
        if let Some((kind, text)) = found {
            self.find(kind, run, Some(place), text);
        }
        self.report_gaps(gaps);
    }

    /// Reports entries with fields that their hashes do not cover. They are intact only if a signature covers them.
    pub(super) fn settle_extra(&mut self, verdict: Authentic) {
        let Some((run, place)) = self.extra.first else {
            return;
        };
        let signed = matches!(verdict, Authentic::Yes | Authentic::Untrusted);
        let (kind, covered) = if signed {
            (
                Kind::ExtraFields,
                "signatures do, from the first checkpoint to the newest",
            )
        } else {
            (Kind::Edited, "no signature does")
        };
        let text = format!(
            "{} with unknown fields, this one first: the hash does not cover them, {covered}",
            counted(self.extra.count, "entry")
        );
        self.find(kind, run, Some(place), text);
    }

    /// Reports gaps of sessions that will not be filled.
    pub(super) fn report_gaps(&mut self, gaps: Vec<SessionGap>) {
        for gap in gaps {
            let absent = self.absent.entry(gap.source).or_default();
            if let Some((kind, text)) = absent.explain(&gap) {
                self.find(kind, gap.run, Some(gap.place), text);
            }
        }
    }
}
