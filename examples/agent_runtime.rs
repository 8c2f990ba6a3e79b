//! An agent runtime: threads, and then tasks of Tokio, write the tool calls, policy decisions and approvals of several
//! sessions through one publisher, each session as a chain of hashes.
//!
//!     cargo run --example agent_runtime
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spillring::assembly::{AgentId, AuditEventType, ChainVerifier, Lineage, SessionId};
use spillring::{AuditEntry, Config, JsonLinesSink, Publisher};

const SESSIONS: u8 = 3;
const TOOL_CALLS: usize = 4;

/// A session, whose entries may come from any thread. Each holds the hash of the one before, so they are made and
/// published one after the other.
#[derive(Clone)]
struct Session {
    id: SessionId,
    agent: AgentId,
    publisher: Publisher<AuditEntry>,
    last: Arc<Mutex<(u64, [u8; 32])>>,
}

impl Session {
    fn new(number: u8, publisher: Publisher<AuditEntry>) -> Self {
        Self {
            id: SessionId::from_bytes([number; 16]),
            agent: AgentId::from_bytes([100 + number; 16]),
            publisher,
            last: Arc::default(),
        }
    }

    /// Returns at once, whatever the sink and the disk are doing. The lock orders the entries of one session; the
    /// publisher has none.
    fn record(&self, event: AuditEventType, payload: String) {
        let lineage = Lineage {
            org_id: Some("acme".to_owned()),
            ..Lineage::default()
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (seq, hash) = *last;
        let (agent, id, now) = (self.agent, self.id, unix_ns());
        let entry =
            AuditEntry::new_with_lineage(seq, now, event, agent, id, payload, hash, lineage);
        *last = (seq + 1, *entry.entry_hash());
        self.publisher.publish(entry);
    }

    fn call_tool(&self, tool: &str) {
        let payload = format!(r#"{{"tool":"{tool}"}}"#);
        self.record(AuditEventType::ToolCallIntercepted, payload);
        if tool == "bash" {
            self.record(
                AuditEventType::PolicyViolation,
                r#"{"rule":"no-shell"}"#.to_owned(),
            );
        }
    }

    fn approve(&self) {
        self.record(AuditEventType::ApprovalRequested, "{}".to_owned());
        self.record(
            AuditEventType::ApprovalGranted,
            r#"{"by":"operator"}"#.to_owned(),
        );
    }
}

fn tool(call: usize) -> &'static str {
    ["read_file", "bash", "search"][call % 3]
}

/// Two threads a session; no runtime anywhere.
fn with_threads(publisher: &Publisher<AuditEntry>) {
    thread::scope(|scope| {
        for number in 1..=SESSIONS {
            let session = Session::new(number, publisher.clone());
            let approver = session.clone();
            scope.spawn(move || (0..TOOL_CALLS).for_each(|call| session.call_tool(tool(call))));
            scope.spawn(move || approver.approve());
        }
    });
}

/// A task a session: nothing is awaited to publish, only to know that all of it is safe.
async fn with_tokio(publisher: &Publisher<AuditEntry>) -> Result<(), Box<dyn Error>> {
    let mut tasks = Vec::new();
    for number in SESSIONS + 1..=2 * SESSIONS {
        let session = Session::new(number, publisher.clone());
        tasks.push(tokio::spawn(async move {
            for call in 0..TOOL_CALLS {
                session.call_tool(tool(call));
                tokio::task::yield_now().await;
            }
            session.approve();
        }));
    }
    for task in tasks {
        task.await?;
    }
    publisher.flush().await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("audit.jsonl");
    // With NATS: JetStreamSink::new(NatsConfig::from_env()?)?
    let sink = JsonLinesSink::new(&output);
    let drainer = spillring::start(Config::new(dir.path().join("spill")), sink)?;
    let publisher = drainer.publisher();

    with_threads(&publisher);
    tokio::runtime::Runtime::new()?.block_on(with_tokio(&publisher))?;

    let account = drainer
        .shutdown(Duration::from_secs(5))
        .wait(Duration::from_secs(10))?;
    let mut chains = HashMap::new();
    for line in std::fs::read_to_string(&output)?.lines() {
        let entry: AuditEntry = serde_json::from_str(line)?;
        let session = entry.session_id();
        let chain = chains
            .entry(*session.as_bytes())
            .or_insert_with(|| ChainVerifier::new(session));
        chain.verify(&entry)?;
    }
    println!(
        "{} delivered, {} lost; {} sessions, each an unbroken chain",
        account.delivered,
        account.lost.total(),
        chains.len()
    );
    Ok(())
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
