//! A batch, laid out for the files.

use super::ledger::Account;
use super::range::{Range, Requeued};
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId, Record};
use crate::host::log;
use crate::sink::Delivery;

/// The bytes that a batch adds to the output, and the ranges that it adds to the ledger. Reused, for its buffer.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    ranges: Vec<Range>,
    dealt_with: usize,
    refused: Option<SinkError>,
}

impl Page {
    /// Lays out the records of `batch` that the account does not cover, up to the first that is refused.
    pub(super) fn lay_out(&mut self, batch: &Batch, account: &Account) {
        self.bytes.clear();
        self.ranges.clear();
        self.refused = None;
        self.dealt_with = 0;
        let base = account.end();
        let publisher = batch.publisher();
        let cursor = account.cursor(&publisher);
        for record in batch.records() {
            if !is_stored(cursor, record.id()) {
                if record.bytes().contains(&b'\n') {
                    self.refused = Some(SinkError::Rejected(format!(
                        "{} has a line break in its bytes, and an entry must be one line: encode it as `\\n`",
                        record.id()
                    )));
                    break;
                }
                self.add(publisher, record, base);
            }
            self.dealt_with += 1;
        }
        if self.refused.is_none() {
            self.move_cursor(batch, cursor, base);
        }
        for range in &mut self.ranges {
            // Both are at most the length of the buffer.
            let at = |byte: u64| usize::try_from(byte - base).unwrap_or(usize::MAX);
            range.crc32 = crc32fast::hash(&self.bytes[at(range.start)..at(range.end)]);
        }
        self.seal(batch, account);
    }

    /// Signs the tree of all entries up to the end of each range.
    fn seal(&mut self, batch: &Batch, account: &Account) {
        let Some(signer) = batch.signer().filter(|_| !self.ranges.is_empty()) else {
            return;
        };
        let publisher = batch.publisher();
        let mut tree = signer.tree(publisher, account.seal(&publisher), &[]);
        let cursor = account.cursor(&publisher);
        let added = batch.records()[..self.dealt_with].iter();
        let added = added.filter(|record| !is_stored(cursor, record.id()));
        let mut leaves = added.map(|record| record.leaf(None));
        for range in &mut self.ranges {
            let count = usize::try_from(range.entries).unwrap_or(usize::MAX);
            tree.extend(leaves.by_ref().take(count));
            match signer.seal(&tree, Some(range.cursor())) {
                Ok(seal) => range.seal = Some(seal),
                Err(error) => log::error!(%error, "a checkpoint cannot be signed"),
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The outcome of the batch, once the page is stored.
    pub(super) fn outcome(&mut self) -> Delivery {
        Delivery {
            stored: self.dealt_with,
            stopped: self.refused.take(),
        }
    }

    fn add(&mut self, publisher: PublisherId, record: &Record, base: u64) {
        let Position { run, n } = record.id();
        let first = n.saturating_sub(record.lost_before()).max(1);
        let start = base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(record.bytes());
        self.bytes.push(b'\n');
        let end = base + self.bytes.len() as u64;
        let mut range = match self.ranges.pop() {
            Some(last) if last.run == run && last.last + 1 == first => last,
            other => {
                self.ranges.extend(other);
                Range::begin(publisher, run, start, first)
            }
        };
        for loss in record.losses_before() {
            range.lose(loss.count, Some(loss.reason));
        }
        range.last = n;
        range.end = end;
        range.entries += 1;
        if let Some(old) = record.requeued_from() {
            range.requeue(Requeued {
                first: n,
                count: 1,
                run: old.run,
                was: old.n,
            });
        }
        if let Some(opened) = record.opens_run() {
            range.audit_run = Some(opened.to_string());
        }
        self.ranges.push(range);
    }

    /// Records the losses after the last record. Their reasons come with the next one.
    fn move_cursor(&mut self, batch: &Batch, cursor: Option<Position>, base: u64) {
        let through = batch.through();
        let reached = self.ranges.last().map(Range::cursor).or(cursor);
        if is_stored(reached, through) {
            return;
        }
        let first = reached.map_or(1, |at| if at.run == through.run { at.n + 1 } else { 1 });
        let start = base + self.bytes.len() as u64;
        let mut range = Range::begin(batch.publisher(), through.run, start, first);
        if range.last < through.n {
            range.lose(through.n - range.last, None);
            self.ranges.push(range);
        }
    }
}

fn is_stored(cursor: Option<Position>, at: Position) -> bool {
    cursor.is_some_and(|cursor| cursor.run == at.run && at.n <= cursor.n)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::seal::{Signer, Tree};
    use crate::sink::conformance::Draft;

    /// A publisher that was killed sends again what is stored, and more.
    #[test]
    fn each_entry_is_one_leaf_of_the_tree_however_often_it_is_sent() {
        let (dir, mut draft) = (TempDir::new().unwrap(), Draft::new());
        let signer = Signer::open(dir.path(), draft.publisher(), None, Duration::MAX).unwrap();
        let mut first = draft.entry("1").batch();
        first.signer = Some(Arc::new(signer));
        let mut more = draft.entry("2").entry("3").batch();
        more.signer.clone_from(&first.signer);
        more.records.splice(..0, first.records.clone());

        let (mut page, mut account) = (Page::default(), Account::default());
        page.lay_out(&first, &account);
        account.push(page.ranges()[0].clone());
        page.lay_out(&more, &account);
        let mut expected = Tree::default();
        expected.extend(more.records().iter().map(|record| record.leaf(None)));
        let seal = page.ranges()[0].seal.as_ref().unwrap();
        assert_eq!(seal.tree().unwrap(), expected);
    }
}
