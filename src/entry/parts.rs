//! The parts of an entry: ids, lineage and redaction.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::CredentialKind;

/// Names an agent across its sessions. Displayed as a hyphenated UUID; in JSON an array of 16 numbers.
///
/// ```
/// let agent = spillring::assembly::AgentId::from_bytes([0xa1; 16]);
/// assert_eq!(agent.to_string(), "a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId([u8; 16]);

/// Names one session of an agent. Displayed as a hyphenated UUID; in JSON an array of 16 numbers.
///
/// Made and shown like an [`AgentId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId([u8; 16]);

/// The place of an agent among the agents that work together.
///
/// ```
/// use spillring::assembly::Lineage;
///
/// let org_id = Some("acme".into());
/// let lineage = Lineage { org_id, depth: Some(0), ..Lineage::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Lineage {
    /// The agent at the top of the delegation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_agent_id: Option<AgentId>,
    /// The agent that spawned this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_agent_id: Option<AgentId>,
    /// The team that the agent works for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// The organisation that the agent works for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Why the work was delegated to this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation_reason: Option<String>,
    /// The tool or framework that spawned this agent, such as `langgraph`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned_by_tool: Option<String>,
    /// How many delegations lie between the root agent (0) and this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
}

/// The result of a credential scanner for a payload.
///
/// ```
/// use spillring::assembly::{CredentialFinding, CredentialKind, Redaction};
///
/// let finding = CredentialFinding::new(CredentialKind::AwsAccessKey, 8);
/// let payload = format!(r#"{{"key":"{}"}}"#, finding.matched);
/// let redaction = Redaction {
///     credential_findings: vec![finding],
///     redacted_payload: Some(payload),
/// };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Redaction {
    /// Where it found credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credential_findings: Vec<CredentialFinding>,
    /// The payload with each of them replaced by its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted_payload: Option<String>,
}

/// One credential found in a payload: where and of what kind, never the secret.
/// [`Redaction`] has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFinding {
    /// Its kind.
    pub kind: CredentialKind,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// The label that replaces it, such as `[REDACTED:AwsAccessKey]`.
    pub matched: String,
}

/// The fields that few entries have, in a box so that the others don't carry them along.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Rare {
    #[serde(flatten)]
    pub(super) lineage: Lineage,
    #[serde(flatten)]
    pub(super) redaction: Redaction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy_doc_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision_id: Option<String>,
}

impl Rare {
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    pub(super) fn texts(&self) -> [&Option<String>; 7] {
        let (lineage, redaction) = (&self.lineage, &self.redaction);
        [
            &lineage.team_id,
            &lineage.org_id,
            &lineage.delegation_reason,
            &lineage.spawned_by_tool,
            &redaction.redacted_payload,
            &self.policy_doc_id,
            &self.decision_id,
        ]
    }

    pub(super) fn weight(&self) -> usize {
        let texts = self.texts().into_iter().flatten().map(String::len);
        let findings = self.redaction.credential_findings.iter();
        let findings = findings.map(|it| size_of::<CredentialFinding>() + it.matched.len());
        size_of::<Self>() + texts.chain(findings).sum::<usize>()
    }
}

impl CredentialFinding {
    /// A finding with the label of its kind.
    ///
    /// ```
    /// use spillring::assembly::{CredentialFinding, CredentialKind};
    ///
    /// let finding = CredentialFinding::new(CredentialKind::AwsAccessKey, 4);
    /// assert_eq!(finding.matched, "[REDACTED:AwsAccessKey]");
    /// ```
    #[must_use]
    pub fn new(kind: CredentialKind, offset: usize) -> Self {
        Self {
            kind,
            offset,
            matched: format!("[REDACTED:{kind}]"),
        }
    }
}

macro_rules! id {
    ($id:ident) => {
        impl $id {
            /// From the 16 bytes of a UUID.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes of the UUID.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            pub(super) fn uuid(self) -> Uuid {
                Uuid::from_bytes(self.0)
            }
        }

        impl From<Uuid> for $id {
            fn from(id: Uuid) -> Self {
                Self(id.into_bytes())
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.uuid().fmt(f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($id), "({})"), self.uuid())
            }
        }
    };
}

id!(AgentId);
id!(SessionId);
