//! The hashes of audit entries, and the chains of their sessions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use spillring::AuditEntry;
use spillring::assembly::SessionId;
use spillring::event::{PublisherId, RunId};

use super::finding::Kind;
use super::overtaken::{LateEntry, Overtaken, SessionGap, Unfilled};
use super::trail::TrailPlace;

/// The sessions of a trail. A session takes about a hundred bytes, whatever its length.
#[derive(Debug)]
pub(super) struct Chains {
    sessions: HashMap<SessionId, Session>,
    /// The beginnings of sessions may be gone.
    begin_late: bool,
    /// Gaps found so far, filled or not.
    pub(super) gaps: u64,
}

/// The state of a session after its newest entry.
#[derive(Debug)]
struct Session {
    source: Counter,
    next_seq: u64,
    last_hash: [u8; 32],
    absent: u64,
    kills: u64,
    overtaken: Overtaken,
    shared_reported: bool,
    raced_reported: bool,
}

/// An entry with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'e> {
    pub(super) entry: &'e AuditEntry,
    pub(super) source: Counter,
    pub(super) run: Option<RunId>,
    pub(super) place: TrailPlace,
    /// Whether it had been a dead letter.
    pub(super) requeued: bool,
}

/// Who numbered an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Counter {
    Publisher(PublisherId),
    /// A run whose publisher is not known yet.
    Run(RunId),
    /// Lines that no ledger or header accounts for.
    Nobody,
}

/// Entries of one source that are known so far to be absent from the trail: they explain gaps in sessions.
#[derive(Debug, Default)]
pub(super) struct AbsentEntries {
    /// Numbers, lost or missing.
    pub(super) numbers: u64,
    /// Those of them within the range being read.
    pub(super) near: u64,
    /// Those of them that already explain a gap.
    claimed: u64,
    /// How often a kill lost the entries in memory.
    pub(super) kills: u64,
    /// Whether earlier entries are outside of this trail.
    pub(super) begins_late: bool,
}

/// A parsed payload.
#[derive(Debug)]
pub(super) enum Payload {
    Entry(Box<AuditEntry>),
    /// It looks like an entry, but cannot be parsed.
    Unreadable,
    Other,
}

impl Payload {
    pub(super) fn of(bytes: &[u8]) -> Self {
        const MARK: &[u8] = b"\"entry_hash\"";
        match serde_json::from_slice(bytes) {
            Ok(entry) => Self::Entry(Box::new(entry)),
            Err(_) if bytes.windows(MARK.len()).any(|part| part == MARK) => Self::Unreadable,
            Err(_) => Self::Other,
        }
    }
}

impl Chains {
    pub(super) fn new(begin_late: bool) -> Self {
        Self {
            sessions: HashMap::new(),
            begin_late,
            gaps: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Whether the entry continues its session or fills a gap of it. A requeued entry may do neither: later entries of
    /// its session may have come before it.
    pub(super) fn has_place_for(&self, payload: &Payload) -> bool {
        let Payload::Entry(entry) = payload else {
            return false;
        };
        match self.sessions.get(&entry.session_id()) {
            None => (entry.seq(), *entry.previous_hash()) == (0, [0; 32]),
            Some(session) => {
                let next = (session.next_seq, session.last_hash);
                next == (entry.seq(), *entry.previous_hash())
                    || session.overtaken.has_gap_at(entry.seq())
            }
        }
    }

    /// Takes the next entry of the trail, and returns what is wrong with its place in the session, and the gaps that
    /// are no longer watched.
    pub(super) fn take(
        &mut self,
        at: Placed<'_>,
        absent: &AbsentEntries,
    ) -> (Option<(Kind, String)>, Vec<SessionGap>) {
        let id = at.entry.session_id();
        let is_new = !self.sessions.contains_key(&id);
        let session = self
            .sessions
            .entry(id)
            .or_insert_with(|| Session::new(at.source));
        let (found, gap) = if is_new {
            session.begin(at, self.begin_late || absent.begins_late, absent)
        } else {
            session.place(at, absent)
        };
        let Some(gap) = gap else {
            return (found, Vec::new());
        };
        self.gaps += u64::from(gap.unfilled == Unfilled::Reported);
        (found, session.overtaken.watch(gap))
    }

    /// The gaps that were not filled.
    pub(super) fn take_gaps(&mut self) -> Vec<SessionGap> {
        let sessions = self.sessions.values_mut();
        let mut gaps: Vec<_> = sessions
            .flat_map(|session| {
                let shared = session.shared_reported;
                session
                    .overtaken
                    .take()
                    .map(move |gap| SessionGap { shared, ..gap })
            })
            .collect();
        gaps.sort_by_key(|gap| gap.place.order());
        gaps
    }
}

impl Session {
    fn new(source: Counter) -> Self {
        Self {
            source,
            next_seq: 0,
            last_hash: [0; 32],
            absent: 0,
            kills: 0,
            overtaken: Overtaken::default(),
            shared_reported: false,
            raced_reported: false,
        }
    }

    /// Takes the first entry of a session in this trail.
    fn begin(
        &mut self,
        at: Placed<'_>,
        begins_late: bool,
        absent: &AbsentEntries,
    ) -> (Option<(Kind, String)>, Option<SessionGap>) {
        let (id, seq) = (at.entry.session_id(), at.entry.seq());
        let unfilled = if begins_late {
            Unfilled::Ignored
        } else {
            Unfilled::Reported
        };
        let gap = (seq > 0).then(|| self.gap_before(at, unfilled));
        let whole = seq > 0 || *at.entry.previous_hash() == [0; 32];
        let text =
            || format!("session {id}: its first entry has the hash of another one before it");
        self.advance(at, absent);
        ((!whole).then(|| (Kind::ChainBroken, text())), gap)
    }

    /// Moves on past the entry.
    fn advance(&mut self, at: Placed<'_>, absent: &AbsentEntries) {
        self.source = at.source;
        self.next_seq = at.entry.seq().saturating_add(1);
        self.last_hash = *at.entry.entry_hash();
        self.absent = absent.numbers.saturating_sub(absent.near);
        self.kills = absent.kills;
    }

    fn gap_before(&self, at: Placed<'_>, unfilled: Unfilled) -> SessionGap {
        SessionGap {
            session: at.entry.session_id(),
            first: self.next_seq,
            end: at.entry.seq(),
            before: self.last_hash,
            after: *at.entry.previous_hash(),
            late: BTreeMap::new(),
            source: at.source,
            run: at.run,
            place: at.place,
            absent: self.absent,
            kills: self.kills,
            unfilled,
            shared: false,
        }
    }

    fn place(
        &mut self,
        at: Placed<'_>,
        absent: &AbsentEntries,
    ) -> (Option<(Kind, String)>, Option<SessionGap>) {
        let (id, seq, next) = (at.entry.session_id(), at.entry.seq(), self.next_seq);
        let is_other = at.source != self.source;
        let shared = self.shared_with(at);
        let mut gap = None;
        let found = match seq.cmp(&next) {
            Ordering::Less => {
                if let Some(filled) = self.overtaken.take_late(at.entry) {
                    return (self.filled(at, filled).or(shared), None);
                }
                if !is_other {
                    return (Some(self.late_entry(at)), None);
                }
                // There is no order between publishers.
                None
            }
            Ordering::Equal => {
                let fits = *at.entry.previous_hash() == self.last_hash;
                let text = || {
                    format!("session {id}: seq {seq} does not have the hash of the entry before it")
                };
                (!fits).then(|| (Kind::ChainBroken, text()))
            }
            Ordering::Greater => {
                let unfilled = if is_other {
                    Unfilled::Ignored
                } else {
                    Unfilled::Reported
                };
                gap = Some(self.gap_before(at, unfilled));
                None
            }
        };
        self.advance(at, absent);
        (found.or(shared), gap)
    }

    /// An entry that later ones have overtaken. A race is reported once a session.
    fn filled(&mut self, at: Placed<'_>, filled: LateEntry) -> Option<(Kind, String)> {
        let (id, seq) = (at.entry.session_id(), at.entry.seq());
        if filled == LateEntry::Breaks {
            let text = format!(
                "session {id}: the entries up to seq {seq} and the next one are not linked by their hashes"
            );
            return Some((Kind::ChainBroken, text));
        }
        if at.requeued || self.shared_reported || std::mem::replace(&mut self.raced_reported, true)
        {
            return None;
        }
        let text =
            format!("session {id}: seq {seq} was overtaken: more than one thread publishes it");
        Some((Kind::SessionRaced, text))
    }

    fn late_entry(&self, at: Placed<'_>) -> (Kind, String) {
        let (id, seq) = (at.entry.session_id(), at.entry.seq());
        if seq + 1 == self.next_seq && *at.entry.entry_hash() == self.last_hash {
            return (Kind::ChainDoubled, format!("session {id}: seq {seq} again"));
        }
        let before = self.next_seq - 1;
        let text = format!("session {id}: seq {seq} comes after seq {before}");
        (Kind::ChainOutOfOrder, text)
    }

    /// Reported once a session: it should have one publisher.
    fn shared_with(&mut self, at: Placed<'_>) -> Option<(Kind, String)> {
        let (Counter::Publisher(one), Counter::Publisher(other)) = (self.source, at.source) else {
            return None;
        };
        if one == other || std::mem::replace(&mut self.shared_reported, true) {
            return None;
        }
        let text = format!(
            "session {} is delivered by publishers {one} and {other}",
            at.entry.session_id()
        );
        Some((Kind::SessionShared, text))
    }
}

impl AbsentEntries {
    /// Counts absent numbers.
    pub(super) fn add(&mut self, numbers: u64) {
        self.numbers = self.numbers.saturating_add(numbers);
    }

    /// The finding for a gap that was not filled, if any. An absent number explains one missing entry.
    pub(super) fn explain(&mut self, gap: &SessionGap) -> Option<(Kind, String)> {
        let open = gap.open();
        if open == 0 || gap.unfilled == Unfilled::Ignored {
            return None;
        }
        let SessionGap {
            session,
            first,
            end,
            ..
        } = gap;
        let what = match first {
            0 => format!("session {session} begins at seq {end}"),
            _ => format!("session {session} goes on with seq {end} where {first} should follow"),
        };
        let claimed = self.claimed.saturating_add(open);
        if self.numbers.saturating_sub(gap.absent) >= open && claimed <= self.numbers {
            self.claimed = claimed;
            let text = format!("{what}: a gap of {open}, and as many numbers are absent");
            return Some((Kind::ChainGapAnnounced, text));
        }
        if self.kills > gap.kills {
            let text = format!("{what}: a gap of {open}, after a run that was killed");
            return Some((Kind::ChainGapAnnounced, text));
        }
        if gap.shared {
            let text = format!("{what}: a gap of {open}, in a session of more than one publisher");
            return Some((Kind::ChainGapAnnounced, text));
        }
        let text = format!("{what}: a gap of {open}, which no missing numbers explain");
        Some((Kind::ChainGap, text))
    }
}
