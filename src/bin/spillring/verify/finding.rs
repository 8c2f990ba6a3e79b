//! Findings by name, and the verdict that each breaks.

use serde::Serialize;
use spillring::event::RunId;

use super::trail::TrailPlace;

/// Findings listed per class, breaks and notes; further ones are only counted.
const LISTED_MAX: usize = 1_000;

/// The name of a finding. Those up to `ExtraFields` are notes; the groups after it break complete, intact and
/// authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Numbers are announced as lost.
    Lost,
    /// A run begins after its first number, because the beginning of the trail was removed.
    BeginsAt,
    /// Runs were killed before any of their entries was stored.
    KilledStarts,
    /// Nothing says how far the publisher came: a missing end would go undetected.
    TailUnchecked,
    /// Entries of a session are missing because their numbers are.
    ChainGapAnnounced,
    /// The file goes on after the end of the ledger.
    Unacknowledged,
    /// The ledger does not cover the beginning of the file.
    Unaccounted,
    /// The last line of the ledger was torn by a crash.
    LedgerTorn,
    /// Messages under the prefix have no `Audit-Id`.
    Unidentified,
    /// A message was removed from the middle of the stream, or several that may not be ours.
    Hole,
    /// A session goes on with another publisher.
    SessionShared,
    /// No signature covers these entries.
    Unsigned,
    /// Entries precede the first checkpoint that is left, in a trail that has lost its beginning.
    HeadUnsigned,
    /// Entries follow the newest checkpoint.
    TailUnsigned,
    /// After a kill a publisher found entries of its own in the stream, and signed them without knowing that it had
    /// sent them.
    Recovered,
    /// Two threads published entries of a session in another order than its chain.
    SessionRaced,
    /// Entries have fields that their hashes do not cover, but the publishers' signatures do.
    ExtraFields,

    /// Numbers are neither present nor announced as lost.
    Missing,
    /// The same at the beginning of a run.
    HeadMissing,
    /// The same at its end.
    TailMissing,
    /// A run that others mention is absent.
    RunMissing,
    /// Entries were stored together with a cursor, and there is none.
    CursorMissing,
    /// A range has fewer lines than the ledger records.
    LinesMissing,
    /// Messages were removed from the middle or the end of the stream.
    MessagesGone,
    /// According to a publisher's spill, the sink acknowledged more.
    AcknowledgedMissing,
    /// The trail has no entries.
    Nothing,

    /// A number appears again.
    Doubled,
    /// A number comes after a later one, or after the next run.
    OutOfOrder,
    /// An entry announces losses that are present.
    FalseLoss,
    /// The old number of a requeued entry is present, or belongs to another requeued entry.
    FalseRequeue,
    /// A header is malformed.
    BadHeader,
    /// The first entry of a run does not open it.
    RunUnopened,
    /// The publisher's next run does not know this run.
    Spliced,
    /// A cursor is malformed.
    BadCursor,
    /// The entries announce more or fewer losses than the cursor counts.
    CursorMismatch,
    /// Entries come after the position of the cursor.
    CursorBehind,
    /// An entry is on another subject than its own.
    WrongSubject,
    /// An entry does not match its hash, or has fields that neither its hash nor a signature covers.
    Edited,
    /// An entry has no hash, while others of its publisher have one.
    Unsealed,
    /// An entry does not have the hash of the one before it in its session.
    ChainBroken,
    /// Entries of a session are missing, although no numbers are.
    ChainGap,
    /// An entry of a session appears again.
    ChainDoubled,
    /// An entry of a session comes after a later one.
    ChainOutOfOrder,
    /// Bytes do not match their checksum in the ledger.
    ChecksumMismatch,
    /// A range has more lines than the ledger records.
    LinesExtra,
    /// The ledger contradicts itself.
    LedgerDamaged,

    /// A checkpoint is malformed, or not signed by a key of its publisher.
    NotSigned,
    /// No certificate leads from the known keys to the signing key.
    KeyUnknown,
    /// Entries, or a cursor, do not match what was signed.
    NotAsSigned,
    /// Signed entries are missing.
    SignedMissing,
    /// Unsigned entries are among signed ones.
    SignedExtra,
    /// A cursor has no checkpoint, although earlier ones had.
    SealMissing,
    /// A checkpoint covers fewer entries than the one before it, or is older.
    CheckpointBack,
    /// Two trails of one size differ: two checkpoints, or a checkpoint and the last audit.
    Forked,
    /// The trail begins after the end of the last audit: the two cannot be compared.
    SinceUnchecked,
    /// The trail has fewer entries than at the last audit.
    RolledBack,
    /// A required publisher is absent.
    PublisherMissing,
    /// A publisher is not among the known ones.
    PublisherUnknown,
    /// The newest checkpoint of a publisher is too old.
    Silent,
}

/// The verdict that a finding breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Breaks {
    Complete,
    Intact,
    Authentic,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) name: Kind,
    pub(super) breaks: Option<Breaks>,
    pub(super) run: Option<RunId>,
    pub(super) place: Option<TrailPlace>,
    pub(super) text: String,
}

/// The first thousand breaks, the first thousand notes, and counts of all.
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
        place: Option<TrailPlace>,
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

    /// Sorted by place; findings without one come last.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.listed.sort_by_key(|finding| {
            (
                finding.place.is_none(),
                finding.place.map(TrailPlace::order),
            )
        });
        self.listed
    }
}
