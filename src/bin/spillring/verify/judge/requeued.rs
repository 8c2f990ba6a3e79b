//! Requeued dead letters: each must appear once, and not under its old number as well.

use super::Judge;
use crate::verify::finding::Kind;
use crate::verify::trail::Observed;

impl Judge {
    /// The old number must not be present. Its run may be absent, or not ended yet.
    pub(super) fn check_requeued(&mut self, seen: &Observed<'_>) {
        let Some(old) = seen.requeued else { return };
        self.counts.requeued += 1;
        let run = self.runs.get(&old.run);
        let wrong = if run.is_some_and(|run| run.numbers.is_present(old.n)) {
            "which is there itself"
        } else if !self.requeued.insert(old) {
            "and so does another one"
        } else {
            return;
        };
        let text = format!("number {} says that it was {old}, {wrong}", seen.id.n);
        self.find(
            Kind::FalseRequeue,
            Some(seen.id.run),
            Some(seen.place),
            text,
        );
    }
}
