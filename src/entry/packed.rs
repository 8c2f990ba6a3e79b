//! An entry as words, for a ring that outlives the process: the fields that every entry has, then those that are set.

use super::parts::Rare;
use super::{AgentId, AuditEntry, AuditEventType, CredentialFinding, CredentialKind, Lineage};
use super::{Redaction, SessionId, event};
use crate::durable::{Durable, Pack, Packer, Unpacker};

/// Words before the payload: seq, time, shape, agent, session, and two hashes.
const FIXED: usize = 3 + 2 + 2 + 4 + 4;

/// Which fields are set, in the upper half of the shape; the lower half is the type of the event.
const ROOT: u64 = 1 << 32;
const PARENT: u64 = 1 << 33;
const TEAM: u64 = 1 << 34;
const ORG: u64 = 1 << 35;
const REASON: u64 = 1 << 36;
const TOOL: u64 = 1 << 37;
const DEPTH: u64 = 1 << 38;
const REDACTED: u64 = 1 << 39;
const POLICY: u64 = 1 << 40;
const DECISION: u64 = 1 << 41;
const FINDINGS: u64 = 1 << 42;

impl Rare {
    fn texts(&self) -> [(u64, &Option<String>); 7] {
        let (lineage, redaction) = (&self.lineage, &self.redaction);
        [
            (TEAM, &lineage.team_id),
            (ORG, &lineage.org_id),
            (REASON, &lineage.delegation_reason),
            (TOOL, &lineage.spawned_by_tool),
            (REDACTED, &redaction.redacted_payload),
            (POLICY, &self.policy_doc_id),
            (DECISION, &self.decision_id),
        ]
    }

    fn agents(&self) -> [(u64, Option<AgentId>); 2] {
        let lineage = &self.lineage;
        [
            (ROOT, lineage.root_agent_id),
            (PARENT, lineage.parent_agent_id),
        ]
    }

    /// Which fields are set.
    fn shape(&self) -> u64 {
        let texts = self.texts().into_iter();
        let texts = texts.filter_map(|(bit, text)| text.as_ref().map(|_| bit));
        let agents = self.agents().into_iter();
        let agents = agents.filter_map(|(bit, agent)| agent.map(|_| bit));
        let depth = self.lineage.depth.map_or(0, |_| DEPTH);
        let found = !self.redaction.credential_findings.is_empty();
        let findings = if found { FINDINGS } else { 0 };
        texts
            .chain(agents)
            .fold(depth | findings, |all, bit| all | bit)
    }

    fn words(&self) -> usize {
        let texts = self
            .texts()
            .into_iter()
            .filter_map(|(_, text)| text.as_ref());
        let texts: usize = texts.map(|text| Packer::words_of(text.len())).sum();
        let agents = self.agents().into_iter().filter_map(|(_, agent)| agent);
        let findings = &self.redaction.credential_findings;
        let each = findings.iter();
        let each: usize = each
            .map(|finding| 2 + Packer::words_of(finding.matched.len()))
            .sum();
        let findings = if findings.is_empty() { 0 } else { 1 + each };
        texts + 2 * agents.count() + usize::from(self.lineage.depth.is_some()) + findings
    }

    fn pack(&self, out: &mut Packer<'_>) {
        for (_, agent) in self.agents() {
            if let Some(agent) = agent {
                out.put_whole(agent.as_bytes());
            }
        }
        for (_, text) in self.texts() {
            if let Some(text) = text {
                out.put_bytes(text.as_bytes());
            }
        }
        if let Some(depth) = self.lineage.depth {
            out.put_u64(depth.into());
        }
        let findings = &self.redaction.credential_findings;
        if !findings.is_empty() {
            out.put_u64(findings.len() as u64);
        }
        for finding in findings {
            out.put_u64(finding.kind as u64);
            out.put_u64(finding.offset as u64);
            out.put_bytes(finding.matched.as_bytes());
        }
    }

    fn unpack(shape: u64, from: &mut Unpacker<'_>) -> Option<Self> {
        let is_set = |bit| shape & bit != 0;
        let agent = |bit, from: &mut Unpacker<'_>| {
            if is_set(bit) {
                get(from).map(|bytes| Some(AgentId::from_bytes(bytes)))
            } else {
                Some(None)
            }
        };
        let text = |bit, from: &mut Unpacker<'_>| {
            if is_set(bit) {
                from.str().map(|text| Some(text.to_owned()))
            } else {
                Some(None)
            }
        };
        let lineage = Lineage {
            root_agent_id: agent(ROOT, from)?,
            parent_agent_id: agent(PARENT, from)?,
            team_id: text(TEAM, from)?,
            org_id: text(ORG, from)?,
            delegation_reason: text(REASON, from)?,
            spawned_by_tool: text(TOOL, from)?,
            depth: None,
        };
        let redacted_payload = text(REDACTED, from)?;
        let (policy_doc_id, decision_id) = (text(POLICY, from)?, text(DECISION, from)?);
        let depth = if is_set(DEPTH) {
            Some(u32::try_from(from.u64()?).ok()?)
        } else {
            None
        };
        let credential_findings = if is_set(FINDINGS) {
            findings(from)?
        } else {
            Vec::new()
        };
        Some(Self {
            lineage: Lineage { depth, ..lineage },
            redaction: Redaction {
                credential_findings,
                redacted_payload,
            },
            policy_doc_id,
            decision_id,
        })
    }
}

fn findings(from: &mut Unpacker<'_>) -> Option<Vec<CredentialFinding>> {
    (0..from.u64()?)
        .map(|_| {
            Some(CredentialFinding {
                kind: CredentialKind::of(from.u64()?)?,
                offset: usize::try_from(from.u64()?).ok()?,
                matched: from.str()?.to_owned(),
            })
        })
        .collect()
}

impl Pack for AuditEntry {
    #[inline]
    fn packed_words(&self) -> usize {
        let rare = self.rare.as_deref().map_or(0, Rare::words);
        FIXED + Packer::words_of(self.payload.len()) + rare
    }

    #[inline]
    fn pack(&self, out: &mut Packer<'_>) {
        let rare = self.rare.as_deref();
        out.put_u64(self.seq);
        out.put_u64(self.timestamp_ns);
        out.put_u64(self.event_type as u64 | rare.map_or(0, Rare::shape));
        out.put_whole(self.agent_id.as_bytes());
        out.put_whole(self.session_id.as_bytes());
        out.put_whole(&self.previous_hash);
        out.put_whole(&self.entry_hash);
        out.put_bytes(self.payload.as_bytes());
        if let Some(rare) = rare {
            rare.pack(out);
        }
    }
}

impl Durable for AuditEntry {
    const FORMAT: u32 = 1;

    fn unpack(format: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        if format != Self::FORMAT {
            return None;
        }
        let (seq, timestamp_ns, shape) = (from.u64()?, from.u64()?, from.u64()?);
        let event_type = AuditEventType::of(shape & (ROOT - 1))?;
        let agent_id = AgentId::from_bytes(get(from)?);
        let session_id = SessionId::from_bytes(get(from)?);
        let (previous_hash, entry_hash) = (get(from)?, get(from)?);
        let payload = from.str()?.to_owned();
        let rare = Rare::unpack(shape, from)?.boxed();
        let weight = event::weight_of(&payload, rare.as_deref());
        from.is_done().then_some(Self {
            seq,
            timestamp_ns,
            event_type,
            agent_id,
            session_id,
            payload,
            previous_hash,
            entry_hash,
            weight,
            rare,
        })
    }
}

fn get<const BYTES: usize>(from: &mut Unpacker<'_>) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    for chunk in bytes.as_chunks_mut::<8>().0 {
        *chunk = from.u64()?.to_le_bytes();
    }
    Some(bytes)
}
