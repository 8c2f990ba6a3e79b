//! What was last known of the stream, to notice when it was changed behind our back.
//!
//! Whatever is found, the publisher goes on after what was acknowledged: entries that the stream had once
//! acknowledged and then lost are not sent again, since nobody keeps them, and the reader's rule shows the jump.

use metrics::counter;
use uuid::Uuid;

use super::cursor::Tip;
use crate::event::PublisherId;
use crate::host::{self, log};

/// How many batches may be in doubt at once. Each is either stored before the next one, or refused.
const SENT_MAX: usize = 64;

/// How often a cursor that is older than a known one is taken for that of a replica which is behind. Then it is what there is.
const OLD_READS_MAX: u32 = 20;

/// How often in a row a stream must be found to end before what it had acknowledged. A server that was stopped for a while
/// answers for the stream until it learns that another one leads it.
const OLD_LOOKS_MAX: u32 = 3;

/// What the sink remembers for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Memory {
    created: Option<String>,
    /// The newest message that the stream was known to have.
    last_sequence: u64,
    cursor: Option<(PublisherId, Tip)>,
    /// Batches that were sent since the cursor was known.
    sent: Vec<Uuid>,
    /// A replica that knows less is behind.
    sequence_min: u64,
    old_reads: u32,
    old_looks: u32,
    /// Whether messages of the stream expire.
    expires: bool,
}

/// Whose cursor was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    /// A batch that this process has not sent: somebody else is publishing under this id.
    Anothers,
    /// It is known that there is a newer one.
    Old,
}

/// Whether a batch was refused for what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Rightly,
    /// It went on from the newest cursor that there can be.
    Absurdly,
}

/// Something that happened to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Recreated,
    WentBack,
    CursorGone,
    CursorWentBack,
}

impl Memory {
    /// The stream as it was looked at. Returns whether it is as it was.
    pub(super) fn meet(&mut self, created: &str, last_sequence: u64, expires: bool) -> bool {
        let before = self.created.replace(created.to_owned());
        let is_older = last_sequence < self.last_sequence;
        self.old_looks = if is_older { self.old_looks + 1 } else { 0 };
        let change = if before.is_some_and(|before| before != created) {
            Some(Change::Recreated)
        } else if is_older && self.old_looks < OLD_LOOKS_MAX {
            return true;
        } else {
            is_older.then_some(Change::WentBack)
        };
        if let Some(change) = change {
            self.tell(
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

    /// The cursor that is known, if an older one or none was read.
    pub(super) fn newer(&self, publisher: PublisherId, read: &Tip) -> Option<&Tip> {
        let known = self.cursor.as_ref().filter(|(of, _)| *of == publisher);
        let (_, known) = known?;
        (known.cursor.is_some() && known.sequence > read.sequence).then_some(known)
    }

    /// The cursor as it was read, perhaps from a replica that is behind.
    pub(super) fn read(&mut self, publisher: PublisherId, tip: &Tip) -> Whose {
        let known = self.cursor.as_ref().filter(|(of, _)| *of == publisher);
        let known = known.map(|(_, tip)| tip.clone());
        let least = known.as_ref().map_or(0, |known| known.sequence);
        let gone = tip.cursor.is_none() && self.expires;
        if tip.sequence < least.max(self.sequence_min) && !gone {
            self.old_reads += 1;
            if self.old_reads < OLD_READS_MAX {
                return Whose::Old;
            }
        }
        let whose = known
            .as_ref()
            .map_or(Whose::Ours, |known| self.whose(known, tip));
        if let Some(known) = &known {
            match &tip.cursor {
                None if known.cursor.is_some() && self.expires => {
                    log::info!(
                        "the cursor has expired with its stream's messages: going on after what was acknowledged"
                    );
                }
                None if known.cursor.is_some() => self.tell(Change::CursorGone, 0),
                Some(_) if tip.sequence < known.sequence => self.tell(Change::CursorWentBack, 0),
                _ => {}
            }
        }
        if whose == Whose::Ours {
            self.remember(publisher, tip);
        } else {
            self.cursor = None;
        }
        whose
    }

    /// Whose the cursor is that was read, if another one was known.
    fn whose(&self, known: &Tip, tip: &Tip) -> Whose {
        let batch = |tip: &Tip| tip.cursor.as_ref().and_then(|cursor| cursor.batch);
        match batch(tip) {
            Some(id)
                if tip.sequence > known.sequence
                    && !self.sent.contains(&id)
                    && batch(known) != Some(id) =>
            {
                Whose::Anothers
            }
            _ => Whose::Ours,
        }
    }

    /// A batch is about to be sent.
    pub(super) fn sent(&mut self, batch: Uuid) {
        if self.sent.len() == SENT_MAX {
            self.sent.remove(0);
        }
        self.sent.push(batch);
    }

    /// The cursor as it was written, and the newest message of its batch.
    pub(super) fn acknowledged(&mut self, publisher: PublisherId, tip: &Tip, last: u64) {
        self.remember(publisher, tip);
        self.sent.clear();
        self.last_sequence = self.last_sequence.max(last);
    }

    /// A batch that went on from the cursor at `expected` was refused, because the newest is at another place. Returns whether
    /// that can be: what was read is never newer than what there is.
    pub(super) fn refused(&mut self, expected: u64, newest: Option<u64>) -> Refused {
        match newest {
            Some(newest) if newest <= expected => Refused::Absurdly,
            newest => {
                self.sequence_min = newest.unwrap_or(0);
                Refused::Rightly
            }
        }
    }

    /// The cursor as recovery has left it. Of batches that were sent before a new fence nothing comes any more; after one that was
    /// only read again, from a replica that is behind, a batch of ours may come.
    pub(super) fn recovered(&mut self, publisher: PublisherId, tip: &Tip) {
        if tip.sequence > self.last_cursor() {
            self.sent.clear();
        }
        self.remember(publisher, tip);
    }

    fn last_cursor(&self) -> u64 {
        self.cursor.as_ref().map_or(0, |(_, known)| known.sequence)
    }

    fn remember(&mut self, publisher: PublisherId, tip: &Tip) {
        self.cursor = Some((publisher, tip.clone()));
        self.sequence_min = 0;
        self.old_reads = 0;
        self.last_sequence = self.last_sequence.max(tip.sequence);
    }

    /// `gone` messages at the least are no longer there.
    fn tell(&self, change: Change, gone: u64) {
        let (kind, text) = change.told();
        host::call(|| counter!("aa_audit_stream_changes_total", "kind" => kind).increment(1));
        log::error!(
            last_sequence = self.last_sequence,
            messages_gone = gone,
            "{text}"
        );
    }
}

impl Change {
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Recreated => (
                "recreated",
                "the stream was deleted and made anew: what it had acknowledged is gone; going on after that",
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
    use crate::sink::jetstream::cursor::{Account, Cursor, State};

    const PUBLISHER: PublisherId = PublisherId(Uuid::nil());

    fn tip(batch: Uuid, n: u64, sequence: u64, state: State) -> Tip {
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

    /// A server that was stopped and goes on has an old state; a stream that was set back keeps it.
    #[test]
    fn a_stream_that_ends_early_has_gone_back_if_it_is_found_so_again_and_again() {
        let mut memory = Memory::default();
        assert!(memory.meet("then", 100, false));
        for _ in 0..3 {
            for _ in 1..OLD_LOOKS_MAX {
                assert!(memory.meet("then", 40, false));
            }
            assert!(memory.meet("then", 100, false));
        }
        for _ in 1..OLD_LOOKS_MAX {
            assert!(memory.meet("then", 40, false));
        }
        assert!(!memory.meet("then", 40, false));
        assert!(memory.meet("then", 50, false));
        assert!(!memory.meet("later", 60, false), "it is another stream");
    }

    /// A replica is asked that has the fence of the batch before, and not the batch that is in doubt: that one is ours all the same.
    #[test]
    fn a_fence_that_was_read_again_makes_no_batch_in_doubt_anothers() {
        let mut memory = Memory::default();
        let [before, in_doubt] = [fresh_uuid(), fresh_uuid()];
        let closed = tip(before, 5, 10, State::Closed);
        memory.recovered(PUBLISHER, &closed);
        memory.sent(in_doubt);
        let fence = tip(before, 5, 10, State::Fence(4, Vec::new()));
        assert_eq!(memory.read(PUBLISHER, &fence), Whose::Ours);
        memory.recovered(PUBLISHER, &closed);
        assert_eq!(memory.refused(10, Some(20)), Refused::Rightly);
        let newest = tip(in_doubt, 9, 20, State::Closed);
        assert_eq!(memory.read(PUBLISHER, &newest), Whose::Ours);
        // A new fence is after whatever was sent: what comes then is somebody else's.
        memory.recovered(PUBLISHER, &tip(in_doubt, 9, 21, State::Closed));
        let another = tip(before, 12, 30, State::Closed);
        assert_eq!(memory.read(PUBLISHER, &another), Whose::Anothers);
    }
}
