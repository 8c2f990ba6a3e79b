//! What was last known of the stream, to notice when it was changed behind our back.
//!
//! Whatever is found, the publisher goes on behind what was acknowledged: entries that the stream had once
//! acknowledged and then lost are not sent again, since nobody keeps them, and the reader's rule shows the jump.

use metrics::counter;

use super::cursor::Tip;
use super::stream::Found;
use crate::event::PublisherId;
use crate::host::{self, log};

/// What the sink remembers for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Memory {
    created: Option<String>,
    last_sequence: u64,
    cursor: Option<(PublisherId, Tip)>,
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
    /// The stream at a new connection. Answers whether it is as it was.
    pub(super) fn meet(&mut self, found: &Found) -> bool {
        let created = self.created.replace(found.created.clone());
        let change = if created.is_some_and(|created| created != found.created) {
            self.cursor = None;
            Some(Change::Recreated)
        } else {
            (found.last_sequence < self.last_sequence).then_some(Change::WentBack)
        };
        if let Some(change) = change {
            self.tell(change);
        }
        self.last_sequence = found.last_sequence;
        change.is_none()
    }

    /// The cursor as it was read.
    pub(super) fn read(&mut self, publisher: PublisherId, tip: &Tip) {
        if let Some((_, known)) = self.cursor.filter(|(of, _)| *of == publisher) {
            match tip.cursor {
                None if known.cursor.is_some() => self.tell(Change::CursorGone),
                Some(_) if tip.sequence < known.sequence => self.tell(Change::CursorWentBack),
                _ => {}
            }
        }
        self.acknowledged(publisher, tip);
    }

    /// The cursor as it was written.
    pub(super) fn acknowledged(&mut self, publisher: PublisherId, tip: &Tip) {
        self.cursor = Some((publisher, *tip));
        self.last_sequence = self.last_sequence.max(tip.sequence);
    }

    fn tell(&self, change: Change) {
        let (kind, text) = change.told();
        host::call(|| counter!("aa_audit_stream_changes_total", "kind" => kind).increment(1));
        log::error!(last_sequence = self.last_sequence, "{text}");
    }
}

impl Change {
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Recreated => (
                "recreated",
                "the stream was deleted and made anew: what it had acknowledged is gone; going on behind that",
            ),
            Self::WentBack => (
                "went_back",
                "the stream ends before what it had acknowledged: its servers have lost entries; going on behind them",
            ),
            Self::CursorGone => (
                "cursor_gone",
                "the cursor is gone from the stream, purged or expired: going on behind what was acknowledged; what was \
                 in doubt is sent again",
            ),
            Self::CursorWentBack => (
                "cursor_went_back",
                "the cursor stands before what the stream had acknowledged: its servers have lost entries; going on \
                 behind them",
            ),
        }
    }
}
