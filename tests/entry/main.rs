//! Tries to break the promise that an audit entry is Agent Assembly's to the byte: in its JSON both ways, in its hash
//! and in its subject. What the original wrote lies in `tests/data`; the hash is computed here a second time, from
//! the JSON alone, so that no mistake of the library is its own judge.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod any;
mod chain;
mod event;
mod json;
mod tampering;

use serde_json::Value;
use sha2::{Digest, Sha256};
use spillring::assembly::{
    AgentId, AuditEventType, CredentialFinding, CredentialKind, Lineage, Redaction, SessionId,
};
use spillring::{AuditEntry, Event};

const SESSIONS: &str = include_str!("../data/sessions.jsonl");
const ALPHA8: &str = include_str!("../data/vectors_alpha8.jsonl");
const RC7: &str = include_str!("../data/vectors_rc7.jsonl");

/// Every event type; the place is its number in the hash.
const EVENT_TYPES: [&str; 23] = [
    "ToolCallIntercepted",
    "PolicyViolation",
    "CredentialLeakBlocked",
    "ApprovalRequested",
    "ApprovalGranted",
    "ApprovalDenied",
    "BudgetLimitApproached",
    "BudgetLimitExceeded",
    "ApprovalTimedOut",
    "ApprovalRouted",
    "ApprovalEscalated",
    "AgentForceDeregistered",
    "MessageBlocked",
    "ToolDispatched",
    "A2ACallIntercepted",
    "A2AImpersonationAttempted",
    "SandboxStarted",
    "SandboxFilesystemBlocked",
    "SandboxCpuTimeout",
    "SandboxOomKilled",
    "SandboxTerminated",
    "SandboxHostFnRateLimited",
    "GovernanceMutation",
];

/// Every kind of credential that the original knows.
const KINDS: [&str; 28] = [
    "AnthropicKey",
    "AwsAccessKey",
    "GcpServiceAccount",
    "OpenAiKey",
    "AzureConnectionString",
    "GitHubAppToken",
    "GitHubOAuthToken",
    "GitHubPat",
    "GitHubRefreshToken",
    "GitHubUserToken",
    "SlackAppToken",
    "SlackBotToken",
    "SlackOAuthToken",
    "SlackRefreshToken",
    "SlackUserToken",
    "MongodbUrl",
    "MysqlUrl",
    "PostgresUrl",
    "EcPrivateKey",
    "OpensshPrivateKey",
    "PgpPrivateKey",
    "PrivateKey",
    "RsaPrivateKey",
    "CreditCardLuhn",
    "EmailAddress",
    "SsnPattern",
    "GenericHighEntropy",
    "Custom",
];

/// Every field, in the order of the JSON; the first eight are always there.
const FIELDS: [&str; 19] = [
    "seq",
    "timestamp_ns",
    "event_type",
    "agent_id",
    "session_id",
    "payload",
    "previous_hash",
    "entry_hash",
    "root_agent_id",
    "parent_agent_id",
    "team_id",
    "org_id",
    "delegation_reason",
    "spawned_by_tool",
    "depth",
    "credential_findings",
    "redacted_payload",
    "policy_doc_id",
    "decision_id",
];

fn lines() -> impl Iterator<Item = &'static str> {
    [SESSIONS, ALPHA8, RC7].into_iter().flat_map(str::lines)
}

fn read(line: &str) -> AuditEntry {
    serde_json::from_str(line).unwrap()
}

fn encoded(entry: &AuditEntry) -> String {
    let mut out = Vec::new();
    entry.encode(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn edited(entry: &AuditEntry, field: &str, value: Value) -> AuditEntry {
    let mut json = serde_json::to_value(entry).unwrap();
    json[field] = value;
    serde_json::from_value(json).unwrap()
}

fn agent() -> AgentId {
    AgentId::from_bytes([1; 16])
}

fn session() -> SessionId {
    SessionId::from_bytes([2; 16])
}

fn plain(event_type: AuditEventType, lineage: Lineage) -> AuditEntry {
    AuditEntry::new_with_lineage(
        0,
        7,
        event_type,
        agent(),
        session(),
        "{}".into(),
        [0; 32],
        lineage,
    )
}

/// An entry with every field set.
fn full() -> AuditEntry {
    AuditEntry::new_with_lineage_redaction_and_attribution(
        3,
        1_763_800_000_000_000_000,
        AuditEventType::CredentialLeakBlocked,
        agent(),
        session(),
        r#"{"key":"…"}"#.into(),
        [9; 32],
        Lineage {
            root_agent_id: Some(AgentId::from_bytes([3; 16])),
            parent_agent_id: Some(AgentId::from_bytes([4; 16])),
            team_id: Some("team".into()),
            org_id: Some("org".into()),
            delegation_reason: Some("reason".into()),
            spawned_by_tool: Some("tool".into()),
            depth: Some(5),
        },
        Redaction {
            credential_findings: vec![CredentialFinding::new(CredentialKind::GitHubPat, 8)],
            redacted_payload: Some(r#"{"key":"[REDACTED:GitHubPat]"}"#.into()),
        },
        Some("sha256:abc".into()),
        Some("decision".into()),
    )
}

/// The hash, from the JSON alone, as the format describes it.
fn hash_of(json: &Value) -> [u8; 32] {
    let mut input = Vec::new();
    let text = |input: &mut Vec<u8>, value: &Value| {
        let text = value.as_str().unwrap();
        input.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        input.extend(text.bytes());
    };
    let bytes = |value: &Value| serde_json::from_value::<Vec<u8>>(value.clone()).unwrap();
    input.extend(json["seq"].as_u64().unwrap().to_be_bytes());
    input.extend(json["timestamp_ns"].as_u64().unwrap().to_be_bytes());
    let number = EVENT_TYPES
        .iter()
        .position(|name| json["event_type"] == *name);
    input.extend(u32::try_from(number.unwrap()).unwrap().to_be_bytes());
    for name in ["agent_id", "session_id", "previous_hash"] {
        input.extend(bytes(&json[name]));
    }
    input.extend(json["payload"].as_str().unwrap().bytes());
    for name in ["root_agent_id", "parent_agent_id"] {
        input.extend(json.get(name).map(bytes).unwrap_or_default());
    }
    for name in [
        "team_id",
        "delegation_reason",
        "spawned_by_tool",
        "depth",
        "org_id",
    ] {
        match json.get(name) {
            None => {}
            Some(Value::Number(depth)) => input.extend(&depth.as_u64().unwrap().to_be_bytes()[4..]),
            Some(value) => text(&mut input, value),
        }
    }
    let findings = json.get("credential_findings").and_then(Value::as_array);
    let redacted = json.get("redacted_payload");
    if findings.is_some() || redacted.is_some() {
        let findings = findings.map_or(&[][..], Vec::as_slice);
        input.extend(u32::try_from(findings.len()).unwrap().to_be_bytes());
        for finding in findings {
            input.extend(finding["offset"].as_u64().unwrap().to_be_bytes());
            text(&mut input, &finding["matched"]);
        }
        input.push(u8::from(redacted.is_some()));
        if let Some(value) = redacted {
            text(&mut input, value);
        }
    }
    for name in ["policy_doc_id", "decision_id"] {
        if let Some(value) = json.get(name) {
            text(&mut input, value);
        }
    }
    Sha256::digest(input).into()
}
