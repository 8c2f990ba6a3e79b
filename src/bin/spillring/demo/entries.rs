//! The demo's entries: each thread is an agent with one session after another.

use spillring::AuditEntry;
use spillring::assembly::{AgentId, AuditEventType, SessionId};

/// An id has room for this many threads.
pub(super) const THREADS_MAX: usize = 64;

/// Entries per session.
const SESSION_ENTRIES: u64 = 1_000;

/// The time of the first entry, in nanoseconds since 1970.
const EPOCH_NS: u64 = 1_763_800_000_000_000_000;

/// Event types and payloads, in turn.
const ACTIONS: [(AuditEventType, &str); 4] = [
    (
        AuditEventType::ToolCallIntercepted,
        r#"{"tool":"bash","args":"ls -la","decision":"allow"}"#,
    ),
    (
        AuditEventType::ToolDispatched,
        r#"{"tool":"sql.query","args":"SELECT 1"}"#,
    ),
    (
        AuditEventType::PolicyViolation,
        r#"{"tool":"curl","rule":"no-egress"}"#,
    ),
    (
        AuditEventType::ApprovalGranted,
        r#"{"by":"operator","for":"deploy"}"#,
    ),
];

/// How many entries each thread publishes.
#[derive(Debug, Clone)]
pub(super) struct DemoPlan {
    of_threads: Vec<u64>,
}

/// Identifies an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coordinates {
    pub(super) agent: AgentId,
    pub(super) session: SessionId,
    pub(super) seq: u64,
}

/// Makes the entries of one thread, in order.
#[derive(Debug)]
pub(super) struct Author {
    thread: usize,
    made: u64,
    last_hash: [u8; 32],
}

impl DemoPlan {
    pub(super) fn new(entries: u64, threads: usize) -> Self {
        let count = threads as u64;
        let of_thread = |thread| entries / count + u64::from(thread < entries % count);
        Self {
            of_threads: (0..count).map(of_thread).collect(),
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.of_threads.iter().sum()
    }

    pub(super) fn of_threads(&self) -> &[u64] {
        &self.of_threads
    }

    pub(super) fn sessions(&self) -> u64 {
        self.of_threads
            .iter()
            .map(|entries| entries.div_ceil(SESSION_ENTRIES))
            .sum()
    }
}

impl Coordinates {
    /// Of the `n`th entry of a thread, from 0.
    pub(super) fn of(thread: usize, n: u64) -> Self {
        let mut session = [0; 16];
        session[..8].copy_from_slice(&(n / SESSION_ENTRIES).to_be_bytes());
        session[15] = tag(thread);
        Self {
            agent: agent(thread),
            session: SessionId::from_bytes(session),
            seq: n % SESSION_ENTRIES,
        }
    }
}

/// The agent id of a thread.
pub(super) fn agent(thread: usize) -> AgentId {
    let mut bytes = [0; 16];
    bytes[15] = tag(thread);
    AgentId::from_bytes(bytes)
}

fn tag(thread: usize) -> u8 {
    u8::try_from(thread).map_or(u8::MAX, |thread| thread.saturating_add(1))
}

impl Author {
    pub(super) fn new(thread: usize) -> Self {
        Self {
            thread,
            made: 0,
            last_hash: [0; 32],
        }
    }

    pub(super) fn next(&mut self) -> AuditEntry {
        let Coordinates {
            agent,
            session,
            seq,
        } = Coordinates::of(self.thread, self.made);
        let previous = if seq == 0 { [0; 32] } else { self.last_hash };
        let (action, payload) = ACTIONS[usize::try_from(seq).unwrap_or_default() % ACTIONS.len()];
        let at = EPOCH_NS + self.made;
        let entry = AuditEntry::new(
            seq,
            at,
            action,
            agent,
            session,
            payload.to_owned(),
            previous,
        );
        self.made += 1;
        self.last_hash = *entry.entry_hash();
        entry
    }

    /// Chains the next entry to nothing.
    #[cfg(test)]
    pub(super) fn break_chain(&mut self) {
        self.last_hash = [0; 32];
    }
}
