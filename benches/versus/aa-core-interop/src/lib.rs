//! `aa_core`'s own entries go through spillring's publisher, and `aa_core` reads and verifies what arrives; so it does
//! with what spillring's own type becomes: `cargo test --manifest-path benches/versus/aa-core-interop/Cargo.toml`.
#![cfg(test)]

mod publisher;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aa_core::{AuditEntry, AuditLog};
use spillring::assembly::{AgentId, subject_of};
use spillring::event::EncodeError;
use spillring::{Config, Event, JsonLinesSink};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What a host that keeps Agent Assembly's type writes.
#[derive(Debug)]
struct Theirs(AuditEntry);

impl Event for Theirs {
    fn subject(&self) -> String {
        let tenant = self.0.org_id().or(self.0.team_id());
        subject_of(tenant, AgentId::from_bytes(*self.0.agent_id().as_bytes()))
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        serde_json::to_writer(out, &self.0).map_err(|error| EncodeError(error.into()))
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.0.payload().len()
    }
}

#[test]
fn entries_of_the_original_arrive_as_it_writes_them() {
    let lines = lines();
    let entries = lines.iter().map(|line| Theirs(read(line)));
    assert_eq!(through(entries.collect()), lines);
}

/// What `aa_runtime`'s `subject_for` makes of them, less its prefix.
#[test]
fn a_newtype_has_the_subject_that_our_own_entry_has() {
    for line in lines() {
        let ours: spillring::AuditEntry = serde_json::from_str(&line).expect("an entry");
        assert_eq!(Theirs(read(&line)).subject(), ours.subject());
    }
}

#[test]
fn the_original_verifies_what_our_entries_become() {
    let entries = lines()
        .iter()
        .map(|line| serde_json::from_str::<spillring::AuditEntry>(line).expect("an entry"))
        .collect();
    let mut logs = HashMap::new();
    for line in through(entries) {
        let entry = read(&line);
        assert!(entry.verify_integrity(), "{line}");
        let (agent, session) = (entry.agent_id(), entry.session_id());
        let log = logs
            .entry(*session.as_bytes())
            .or_insert_with(|| AuditLog::new(agent, session));
        log.push(entry).expect("the next of its session");
    }
    assert_eq!(logs.len(), 12, "sessions");
    assert!(logs.values().all(AuditLog::verify_chain));
}

/// Publishes all of them, and answers the lines that arrive.
fn through<E: Event>(entries: Vec<E>) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let output = dir.path().join("audit.jsonl");
    let sink = JsonLinesSink::new(&output);
    let drainer = spillring::start(Config::new(dir.path().join("spill")), sink).expect("a start");
    let publisher = drainer.publisher();
    for entry in entries {
        publisher.publish(entry);
    }
    let account = drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
    assert_eq!(account.delivered, account.accepted);
    split(&output)
}

fn read(line: &str) -> AuditEntry {
    serde_json::from_str(line).expect("an entry")
}

fn lines() -> Vec<String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data: PathBuf = [package, Path::new("../../../tests/data/sessions.jsonl")]
        .iter()
        .collect();
    split(&data)
}

fn split(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("it can be read");
    text.lines().map(str::to_owned).collect()
}
