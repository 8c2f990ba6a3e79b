//! The hash that seals an entry: SHA-256 over its fields, in the order and form of Agent Assembly.
//!
//! Integers are big-endian; a text is preceded by its length in 4 bytes, except for the payload. Fields that are not
//! set add nothing, so entries from before a field was invented keep their hashes. Nothing here allocates.

use sha2::{Digest, Sha256};

use super::parts::{Lineage, Redaction};
use super::{AgentId, AuditEntry};

impl AuditEntry {
    /// The hash of its fields.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        fixed(&mut hasher, self);
        hasher.update(&self.payload);
        if let Some(rare) = self.rare() {
            lineage(&mut hasher, &rare.lineage);
            redaction(&mut hasher, &rare.redaction);
            text(&mut hasher, rare.policy_doc_id.as_deref());
            text(&mut hasher, rare.decision_id.as_deref());
        }
        hasher.finalize().into()
    }
}

fn fixed(hasher: &mut Sha256, entry: &AuditEntry) {
    hasher.update(entry.seq.to_be_bytes());
    hasher.update(entry.timestamp_ns.to_be_bytes());
    hasher.update((entry.event_type as u32).to_be_bytes());
    hasher.update(entry.agent_id.as_bytes());
    hasher.update(entry.session_id.as_bytes());
    hasher.update(entry.previous_hash);
}

fn lineage(hasher: &mut Sha256, lineage: &Lineage) {
    agent(hasher, lineage.root_agent_id);
    agent(hasher, lineage.parent_agent_id);
    text(hasher, lineage.team_id.as_deref());
    text(hasher, lineage.delegation_reason.as_deref());
    text(hasher, lineage.spawned_by_tool.as_deref());
    if let Some(depth) = lineage.depth {
        hasher.update(depth.to_be_bytes());
    }
    text(hasher, lineage.org_id.as_deref());
}

fn redaction(hasher: &mut Sha256, redaction: &Redaction) {
    if *redaction == Redaction::default() {
        return;
    }
    length(hasher, redaction.credential_findings.len());
    for finding in &redaction.credential_findings {
        hasher.update((finding.offset as u64).to_be_bytes());
        text(hasher, Some(&finding.matched));
    }
    hasher.update([u8::from(redaction.redacted_payload.is_some())]);
    text(hasher, redaction.redacted_payload.as_deref());
}

fn agent(hasher: &mut Sha256, id: Option<AgentId>) {
    if let Some(id) = id {
        hasher.update(id.as_bytes());
    }
}

fn text(hasher: &mut Sha256, text: Option<&str>) {
    if let Some(text) = text {
        length(hasher, text.len());
        hasher.update(text);
    }
}

/// The low 32 bits, as in the original, even if it is longer.
fn length(hasher: &mut Sha256, length: usize) {
    hasher.update(&(length as u64).to_be_bytes()[4..]);
}
