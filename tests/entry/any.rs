//! Tries to find an entry, of any event type and with any text (control characters, quotes, every plane of Unicode),
//! that is encoded otherwise than `serde` would, does not come back, is hashed otherwise than the format says, or has
//! an unsafe subject.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;
use spillring::assembly::{AgentId, CredentialFinding, Lineage, Redaction, SessionId};
use spillring::durable::{Pack, Packer, Unpacker};
use spillring::{AuditEntry, Durable, Event};

use crate::{EVENT_TYPES, KINDS, encoded, hash_of, read};

fn any_text() -> impl Strategy<Value = String> {
    let awkward =
        "\"\\/\0\u{8}\t\n\u{c}\r\u{1f}\u{7f}\u{80}ü世🚀\u{2028}\u{feff}\u{ffff}\u{10ffff}";
    let awkward = prop::sample::select(awkward.chars().collect::<Vec<_>>());
    vec(
        prop_oneof![awkward, any::<char>(), prop::char::range(' ', '~')],
        0..40,
    )
    .prop_map(|characters| characters.into_iter().collect())
}

fn any_finding() -> impl Strategy<Value = CredentialFinding> {
    let kind = prop::sample::select(KINDS.to_vec());
    (kind, any::<u32>(), any_text()).prop_map(|(kind, offset, matched)| CredentialFinding {
        kind: serde_json::from_value(json!(kind)).unwrap(),
        offset: offset as usize,
        matched,
    })
}

fn any_lineage() -> impl Strategy<Value = Lineage> {
    let id = || option::of(any::<[u8; 16]>().prop_map(AgentId::from_bytes));
    let text = || option::of(any_text());
    (
        id(),
        id(),
        text(),
        text(),
        text(),
        text(),
        option::of(any::<u32>()),
    )
        .prop_map(|(root, parent, team, org, reason, tool, depth)| Lineage {
            root_agent_id: root,
            parent_agent_id: parent,
            team_id: team,
            org_id: org,
            delegation_reason: reason,
            spawned_by_tool: tool,
            depth,
        })
}

prop_compose! {
    fn any_entry()(
        (seq, timestamp_ns) in any::<(u64, u64)>(),
        event_type in prop::sample::select(EVENT_TYPES.to_vec()),
        (agent, session, previous_hash) in any::<([u8; 16], [u8; 16], [u8; 32])>(),
        payload in any_text(),
        lineage in prop_oneof![Just(Lineage::default()), any_lineage()],
        credential_findings in vec(any_finding(), 0..3),
        (redacted_payload, policy_doc_id, decision_id) in
            (option::of(any_text()), option::of(any_text()), option::of(any_text())),
    ) -> AuditEntry {
        AuditEntry::new_with_lineage_redaction_and_attribution(
            seq,
            timestamp_ns,
            serde_json::from_value(json!(event_type)).unwrap(),
            AgentId::from_bytes(agent),
            SessionId::from_bytes(session),
            payload,
            previous_hash,
            lineage,
            Redaction { credential_findings, redacted_payload },
            policy_doc_id,
            decision_id,
        )
    }
}

proptest! {
    #[test]
    fn any_entry_is_encoded_as_serde_would_and_comes_back(entry in any_entry()) {
        let line = encoded(&entry);
        prop_assert_eq!(&line, &serde_json::to_string(&entry).unwrap());
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(&read(&line), &entry);
    }
    #[test]
    fn any_entry_is_packed_into_as_many_words_as_it_says_and_comes_back(entry in any_entry()) {
        let packed = Packer::pack_to_vec(&entry);
        prop_assert_eq!(packed.len(), entry.packed_words() * 8);
        let unpack = |packed: &[u8]| {
            AuditEntry::unpack(AuditEntry::FORMAT, &mut Unpacker::new(packed))
        };
        for cut in (0..packed.len()).step_by(8) {
            prop_assert_eq!(unpack(&packed[..cut]), None);
        }
        prop_assert_eq!(unpack(&packed), Some(entry));
    }
    #[test]
    fn any_entry_has_the_hash_that_the_format_describes(entry in any_entry()) {
        prop_assert!(entry.verify_integrity());
        prop_assert_eq!(*entry.entry_hash(), hash_of(&serde_json::to_value(&entry).unwrap()));
    }
    #[test]
    fn any_subject_is_two_safe_tokens(entry in any_entry()) {
        let subject = entry.subject();
        let (tenant, agent) = subject.split_once('.').unwrap();
        let safe = |token: &str| {
            !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        prop_assert!(safe(tenant) && safe(agent), "{}", subject);
    }
}
