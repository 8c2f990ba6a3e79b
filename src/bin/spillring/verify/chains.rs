//! The hashes of audit entries, and the chains of their sessions.

use std::collections::{BTreeMap, HashMap};

use spillring::{AuditEntry, PublisherId, RunId, SessionId};

use super::finding::Kind;
use super::overtaken::{Filled, Found, Gap, Overtaken};
use super::trail::Place;

/// The sessions of a trail. A session costs a hundred bytes, whatever its length.
#[derive(Debug)]
pub(super) struct Chains {
    sessions: HashMap<SessionId, Session>,
    /// The beginnings of sessions may be gone.
    begin_late: bool,
    /// Of gaps that are no longer watched.
    gaps: Vec<Found>,
}

/// Where a session has come to.
#[derive(Debug)]
struct Session {
    source: Source,
    next_seq: u64,
    last_hash: [u8; 32],
    absent: u64,
    kills: u64,
    overtaken: Overtaken,
    told_shared: bool,
    told_raced: bool,
}

/// An entry, and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'e> {
    pub(super) entry: &'e AuditEntry,
    pub(super) source: Source,
    pub(super) run: Option<RunId>,
    pub(super) place: Place,
}

/// Whose numbers an entry is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Publisher(PublisherId),
    /// A run of which nobody has said yet whose it is.
    Run(RunId),
    /// Lines that nobody vouches for.
    Nobody,
}

/// What is known not to be in the trail of one source, up to now: it explains what sessions lack.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// Numbers, lost or missing.
    pub(super) numbers: u64,
    /// Those of them that lie somewhere among the entries that are just looked at.
    pub(super) near: u64,
    /// Those that have explained something.
    claimed: u64,
    /// How often what was in memory only went with its process.
    pub(super) kills: u64,
    /// Earlier entries are not in this trail.
    pub(super) begins_late: bool,
}

/// What a payload is.
#[derive(Debug)]
pub(super) enum Payload {
    Entry(Box<AuditEntry>),
    /// It looks like an entry, and cannot be read as one.
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
            gaps: Vec::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Whether the entry is just the next one of its session. A requeued one need not be: those behind it in its session
    /// may have come before it.
    pub(super) fn go_on_with(&self, payload: &Payload) -> bool {
        let Payload::Entry(entry) = payload else {
            return false;
        };
        let behind = self.sessions.get(&entry.session_id());
        let next = behind.map_or((0, [0; 32]), |it| (it.next_seq, it.last_hash));
        next == (entry.seq(), *entry.previous_hash())
    }

    /// Takes the next entry of the trail, and says what is wrong with its place in its session.
    pub(super) fn take(&mut self, at: Placed<'_>, absent: &mut Absent) -> Option<(Kind, String)> {
        let id = at.entry.session_id();
        if let Some(session) = self.sessions.get_mut(&id) {
            let found = session.place(at, absent);
            self.gaps.extend(session.overtaken.forget());
            return found;
        }
        let mut session = Session::new(at.source);
        let begins_late = self.begin_late || absent.begins_late;
        let found = session.begin(at, begins_late, absent);
        session.advance(at, absent);
        self.sessions.insert(id, session);
        found
    }

    /// The gaps that nothing has filled.
    pub(super) fn take_gaps(&mut self) -> Vec<Found> {
        let left = self.sessions.values_mut();
        let left = left.flat_map(|session| session.overtaken.take());
        let mut gaps: Vec<_> = self.gaps.drain(..).chain(left).collect();
        gaps.sort_by_key(|(_, place, _)| place.order());
        gaps
    }
}

/// From where on is looked for what explains a gap.
struct Since {
    absent: u64,
    kills: u64,
}

impl Session {
    fn new(source: Source) -> Self {
        Self {
            source,
            next_seq: 0,
            last_hash: [0; 32],
            absent: 0,
            kills: 0,
            overtaken: Overtaken::default(),
            told_shared: false,
            told_raced: false,
        }
    }

    /// The first entry of a session that is there.
    fn begin(
        &mut self,
        at: Placed<'_>,
        begins_late: bool,
        absent: &mut Absent,
    ) -> Option<(Kind, String)> {
        let (id, seq) = (at.entry.session_id(), at.entry.seq());
        if seq == 0 {
            let text =
                || format!("session {id}: its first entry holds the hash of another one before it");
            return (*at.entry.previous_hash() != [0; 32]).then(|| (Kind::ChainBroken, text()));
        }
        if !begins_late {
            self.jump(at, absent, || format!("session {id} begins at seq {seq}"));
        }
        None
    }

    /// Goes on after the entry.
    fn advance(&mut self, at: Placed<'_>, absent: &Absent) {
        self.source = at.source;
        self.next_seq = at.entry.seq().saturating_add(1);
        self.last_hash = *at.entry.entry_hash();
        self.absent = absent.numbers - absent.near;
        self.kills = absent.kills;
    }

    /// Watches a gap before the entry.
    fn jump(&mut self, at: Placed<'_>, absent: &mut Absent, what: impl FnOnce() -> String) {
        let since = Since {
            absent: self.absent,
            kills: self.kills,
        };
        let found = absent.explain(at.entry.seq() - self.next_seq, &since, what);
        self.overtaken.watch(Gap {
            first: self.next_seq,
            end: at.entry.seq(),
            before: self.last_hash,
            after: *at.entry.previous_hash(),
            late: BTreeMap::new(),
            found: (at.run, at.place, found),
        });
    }

    fn place(&mut self, at: Placed<'_>, absent: &mut Absent) -> Option<(Kind, String)> {
        let (id, seq, next) = (at.entry.session_id(), at.entry.seq(), self.next_seq);
        let shared = self.shared_with(at);
        let found = if seq == next {
            let fits = *at.entry.previous_hash() == self.last_hash;
            let text =
                || format!("session {id}: seq {seq} does not hold the hash of the entry before it");
            (!fits).then(|| (Kind::ChainBroken, text()))
        } else if at.source != self.source {
            // Two publishers keep no order between them.
            None
        } else if seq > next {
            self.jump(at, absent, || {
                format!("session {id} goes on with seq {seq} where {next} should follow")
            });
            None
        } else {
            return self.place_late(at);
        };
        self.advance(at, absent);
        found.or(shared)
    }

    /// An entry that others of its session have overtaken, or that was there before.
    fn place_late(&mut self, at: Placed<'_>) -> Option<(Kind, String)> {
        let (id, seq) = (at.entry.session_id(), at.entry.seq());
        match self.overtaken.take_late(at.entry) {
            Some(Filled::Partly | Filled::Whole) if self.told_raced => None,
            Some(Filled::Partly | Filled::Whole) => {
                self.told_raced = true;
                let text = format!(
                    "session {id}: seq {seq} was overtaken: more than one thread publishes it"
                );
                Some((Kind::SessionRaced, text))
            }
            Some(Filled::Wrongly) => {
                let text = format!(
                    "session {id}: the entries up to seq {seq} and the next do not hold the hashes of one another"
                );
                Some((Kind::ChainBroken, text))
            }
            None if seq + 1 == self.next_seq && *at.entry.entry_hash() == self.last_hash => {
                Some((Kind::ChainDoubled, format!("session {id}: seq {seq} again")))
            }
            None => {
                let before = self.next_seq - 1;
                let text = format!("session {id}: seq {seq} stands behind seq {before}");
                Some((Kind::ChainOutOfOrder, text))
            }
        }
    }

    /// Told once: a session is meant to have one publisher.
    fn shared_with(&mut self, at: Placed<'_>) -> Option<(Kind, String)> {
        let (Source::Publisher(one), Source::Publisher(other)) = (self.source, at.source) else {
            return None;
        };
        if one == other || std::mem::replace(&mut self.told_shared, true) {
            return None;
        }
        let text = format!(
            "session {} is delivered by publishers {one} and {other}",
            at.entry.session_id()
        );
        Some((Kind::SessionShared, text))
    }
}

impl Absent {
    /// What to call a gap of so many entries of a session. What is not there explains it once.
    fn explain(
        &mut self,
        gap: u64,
        since: &Since,
        what: impl FnOnce() -> String,
    ) -> (Kind, String) {
        let what = what();
        if self.numbers - since.absent >= gap && self.claimed + gap <= self.numbers {
            self.claimed += gap;
            let text = format!("{what}: a gap of {gap}, and as many numbers are not there");
            return (Kind::ChainGapTold, text);
        }
        if self.kills > since.kills {
            let text = format!("{what}: a gap of {gap}, behind a run that was killed");
            return (Kind::ChainGapTold, text);
        }
        let text = format!("{what}: a gap of {gap}, which no missing numbers explain");
        (Kind::ChainGap, text)
    }
}
