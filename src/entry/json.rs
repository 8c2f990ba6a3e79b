//! The JSON of an entry: the fields and their order, once for `serde`, and once more by hand for the drainer.
//!
//! Close to half of an entry's bytes are arrays of small numbers, which `serde_json` writes one by one. [`encode`]
//! copies each from a table instead; a property test checks that both write the same.

use serde::{Deserialize, Deserializer, Serialize};

use super::parts::{Lineage, Rare, Redaction};
use super::{AgentId, AuditEntry, AuditEventType, CredentialFinding, SessionId};

/// An entry as read from JSON. Flat: with `flatten`, `serde` could not report which fields are unknown.
#[derive(Deserialize)]
#[serde(rename = "AuditEntry")]
struct Flat {
    seq: u64,
    timestamp_ns: u64,
    event_type: AuditEventType,
    agent_id: AgentId,
    session_id: SessionId,
    payload: String,
    previous_hash: [u8; 32],
    entry_hash: [u8; 32],
    root_agent_id: Option<AgentId>,
    parent_agent_id: Option<AgentId>,
    team_id: Option<String>,
    org_id: Option<String>,
    delegation_reason: Option<String>,
    spawned_by_tool: Option<String>,
    depth: Option<u32>,
    #[serde(default)]
    credential_findings: Vec<CredentialFinding>,
    redacted_payload: Option<String>,
    policy_doc_id: Option<String>,
    decision_id: Option<String>,
}

impl<'de> Deserialize<'de> for AuditEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flat = Flat::deserialize(deserializer)?;
        let rare = Rare {
            lineage: Lineage {
                root_agent_id: flat.root_agent_id,
                parent_agent_id: flat.parent_agent_id,
                team_id: flat.team_id,
                org_id: flat.org_id,
                delegation_reason: flat.delegation_reason,
                spawned_by_tool: flat.spawned_by_tool,
                depth: flat.depth,
            },
            redaction: Redaction {
                credential_findings: flat.credential_findings,
                redacted_payload: flat.redacted_payload,
            },
            policy_doc_id: flat.policy_doc_id,
            decision_id: flat.decision_id,
        };
        let entry = Self {
            seq: flat.seq,
            timestamp_ns: flat.timestamp_ns,
            event_type: flat.event_type,
            agent_id: flat.agent_id,
            session_id: flat.session_id,
            payload: flat.payload,
            previous_hash: flat.previous_hash,
            entry_hash: flat.entry_hash,
            weight: 0,
            rare: rare.boxed(),
        };
        Ok(entry.weighed())
    }
}

/// Appends the same bytes as `serde_json`. The parts of `serde_json` used here cannot fail on a `Vec`.
pub(super) fn encode(entry: &AuditEntry, out: &mut Vec<u8>) -> serde_json::Result<()> {
    // The typical size of an entry with few rare fields: one growth of a new buffer instead of several.
    out.reserve(640 + entry.payload.len());
    value(out, r#"{"seq":"#, &entry.seq)?;
    value(out, r#","timestamp_ns":"#, &entry.timestamp_ns)?;
    value(out, r#","event_type":"#, &entry.event_type)?;
    numbers(out, r#","agent_id":"#, entry.agent_id.as_bytes());
    numbers(out, r#","session_id":"#, entry.session_id.as_bytes());
    value(out, r#","payload":"#, &entry.payload)?;
    numbers(out, r#","previous_hash":"#, &entry.previous_hash);
    numbers(out, r#","entry_hash":"#, &entry.entry_hash);
    if let Some(rare) = entry.rare() {
        encode_rare(rare, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn encode_rare(rare: &Rare, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let Lineage {
        root_agent_id,
        parent_agent_id,
        team_id,
        org_id,
        delegation_reason,
        spawned_by_tool,
        depth,
    } = &rare.lineage;
    if let Some(id) = root_agent_id {
        numbers(out, r#","root_agent_id":"#, id.as_bytes());
    }
    if let Some(id) = parent_agent_id {
        numbers(out, r#","parent_agent_id":"#, id.as_bytes());
    }
    optional(out, r#","team_id":"#, team_id.as_ref())?;
    optional(out, r#","org_id":"#, org_id.as_ref())?;
    optional(out, r#","delegation_reason":"#, delegation_reason.as_ref())?;
    optional(out, r#","spawned_by_tool":"#, spawned_by_tool.as_ref())?;
    optional(out, r#","depth":"#, depth.as_ref())?;
    let findings = &rare.redaction.credential_findings;
    let found = (!findings.is_empty()).then_some(findings);
    optional(out, r#","credential_findings":"#, found)?;
    let redacted = &rare.redaction.redacted_payload;
    optional(out, r#","redacted_payload":"#, redacted.as_ref())?;
    optional(out, r#","policy_doc_id":"#, rare.policy_doc_id.as_ref())?;
    optional(out, r#","decision_id":"#, rare.decision_id.as_ref())
}

fn optional<T: Serialize>(out: &mut Vec<u8>, key: &str, of: Option<&T>) -> serde_json::Result<()> {
    of.map_or(Ok(()), |set| value(out, key, set))
}

fn value<T: Serialize>(out: &mut Vec<u8>, key: &str, of: &T) -> serde_json::Result<()> {
    out.extend_from_slice(key.as_bytes());
    serde_json::to_writer(out, of)
}

fn numbers<const N: usize>(out: &mut Vec<u8>, key: &str, bytes: &[u8; N]) {
    // Four bytes are copied for each number, and the next one overwrites the unused rest: a copy of fixed length needs
    // no branch.
    const LONGEST: usize = 32 * 4;
    const { assert!(N * 4 <= LONGEST) };
    let mut text = [0; LONGEST];
    let mut end = 0;
    for &byte in bytes {
        let (digits, length) = NUMBERS[usize::from(byte)];
        text[end..end + 4].copy_from_slice(&digits);
        end += usize::from(length);
    }
    text[end - 1] = b']';
    out.extend_from_slice(key.as_bytes());
    out.push(b'[');
    out.extend_from_slice(&text[..end]);
}

/// Every byte in decimal with a comma after it, and the length of that.
static NUMBERS: [([u8; 4], u8); 256] = {
    let mut table = [([0; 4], 0); 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = number(byte);
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

const fn number(byte: u8) -> ([u8; 4], u8) {
    let (hundreds, tens, ones) = (b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10);
    match byte {
        0..10 => ([ones, b',', 0, 0], 2),
        10..100 => ([tens, ones, b',', 0], 3),
        100.. => ([hundreds, tens, ones, b','], 4),
    }
}
