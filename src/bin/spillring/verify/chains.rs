//! The hashes of audit entries, and the chains of their sessions.

use std::collections::HashMap;

use spillring::{AuditEntry, PublisherId, RunId, SessionId};

use super::finding::Kind;

/// The sessions of a trail. A session costs a hundred bytes, whatever its length.
#[derive(Debug, Default)]
pub(super) struct Chains {
    sessions: HashMap<SessionId, Session>,
}

/// Where a session has come to.
#[derive(Debug)]
struct Session {
    source: Source,
    next_seq: u64,
    last_hash: [u8; 32],
    absent: u64,
    kills: u64,
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
    pub(super) fn take(
        &mut self,
        entry: &AuditEntry,
        source: Source,
        absent: &mut Absent,
    ) -> Option<(Kind, String)> {
        let id = entry.session_id();
        let Some(session) = self.sessions.get_mut(&id) else {
            let session = Session::behind(entry, source, absent);
            let found = begin(entry, absent);
            self.sessions.insert(id, session);
            return found;
        };
        let found = session.place(entry, source, absent);
        if !matches!(found, Some((Kind::ChainDoubled | Kind::ChainOutOfOrder, _))) {
            *session = Session::behind(entry, source, absent);
        }
        found
    }
}

/// The first entry of a session that is there.
fn begin(entry: &AuditEntry, absent: &mut Absent) -> Option<(Kind, String)> {
    let (id, seq) = (entry.session_id(), entry.seq());
    if seq == 0 {
        let text =
            || format!("session {id}: its first entry holds the hash of another one before it");
        return (*entry.previous_hash() != [0; 32]).then(|| (Kind::ChainBroken, text()));
    }
    if absent.begins_late {
        return None;
    }
    let everything = Since {
        absent: 0,
        kills: 0,
    };
    Some(absent.explain(seq, &everything, || {
        format!("session {id} begins at seq {seq}")
    }))
}

/// From where on is looked for what explains a gap.
struct Since {
    absent: u64,
    kills: u64,
}

impl Session {
    fn behind(entry: &AuditEntry, source: Source, absent: &Absent) -> Self {
        Self {
            source,
            next_seq: entry.seq().saturating_add(1),
            last_hash: *entry.entry_hash(),
            absent: absent.numbers - absent.near,
            kills: absent.kills,
        }
    }

    fn place(
        &self,
        entry: &AuditEntry,
        source: Source,
        absent: &mut Absent,
    ) -> Option<(Kind, String)> {
        let (id, seq, next) = (entry.session_id(), entry.seq(), self.next_seq);
        if seq == next {
            let fits = *entry.previous_hash() == self.last_hash;
            let text =
                || format!("session {id}: seq {seq} does not hold the hash of the entry before it");
            return (!fits).then(|| (Kind::ChainBroken, text()));
        }
        if source != self.source {
            // Two publishers keep no order between them.
            return None;
        }
        if seq > next {
            let since = Since {
                absent: self.absent,
                kills: self.kills,
            };
            return Some(absent.explain(seq - next, &since, || {
                format!("session {id} goes on with seq {seq} where {next} should follow")
            }));
        }
        if seq + 1 == next && *entry.entry_hash() == self.last_hash {
            return Some((Kind::ChainDoubled, format!("session {id}: seq {seq} again")));
        }
        let before = next - 1;
        let text = format!("session {id}: seq {seq} stands behind seq {before}");
        Some((Kind::ChainOutOfOrder, text))
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
