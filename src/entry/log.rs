//! Chains of entries: appending to a session's, and finding where one is broken.

use data_encoding::HEXLOWER;

use super::{AgentId, AuditEntry, AuditEventType, Lineage, SessionId};

/// The entries of one session, each numbered and chained to the previous one.
///
/// # Examples
///
/// ```
/// use spillring::assembly::{AgentId, AuditEventType, AuditLog, SessionId};
///
/// let session = SessionId::from_bytes([2; 16]);
/// let agent = AgentId::from_bytes([1; 16]);
/// let mut log = AuditLog::new(agent, session);
/// log.next_entry(AuditEventType::ApprovalRequested, 1_763_800_000, "{}".into());
/// log.next_entry(AuditEventType::ApprovalGranted, 1_763_800_001, "{}".into());
///
/// assert_eq!(log.entries()[1].previous_hash(), log.entries()[0].entry_hash());
/// log.verify_chain()?;
/// # Ok::<(), spillring::assembly::AuditLogError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AuditLog {
    agent_id: AgentId,
    entries: Vec<AuditEntry>,
    end: ChainVerifier,
}

/// Checks the entries of one session one by one, without keeping them.
///
/// It cannot see missing entries at the end of a chain: no entry says that another one follows.
///
/// # Examples
///
/// ```
/// use spillring::assembly::{AgentId, AuditEventType, AuditLog, SessionId};
/// use spillring::assembly::{AuditLogError, ChainVerifier};
///
/// let session = SessionId::from_bytes([2; 16]);
/// let mut log = AuditLog::new(AgentId::from_bytes([1; 16]), session);
/// for _ in 0..3 {
///     log.next_entry(AuditEventType::ToolCallIntercepted, 0, "{}".into());
/// }
///
/// let mut chain = ChainVerifier::new(session);
/// chain.verify(&log.entries()[0])?;
/// let gap = chain.verify(&log.entries()[2]);
/// assert_eq!(gap, Err(AuditLogError::SequenceGap { index: 1, expected: 1, got: 2 }));
/// # Ok::<(), AuditLogError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainVerifier {
    session_id: SessionId,
    verified: u64,
    next_seq: u64,
    last_hash: [u8; 32],
}

/// Where a chain breaks: at which entry, counted from 0, and what was expected there.
///
/// See the example of [`ChainVerifier`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditLogError {
    /// The fields of the entry differ from those that it was sealed with.
    #[error(
        "entry {index} (seq {seq}) was changed after it was sealed: its fields hash to {}, it says {}; replace it from \
         another copy",
        hex(expected),
        hex(got)
    )]
    Tampered {
        /// The place of the entry.
        index: u64,
        /// Its number in the session, unless that was changed.
        seq: u64,
        /// The hash of its fields.
        expected: [u8; 32],
        /// The hash that it carries.
        got: [u8; 32],
    },
    /// The entry is of another session.
    #[error(
        "entry {index} (seq {seq}) is of session {got}, the chain is that of {expected}: keep each session's entries \
         apart"
    )]
    WrongSession {
        /// The place of the entry.
        index: u64,
        /// Its number in its own session.
        seq: u64,
        /// The session of the chain.
        expected: SessionId,
        /// The session of the entry.
        got: SessionId,
    },
    /// Entries are missing, repeated or out of order.
    #[error(
        "entry {index} has seq {got} where {expected} should follow: look for entries missing, repeated or out of order"
    )]
    SequenceGap {
        /// The place of the entry.
        index: u64,
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The entry was chained to an entry other than the one before it.
    #[error(
        "entry {index} (seq {at_seq}) follows an entry with the hash {}, the one before it has {}: one of the two was \
         replaced, compare them with another copy",
        hex(got),
        hex(expected)
    )]
    HashChainBroken {
        /// The place of the entry.
        index: u64,
        /// Its number in the session.
        at_seq: u64,
        /// The hash of the entry before it, or zeros if it is the first.
        expected: [u8; 32],
        /// The previous hash that the entry carries.
        got: [u8; 32],
    },
}

impl AuditLog {
    /// An empty log.
    #[must_use]
    pub fn new(agent_id: AgentId, session_id: SessionId) -> Self {
        Self {
            agent_id,
            entries: Vec::new(),
            end: ChainVerifier::new(session_id),
        }
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[AuditEntry] {
        &self.entries
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The agent that [`next_entry`](Self::next_entry) writes into entries.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.agent_id
    }

    /// The session whose entries these are.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.end.session_id
    }

    /// Appends an entry that was made elsewhere.
    ///
    /// Checks only its place, not its own hash: that is up to [`verify_chain`](Self::verify_chain).
    ///
    /// # Errors
    ///
    /// An entry that does not belong at the end of the chain leaves the log as it was.
    pub fn push(&mut self, entry: AuditEntry) -> Result<(), AuditLogError> {
        self.end.place(&entry)?;
        self.append(entry);
        Ok(())
    }

    /// Makes the next entry, appends it and returns it.
    pub fn next_entry(
        &mut self,
        event_type: AuditEventType,
        timestamp_ns: u64,
        payload: String,
    ) -> &AuditEntry {
        self.next_entry_with_lineage(event_type, timestamp_ns, payload, Lineage::default())
    }

    /// Like [`next_entry`](Self::next_entry), with the agent's place among other agents.
    pub fn next_entry_with_lineage(
        &mut self,
        event_type: AuditEventType,
        timestamp_ns: u64,
        payload: String,
        lineage: Lineage,
    ) -> &AuditEntry {
        let entry = AuditEntry::new_with_lineage(
            self.end.next_seq,
            timestamp_ns,
            event_type,
            self.agent_id,
            self.end.session_id,
            payload,
            self.end.last_hash,
            lineage,
        );
        self.append(entry)
    }

    /// Checks every entry again: its hash, its session, its number, its link to the one before.
    ///
    /// # Errors
    ///
    /// The first break.
    pub fn verify_chain(&self) -> Result<(), AuditLogError> {
        let mut chain = ChainVerifier::new(self.end.session_id);
        self.entries
            .iter()
            .try_for_each(|entry| chain.verify(entry))
    }

    fn append(&mut self, entry: AuditEntry) -> &AuditEntry {
        self.end.step(&entry);
        self.entries.push(entry);
        &self.entries[self.entries.len() - 1]
    }
}

impl ChainVerifier {
    /// For a whole chain, from its first entry on.
    #[must_use]
    pub fn new(session_id: SessionId) -> Self {
        Self::resume(session_id, 0, [0; 32])
    }

    /// For the rest of a chain whose beginning is elsewhere: the next entry has the number `next_seq` and follows one
    /// with the hash `last_hash`.
    #[must_use]
    pub fn resume(session_id: SessionId, next_seq: u64, last_hash: [u8; 32]) -> Self {
        Self {
            session_id,
            verified: 0,
            next_seq,
            last_hash,
        }
    }

    /// Checks the next entry: its hash, its session, its number, its link to the one before.
    ///
    /// # Errors
    ///
    /// An entry that breaks the chain is not counted: the next call still expects the same place.
    pub fn verify(&mut self, entry: &AuditEntry) -> Result<(), AuditLogError> {
        let expected = entry.hash();
        if expected != entry.entry_hash {
            return Err(AuditLogError::Tampered {
                index: self.verified,
                seq: entry.seq,
                expected,
                got: entry.entry_hash,
            });
        }
        self.place(entry)?;
        self.step(entry);
        Ok(())
    }

    /// How many entries have been found in order.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified
    }

    fn place(&self, entry: &AuditEntry) -> Result<(), AuditLogError> {
        let index = self.verified;
        if entry.session_id != self.session_id {
            return Err(AuditLogError::WrongSession {
                index,
                seq: entry.seq,
                expected: self.session_id,
                got: entry.session_id,
            });
        }
        if entry.seq != self.next_seq {
            return Err(AuditLogError::SequenceGap {
                index,
                expected: self.next_seq,
                got: entry.seq,
            });
        }
        if entry.previous_hash != self.last_hash {
            return Err(AuditLogError::HashChainBroken {
                index,
                at_seq: entry.seq,
                expected: self.last_hash,
                got: entry.previous_hash,
            });
        }
        Ok(())
    }

    fn step(&mut self, entry: &AuditEntry) {
        self.verified += 1;
        self.next_seq = entry.seq.wrapping_add(1);
        self.last_hash = entry.entry_hash;
    }
}

fn hex(hash: &[u8; 32]) -> String {
    HEXLOWER.encode(hash)
}
