//! What can be found in a trail, by name, and which verdict it breaks.

use serde::Serialize;
use spillring::event::RunId;

use super::trail::Place;

/// How many findings of a sort are kept; the others are counted.
const LISTED_MAX: usize = 1_000;

/// What a finding is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Numbers are announced as lost.
    Lost,
    /// A run begins behind its first number, because what held the beginning has let go of it.
    BeginsAt,
    /// Runs were killed before anything of theirs was stored.
    KilledStarts,
    /// Nothing says how far the publisher came: what was cut off its end would not be seen.
    TailUnchecked,
    /// Entries of a session are missing because their numbers are.
    ChainGapTold,
    /// The file goes on behind what the ledger tells.
    Unacknowledged,
    /// The beginning of the file is none of the ledger's.
    Unaccounted,
    /// The last line of the ledger was torn by a crash.
    LedgerTorn,
    /// Messages below the prefix have no `Audit-Id`.
    Unidentified,
    /// A message was removed from the middle of the stream, or several that need not be ours.
    Hole,
    /// A session goes on with another publisher.
    SessionShared,
    /// No signature covers these entries.
    Unsigned,
    /// Entries before the first checkpoint that is left in a trail which has lost its beginning.
    HeadUnsigned,
    /// The same after the newest checkpoint.
    TailUnsigned,
    /// A publisher that was killed has found entries of its own in the stream, and signed them without knowing that it had sent them.
    Recovered,
    /// Two threads have published entries of a session in another order than that of its chain.
    SessionRaced,
    /// Entries have fields that their hashes do not cover; the publishers' signatures do.
    ExtraFields,

    /// Numbers are neither there nor announced as lost.
    Missing,
    /// The same at the beginning of a run.
    HeadMissing,
    /// The same at its end.
    TailMissing,
    /// A run that others tell of is not there at all.
    RunMissing,
    /// Entries were stored together with a cursor, and there is none.
    CursorMissing,
    /// Bytes that the ledger tells of have fewer lines than it says.
    LinesMissing,
    /// Messages were removed from the middle or the end of the stream.
    MessagesGone,
    /// The spill of a publisher says that the sink acknowledged more.
    AcknowledgedMissing,
    /// There is no entry at all.
    Nothing,

    /// A number stands there again.
    Doubled,
    /// A number stands behind a later one, or behind the next run.
    OutOfOrder,
    /// An entry announces losses that stand there.
    FalseLoss,
    /// A requeued entry says that it was a number that stands there, or that another one says it was.
    FalseRequeue,
    /// A header that is not as it must be.
    BadHeader,
    /// The first entry of a run does not open it.
    RunUnopened,
    /// A run that the publisher's next one does not know of.
    Spliced,
    /// A cursor that is none.
    BadCursor,
    /// The entries announce more or fewer losses than the cursor tells.
    CursorMismatch,
    /// Entries that the cursor does not know of.
    CursorBehind,
    /// An entry stands on another subject than its own.
    WrongSubject,
    /// An entry does not hash to what it says, or has fields that neither its hash nor a signature covers.
    Edited,
    /// An entry has no hash, and others of its publisher have.
    Unsealed,
    /// An entry does not hold the hash of the one before it in its session.
    ChainBroken,
    /// Entries of a session are missing, and no numbers are.
    ChainGap,
    /// An entry of a session stands there again.
    ChainDoubled,
    /// An entry of a session stands behind a later one.
    ChainOutOfOrder,
    /// Bytes are not those that the ledger tells of.
    ChecksumMismatch,
    /// Bytes that the ledger tells of have more lines than it says.
    LinesExtra,
    /// The ledger contradicts itself.
    LedgerDamaged,

    /// A checkpoint is not signed by a key of its publisher, or is none.
    NotSigned,
    /// No certificate leads from the known keys to the one that has signed.
    KeyUnknown,
    /// Entries, or a cursor, are not what was signed.
    NotAsSigned,
    /// Entries that were signed are not there.
    SignedMissing,
    /// Entries are there that were not signed, among others that were.
    SignedExtra,
    /// A cursor without a checkpoint, after others that had one.
    SealMissing,
    /// A checkpoint of fewer entries comes after one of more, or an older one after a newer one.
    CheckpointBack,
    /// There are two different trails of one size: two checkpoints, or a checkpoint and what the last audit has seen.
    Forked,
    /// The trail begins after what the last audit has seen: the two cannot be compared.
    SinceUnchecked,
    /// The trail has fewer entries than the last audit has seen.
    RolledBack,
    /// A publisher that must be there is not.
    PublisherMissing,
    /// A publisher that nobody knows.
    PublisherUnknown,
    /// A publisher has signed nothing for too long.
    Silent,
}

/// The verdict that does not hold then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Breaks {
    Complete,
    Intact,
    Authentic,
}

/// Something to be told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) name: Kind,
    pub(super) breaks: Option<Breaks>,
    pub(super) run: Option<RunId>,
    pub(super) place: Option<Place>,
    pub(super) text: String,
}

/// All of them: the first thousand that break something, the first thousand that don't, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Findings {
    listed: Vec<Finding>,
    breaks: usize,
    notes: usize,
    pub(super) against_complete: u64,
    pub(super) against_intact: u64,
    pub(super) against_authentic: u64,
    pub(super) unlisted: u64,
}

impl Kind {
    pub(super) fn breaks(self) -> Option<Breaks> {
        if self < Self::Missing {
            None
        } else if self < Self::Doubled {
            Some(Breaks::Complete)
        } else if self < Self::NotSigned {
            Some(Breaks::Intact)
        } else {
            Some(Breaks::Authentic)
        }
    }
}

impl Findings {
    pub(super) fn add(
        &mut self,
        name: Kind,
        run: Option<RunId>,
        place: Option<Place>,
        text: String,
    ) {
        let breaks = name.breaks();
        let listed = match breaks {
            Some(_) => &mut self.breaks,
            None => &mut self.notes,
        };
        match breaks {
            Some(Breaks::Complete) => self.against_complete += 1,
            Some(Breaks::Intact) => self.against_intact += 1,
            Some(Breaks::Authentic) => self.against_authentic += 1,
            None => {}
        }
        if *listed == LISTED_MAX {
            self.unlisted += 1;
            return;
        }
        *listed += 1;
        self.listed.push(Finding {
            name,
            breaks,
            run,
            place,
            text,
        });
    }

    /// By place; what has none comes last.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.listed
            .sort_by_key(|finding| (finding.place.is_none(), finding.place.map(Place::order)));
        self.listed
    }
}
