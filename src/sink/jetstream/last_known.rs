//! The last known state of the stream, to notice changes made by others.
//!
//! Whatever is found, the publisher continues after what was acknowledged. If the stream lost entries that it had
//! acknowledged, they are not sent again, since nobody keeps them; the reader's rule shows the gap.

use metrics::counter;
use uuid::Uuid;

use super::cursor::Tip;
use crate::event::PublisherId;
use crate::host::{self, log};

/// How many batches may be in doubt at once. Each is stored before the next one, or refused.
const SENT_MAX: usize = 64;

/// How often a cursor older than the known one is attributed to a lagging replica. After that it is accepted.
const OLD_READS_MAX: u32 = 20;

/// How many times in a row the stream must be found shorter than it had acknowledged before this is accepted. A server
/// that was stopped for a while answers for the stream until it learns that another one leads it.
const EARLY_ENDS_MAX: u32 = 3;

/// Kept for as long as the sink lives.
#[derive(Debug, Default)]
pub(super) struct LastKnown {
    created: Option<String>,
    /// The newest message that the stream was known to have.
    last_sequence: u64,
    cursor: Option<(PublisherId, Tip)>,
    /// Batches sent since the cursor was last known.
    sent: Vec<Uuid>,
    /// A replica that answers with a lower sequence lags behind.
    sequence_min: u64,
    old_reads: u32,
    early_ends: u32,
    /// Whether messages of the stream expire.
    expires: bool,
}

/// Who wrote the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    /// A batch that this process has not sent: somebody else publishes under this id.
    Anothers,
    /// A newer cursor is known to exist.
    Old,
}

/// A change of the stream by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamChange {
    Recreated,
    WentBack,
    CursorGone,
    CursorWentBack,
}

impl LastKnown {
    /// Notes the stream as inspected. Returns whether it is unchanged.
    pub(super) fn meet(&mut self, created: &str, last_sequence: u64, expires: bool) -> bool {
        let before = self.created.replace(created.to_owned());
        let is_older = last_sequence < self.last_sequence;
        self.early_ends = if is_older { self.early_ends + 1 } else { 0 };
        let change = if before.is_some_and(|before| before != created) {
            Some(StreamChange::Recreated)
        } else if is_older && self.early_ends < EARLY_ENDS_MAX {
            return true;
        } else {
            is_older.then_some(StreamChange::WentBack)
        };
        if let Some(change) = change {
            self.report(
                change,
                self.last_sequence - last_sequence.min(self.last_sequence),
            );
            self.sequence_min = 0;
            self.cursor = None;
        }
        self.last_sequence = last_sequence;
        self.expires = expires;
        change.is_none()
    }

    fn known(&self, publisher: PublisherId) -> Option<&Tip> {
        let known = self.cursor.as_ref();
        known.and_then(|(of, tip)| (*of == publisher).then_some(tip))
    }

    /// The known cursor, if an older one or none was read.
    pub(super) fn newer(&self, publisher: PublisherId, read: &Tip) -> Option<&Tip> {
        let known = self.known(publisher)?;
        (known.cursor.is_some() && known.sequence > read.sequence).then_some(known)
    }

    /// Notes a cursor that was read, perhaps from a lagging replica.
    pub(super) fn read(&mut self, publisher: PublisherId, tip: &Tip) -> Whose {
        let known = self.known(publisher).cloned().unwrap_or_default();
        let gone = tip.cursor.is_none() && self.expires;
        if tip.sequence < known.sequence.max(self.sequence_min) && !gone {
            self.old_reads += 1;
            if self.old_reads < OLD_READS_MAX {
                return Whose::Old;
            }
        }
        match &tip.cursor {
            None if known.cursor.is_some() && self.expires => {
                log::info!(
                    "the cursor has expired with its stream's messages: going on after what was acknowledged"
                );
            }
            None if known.cursor.is_some() => self.report(StreamChange::CursorGone, 0),
            Some(_) if tip.sequence < known.sequence => {
                self.report(StreamChange::CursorWentBack, 0);
            }
            _ => {}
        }
        if self.is_anothers(publisher, tip) {
            self.cursor = None;
            return Whose::Anothers;
        }
        self.remember(publisher, tip);
        Whose::Ours
    }

    /// Whether the cursor is newer than the known one, and of a batch that this process has not sent.
    fn is_anothers(&self, publisher: PublisherId, tip: &Tip) -> bool {
        let batch = |tip: &Tip| tip.cursor.as_ref().and_then(|cursor| cursor.batch);
        self.known(publisher).is_some_and(|known| {
            tip.sequence > known.sequence
                && batch(tip).is_some_and(|id| !self.sent.contains(&id))
                && batch(tip) != batch(known)
        })
    }

    /// A batch is about to be sent.
    pub(super) fn sent(&mut self, batch: Uuid) {
        if self.sent.len() == SENT_MAX {
            self.sent.remove(0);
        }
        self.sent.push(batch);
    }

    /// Notes the cursor of an acknowledged batch, and the batch's newest message.
    pub(super) fn acknowledged(&mut self, publisher: PublisherId, tip: &Tip, last: u64) {
        self.remember(publisher, tip);
        self.sent.clear();
        self.last_sequence = self.last_sequence.max(last);
    }

    /// A batch that continued from the cursor at `expected` was refused as stale. Returns whether that is possible: a
    /// cursor that was read is never newer than the newest.
    pub(super) fn refused(&mut self, expected: u64, newest: Option<u64>) -> bool {
        let is_possible = newest.is_none_or(|newest| newest > expected);
        if is_possible {
            self.sequence_min = newest.unwrap_or(0);
        }
        is_possible
    }

    /// Notes the cursor after recovery. After a new fence, no earlier batch can arrive any more; after one that was
    /// only read again, from a lagging replica, a batch of ours may.
    pub(super) fn recovered(&mut self, publisher: PublisherId, tip: &Tip) {
        let known = self.cursor.as_ref().map_or(0, |(_, known)| known.sequence);
        if tip.sequence > known {
            self.sent.clear();
        }
        self.remember(publisher, tip);
    }

    fn remember(&mut self, publisher: PublisherId, tip: &Tip) {
        self.cursor = Some((publisher, tip.clone()));
        self.sequence_min = 0;
        self.old_reads = 0;
        self.last_sequence = self.last_sequence.max(tip.sequence);
    }

    /// At least `gone` messages are missing.
    fn report(&self, change: StreamChange, gone: u64) {
        let (kind, text) = change.describe();
        host::call(|| counter!("aa_audit_stream_changes_total", "kind" => kind).increment(1));
        log::error!(
            last_sequence = self.last_sequence,
            messages_gone = gone,
            "{text}"
        );
    }
}

impl StreamChange {
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Recreated => (
                "recreated",
                "the stream was deleted and created again: what it had acknowledged is gone; going on after that",
            ),
            Self::WentBack => (
                "went_back",
                "the stream ends before what it had acknowledged: its servers have lost entries; going on after them",
            ),
            Self::CursorGone => (
                "cursor_gone",
                "the cursor is gone from the stream, purged or expired: going on after what was acknowledged; what was \
                 in doubt is sent again",
            ),
            Self::CursorWentBack => (
                "cursor_went_back",
                "the cursor is before what the stream had acknowledged: its servers have lost entries; going on \
                 after them",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Position, RunId, fresh_uuid};
    use crate::sink::jetstream::cursor::{Account, Coverage, Cursor};

    const PUBLISHER: PublisherId = PublisherId(Uuid::nil());

    fn tip(batch: Uuid, n: u64, sequence: u64, state: Coverage) -> Tip {
        let run = RunId(Uuid::nil());
        let account = Account::through(None, Position { run, n });
        let cursor = Cursor {
            state,
            ..Cursor::closed(account, batch)
        };
        Tip {
            cursor: Some(cursor),
            sequence,
            ..Tip::default()
        }
    }

    /// A stopped server that continues has an old state; a stream that was set back keeps it.
    #[test]
    fn a_stream_that_ends_early_has_gone_back_if_it_is_found_so_again_and_again() {
        let mut last_known = LastKnown::default();
        assert!(last_known.meet("then", 100, false));
        for _ in 0..3 {
            for _ in 1..EARLY_ENDS_MAX {
                assert!(last_known.meet("then", 40, false));
            }
            assert!(last_known.meet("then", 100, false));
        }
        for _ in 1..EARLY_ENDS_MAX {
            assert!(last_known.meet("then", 40, false));
        }
        assert!(!last_known.meet("then", 40, false));
        assert!(last_known.meet("then", 50, false));
        assert!(!last_known.meet("later", 60, false), "it is another stream");
    }

    /// The replica has the fence of the batch before, but not the batch in doubt: that one is still ours.
    #[test]
    fn rereading_the_fence_keeps_a_batch_in_doubt_ours() {
        let mut last_known = LastKnown::default();
        let [before, in_doubt] = [fresh_uuid(), fresh_uuid()];
        let closed = tip(before, 5, 10, Coverage::Closed);
        last_known.recovered(PUBLISHER, &closed);
        last_known.sent(in_doubt);
        let fence = tip(before, 5, 10, Coverage::Fence(4, Vec::new()));
        assert_eq!(last_known.read(PUBLISHER, &fence), Whose::Ours);
        last_known.recovered(PUBLISHER, &closed);
        assert!(last_known.refused(10, Some(20)));
        assert_eq!(last_known.read(PUBLISHER, &closed), Whose::Old);
        let newest = tip(in_doubt, 9, 20, Coverage::Closed);
        assert_eq!(last_known.read(PUBLISHER, &newest), Whose::Ours);
        // A new fence comes after everything that was sent: a later batch is somebody else's.
        last_known.recovered(PUBLISHER, &tip(in_doubt, 9, 21, Coverage::Closed));
        let another = tip(before, 12, 30, Coverage::Closed);
        assert_eq!(last_known.read(PUBLISHER, &another), Whose::Anothers);
    }
}
