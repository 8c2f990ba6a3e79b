//! Tries to break the form: what the original wrote must come back to the byte, names, order and numbers must be
//! those of the format, and what is not an entry must be refused with a reason.

use std::collections::HashMap;

use serde_json::{Value, json};
use spillring::AuditEntry;
use spillring::assembly::{
    AgentId, AuditEventType, CredentialFinding, CredentialKind, Lineage, Redaction,
};

use crate::{
    EVENT_TYPES, FIELDS, KINDS, agent, encoded, full, hash_of, lines, plain, read, session,
};

#[test]
fn what_the_original_wrote_comes_back_byte_for_byte() {
    let mut seen = HashMap::<String, u32>::new();
    for line in lines() {
        let entry = read(line);
        assert_eq!(encoded(&entry), line);
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        assert!(entry.verify_integrity(), "{line}");
        let fields: HashMap<String, Value> = serde_json::from_str(line).unwrap();
        for name in fields.into_keys() {
            *seen.entry(name).or_default() += 1;
        }
    }
    assert!(lines().count() >= 2_008);
    assert!(
        FIELDS.iter().all(|name| seen.contains_key(*name)),
        "the data lacks a field, so it does not test it: {seen:?}"
    );
}

#[test]
fn the_fields_stand_in_their_order() {
    let text = encoded(&full());
    let places: Vec<_> = FIELDS
        .iter()
        .map(|name| text.find(&format!("\"{name}\":")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(
        serde_json::from_str::<HashMap<String, Value>>(&text)
            .unwrap()
            .len(),
        FIELDS.len()
    );
}

#[test]
fn every_event_type_has_its_name_and_number() {
    for (number, name) in EVENT_TYPES.iter().enumerate() {
        let event_type: AuditEventType = serde_json::from_value(json!(name)).unwrap();
        assert_eq!(event_type as usize, number);
        assert_eq!(
            (event_type.as_str(), &*event_type.to_string()),
            (*name, *name)
        );
        let entry = plain(event_type, Lineage::default());
        assert!(encoded(&entry).contains(&format!(r#""event_type":"{name}""#)));
        assert_eq!(
            *entry.entry_hash(),
            hash_of(&serde_json::to_value(&entry).unwrap())
        );
    }
}

#[test]
fn every_kind_of_credential_has_its_name() {
    for name in KINDS {
        let kind: CredentialKind = serde_json::from_value(json!(name)).unwrap();
        let finding = CredentialFinding::new(kind, 1);
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            format!(r#"{{"kind":"{name}","offset":1,"matched":"[REDACTED:{name}]"}}"#)
        );
    }
}

#[test]
fn reading_passes_over_unknown_fields_and_nulls() {
    let mut json =
        serde_json::to_value(plain(AuditEventType::MessageBlocked, Lineage::default())).unwrap();
    let entry = read(&json.to_string());
    json["added_in_the_year_2030"] = json!({"deep": [1, 2, {"seq": 9}]});
    json["team_id"] = Value::Null;
    json["credential_findings"] = json!([]);
    assert_eq!(read(&json.to_string()), entry);
}

#[test]
fn reading_refuses_what_is_not_an_entry_and_says_why() {
    let cases = [
        (
            "event_type",
            json!("CoffeeBrewed"),
            "unknown variant `CoffeeBrewed`",
        ),
        ("event_type", json!(3), "expected"),
        ("agent_id", json!(vec![1; 15]), "invalid length 15"),
        ("session_id", json!(vec![1; 17]), "trailing"),
        ("previous_hash", json!(vec![1; 31]), "invalid length 31"),
        ("entry_hash", json!("00ff"), "invalid type: string"),
        (
            "root_agent_id",
            json!(vec![256; 16]),
            "invalid value: integer `256`",
        ),
        ("seq", json!(-1), "invalid value: integer `-1`"),
        ("depth", json!(4_294_967_296_u64), "invalid value"),
        ("payload", Value::Null, "invalid type: null"),
        (
            "credential_findings",
            json!([{"kind": "Rumour", "offset": 0, "matched": ""}]),
            "`Rumour`",
        ),
    ];
    for (field, value, complaint) in cases {
        let mut json = serde_json::to_value(full()).unwrap();
        json[field] = value;
        let error = serde_json::from_str::<AuditEntry>(&json.to_string()).unwrap_err();
        assert!(error.to_string().contains(complaint), "{field}: {error}");
    }
    for required in &FIELDS[..8] {
        let mut json = serde_json::to_value(full()).unwrap();
        json.as_object_mut().unwrap().remove(*required);
        let error = serde_json::from_value::<AuditEntry>(json).unwrap_err();
        assert_eq!(error.to_string(), format!("missing field `{required}`"));
    }
    let twice = encoded(&full()).replacen('{', r#"{"seq":4,"#, 1);
    let error = serde_json::from_str::<AuditEntry>(&twice).unwrap_err();
    assert!(
        error.to_string().contains("duplicate field `seq`"),
        "{error}"
    );
}

#[test]
fn getters_show_what_was_set() {
    let entry = full();
    assert_eq!(entry.seq(), 3);
    assert_eq!(entry.timestamp_ns(), 1_763_800_000_000_000_000);
    assert_eq!(entry.event_type(), AuditEventType::CredentialLeakBlocked);
    assert_eq!((entry.agent_id(), entry.session_id()), (agent(), session()));
    assert_eq!(entry.payload(), r#"{"key":"…"}"#);
    assert_eq!(entry.previous_hash(), &[9; 32]);
    assert_eq!(
        *entry.entry_hash(),
        hash_of(&serde_json::to_value(&entry).unwrap())
    );
    assert_eq!(entry.root_agent_id(), Some(AgentId::from_bytes([3; 16])));
    assert_eq!(entry.parent_agent_id(), Some(AgentId::from_bytes([4; 16])));
    assert_eq!(
        (entry.team_id(), entry.org_id()),
        (Some("team"), Some("org"))
    );
    assert_eq!(entry.delegation_reason(), Some("reason"));
    assert_eq!(
        (entry.spawned_by_tool(), entry.depth()),
        (Some("tool"), Some(5))
    );
    assert_eq!(
        entry.credential_findings(),
        [CredentialFinding::new(CredentialKind::GitHubPat, 8)]
    );
    assert_eq!(
        entry.redacted_payload(),
        Some(r#"{"key":"[REDACTED:GitHubPat]"}"#)
    );
    assert_eq!(
        (entry.policy_doc_id(), entry.decision_id()),
        (Some("sha256:abc"), Some("decision"))
    );
    assert_eq!(
        entry.to_string(),
        "[seq=3 ts=1763800000000000000 agent=01010101010101010101010101010101 \
         session=02020202020202020202020202020202 event=CredentialLeakBlocked]"
    );
    assert_eq!(agent().to_string(), "01010101-0101-0101-0101-010101010101");
}

#[test]
fn nothing_set_is_the_same_by_every_constructor() {
    let (kind, text) = (AuditEventType::ApprovalRouted, || "{}".to_owned());
    let none = Lineage::default;
    let entry = AuditEntry::new(0, 7, kind, agent(), session(), text(), [0; 32]);
    assert_eq!(plain(kind, none()), entry);
    let redacted = AuditEntry::new_with_lineage_and_redaction(
        0,
        7,
        kind,
        agent(),
        session(),
        text(),
        [0; 32],
        none(),
        Redaction::default(),
    );
    assert_eq!(redacted, entry);
    assert_eq!(entry.credential_findings(), []);
}
