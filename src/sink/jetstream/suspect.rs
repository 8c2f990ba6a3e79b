//! An entry that ends the batch, or the connection, which it is in: what comes before it goes first, then it alone, and if that is
//! refused as well, it is rejected.

use crate::error::SinkError;
use crate::event::{Batch, Position, Record};

/// What a server says before it ends a connection over a subject that is too long for its `max_control_line`.
const LONG_LINE: &str = "maximum control line";

/// The entry, and what the server said.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) id: Position,
    pub(super) why: String,
}

impl Suspect {
    /// The entry that a connection was ended for, if it was for an entry: the one with the longest subject.
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

    /// What goes first of a batch that it is in: the records before it, or it alone.
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
