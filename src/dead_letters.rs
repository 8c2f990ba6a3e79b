//! The dead letters of a publisher that is not running: inspecting, removing and requeueing them.

use std::path::PathBuf;

use crate::config::{SpillDurability, SpillKey};
use crate::error::SpillError;
use crate::event::{Key, Position};
use crate::spill::{DEAD_LETTERS_PAGE, DeadLetter, DeadLetterReader, Directory, Spill};
use crate::status::refuse_if_ring_is_left;

/// The dead letters of a spill directory: entries that were too large, or that the sink has rejected.
///
/// For use while no publisher is running: otherwise each call returns [`SpillError::InUse`] at once. Each call locks
/// the directory; calls that only read share the lock.
///
/// ```no_run
/// use spillring::operate::{DeadLetters, Selection};
///
/// let letters = DeadLetters::open("/var/lib/agent/spill")?;
/// for letter in letters.iter() {
///     let letter = letter?;
///     println!("{} {}: {}", letter.id, letter.reason, letter.detail);
/// }
/// // Once the stream takes larger messages:
/// let all = Selection::All; // or Selection::These(vec![letter.id])
/// let count = letters.requeue(&all, |old, new| println!("{old} is now {new}"))?;
/// # Ok::<(), spillring::error::SpillError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    dir: PathBuf,
    key: Option<SpillKey>,
}

/// A selection of dead letters.
///
/// See the example of [`DeadLetters`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those with these numbers. If one of them is missing, nothing is done.
    These(Vec<Position>),
    /// All of them.
    All,
}

impl DeadLetters {
    /// Checks that the directory has a spill, and no running publisher. A relative path is resolved against the
    /// current directory now.
    ///
    /// # Errors
    ///
    /// [`SpillError::Missing`], [`SpillError::InUse`], and any failure to read the spill.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, SpillError> {
        Self::open_in(dir.into(), None)
    }

    /// Like [`open`](Self::open), for a spill that may be encrypted. What is requeued with a key is encrypted.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); and [`SpillError::Encrypted`] if the key is missing, or [`SpillError::WrongKey`].
    #[cfg(feature = "encryption")]
    pub fn open_with_key(
        dir: impl Into<PathBuf>,
        key: Option<SpillKey>,
    ) -> Result<Self, SpillError> {
        Self::open_in(dir.into(), key)
    }

    fn open_in(dir: PathBuf, key: Option<SpillKey>) -> Result<Self, SpillError> {
        // Without a current directory, the check reports the error.
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        let letters = Self { dir, key };
        letters.open_shared()?;
        Ok(letters)
    }

    /// Iterates in the order of their numbers, reading page by page; a publisher may start between two pages.
    pub fn iter(&self) -> impl Iterator<Item = Result<DeadLetter, SpillError>> {
        let mut after = None;
        let mut page = Vec::new().into_iter();
        let mut end = false;
        std::iter::from_fn(move || {
            if page.len() == 0 && !end {
                match self.open_shared().and_then(|letters| letters.page(after)) {
                    Ok(next) => page = next.into_iter(),
                    Err(error) => {
                        end = true;
                        return Some(Err(error));
                    }
                }
            }
            let next: Option<(Key, DeadLetter)> = page.next();
            end |= next.is_none();
            let (key, letter) = next?;
            after = Some(key);
            Some(Ok(letter))
        })
    }

    /// The dead letter with this number, and its bytes, if there is one.
    ///
    /// # Errors
    ///
    /// [`SpillError::DamagedDeadLetters`] if it can no longer be read; else as for [`open`](Self::open).
    pub fn get(&self, id: Position) -> Result<Option<(DeadLetter, Vec<u8>)>, SpillError> {
        self.open_shared()?.get(id)
    }

    /// Deletes them for good, calls `each` for every one, and returns their count. Those passed to `each` stay deleted,
    /// even if an error follows.
    ///
    /// # Errors
    ///
    /// [`SpillError::NoSuchDeadLetters`], and then nothing is deleted; else as for [`open`](Self::open).
    pub fn remove(
        &self,
        which: &Selection,
        mut each: impl FnMut(Position),
    ) -> Result<u64, SpillError> {
        let mut count = 0;
        self.each_page(which, |spill, keys| {
            let removed = spill.remove_dead_letters(keys)?;
            count += removed.len() as u64;
            removed.into_iter().for_each(&mut each);
            Ok(())
        })?;
        Ok(count)
    }

    /// Puts them back into the backlog, oldest first, calls `each` for every one with its old and its new number, and
    /// returns their count. The next start delivers them after the rest.
    ///
    /// They get numbers in their own run, and announce the number under which they were lost
    /// ([`Record::requeued_from`](crate::event::Record::requeued_from)). A page of up to 256 letters is first written
    /// to the backlog, where it survives a power cut, and then removed here: after an interruption each letter is in
    /// the backlog or still here. The cap of the spill does not apply, since it bounds both together.
    ///
    /// # Errors
    ///
    /// [`SpillError::NoSuchDeadLetters`], and then nothing is moved; [`SpillError::DamagedDeadLetters`] if some can no
    /// longer be read, or are not entries: they stay, and the others are moved. Else as for [`open`](Self::open).
    pub fn requeue(
        &self,
        which: &Selection,
        mut each: impl FnMut(Position, Position),
    ) -> Result<u64, SpillError> {
        refuse_if_ring_is_left(&self.dir)?;
        let (mut run, mut last_n) = (None, 0);
        let mut damaged = Vec::new();
        self.each_page(which, |spill, mut keys| {
            let run = match &mut run {
                Some(run) => run,
                none => none.insert(spill.begin_ended_run()?),
            };
            while !keys.is_empty() {
                let done = spill.requeue(keys, run, last_n)?;
                keys = &keys[done.taken..];
                last_n += done.moved.len() as u64;
                damaged.extend(done.damaged);
                done.moved.into_iter().for_each(|(old, new)| each(old, new));
            }
            Ok(())
        })?;
        if damaged.is_empty() {
            Ok(last_n)
        } else {
            Err(SpillError::DamagedDeadLetters { ids: damaged })
        }
    }

    fn open_shared(&self) -> Result<DeadLetterReader, SpillError> {
        DeadLetterReader::open(Directory::take_existing(&self.dir)?, self.key.as_ref())
    }

    /// Locks the directory as a publisher does, but does not create one. Completes what a killed process had begun.
    fn take(&self) -> Result<Spill, SpillError> {
        drop(Directory::take_existing(&self.dir)?);
        let mut spill = Spill::open(
            &self.dir,
            self.key.as_ref(),
            u64::MAX,
            SpillDurability::PowerLoss,
        )?;
        spill.finish_requeueing()?;
        Ok(spill)
    }

    fn each_page(
        &self,
        which: &Selection,
        mut work: impl FnMut(&mut Spill, &[Key]) -> Result<(), SpillError>,
    ) -> Result<(), SpillError> {
        let mut spill = self.take()?;
        if let Selection::These(ids) = which {
            let keys = spill.dead_letter_keys(ids)?;
            return keys
                .chunks(DEAD_LETTERS_PAGE)
                .try_for_each(|keys| work(&mut spill, keys));
        }
        let mut after = None;
        loop {
            let keys = spill.next_dead_letters(after)?;
            let Some(&last) = keys.last() else {
                return Ok(());
            };
            work(&mut spill, &keys)?;
            after = Some(last);
        }
    }
}
