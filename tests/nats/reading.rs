//! What a stream holds, as a reader sees it who has only the stream: every message is checked for itself, and every
//! run for gaps that nothing announces.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use test_support::nats::{Message, NatsServer, read_stream};

const SESSIONS: &str = include_str!("../data/sessions.jsonl");

/// The lines that are published, as the original wrote them: no two are the same.
pub(crate) static LINES: LazyLock<Vec<&str>> = LazyLock::new(|| SESSIONS.lines().collect());
static PLACES: LazyLock<HashMap<&[u8], usize>> =
    LazyLock::new(|| LINES.iter().map(|line| line.as_bytes()).zip(0..).collect());

/// The runs of a stream in the order in which they first appear.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) runs: Vec<Run>,
    /// Messages with an id that stands in the stream before.
    pub(crate) doubles: usize,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    /// What the first message says about it.
    pub(crate) told: HashMap<String, String>,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    pub(crate) lost: u64,
    /// Its number before it was requeued.
    pub(crate) requeued: Option<String>,
    /// Its place among [`LINES`], if it is one of them.
    pub(crate) line: Option<usize>,
}

impl Reading {
    /// Reads the stream `AUDIT`.
    #[track_caller]
    pub(crate) fn of(server: &NatsServer) -> Self {
        Self::judge(&read_stream(&server.url(), "AUDIT"))
    }

    #[track_caller]
    pub(crate) fn judge(messages: &[Message]) -> Self {
        let mut reading = Self {
            runs: Vec::new(),
            doubles: 0,
        };
        let mut seen: HashMap<&str, &Message> = HashMap::new();
        let entries = messages
            .iter()
            .filter(|message| !message.subject.starts_with("assembly.cursor."));
        for message in entries {
            let id = message.header("Audit-Id").expect("an Audit-Id");
            assert_eq!(message.subject, subject_of(&message.payload));
            if let Some(first) = seen.insert(id, message) {
                assert_eq!(
                    first.payload, message.payload,
                    "two entries are called {id}"
                );
                reading.doubles += 1;
                continue;
            }
            reading.add(id, message);
        }
        reading
    }

    #[track_caller]
    fn add(&mut self, id: &str, message: &Message) {
        let (run, n) = id.split_once('.').expect("a run and a number");
        let run = self.run(run);
        let entry = Entry {
            n: n.parse().expect("a number"),
            lost: message.header("Audit-Lost").map_or(0, positive),
            requeued: message.header("Audit-Requeued").map(str::to_owned),
            line: PLACES.get(&*message.payload).copied(),
        };
        let before = run.entries.last().map_or(0, |entry| entry.n);
        assert_eq!(
            entry.n,
            before + 1 + entry.lost,
            "after {before} of {}: {message:#?}",
            run.id
        );
        match message.header("Audit-Run") {
            Some(told) => {
                assert!(run.entries.is_empty(), "told again: {message:#?}");
                run.told = fields(told);
            }
            None => assert!(!run.entries.is_empty(), "not told: {message:#?}"),
        }
        let known = [
            "Audit-Id",
            "Audit-Lost",
            "Audit-Requeued",
            "Audit-Run",
            "Audit-After",
            "Nats-Msg-Id",
            "Nats-Batch-Id",
            "Nats-Batch-Sequence",
            "Nats-Batch-Commit",
        ];
        let unknown = message.headers.keys().find(|it| !known.contains(&&***it));
        assert_eq!(unknown, None, "{message:#?}");
        run.entries.push(entry);
    }

    fn run(&mut self, id: &str) -> &mut Run {
        let place = self.runs.iter().position(|run| run.id == id);
        let place = place.unwrap_or_else(|| {
            self.runs.push(Run {
                id: id.to_owned(),
                told: HashMap::new(),
                entries: Vec::new(),
            });
            self.runs.len() - 1
        });
        &mut self.runs[place]
    }

    /// The one run, with each entry in the stream once.
    #[track_caller]
    pub(crate) fn one_run(self) -> Run {
        let [run] = self.runs_each_once();
        assert_eq!(run.told.get("previous"), None, "it is the first one");
        run
    }

    /// The runs, with each entry in the stream once.
    #[track_caller]
    pub(crate) fn runs_each_once<const COUNT: usize>(self) -> [Run; COUNT] {
        assert_eq!(self.doubles, 0, "inside the duplicate window");
        self.runs.try_into().expect("as many runs")
    }
}

impl Run {
    pub(crate) fn told(&self, key: &str) -> Option<&str> {
        self.told.get(key).map(String::as_str)
    }

    pub(crate) fn last_n(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.n)
    }

    /// Entries that the stream says are missing.
    pub(crate) fn lost(&self) -> u64 {
        self.entries.iter().map(|entry| entry.lost).sum()
    }

    /// The lines of its entries, in order.
    pub(crate) fn lines(&self) -> Vec<usize> {
        let line = |entry: &Entry| entry.line.expect("one of the lines");
        self.entries.iter().map(line).collect()
    }

    /// It holds exactly these lines, in order, and says of none that it is missing.
    #[track_caller]
    pub(crate) fn assert_lines(&self, expected: impl IntoIterator<Item = usize>) {
        let expected: Vec<usize> = expected.into_iter().collect();
        let found = self.lines();
        let differs = found
            .iter()
            .zip(&expected)
            .position(|(one, two)| one != two);
        assert_eq!(differs, None, "the place of the first that differs");
        assert_eq!(found.len(), expected.len());
        assert_eq!(self.last_n(), expected.len() as u64, "none is missing");
    }

    /// It says that it follows that one, which was killed.
    #[track_caller]
    pub(crate) fn assert_follows_killed(&self, previous: &Self) {
        self.assert_follows(previous, "killed", None);
    }

    /// It says that it follows that one, which was shut down after this many numbers.
    #[track_caller]
    pub(crate) fn assert_follows_clean(&self, previous: &Self, last_n: u64) {
        self.assert_follows(previous, "clean", Some(&last_n.to_string()));
    }

    #[track_caller]
    fn assert_follows(&self, previous: &Self, ended: &str, last: Option<&str>) {
        assert_eq!(self.told("publisher"), previous.told("publisher"));
        assert_eq!(self.told("previous"), Some(previous.id.as_str()));
        assert_eq!(self.told("ended"), Some(ended));
        assert_eq!(self.told("last"), last);
    }
}

fn positive(text: &str) -> u64 {
    let lost = text.parse().expect("a number");
    assert!(lost > 0, "a loss of nothing is not told");
    lost
}

/// `key=value; key=value`
fn fields(told: &str) -> HashMap<String, String> {
    let fields: HashMap<_, _> = told
        .split("; ")
        .map(|field| field.split_once('=').expect("a key and a value"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    assert!(fields.contains_key("publisher"), "{told}");
    fields
}

/// `assembly.audit.<tenant>.<agent>`, from the JSON alone.
fn subject_of(payload: &[u8]) -> String {
    let entry: Value = serde_json::from_slice(payload).expect("JSON");
    let tenant = entry.get("org_id").or(entry.get("team_id"));
    let tenant = tenant.and_then(Value::as_str).unwrap_or_default();
    let allowed = |c: char| {
        let plain = c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if plain { c } else { '_' }
    };
    let tenant: String = match tenant {
        "" => "default".to_owned(),
        tenant => tenant.chars().map(allowed).collect(),
    };
    let bytes = entry["agent_id"].as_array().expect("an agent");
    let byte = |byte: &Value| u8::try_from(byte.as_u64().expect("a number")).expect("a byte");
    let bytes: Vec<u8> = bytes.iter().map(byte).collect();
    let agent = uuid::Uuid::from_slice(&bytes).expect("16 bytes");
    format!("assembly.audit.{tenant}.{agent}")
}
