//! The numbers of one run, entry by entry: `n = previous n + 1 + lost`. Anything else is classified.

use super::trail::TrailPlace;

/// Bounds of a run: gaps watched for late entries, and losses watched for requeued ones.
const GAPS_MAX: usize = 10_000;

/// The numbers seen of a run. Memory grows with gaps and losses, not with entries.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The first expected number.
    begin: u64,
    /// One past the highest number seen.
    next: u64,
    pub(super) entries: u64,
    pub(super) lost: u64,
    gaps: Vec<Gap>,
    /// Announced losses, first and last number; `None` once it is unknown which numbers are present.
    losses: Option<Vec<(u64, u64)>>,
    /// Missing numbers that are not in `gaps`, because it is unknown which they are.
    unplaced: u64,
}

/// Numbers that were skipped, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) place: TrailPlace,
}

/// How a number relates to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberStep {
    Follows,
    /// It skips this many unannounced numbers.
    Jumps(u64),
    /// This many of the losses that it announces are present.
    FalseLoss(u64),
    /// It fills a gap.
    Late,
    Doubled,
}

impl Numbers {
    /// For a run that begins with this number in the trail.
    pub(super) fn from(begin: u64) -> Self {
        Self {
            begin,
            next: begin,
            entries: 0,
            lost: 0,
            gaps: Vec::new(),
            losses: Some(Vec::new()),
            unplaced: 0,
        }
    }

    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// The highest number seen.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    pub(super) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    pub(super) fn missing(&self) -> u64 {
        let gaps = self.gaps.iter().map(|gap| gap.last - gap.first + 1);
        gaps.sum::<u64>() + self.unplaced
    }

    /// Takes entry `n`, which announces the `lost` numbers before it.
    pub(super) fn take(&mut self, n: u64, lost: u64, place: TrailPlace) -> NumberStep {
        let first = n.saturating_sub(lost).max(1);
        if n < self.next {
            return self.take_late(first, n);
        }
        self.entries += 1;
        let jumped = first.saturating_sub(self.next);
        if jumped > 0 {
            self.gaps.push(Gap {
                first: self.next,
                last: first - 1,
                place,
            });
        }
        let overlap = self.next.saturating_sub(first);
        self.lost += n - first.max(self.next);
        self.note_lost(first.max(self.next), n - 1);
        self.next = n + 1;
        match (jumped, overlap) {
            (0, 0) => NumberStep::Follows,
            (0, overlap) => NumberStep::FalseLoss(overlap),
            (jumped, _) => NumberStep::Jumps(jumped),
        }
    }

    fn take_late(&mut self, first: u64, n: u64) -> NumberStep {
        if self.fill(n, n) == 0 {
            return NumberStep::Doubled;
        }
        self.entries += 1;
        if first < n {
            self.lost += self.fill(first, n - 1);
            self.note_lost(first, n - 1);
        }
        NumberStep::Late
    }

    /// Removes numbers from the gaps, and returns how many there were.
    fn fill(&mut self, first: u64, last: u64) -> u64 {
        let mut filled = 0;
        let mut left = Vec::with_capacity(self.gaps.len() + 1);
        for gap in &self.gaps {
            if gap.last < first || last < gap.first {
                left.push(*gap);
                continue;
            }
            filled += gap.last.min(last) - gap.first.max(first) + 1;
            if gap.first < first {
                left.push(Gap {
                    last: first - 1,
                    ..*gap
                });
            }
            if last < gap.last {
                left.push(Gap {
                    first: last + 1,
                    ..*gap
                });
            }
        }
        self.gaps = left;
        filled
    }

    /// Stops watching the oldest gap if there are too many. The gap at the beginning stays.
    pub(super) fn forget(&mut self) -> Option<Gap> {
        if self.gaps.len() <= GAPS_MAX {
            return None;
        }
        let gap = self.gaps.remove(1);
        self.unplaced += gap.last - gap.first + 1;
        self.losses = None;
        Some(gap)
    }

    /// How many of these numbers are announced as lost. Once it is unknown which numbers are, only a range from the
    /// beginning of the run has an answer: the total.
    pub(super) fn lost_within(&self, first: u64, last: u64) -> Option<u64> {
        let within = |(from, to): &(u64, u64)| {
            let (from, to) = (first.max(*from), last.min(*to));
            (to + 1).saturating_sub(from)
        };
        match &self.losses {
            Some(losses) => Some(losses.iter().map(within).sum()),
            None => (self.begin == first).then_some(self.lost),
        }
    }

    /// Marks the numbers up to `end` as lost, and returns how many they are.
    pub(super) fn lose_through(&mut self, end: u64) -> u64 {
        let lost = (end + 1).saturating_sub(self.next);
        self.lost += lost;
        if lost > 0 {
            self.note_lost(self.next, end);
        }
        self.next += lost;
        lost
    }

    /// Skips the numbers up to `end`: only counts are known.
    pub(super) fn pass(&mut self, end: u64, entries: u64, lost: u64) {
        let passed = (end + 1).saturating_sub(self.next);
        self.unplaced += passed.saturating_sub(entries + lost);
        self.next += passed;
        self.entries += entries;
        self.lost += lost;
        if entries < passed {
            self.losses = None;
        }
    }

    /// Whether the number is known to be a present entry.
    pub(super) fn is_present(&self, n: u64) -> bool {
        let absent = |losses: &Vec<(u64, u64)>| {
            let lost = losses
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&n));
            lost || self
                .gaps
                .iter()
                .any(|gap| (gap.first..=gap.last).contains(&n))
        };
        (self.begin..self.next).contains(&n)
            && self.losses.as_ref().is_some_and(|losses| !absent(losses))
    }

    fn note_lost(&mut self, first: u64, last: u64) {
        if let Some(losses) = self.losses.as_mut().filter(|_| first <= last) {
            losses.push((first, last));
            if losses.len() > GAPS_MAX {
                self.losses = None;
            }
        }
    }

    /// Counts missing numbers at the end.
    pub(super) fn miss(&mut self, count: u64) {
        self.unplaced += count;
    }

    /// Moves the beginning of the run past the gap there.
    pub(super) fn begin_late(&mut self) {
        if self.gaps.first().is_some_and(|gap| gap.first == self.begin) {
            self.begin = self.gaps.remove(0).last + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NumberStep::{Doubled, FalseLoss, Follows, Jumps, Late};
    use super::*;

    #[test]
    fn every_step_is_classified() {
        type Entries = &'static [(u64, u64)];
        let table: [(Entries, &[NumberStep]); 7] = [
            (&[(1, 0), (2, 0), (5, 2)], &[Follows, Follows, Follows]),
            (&[(3, 2), (4, 0)], &[Follows, Follows]),
            (&[(1, 0), (4, 1)], &[Follows, Jumps(1)]),
            (
                &[(1, 0), (3, 0), (2, 0), (4, 0)],
                &[Follows, Jumps(1), Late, Follows],
            ),
            (&[(1, 0), (2, 0), (2, 0)], &[Follows, Follows, Doubled]),
            (&[(1, 0), (2, 0), (3, 2)], &[Follows, Follows, FalseLoss(2)]),
            (
                &[(1, 0), (7, 0), (5, 2), (5, 0)],
                &[Follows, Jumps(5), Late, Doubled],
            ),
        ];
        for (entries, expected) in table {
            let mut numbers = Numbers::from(1);
            let take = |(n, lost): &(u64, u64)| {
                let place = TrailPlace::Sequence { sequence: *n };
                numbers.take(*n, *lost, place)
            };
            let steps: Vec<_> = entries.iter().map(take).collect();
            assert_eq!(steps, expected, "{entries:?}");
        }
    }

    #[test]
    fn every_number_is_an_entry_lost_or_missing() {
        let mut numbers = Numbers::from(1);
        for (n, lost) in [(2, 1), (9, 1), (5, 2), (6, 0), (6, 0)] {
            numbers.take(n, lost, TrailPlace::Sequence { sequence: n });
        }
        assert_eq!(
            (numbers.entries, numbers.lost, numbers.missing()),
            (4, 4, 1)
        );
        assert_eq!(numbers.last(), 9);
        assert_eq!(numbers.lose_through(11), 2);
        assert_eq!((numbers.lost, numbers.last()), (6, 11));
    }
}
