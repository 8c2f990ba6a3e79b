//! How an entry is published: its subject, its bytes, its weight.

use super::parts::Rare;
use super::{AgentId, AuditEntry, json};
use crate::event::{EncodeError, Event};

/// The tenant of an entry that names neither an organisation nor a team.
const NO_TENANT: &str = "default";

/// The whole subject that Agent Assembly publishes an entry to: `assembly.audit.<tenant>.<agent>`.
///
/// The tenant is the organisation, else the team, else `default`, with `_` for every character outside
/// `[A-Za-z0-9_-]`. An empty tenant is `default`; an empty organisation does not fall back to the team. The agent is a
/// hyphenated lower-case UUID.
///
/// ```
/// use spillring::assembly::{AuditEventType::MessageBlocked, Lineage};
/// # use spillring::AuditEntry;
/// # use spillring::assembly::{AgentId, SessionId};
/// # let (agent, session) = (AgentId::from_bytes([0xa1; 16]), SessionId::from_bytes([2; 16]));
///
/// let lineage = Lineage { org_id: Some("acme corp.eu".into()), ..Lineage::default() };
/// let (kind, text, last) = (MessageBlocked, "{}".into(), [0; 32]);
/// let entry =
///     AuditEntry::new_with_lineage(0, 0, kind, agent, session, text, last, lineage);
/// assert_eq!(
///     spillring::assembly::subject_for(&entry),
///     "assembly.audit.acme_corp_eu.a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1",
/// );
/// ```
#[must_use]
pub fn subject_for(entry: &AuditEntry) -> String {
    format!("assembly.audit.{}", entry.subject())
}

/// The same without its prefix, for the [`Event::subject`] of your own Agent Assembly entry type: its organisation,
/// else its team, and its agent.
///
/// ```
/// use spillring::assembly::{AgentId, subject_of};
///
/// let subject = subject_of(Some("acme"), AgentId::from_bytes([0xa1; 16]));
/// assert_eq!(subject, "acme.a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1");
/// ```
#[must_use]
pub fn subject_of(tenant: Option<&str>, agent: AgentId) -> String {
    let tenant = tenant.filter(|tenant| !tenant.is_empty());
    let mut subject: String = tenant.unwrap_or(NO_TENANT).chars().map(allowed).collect();
    subject.push('.');
    subject.push_str(agent.uuid().hyphenated().encode_lower(&mut [0; 36]));
    subject
}

impl Event for AuditEntry {
    /// `<tenant>.<agent>`, as in [`subject_for`].
    fn subject(&self) -> String {
        subject_of(self.org_id().or(self.team_id()), self.agent_id)
    }

    /// The JSON that [`AuditEntry`] describes, without a line feed.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        json::encode(self, out).map_err(|error| EncodeError(error.into()))
    }

    #[inline]
    fn weight(&self) -> usize {
        self.weight as usize
    }
}

impl AuditEntry {
    /// With its weight.
    pub(super) fn weighed(mut self) -> Self {
        let rare = self.rare().map_or(0, Rare::weight);
        let weight = size_of::<Self>() + self.payload.len() + rare;
        self.weight = u32::try_from(weight).unwrap_or(u32::MAX);
        self
    }
}

fn allowed(character: char) -> char {
    match character {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' => character,
        _ => '_',
    }
}
