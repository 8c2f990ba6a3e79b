//! The audit entry: byte-compatible, in JSON and in its hash, with that of Agent Assembly (`aa-core`).

mod event;
mod hash;
mod json;
mod kinds;
mod log;
mod packed;
mod parts;

use std::fmt;

use serde::Serialize;

pub use event::{subject_for, subject_of};
pub use kinds::{AuditEventType, CredentialKind};
pub use log::{AuditLog, AuditLogError, ChainVerifier};
pub use parts::{AgentId, CredentialFinding, Lineage, Redaction, SessionId};

use parts::Rare;

/// One governance event of an agent, sealed by a hash over its fields and the hash of the entry before it.
///
/// Immutable: a constructor computes the hash, and nothing changes an entry afterwards. An entry read through `serde`
/// keeps the hash it came with, until [`verify_integrity`](AuditEntry::verify_integrity) is called.
///
/// # JSON
///
/// An object of `seq`, `timestamp_ns`, `event_type` (the variant's name), `agent_id`, `session_id` (arrays of 16
/// numbers), `payload`, `previous_hash` and `entry_hash` (arrays of 32 numbers), then, only when set,
/// `root_agent_id`, `parent_agent_id`, `team_id`, `org_id`, `delegation_reason`, `spawned_by_tool`, `depth`,
/// `credential_findings`, `redacted_payload`, `policy_doc_id` and `decision_id`. When reading, unknown fields are
/// ignored; a missing or repeated field, an unknown event type and an array of another length are errors.
///
/// # Examples
///
/// ```
/// use spillring::AuditEntry;
/// use spillring::assembly::{AgentId, AuditEventType, SessionId};
///
/// let entry = AuditEntry::new(
///     0,
///     1_763_800_000_000_000_000,
///     AuditEventType::ToolCallIntercepted,
///     AgentId::from_bytes([1; 16]),
///     SessionId::from_bytes([2; 16]),
///     r#"{"tool":"bash"}"#.into(),
///     [0; 32],
/// );
/// assert!(entry.verify_integrity());
///
/// let line = serde_json::to_string(&entry)?;
/// assert!(line.starts_with(r#"{"seq":0,"timestamp_ns":1763800000000000000,"#));
/// assert_eq!(serde_json::from_str::<AuditEntry>(&line)?, entry);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    seq: u64,
    timestamp_ns: u64,
    event_type: AuditEventType,
    agent_id: AgentId,
    session_id: SessionId,
    payload: String,
    previous_hash: [u8; 32],
    entry_hash: [u8; 32],
    /// The [`Event::weight`](crate::Event::weight), computed once instead of by each attempt to publish.
    #[serde(skip)]
    weight: u32,
    /// `None` if and only if nothing in it is set: then equality is that of the fields, and it takes no memory.
    #[serde(flatten)]
    rare: Option<Box<Rare>>,
}

/// Entries are moved through the ring by value: growing them slows every publisher.
const _: () = assert!(size_of::<AuditEntry>() <= 152);

#[expect(clippy::too_many_arguments, reason = "as in Agent Assembly")]
impl AuditEntry {
    /// Makes an entry from the fields that every entry has, and seals it.
    ///
    /// `seq` counts from 0 in each session, `timestamp_ns` is in nanoseconds since 1970, `payload` is usually JSON, and
    /// `previous_hash` is the [`entry_hash`](Self::entry_hash) of the entry before, or zeros for the first.
    #[must_use]
    pub fn new(
        seq: u64,
        timestamp_ns: u64,
        event_type: AuditEventType,
        agent_id: AgentId,
        session_id: SessionId,
        payload: String,
        previous_hash: [u8; 32],
    ) -> Self {
        Self::new_with_lineage(
            seq,
            timestamp_ns,
            event_type,
            agent_id,
            session_id,
            payload,
            previous_hash,
            Lineage::default(),
        )
    }

    /// Like [`new`](Self::new), with the agent's place among other agents.
    #[must_use]
    pub fn new_with_lineage(
        seq: u64,
        timestamp_ns: u64,
        event_type: AuditEventType,
        agent_id: AgentId,
        session_id: SessionId,
        payload: String,
        previous_hash: [u8; 32],
        lineage: Lineage,
    ) -> Self {
        Self::new_with_lineage_and_redaction(
            seq,
            timestamp_ns,
            event_type,
            agent_id,
            session_id,
            payload,
            previous_hash,
            lineage,
            Redaction::default(),
        )
    }

    /// Like [`new_with_lineage`](Self::new_with_lineage), with what a credential scanner found in the payload.
    #[must_use]
    pub fn new_with_lineage_and_redaction(
        seq: u64,
        timestamp_ns: u64,
        event_type: AuditEventType,
        agent_id: AgentId,
        session_id: SessionId,
        payload: String,
        previous_hash: [u8; 32],
        lineage: Lineage,
        redaction: Redaction,
    ) -> Self {
        Self::new_with_lineage_redaction_and_attribution(
            seq,
            timestamp_ns,
            event_type,
            agent_id,
            session_id,
            payload,
            previous_hash,
            lineage,
            redaction,
            None,
            None,
        )
    }

    /// Makes an entry from all fields: `policy_doc_id` names the policy that decided, `decision_id` the decision.
    ///
    /// Fields that are not set do not affect the hash: with defaults for the last four the entry equals that of
    /// [`new`](Self::new).
    #[must_use]
    pub fn new_with_lineage_redaction_and_attribution(
        seq: u64,
        timestamp_ns: u64,
        event_type: AuditEventType,
        agent_id: AgentId,
        session_id: SessionId,
        payload: String,
        previous_hash: [u8; 32],
        lineage: Lineage,
        redaction: Redaction,
        policy_doc_id: Option<String>,
        decision_id: Option<String>,
    ) -> Self {
        let rare = Rare {
            lineage,
            redaction,
            policy_doc_id,
            decision_id,
        };
        let mut entry = Self {
            seq,
            timestamp_ns,
            event_type,
            agent_id,
            session_id,
            payload,
            previous_hash,
            entry_hash: [0; 32],
            weight: 0,
            rare: rare.boxed(),
        };
        entry.entry_hash = entry.hash();
        entry.weighed()
    }
}

impl AuditEntry {
    /// Its number in the session, from 0.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it happened, in nanoseconds since 1970.
    #[must_use]
    pub fn timestamp_ns(&self) -> u64 {
        self.timestamp_ns
    }

    /// What happened.
    #[must_use]
    pub fn event_type(&self) -> AuditEventType {
        self.event_type
    }

    /// The agent that it happened to.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.agent_id
    }

    /// The session of that agent.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The details, usually JSON.
    #[must_use]
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The hash of the entry before it in the session; zeros in the first.
    #[must_use]
    pub fn previous_hash(&self) -> &[u8; 32] {
        &self.previous_hash
    }

    /// The hash that seals this entry.
    #[must_use]
    pub fn entry_hash(&self) -> &[u8; 32] {
        &self.entry_hash
    }

    /// The agent at the top of the delegation, if set.
    #[must_use]
    pub fn root_agent_id(&self) -> Option<AgentId> {
        self.rare()?.lineage.root_agent_id
    }

    /// The agent that spawned this one, if set.
    #[must_use]
    pub fn parent_agent_id(&self) -> Option<AgentId> {
        self.rare()?.lineage.parent_agent_id
    }

    /// The agent's team, if set.
    #[must_use]
    pub fn team_id(&self) -> Option<&str> {
        self.rare()?.lineage.team_id.as_deref()
    }

    /// The agent's organisation, if set.
    #[must_use]
    pub fn org_id(&self) -> Option<&str> {
        self.rare()?.lineage.org_id.as_deref()
    }

    /// Why the work was delegated to this agent, if set.
    #[must_use]
    pub fn delegation_reason(&self) -> Option<&str> {
        self.rare()?.lineage.delegation_reason.as_deref()
    }

    /// The tool that spawned this agent, if set.
    #[must_use]
    pub fn spawned_by_tool(&self) -> Option<&str> {
        self.rare()?.lineage.spawned_by_tool.as_deref()
    }

    /// How many delegations lie between the root agent and this one, if set.
    #[must_use]
    pub fn depth(&self) -> Option<u32> {
        self.rare()?.lineage.depth
    }

    /// The credentials found in the payload; empty if there were none, or if the payload was not scanned.
    #[must_use]
    pub fn credential_findings(&self) -> &[CredentialFinding] {
        self.rare()
            .map_or(&[], |rare| &rare.redaction.credential_findings)
    }

    /// The payload with its credentials replaced by labels, if set.
    #[must_use]
    pub fn redacted_payload(&self) -> Option<&str> {
        self.rare()?.redaction.redacted_payload.as_deref()
    }

    /// The digest of the policy document that decided, such as `sha256:…`, if set.
    #[must_use]
    pub fn policy_doc_id(&self) -> Option<&str> {
        self.rare()?.policy_doc_id.as_deref()
    }

    /// The decision that this entry records, if set.
    #[must_use]
    pub fn decision_id(&self) -> Option<&str> {
        self.rare()?.decision_id.as_deref()
    }

    fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// Whether the hash matches the fields, so no field was changed after the entry was sealed.
    ///
    /// The format of the hash, which is Agent Assembly's, leaves three gaps: the kind of a finding is not hashed;
    /// optional fields are hashed without their names, so a value may move between two fields of the same form, such
    /// as `policy_doc_id` and `decision_id`; and the end of the payload is not marked.
    #[must_use]
    pub fn verify_integrity(&self) -> bool {
        self.hash() == self.entry_hash
    }
}

/// One line for logs, without the payload: `[seq=0 ts=17… agent=<hex> session=<hex> event=ToolCallIntercepted]`.
impl fmt::Display for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[seq={} ts={} agent={} session={} event={}]",
            self.seq,
            self.timestamp_ns,
            self.agent_id.uuid().simple(),
            self.session_id.uuid().simple(),
            self.event_type
        )
    }
}
