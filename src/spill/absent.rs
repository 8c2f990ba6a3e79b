//! Numbers that will not be delivered, and why: dead letters, evicted entries, damage that was found. In memory; the
//! index keeps a copy.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::event::{Key, Loss};

use super::row::{int, kind, uint};

/// Stretches that do not overlap, by their first key.
#[derive(Debug, Default)]
pub(super) struct Absent {
    stretches: BTreeMap<Key, Stretch>,
    /// First keys of stretches that differ from the copy in the index.
    pub(super) unsaved: BTreeSet<Key>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) count: u64,
    /// As in a row of a segment.
    pub(super) kind: i64,
}

impl Absent {
    /// As the index has it.
    pub(super) fn load(&mut self, first: Key, stretch: Stretch) {
        self.stretches.insert(first, stretch);
    }

    pub(super) fn get(&self, first: Key) -> Option<Stretch> {
        self.stretches.get(&first).copied()
    }

    /// What this number is, if it is absent.
    pub(super) fn at(&self, key: Key) -> Option<i64> {
        let found = self.from(key).filter(|&(first, _)| first <= key);
        found.map(|(_, stretch)| stretch.kind)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Stretch)> {
        self.stretches
            .iter()
            .map(|(&first, &stretch)| (first, stretch))
    }

    pub(super) fn len(&self) -> u64 {
        self.stretches.len() as u64
    }

    /// The stretch that contains this key, or else the first one after it.
    pub(super) fn from(&self, key: Key) -> Option<(Key, Stretch)> {
        let before = self.stretches.range(..=key).next_back();
        let covers = before.filter(|(first, stretch)| first.after(stretch.count) > key);
        let next = covers.or_else(|| self.stretches.range(key..).next());
        next.map(|(&first, &stretch)| (first, stretch))
    }

    /// Marks these numbers as absent. Replaces earlier reasons.
    pub(super) fn cover(&mut self, first: Key, count: u64, kind: i64) {
        let end = first.after(count);
        if count == 0 {
            return;
        }
        while let Some((at, old)) = self.from(first).filter(|&(at, _)| at < end) {
            let old_end = at.after(old.count);
            self.remove(at);
            if at < first {
                self.insert(at, at.distance(first), old.kind);
            }
            if old_end > end {
                self.insert(end, end.distance(old_end), old.kind);
            }
        }
        self.insert(first, count, kind);
    }

    /// Marks consecutive losses, the first of them at `first`.
    pub(super) fn cover_losses(&mut self, mut first: Key, losses: &[Loss]) {
        for loss in losses {
            self.cover(first, loss.count, kind(loss.reason));
            first = first.after(loss.count);
        }
    }

    /// Marks those of these numbers that are not absent yet.
    pub(super) fn cover_rest(&mut self, first: Key, count: u64, kind: i64) {
        let end = first.after(count);
        let mut next = first;
        for (at, stretch) in self.within(first, end).collect::<Vec<_>>() {
            self.cover(next, next.distance(at), kind);
            next = at.after(stretch.count);
        }
        self.cover(next, next.distance(end), kind);
    }

    /// This number may be delivered after all.
    pub(super) fn uncover(&mut self, key: Key) {
        let Some((first, stretch)) = self.from(key).filter(|&(first, _)| first <= key) else {
            return;
        };
        self.remove(first);
        self.insert(first, first.distance(key), stretch.kind);
        let next = key.after(1);
        self.insert(
            next,
            next.distance(first.after(stretch.count)),
            stretch.kind,
        );
    }

    /// The stretches that overlap the keys `from..below`.
    pub(super) fn within(&self, from: Key, below: Key) -> impl Iterator<Item = (Key, Stretch)> {
        let start = self.from(from).map_or(below, |(first, _)| first);
        let found = self.stretches.range(start.min(below)..below);
        found.map(|(&first, &stretch)| (first, stretch))
    }

    /// Drops what is delivered, up to this key. Returns whether anything was dropped.
    pub(super) fn prune(&mut self, through: Key) -> bool {
        let settled = self.stretches.range(..=through);
        let gone: Vec<_> = settled
            .filter(|(first, stretch)| first.after(stretch.count) <= through.after(1))
            .map(|(&first, _)| first)
            .collect();
        let any = !gone.is_empty();
        for first in gone {
            self.remove(first);
        }
        any
    }

    /// Joined with the stretch before it, if that is of the same kind and run.
    fn insert(&mut self, first: Key, count: u64, kind: i64) {
        if count == 0 {
            return;
        }
        let before = self.stretches.range_mut(..first).next_back();
        if let Some((&at, before)) = before
            && before.kind == kind
            && at.local_run() == first.local_run()
            && at.after(before.count) == first
        {
            before.count += count;
            self.unsaved.insert(at);
            return;
        }
        self.stretches.insert(first, Stretch { count, kind });
        self.unsaved.insert(first);
    }

    fn remove(&mut self, first: Key) {
        if self.stretches.remove(&first).is_some() {
            self.unsaved.insert(first);
        }
    }

    /// Marks everything as unsaved.
    pub(super) fn forget_saved(&mut self) {
        self.unsaved = self.stretches.keys().copied().collect();
    }
}

/// Reads the absent numbers of an index.
pub(super) fn read_all(conn: &Connection) -> rusqlite::Result<Vec<(Key, Stretch)>> {
    let mut statement = conn.prepare("SELECT first, count, reason FROM absent ORDER BY first")?;
    let found = statement.query_map((), |row| {
        let stretch = Stretch {
            count: uint(row.get(1)?),
            kind: row.get(2)?,
        };
        Ok((Key::from_row(row.get(0)?).unwrap_or_default(), stretch))
    })?;
    found.collect()
}

/// Writes a stretch into the index, or deletes it there.
pub(super) fn save(
    conn: &Connection,
    first: Key,
    stretch: Option<Stretch>,
) -> rusqlite::Result<()> {
    match stretch {
        Some(Stretch { count, kind }) => conn
            .prepare_cached(
                "INSERT OR REPLACE INTO absent (first, count, reason) VALUES (?1, ?2, ?3)",
            )?
            .execute((first.row(), int(count), kind))?,
        None => conn
            .prepare_cached("DELETE FROM absent WHERE first = ?1")?
            .execute([first.row()])?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(absent: &Absent) -> Vec<(u64, u64, i64)> {
        absent
            .iter()
            .map(|(first, stretch)| (first.n(), stretch.count, stretch.kind))
            .collect()
    }

    #[test]
    fn neighbours_of_one_kind_are_one_stretch() {
        let mut absent = Absent::default();
        for n in [5, 6, 8, 7] {
            absent.cover(Key::new(1, n), 1, 4);
        }
        absent.cover(Key::new(1, 9), 2, 6);
        assert_eq!(all(&absent), [(5, 3, 4), (8, 1, 4), (9, 2, 6)]);
    }

    #[test]
    fn the_last_word_counts() {
        let mut absent = Absent::default();
        absent.cover(Key::new(1, 1), 10, 6);
        absent.cover(Key::new(1, 4), 3, 8);
        assert_eq!(all(&absent), [(1, 3, 6), (4, 3, 8), (7, 4, 6)]);
        absent.cover(Key::new(1, 2), 8, 4);
        assert_eq!(all(&absent), [(1, 1, 6), (2, 8, 4), (10, 1, 6)]);
    }

    #[test]
    fn one_number_of_a_stretch_may_be_delivered_after_all() {
        for (key, left) in [
            (3, vec![(4, 3, 4)]),
            (4, vec![(3, 1, 4), (5, 2, 4)]),
            (6, vec![(3, 3, 4)]),
            (7, vec![(3, 4, 4)]),
        ] {
            let mut absent = Absent::default();
            absent.cover(Key::new(1, 3), 4, 4);
            absent.uncover(Key::new(1, key));
            assert_eq!(all(&absent), left);
        }
    }

    #[test]
    fn a_stretch_goes_once_all_of_it_is_delivered() {
        let mut absent = Absent::default();
        absent.cover(Key::new(1, 2), 3, 6);
        absent.cover(Key::new(1, 6), 1, 4);
        absent.prune(Key::new(1, 3));
        assert_eq!(absent.len(), 2);
        absent.prune(Key::new(1, 4));
        assert_eq!(all(&absent), [(6, 1, 4)]);
        assert_eq!(absent.from(Key::new(1, 1)).map(|(key, _)| key.n()), Some(6));
        assert_eq!(absent.from(Key::new(1, 7)), None);
    }
}
