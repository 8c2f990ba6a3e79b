//! Reads the stream as anyone could, and compares it with the publishers' journals.
//!
//! Per publisher: runs follow each other and name each other, the numbers of a run have no gap, none comes twice, and
//! the cursor is at the last. Per thread: the stream has the entries that it made, in its order, from the first one on:
//! at least those that it flushed, and, unless it was killed, all that were accepted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

use serde_json::{Value, json};

use crate::arena::{Arena, STREAM, Way, tell};
use crate::child::outlives;
use crate::entries::{Chain, Whose, whose};
use crate::journal::Noted;
use crate::publisher::End;
use test_support::nats::{Message, visit_stream};

/// After so many faults nothing new is to be learned.
const FAULTS_MAX: usize = 20;

/// What a sound stream holds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) runs: usize,
    /// Accepted by publishers that were killed before they had flushed them.
    pub(crate) missing: u64,
    /// All that was surely accepted.
    pub(crate) accepted: u64,
    /// How many publishers' newest cursors were left open.
    pub(crate) open: usize,
}

/// How far a publisher has come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tip {
    run: String,
    n: u64,
    publisher: usize,
    start: usize,
}

#[derive(Debug, Default)]
struct Judge {
    /// Whether publishers keep cursors in the stream.
    cursors_kept: bool,
    ends: BTreeMap<(usize, usize), End>,
    /// By publisher id.
    tips: BTreeMap<String, Tip>,
    cursors: BTreeMap<String, Value>,
    /// Whose newest cursor was left open.
    open: BTreeSet<String>,
    /// The publisher id that each run belongs to.
    runs: BTreeMap<String, String>,
    threads: BTreeMap<Whose, Chain>,
    tally: Tally,
    faults: Vec<String>,
    /// The last messages before the first fault, in short.
    before: VecDeque<String>,
}

/// How many messages are shown before a fault.
const BEFORE_MAX: usize = 60;

/// Whether each entry stands in the stream once and in order; if not, why not.
pub(crate) fn judge(arena: &Arena) -> Result<Tally, Vec<String>> {
    let mut judge = Judge {
        cursors_kept: arena.way != Way::Messages,
        ..Judge::default()
    };
    for publisher in &arena.publishers {
        let ended = publisher.journals().map(|(whose, _, end)| (whose, end));
        judge
            .ends
            .extend(ended.map(|(whose, end)| ((whose.publisher, whose.start), end)));
    }
    visit_stream(&arena.cluster.url(), STREAM, |message| {
        if judge.faults.is_empty() {
            judge.remember(&message);
        }
        if judge.faults.len() < FAULTS_MAX
            && let Err(fault) = judge.see(&message)
        {
            let place = message.seq;
            judge.faults.push(format!("message {place}: {fault}"));
        }
    });
    if !judge.faults.is_empty() {
        tell(&format!("before the first fault: {:#?}", judge.before));
    }
    judge.check_cursors();
    for publisher in &arena.publishers {
        judge.faults.extend(publisher.errors());
        for (whose, noted, end) in publisher.journals() {
            judge.check_journal(whose, noted, end);
        }
    }
    judge.tally.runs = judge.runs.len();
    judge.tally.open = judge.open.len();
    if judge.faults.is_empty() {
        Ok(judge.tally)
    } else {
        Err(judge.faults)
    }
}

impl Judge {
    fn remember(&mut self, message: &Message) {
        let id = message.header("Audit-Id").map(str::to_owned);
        let what = id.unwrap_or_else(|| String::from_utf8_lossy(&message.payload).into_owned());
        if self.before.len() == BEFORE_MAX {
            self.before.pop_front();
        }
        self.before.push_back(format!("{}: {what}", message.seq));
    }

    fn see(&mut self, message: &Message) -> Result<(), String> {
        if let Some(publisher) = message.subject.strip_prefix("assembly.cursor.") {
            return self.see_cursor(publisher, &message.payload);
        }
        self.tally.entries += 1;
        let whose = whose(&message.payload).ok_or("an entry that nobody made")?;
        let in_run = self.see_number(message, whose);
        let chain = self
            .threads
            .entry(whose)
            .or_insert_with(|| Chain::new(whose));
        let next = serde_json::to_vec(&chain.next()).map_err(|it| it.to_string())?;
        in_run?;
        if message.payload != next {
            let place = chain.made;
            return Err(format!(
                "of thread {whose} it is not entry {place}, which is next"
            ));
        }
        Ok(())
    }

    /// The newest counts. Open ones say only where a batch goes on from.
    fn see_cursor(&mut self, publisher: &str, payload: &[u8]) -> Result<(), String> {
        let mut cursor: Value = serde_json::from_slice(payload).map_err(|it| it.to_string())?;
        let fields = cursor.as_object_mut().ok_or("no cursor")?;
        fields.remove("batch").ok_or("a cursor of no batch")?;
        if fields.contains_key("state") {
            self.open.insert(publisher.to_owned());
            return Ok(());
        }
        self.open.remove(publisher);
        let old = self.cursors.insert(publisher.to_owned(), cursor.clone());
        let back = old.filter(|old| {
            old["run"] == cursor["run"] && old["last"].as_u64() > cursor["last"].as_u64()
        });
        expect("a cursor that went back", &back, &None)
    }

    /// What the headers say: the entry's place in its run, and the run's among the publisher's.
    fn see_number(&mut self, message: &Message, whose: Whose) -> Result<(), String> {
        let id = message.header("Audit-Id").ok_or("no Audit-Id")?;
        let (run, n) = id.split_once('.').ok_or("no number in its Audit-Id")?;
        let n: u64 = n.parse().map_err(|_| "no number in its Audit-Id")?;
        let lost = message.header("Audit-Lost");
        expect("told as lost", &lost, &None)?;
        if let Some(told) = message.header("Audit-Run") {
            self.open_run(run, told, message.header("Audit-After"), whose)?;
        }
        let publisher = self.runs.get(run).ok_or("of a run that was not told")?;
        let tip = self.tips.get_mut(publisher).ok_or("of nobody")?;
        if tip.run != run {
            return Err(format!("run {run} goes on at {n} behind run {}", tip.run));
        }
        let before = std::mem::replace(&mut tip.n, n);
        if n <= before {
            return Err(format!("number {n} comes again behind {before}"));
        }
        if n > before + 1 {
            return Err(format!("between {before} and {n} numbers are missing"));
        }
        let found = (whose.publisher, whose.start);
        expect("publisher and start", &found, &(tip.publisher, tip.start))
    }

    fn open_run(
        &mut self,
        run: &str,
        told: &str,
        after: Option<&str>,
        whose: Whose,
    ) -> Result<(), String> {
        let told: BTreeMap<&str, &str> = told
            .split("; ")
            .filter_map(|field| field.split_once('='))
            .collect();
        let publisher = *told.get("publisher").ok_or("a run of nobody")?;
        let new = Tip {
            run: run.to_owned(),
            n: 0,
            publisher: whose.publisher,
            start: whose.start,
        };
        if self.runs.contains_key(run) {
            return Err(format!("run {run} begins again"));
        }
        self.runs.insert(run.to_owned(), publisher.to_owned());
        let Some(old) = self.tips.insert(publisher.to_owned(), new) else {
            return expect("where the first run begins", &after, &None);
        };
        let through = format!("{}.{}; first=1; lost=0", old.run, old.n);
        let through = self.cursors_kept.then_some(through.as_str());
        expect("where the run begins", &after, &through)?;
        let previous = *told.get("previous").ok_or("a run without a previous one")?;
        if previous != old.run {
            // One that was killed before anything of it was kept leaves nothing but its name.
            let left_nothing = !self.runs.contains_key(previous) && whose.start > old.start + 1;
            return left_nothing
                .then_some(())
                .ok_or_else(|| format!("run {run} follows {previous} behind {}", old.run));
        }
        let ended = match self.ends.get(&(old.publisher, old.start)) {
            Some(End::Killed) => "killed",
            _ => "clean",
        };
        expect("the end", &told.get("ended"), &Some(&ended))
    }

    fn check_cursors(&mut self) {
        for (publisher, tip) in &self.tips {
            let mut found = self.cursors.remove(publisher);
            let seal = found
                .as_mut()
                .and_then(|cursor| cursor.as_object_mut()?.remove("seal"));
            if seal.is_none() && self.cursors_kept {
                self.faults
                    .push(format!("the cursor of {publisher} is not signed"));
            }
            if self.open.contains(publisher) {
                // The last batch was found complete, and nothing came after it.
                continue;
            }
            let expected = json!({"run": tip.run, "first": 1, "last": tip.n, "lost": 0});
            let expected = self.cursors_kept.then_some(expected);
            if let Err(fault) = expect("the cursor", &found, &expected) {
                self.faults.push(fault);
            }
        }
    }

    fn check_journal(&mut self, whose: Whose, noted: Noted, end: End) {
        let found = self.threads.get(&whose).map_or(0, |chain| chain.made);
        let expected = match end {
            End::Clean => noted.accepted..=noted.accepted,
            // The last one may have been accepted without a note of it.
            End::Killed if outlives(whose.publisher) => noted.accepted..=noted.accepted + 1,
            End::Killed => noted.flushed..=noted.accepted + 1,
        };
        if !expected.contains(&found) {
            self.faults.push(format!(
                "{found} entries of thread {whose}, {end:?}: {noted:?}"
            ));
        }
        self.tally.accepted += noted.accepted;
        self.tally.missing += noted.accepted.saturating_sub(found);
    }
}

fn expect<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found:?} instead of {expected:?}"))
    }
}
