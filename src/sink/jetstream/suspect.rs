//! Isolates an entry that makes the server end its batch or its connection. What comes before it is sent first, then
//! it alone. If it is refused again, it is rejected.

use crate::error::SinkError;
use crate::event::{Batch, Position, Record};

/// The server's message when it closes a connection over a subject that exceeds its `max_control_line`.
const LONG_LINE: &str = "maximum control line";

/// The entry, and the server's message.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) id: Position,
    pub(super) why: String,
}

impl Suspect {
    /// The entry that a connection was closed for, if any: the one with the longest subject.
    pub(super) fn of_end(batch: &Batch, stored: usize, error: &SinkError) -> Option<Self> {
        let text = error.to_string();
        if !text.to_lowercase().contains(LONG_LINE) {
            return None;
        }
        let left = batch.records().get(stored..)?.iter();
        let longest = left.rev().max_by_key(|record| record.subject().len())?;
        let bytes = longest.subject().len();
        Some(Self {
            id: longest.id(),
            why: format!(
                "{text}: its subject has {bytes} bytes; raise `max_control_line` of the NATS servers"
            ),
        })
    }

    /// What to send first of a batch that contains it: the records before it, or it alone.
    pub(super) fn first_of(&self, batch: &Batch) -> Option<Batch> {
        let records = batch.records();
        let at = records.iter().position(|record| record.id() == self.id)?;
        let first = &records[..at.max(1)];
        let whole = first.len() == records.len();
        let last = first.last().map(Record::id);
        Some(Batch {
            signer: batch.signer.clone(),
            publisher: batch.publisher(),
            records: first.to_vec(),
            through: last.filter(|_| !whole).unwrap_or(batch.through()),
            limit: batch.limit(),
        })
    }

    pub(super) fn is_alone_in(&self, batch: &Batch) -> bool {
        batch
            .records()
            .first()
            .is_some_and(|record| record.id() == self.id)
    }
}
