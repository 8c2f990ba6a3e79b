//! An entry as words, for a ring that outlives the process: the fields that every entry has, then those that are set.

use super::parts::Rare;
use super::{
    AgentId, AuditEntry, AuditEventType, CredentialFinding, CredentialKind, Lineage, SessionId,
};
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

/// The texts, in the order of [`Rare::texts`].
const TEXTS: [u64; 7] = [TEAM, ORG, REASON, TOOL, REDACTED, POLICY, DECISION];

impl Rare {
    /// Which fields are set.
    fn shape(&self) -> u64 {
        let texts = TEXTS.into_iter().zip(self.texts().map(Option::is_some));
        let others = [
            (ROOT, self.lineage.root_agent_id.is_some()),
            (PARENT, self.lineage.parent_agent_id.is_some()),
            (DEPTH, self.lineage.depth.is_some()),
            (FINDINGS, !self.redaction.credential_findings.is_empty()),
        ];
        let all = texts.chain(others);
        all.fold(0, |shape, (bit, set)| if set { shape | bit } else { shape })
    }

    fn agents(&self) -> impl Iterator<Item = AgentId> {
        let Lineage {
            root_agent_id: root,
            parent_agent_id: parent,
            ..
        } = self.lineage;
        [root, parent].into_iter().flatten()
    }

    fn words(&self) -> usize {
        let texts = self.texts().into_iter().flatten();
        let texts = texts.map(|text| Packer::words_of(text.len()));
        let findings = &self.redaction.credential_findings;
        let each = findings
            .iter()
            .map(|it| 2 + Packer::words_of(it.matched.len()));
        let others = [
            2 * self.agents().count(),
            usize::from(self.lineage.depth.is_some()),
            usize::from(!findings.is_empty()),
        ];
        texts.chain(each).chain(others).sum()
    }

    fn pack(&self, out: &mut Packer<'_>) {
        for agent in self.agents() {
            out.put_whole(agent.as_bytes());
        }
        for text in self.texts().into_iter().flatten() {
            out.put_bytes(text.as_bytes());
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
        let mut rare = Self::default();
        let Self {
            lineage,
            redaction,
            policy_doc_id,
            decision_id,
        } = &mut rare;
        let (root, parent) = (&mut lineage.root_agent_id, &mut lineage.parent_agent_id);
        for (bit, agent) in [(ROOT, root), (PARENT, parent)] {
            if is_set(bit) {
                *agent = Some(AgentId::from_bytes(get(from)?));
            }
        }
        let texts = [
            &mut lineage.team_id,
            &mut lineage.org_id,
            &mut lineage.delegation_reason,
            &mut lineage.spawned_by_tool,
            &mut redaction.redacted_payload,
            policy_doc_id,
            decision_id,
        ];
        for (bit, text) in TEXTS.into_iter().zip(texts) {
            if is_set(bit) {
                *text = Some(from.str()?.to_owned());
            }
        }
        if is_set(DEPTH) {
            lineage.depth = Some(u32::try_from(from.u64()?).ok()?);
        }
        if is_set(FINDINGS) {
            redaction.credential_findings = findings(from)?;
        }
        Some(rare)
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
        let entry = Self {
            seq,
            timestamp_ns,
            event_type,
            agent_id,
            session_id,
            payload,
            previous_hash,
            entry_hash,
            weight: 0,
            rare,
        };
        from.is_done().then(|| entry.weighed())
    }
}

fn get<const BYTES: usize>(from: &mut Unpacker<'_>) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    for chunk in bytes.as_chunks_mut::<8>().0 {
        *chunk = from.u64()?.to_le_bytes();
    }
    Some(bytes)
}
