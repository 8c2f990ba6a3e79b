//! Tries to make an entry costly where it must be cheap (its size, what its hash and weight allocate), and to get an
//! unsafe or wrong subject out of it.

use serde_json::{Value, json};
use spillring::assembly::{AuditEventType, Lineage, subject_for};
use spillring::{AuditEntry, Event};

use crate::{FIELDS, agent, full, plain, session};

#[test]
fn an_entry_is_small_and_its_hash_and_weight_allocate_nothing() {
    assert!(size_of::<AuditEntry>() <= 152);
    let (entry, payload) = (full(), String::from("{}"));
    let mut out = Vec::with_capacity(4096);
    let (kind, none) = (AuditEventType::MessageBlocked, Lineage::default());
    let allocations = allocation_counter::measure(|| {
        assert!(entry.verify_integrity());
        assert!(entry.weight() > 0);
        entry.encode(&mut out).unwrap();
        let made =
            AuditEntry::new_with_lineage(0, 7, kind, agent(), session(), payload, [0; 32], none);
        std::mem::forget(made);
    });
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}

#[test]
fn the_weight_grows_with_every_text() {
    let weigh = |json: &Value| {
        serde_json::from_value::<AuditEntry>(json.clone())
            .unwrap()
            .weight()
    };
    let entry = full();
    let before = entry.weight();
    assert!(before > size_of::<AuditEntry>() + entry.payload().len());
    for field in FIELDS.iter().filter(|name| **name != "event_type") {
        let mut json = serde_json::to_value(&entry).unwrap();
        if let Some(text) = json[*field].as_str() {
            json[*field] = json!(format!("{text}1234567890"));
            assert_eq!(weigh(&json), before + 10, "{field}");
        }
    }
    let mut json = serde_json::to_value(&entry).unwrap();
    json["credential_findings"][0]["matched"] = json!("[REDACTED:GitHubPat]1234567890");
    assert_eq!(weigh(&json), before + 10);
    let small = plain(AuditEventType::MessageBlocked, Lineage::default());
    assert_eq!(small.weight(), size_of::<AuditEntry>() + 2);
}

#[test]
fn the_subject_is_made_of_tenant_and_agent() {
    let cases = [
        (None, None, "default"),
        (None, Some("payments"), "payments"),
        (Some("acme"), Some("payments"), "acme"),
        (Some(""), Some("payments"), "default"),
        (None, Some(""), "default"),
        (Some("acme corp.eu"), None, "acme_corp_eu"),
        (Some("a*b>c\n"), None, "a_b_c_"),
        (Some("Müller & Söhne"), None, "M_ller___S_hne"),
        (Some("A-z_09"), None, "A-z_09"),
        (Some("."), None, "_"),
    ];
    for (org, team, tenant) in cases {
        let lineage = Lineage {
            org_id: org.map(Into::into),
            team_id: team.map(Into::into),
            ..Lineage::default()
        };
        let entry = plain(AuditEventType::MessageBlocked, lineage);
        let below = format!("{tenant}.01010101-0101-0101-0101-010101010101");
        assert_eq!(entry.subject(), below);
        assert_eq!(subject_for(&entry), format!("assembly.audit.{below}"));
    }
}
