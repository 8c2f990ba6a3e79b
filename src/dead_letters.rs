//! The dead letters of a publisher that is not running: looked at, removed, or requeued.

use std::path::PathBuf;

use crate::config::{SpillDurability, SpillKey};
use crate::error::SpillError;
use crate::event::{Key, Position};
use crate::spill::{Directory, Letters, Spill};
use crate::status::refuse_if_ring_is_left;

/// The dead letters of a spill directory: entries that were too large, or that the sink has refused for good.
///
/// Only while no publisher is running: each call answers [`SpillError::InUse`] at once if one is. The directory is
/// taken for the time of a call, and for looking it is shared with others who look.
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
/// let count = letters.requeue(&Selection::All, |old, new| println!("{old} is now {new}"))?;
/// # Ok::<(), spillring::error::SpillError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    dir: PathBuf,
    key: Option<SpillKey>,
}

/// A dead letter in short.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The number that the entry had: one that the stream tells as lost.
    pub id: Position,
    /// Why it was given up: `oversize` (larger than [`entry_bytes_max`](crate::Config::entry_bytes_max)), `rejected`, or
    /// `undecodable` (imported, and no entry: it can only be removed).
    pub reason: String,
    /// The same in words, such as the sink's.
    pub detail: String,
    /// When it was popped from the ring, in milliseconds since 1970.
    pub popped_ms: u64,
    /// When it was given up, in milliseconds since 1970.
    pub given_up_ms: u64,
    /// The number under which it was a dead letter before, if it has been requeued since.
    pub requeued_from: Option<Position>,
    /// The subject below the sink's prefix.
    pub subject: String,
    /// How many bytes the encoded entry has.
    pub bytes: u64,
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those with these numbers. If there is none of one of them, nothing is done.
    These(Vec<Position>),
    /// Each one.
    All,
}

impl DeadLetters {
    /// Looks whether there is a spill in the directory, and no publisher. If relative, then to the current directory at
    /// this call.
    ///
    /// # Errors
    ///
    /// [`SpillError::Missing`], [`SpillError::InUse`], and whatever keeps the spill from being read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, SpillError> {
        Self::open_in(dir.into(), None)
    }

    /// The same of a spill that may be encrypted. What is requeued with a key is encrypted.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); and [`SpillError::Encrypted`] or [`SpillError::WrongKey`] if the key is missing or another
    /// one.
    #[cfg(feature = "encryption")]
    pub fn open_with_key(
        dir: impl Into<PathBuf>,
        key: Option<SpillKey>,
    ) -> Result<Self, SpillError> {
        Self::open_in(dir.into(), key)
    }

    fn open_in(dir: PathBuf, key: Option<SpillKey>) -> Result<Self, SpillError> {
        // Where there is no current directory, the look will say so.
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        let letters = Self { dir, key };
        letters.look()?;
        Ok(letters)
    }

    /// All of them in the order of their numbers, read a page at a time; between two pages a publisher may start.
    pub fn iter(&self) -> impl Iterator<Item = Result<DeadLetter, SpillError>> {
        let mut after = None;
        let mut page = Vec::new().into_iter();
        let mut end = false;
        std::iter::from_fn(move || {
            if page.len() == 0 && !end {
                match self.look().and_then(|letters| letters.page(after)) {
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

    /// The one that had this number, with its bytes, if there is one.
    ///
    /// # Errors
    ///
    /// [`SpillError::DamagedDeadLetters`] if it can no longer be read, and as [`open`](Self::open).
    pub fn get(&self, id: Position) -> Result<Option<(DeadLetter, Vec<u8>)>, SpillError> {
        self.look()?.get(id)
    }

    /// Deletes them for good, tells each, and says how many they were. What was told stays deleted, whatever happens
    /// then.
    ///
    /// # Errors
    ///
    /// [`SpillError::NoSuchDeadLetters`], and then nothing is deleted; else as [`open`](Self::open).
    pub fn remove(
        &self,
        which: &Selection,
        mut told: impl FnMut(Position),
    ) -> Result<u64, SpillError> {
        let mut count = 0;
        self.each_page(which, |spill, keys| {
            let removed = spill.remove_dead_letters(keys)?;
            count += removed.len() as u64;
            removed.into_iter().for_each(&mut told);
            Ok(())
        })?;
        Ok(count)
    }

    /// Puts them back into the backlog, oldest first, tells each with its old number and its new one, and says how many
    /// they were. The next start delivers them behind the rest.
    ///
    /// They get numbers in a run of their own, and say under which number they were lost
    /// ([`Record::requeued_from`](crate::event::Record::requeued_from)). A page of up to 256 letters is in the backlog, where it
    /// survives a power cut, before it is removed here: whenever this is cut off, each is in the backlog or still here. The cap of the
    /// spill does not count here, since it bounds both together.
    ///
    /// # Errors
    ///
    /// [`SpillError::NoSuchDeadLetters`], and then nothing is moved; [`SpillError::DamagedDeadLetters`] if some can no
    /// longer be read, or are no entries: they stay, and the others are moved. Else as [`open`](Self::open).
    pub fn requeue(
        &self,
        which: &Selection,
        mut told: impl FnMut(Position, Position),
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
                done.moved.into_iter().for_each(|(old, new)| told(old, new));
            }
            Ok(())
        })?;
        if damaged.is_empty() {
            Ok(last_n)
        } else {
            Err(SpillError::DamagedDeadLetters { ids: damaged })
        }
    }

    fn look(&self) -> Result<Letters, SpillError> {
        Letters::open(Directory::take_existing(&self.dir)?, self.key.as_ref())
    }

    /// Takes the directory as a publisher does, but makes none. What somebody was killed in the middle of is completed.
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
                .chunks(Letters::PAGE_ROWS)
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
