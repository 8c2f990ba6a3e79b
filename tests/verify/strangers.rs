//! Programs that know nothing of spillring, only the standards, must come to what we have signed: `tlog_tiles` and
//! `signed_note` in Rust, `aics-tlog` in Python.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use serde_json::{Value, json};
use signed_note::{Note, StandardVerifier, VerifierList};
use spillring::JsonLinesSink;
use tempfile::TempDir;
use tlog_tiles::checkpoint::Checkpoint;
use tlog_tiles::tlog::{self, Hash, HashReader};

use super::bench::Bench;
use super::signed::{Auditor, leaf_bytes};
use super::trail::{Publisher, entries, places, signed_trail, stream_of};
use test_support::nats::Message;

/// What a stranger keeps of a log: the hashes of its full subtrees.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let at = |index: &u64| self.0[usize::try_from(*index).unwrap()];
        Ok(indexes.iter().map(at).collect())
    }
}

fn stored(leaves: &[Vec<u8>]) -> Stored {
    let mut stored = Stored::default();
    for (n, leaf) in (0..).zip(leaves) {
        let hashes = tlog::stored_hashes(n, leaf, &stored).unwrap();
        stored.0.extend(hashes);
    }
    stored
}

fn seals(trail: &[Message]) -> Vec<Value> {
    let cursors = trail
        .iter()
        .filter(|message| message.subject.starts_with("assembly.cursor."));
    cursors
        .map(|cursor| serde_json::from_slice::<Value>(&cursor.payload).unwrap()["seal"].take())
        .collect()
}

/// The text of a note, if this key has signed it.
fn opened(note: &str, key: &str) -> Vec<u8> {
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(key).unwrap())]);
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    note.verify(&known).unwrap();
    note.text().to_vec()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn checkpoints_have_the_roots_that_strangers_compute_and_each_extends_the_one_before() {
    let (trail, _) = signed_trail();
    let leaves: Vec<_> = places(&trail)
        .iter()
        .map(|at| leaf_bytes(&trail[*at]))
        .collect();
    let stored = stored(&leaves);
    let seals = seals(&trail);
    let mut before: Option<Checkpoint> = None;
    for seal in &seals {
        let body = opened(text(&seal["checkpoint"]), text(&seal["key"]));
        let checkpoint = Checkpoint::from_bytes(&body).unwrap();
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        assert_eq!(root, tlog::tree_hash(size, &stored).unwrap());
        if let Some(before) = before.filter(|before| before.size() > 0) {
            let proof = tlog::prove_tree(size, before.size(), &stored).unwrap();
            tlog::check_tree(&proof, size, root, before.size(), *before.hash()).unwrap();
        }
        before = Some(checkpoint);
    }
    assert_eq!(before.unwrap().size(), 60);
    assert!(seals.len() >= 6);
}

/// A proof as a stranger reads it.
struct Receipt {
    leaf: Vec<u8>,
    index: u64,
    path: Vec<Hash>,
    note: String,
}

impl Receipt {
    fn parse(text: &str) -> Self {
        let (proof, note) = text.split_once("\n\n").unwrap();
        let mut lines = proof.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        let extra = lines.next().unwrap().strip_prefix("extra ").unwrap();
        let index = lines.next().unwrap().strip_prefix("index ").unwrap();
        Self {
            leaf: BASE64.decode(extra.as_bytes()).unwrap(),
            index: index.parse().unwrap(),
            path: lines.map(|line| Hash::parse_hash(line).unwrap()).collect(),
            note: note.to_owned(),
        }
    }

    /// Whether the leaf is in the tree that this key has signed.
    fn holds(&self, key: &str) -> bool {
        let checkpoint = Checkpoint::from_bytes(&opened(&self.note, key)).unwrap();
        let hash = tlog::record_hash(&self.leaf);
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        tlog::check_record(&self.path, size, root, self.index, hash).is_ok()
    }
}

fn prove(bench: &Bench, entry: &str, trail: &str) -> Receipt {
    let said = bench.run(&["proof", entry, trail]);
    said.assert_code(0);
    let receipt = Receipt::parse(&said.out);
    let key = said.err.strip_prefix("signed with ").unwrap().trim();
    assert!(receipt.holds(key), "{}", said.out);
    receipt
}

#[test]
fn the_proof_of_an_entry_is_one_to_strangers() {
    let (trail, _) = signed_trail();
    let (at, server, bench) = (places(&trail), stream_of(&trail), Bench::new());
    for place in [0, 8, 29, 30, 59] {
        let message = &trail[at[place]];
        let receipt = prove(&bench, message.header("Audit-Id").unwrap(), &server.url());
        assert_eq!(receipt.index, place as u64);
        assert!(receipt.leaf.ends_with(&message.payload));
        let mut other = Receipt::parse(
            &bench
                .run(&["proof", message.header("Audit-Id").unwrap(), &server.url()])
                .out,
        );
        *other.leaf.last_mut().unwrap() ^= 1;
        let key = text(&seals(&trail).pop().unwrap()["key"]).to_owned();
        assert!(!other.holds(&key), "the leaf is another one");
    }
    let absent = format!("{}.900", "01a21a2e-6a9f-703a-a491-da9c311ae493");
    let said = bench.run(&["proof", &absent, &server.url()]);
    said.assert_code(2);
    assert!(said.err.contains("is not in"), "{}", said.err);
}

/// Of a file that was rotated, and of a stream that has lost its head, the peaks of the first seal take the place of
/// what is gone.
#[test]
fn an_entry_can_be_proved_after_the_beginning_of_its_trail_is_gone() {
    let publisher = Publisher::new();
    let output = publisher.dir.path().join("audit.jsonl");
    for range in [0..23, 23..40] {
        let mut run = publisher.start(JsonLinesSink::new(&output));
        run.publish(entries(range));
        run.end();
        fs::rename(&output, publisher.dir.path().join("old.jsonl")).unwrap();
    }
    let ledgers = fs::read_dir(publisher.dir.path()).unwrap();
    let ledgers = ledgers.map(|entry| entry.unwrap().path());
    let ledger = ledgers
        .filter(|path| path.to_str().unwrap().ends_with(".ledger"))
        .max();
    let ledger = ledger.unwrap();
    let told = fs::read_to_string(&ledger).unwrap();
    let run = told.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line.split_once(' ')?.1).unwrap();
        Some(line["run"].as_str()?.to_owned())
    });
    let bench = Bench::new();
    let trail = publisher.dir.path().join("old.jsonl");
    let entry = format!("{}.5", run.unwrap());
    let said = bench.run(&[
        "proof",
        &entry,
        trail.to_str().unwrap(),
        "--ledger",
        ledger.to_str().unwrap(),
    ]);
    said.assert_code(0);
    let receipt = Receipt::parse(&said.out);
    let key = said.err.strip_prefix("signed with ").unwrap().trim();
    assert!(receipt.holds(key), "{}", said.out);
    assert_eq!(receipt.index, 27);
}

/// Where `aics-tlog` is, fetched once. It asks for a newer Python than it needs.
fn aics() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let place = tools.join("aics-tlog-0.2.1");
    fs::create_dir_all(&tools).unwrap();
    let lock = File::create(tools.join("lock-aics")).unwrap();
    lock.lock().unwrap();
    if !place.exists() {
        let fetched = TempDir::new_in(&tools).unwrap();
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--ignore-requires-python",
            "--target",
        ]);
        let done = pip
            .arg(fetched.path())
            .arg("aics-tlog==0.2.1")
            .status()
            .unwrap();
        assert!(done.success(), "`pip install aics-tlog` must work here");
        fs::rename(fetched.keep(), &place).unwrap();
    }
    place
}

#[test]
fn a_program_in_python_comes_to_the_same() {
    let (trail, key) = signed_trail();
    let at = places(&trail);
    let server = stream_of(&trail);
    assert_eq!(
        Auditor::knowing(&[&key]).judge(&server.url()).authentic(),
        "yes"
    );
    let leaves: Vec<_> = at
        .iter()
        .map(|at| BASE64.encode(&leaf_bytes(&trail[*at])))
        .collect();
    let entry = trail[at[44]].header("Audit-Id").unwrap();
    let proof = Bench::new().run(&["proof", entry, &server.url()]);
    let told =
        json!({ "first": key, "seals": seals(&trail), "leaves": leaves, "proof": proof.out });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told.json");
    fs::write(&file, told.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/strangers.py");
    let said = Command::new("python3")
        .arg(script)
        .arg(&file)
        .env("PYTHONPATH", aics())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert_eq!(out.trim(), "60 entries, 60 of them signed; the proof holds");
}
