//! Tries to change an entry without its hash telling: every field in turn, altered and taken away.

use serde_json::{Value, json};
use spillring::AuditEntry;
use spillring::assembly::{AuditEventType, Lineage};

use crate::{FIELDS, encoded, full, plain, read};

#[test]
fn tampering_with_any_hashed_field_is_found() {
    let entry = full();
    assert!(entry.verify_integrity());
    for field in FIELDS {
        let mut json = serde_json::to_value(&entry).unwrap();
        json[field] = match &json[field] {
            Value::Number(number) => json!(number.as_u64().unwrap() ^ 1),
            Value::String(_) if field == "event_type" => json!("ApprovalGranted"),
            Value::String(text) => json!(text.to_uppercase() + "x"),
            Value::Array(list) if list[0].is_object() => {
                json!([{"kind": "GitHubPat", "offset": 9, "matched": list[0]["matched"]}])
            }
            Value::Array(list) => {
                let mut list = list.clone();
                *list.last_mut().unwrap() = json!(255);
                json!(list)
            }
            other => panic!("{field} is {other}"),
        };
        let tampered: AuditEntry = serde_json::from_value(json.clone()).unwrap();
        assert!(!tampered.verify_integrity(), "{field}");
        assert_eq!(serde_json::to_value(&tampered).unwrap(), json, "{field}");
    }
    for optional in &FIELDS[8..] {
        let mut json = serde_json::to_value(&entry).unwrap();
        json.as_object_mut().unwrap().remove(*optional);
        let stripped: AuditEntry = serde_json::from_value(json).unwrap();
        assert!(!stripped.verify_integrity(), "without {optional}");
    }
    let mut json = serde_json::to_value(&entry).unwrap();
    json["credential_findings"][0]["matched"] = json!("[REDACTED:Custom]");
    assert!(
        !serde_json::from_value::<AuditEntry>(json)
            .unwrap()
            .verify_integrity()
    );
}

/// The format's own blind spots, which the documentation of `verify_integrity` admits: should one close, the hash has
/// changed, and with it every chain that exists.
#[test]
fn the_hash_is_blind_where_the_original_s_is() {
    let mut other_kind = serde_json::to_value(full()).unwrap();
    other_kind["credential_findings"][0]["kind"] = json!("Custom");
    assert!(
        serde_json::from_value::<AuditEntry>(other_kind)
            .unwrap()
            .verify_integrity()
    );
    let team = Lineage {
        team_id: Some("acme".into()),
        ..Lineage::default()
    };
    let line = encoded(&plain(AuditEventType::MessageBlocked, team));
    assert!(read(&line.replace("team_id", "org_id")).verify_integrity());
}
