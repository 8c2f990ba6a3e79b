//! The end of a run, compared with the account of it.

use spillring::event::RunId;

use super::{Judge, RunClaim, Writers};
use crate::verify::finding::Kind;
use crate::verify::trail::{RunAccount, Way};
use crate::verify::{counted, numbers_in_words};

impl Judge {
    pub(super) fn settle_end(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let publisher = run.publisher.and_then(|of| self.publishers.get(&of));
        let cursor = publisher.and_then(|publisher| publisher.cursor.as_ref());
        let by_cursor = cursor.filter(|(account, _)| account.run == id);
        let place = run.last_place;
        if let Some(claim) = run.claim {
            return self.settle_tail(id, claim, Writers::Idle);
        }
        if let Some((account, _)) = by_cursor {
            let claim = RunClaim {
                account: *account,
                last: account.last,
            };
            return self.settle_tail(id, claim, self.writers);
        }
        if !self.is_latest(id) || cursor.is_some() {
            return;
        }
        let kept = run.way == Way::WithAccount && !self.may_be_gone(id);
        let (kind, text) = if kept && self.writers == Writers::Idle {
            let text = "its entries were stored together with a cursor, and there is none";
            (Kind::CursorMissing, text)
        } else {
            let text = "there is no cursor: a missing end would go undetected";
            (Kind::TailUnchecked, text)
        };
        self.find(kind, Some(id), place, text.to_owned());
    }

    /// Compares the end of a run, and the count of its losses, with the account of it.
    fn settle_tail(&mut self, id: RunId, claim: RunClaim, writers: Writers) {
        let RunClaim { account, last: end } = claim;
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let (numbers, at, counted_to) = (&mut run.numbers, run.last_place, run.counted_to);
        let mut found = Vec::new();
        let RunAccount { first, last, .. } = account;
        let seen = numbers.last();
        let open = account.last.saturating_sub(seen);
        let room = account.lost.unwrap_or(0);
        let room = room.saturating_sub(numbers.lost_within(first, last).unwrap_or(0));
        let lost = numbers.lose_through(seen + open.min(room));
        found.extend(loss_at_end(lost, numbers.last()));
        let cut = open - lost;
        if cut > 0 {
            numbers.miss(cut);
            found.push((Kind::TailMissing, tail_in_words(seen, &account, cut)));
        }
        let is_whole = numbers.begin() <= first && !account.open;
        if let (Some(claimed), Some(announced)) = (
            account.lost.filter(|_| is_whole),
            numbers.lost_within(first, last),
        ) && (announced > claimed || claimed - announced > numbers.missing())
        {
            let text = format!(
                "the entries announce {}, the account of the run counts {}",
                counted(announced, "loss"),
                counted(claimed, "loss")
            );
            found.push((Kind::CursorMismatch, text));
        }
        if account.last < counted_to && writers == Writers::Idle && !account.open {
            let text = format!(
                "it goes on to number {counted_to}, but its account ends with {}",
                account.last
            );
            found.push((Kind::CursorBehind, text));
        }
        if cut == 0 {
            let lost = numbers.lose_through(end);
            found.extend(loss_at_end(lost, end));
        }
        for (kind, text) in found {
            self.find(kind, Some(id), at, text);
        }
    }
}

fn loss_at_end(lost: u64, end: u64) -> Option<(Kind, String)> {
    let text = || format!("the last {} of it, up to {end}", counted(lost, "number"));
    (lost > 0).then(|| (Kind::Lost, text()))
}

fn tail_in_words(seen: u64, account: &RunAccount, cut: u64) -> String {
    let numbers = numbers_in_words(seen + 1, account.last);
    let last = account.last;
    match account.lost {
        None => format!("{numbers}: lost or removed; the next run says that it came to {last}"),
        Some(_) if cut < last - seen => {
            format!(
                "{} of the {numbers}: it had come to {last}",
                counted(cut, "entry")
            )
        }
        Some(_) => format!("{numbers}: it had come to {last}"),
    }
}
