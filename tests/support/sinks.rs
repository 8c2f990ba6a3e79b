//! A sink for the faults that a real one does not have when a test needs them: it is told what to do next, and keeps
//! what it has stored in memory or in a file, which outlives any process.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use spillring::Sink;
use spillring::error::SinkError;
use spillring::event::{Batch, LossReason, Position, PublisherId, Record, RunEnd, RunId};
use spillring::sink::{BoxFuture, Delivery};
use tokio::sync::watch;

/// What the sink does until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Up,
    /// Cannot be reached.
    Down,
    /// Does not answer before it is told to do something else.
    Stalled,
    /// Will take nothing.
    Misconfigured,
    /// Stores so many records of a batch, and cannot be reached for the others.
    Prefixes(usize),
    /// Takes its time over each batch.
    Slow(Duration),
}

/// What happens to one delivery; then the mode counts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All is stored, and nobody hears of it.
    AnswerLost,
    /// So many records are stored, and nobody hears of it.
    AnswerLostAfter(usize),
    /// So many records are stored, and it says so without saying why not all.
    NoReasonAfter(usize),
    /// Panics with so many records stored.
    PanicAfter(usize),
    /// Panics before there is even a future.
    PanicAtOnce,
}

/// Whether the sink says how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    Kept,
    None,
}

/// A record as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub run: RunId,
    pub n: u64,
    pub losses: Vec<(u64, LossReason)>,
    pub opens: Option<Opening>,
    pub subject: String,
    pub text: String,
}

/// What the first record of a run tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub publisher: PublisherId,
    pub previous: Option<(RunId, Option<u64>, RunEnd)>,
    pub header: String,
}

/// Where records are stored.
#[derive(Debug)]
enum Storage {
    Memory(Vec<Stored>),
    /// One line a record.
    File(PathBuf),
}

/// The test's end of a sink, and of all that come after it on the same storage.
#[derive(Debug, Clone)]
pub struct Remote {
    mode: Arc<watch::Sender<Mode>>,
    shared: Arc<Mutex<Shared>>,
    cursor: Cursor,
}

#[derive(Debug)]
struct Shared {
    storage: Storage,
    faults: VecDeque<Fault>,
    refused: HashSet<String>,
    /// Deliveries begun.
    deliveries: u64,
    /// Questions begun.
    questions: u64,
    /// What the last batch that was stored whole goes through.
    through: Option<Position>,
    /// By how much the next answer is ahead of what is stored.
    ahead: u64,
}

/// The sink itself.
#[derive(Debug)]
pub struct Double {
    remote: Remote,
}

impl Remote {
    pub fn in_memory(cursor: Cursor) -> Self {
        Self::new(Storage::Memory(Vec::new()), cursor)
    }

    /// In memory, with this stored already.
    pub fn holding(stored: Vec<Stored>) -> Self {
        Self::new(Storage::Memory(stored), Cursor::Kept)
    }

    pub fn in_file(path: &Path) -> Self {
        Self::new(Storage::File(path.to_owned()), Cursor::Kept)
    }

    fn new(storage: Storage, cursor: Cursor) -> Self {
        Self {
            mode: Arc::new(watch::Sender::new(Mode::Up)),
            shared: Arc::new(Mutex::new(Shared {
                storage,
                faults: VecDeque::new(),
                refused: HashSet::new(),
                deliveries: 0,
                questions: 0,
                through: None,
                ahead: 0,
            })),
            cursor,
        }
    }

    /// A sink on this storage.
    pub fn sink(&self) -> Double {
        Double {
            remote: self.clone(),
        }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub fn next(&self, fault: Fault) {
        self.shared.lock().faults.push_back(fault);
    }

    /// This text will never be taken.
    pub fn refuse(&self, text: impl Into<String>) {
        self.shared.lock().refused.insert(text.into());
    }

    pub fn deliveries(&self) -> u64 {
        self.shared.lock().deliveries
    }

    pub fn questions(&self) -> u64 {
        self.shared.lock().questions
    }

    /// The next answer is of somebody who goes on with the same run.
    pub fn answer_ahead(&self, by: u64) {
        self.shared.lock().ahead = by;
    }

    /// How far the publisher says that it has come.
    pub fn through(&self) -> Option<Position> {
        self.shared.lock().through
    }

    /// Faults that no delivery has met yet.
    pub fn faults_left(&self) -> usize {
        self.shared.lock().faults.len()
    }

    pub fn stored(&self) -> Vec<Stored> {
        self.shared.lock().storage.read()
    }

    pub fn texts(&self) -> Vec<String> {
        self.stored()
            .into_iter()
            .map(|stored| stored.text)
            .collect()
    }

    async fn until_released(&self) {
        let mut mode = self.mode.subscribe();
        // The sender lives as long as this remote.
        drop(mode.wait_for(|&mode| mode != Mode::Stalled).await);
    }

    async fn carry_out(&self, batch: &Batch) -> Delivery {
        self.until_released().await;
        let mode = *self.mode.borrow();
        let store = |count| self.shared.lock().store(batch, count);
        match mode {
            Mode::Up | Mode::Stalled => store(usize::MAX),
            Mode::Prefixes(count) => store(count),
            Mode::Down => Delivery::stopped(0, away()),
            Mode::Misconfigured => Delivery::stopped(0, wrong()),
            Mode::Slow(pace) => {
                tokio::time::sleep(pace).await;
                store(usize::MAX)
            }
        }
    }
}

impl Shared {
    fn store(&mut self, batch: &Batch, count: usize) -> Delivery {
        let records = &batch.records()[..count.min(batch.records().len())];
        let taken = records
            .iter()
            .position(|record| self.refused.contains(&text(record)))
            .unwrap_or(records.len());
        let rows: Vec<_> = records[..taken].iter().map(Stored::of).collect();
        self.storage.append(&rows);
        if taken < records.len() {
            let why = SinkError::Rejected("not to its taste".to_owned());
            return Delivery::stopped(taken, why);
        }
        if count < batch.records().len() {
            return Delivery::stopped(taken, away());
        }
        self.through = Some(batch.through());
        Delivery::all(batch)
    }

    /// The next fault, and how many records it stores. Once it is no longer left, they are stored.
    fn strike(&mut self, batch: &Batch) -> Option<(Fault, usize)> {
        let fault = self.faults.pop_front()?;
        let count = match fault {
            Fault::AnswerLost => usize::MAX,
            Fault::AnswerLostAfter(count)
            | Fault::NoReasonAfter(count)
            | Fault::PanicAfter(count) => count,
            Fault::PanicAtOnce => panic!("as the test wants it"),
        };
        Some((fault, self.store(batch, count).stored))
    }
}

impl Fault {
    /// The answer to the publisher.
    fn answer(self, stored: usize) -> Delivery {
        match self {
            Self::AnswerLost | Self::AnswerLostAfter(_) => {
                Delivery::stopped(0, SinkError::Unknown("the answer got lost".to_owned()))
            }
            Self::NoReasonAfter(_) => Delivery {
                stored,
                stopped: None,
            },
            Self::PanicAfter(_) | Self::PanicAtOnce => panic!("as the test wants it"),
        }
    }
}

impl Sink for Double {
    fn position<'a>(
        &'a mut self,
        _: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        Box::pin(async move {
            self.remote.shared.lock().questions += 1;
            self.remote.until_released().await;
            let mode = *self.remote.mode.borrow();
            match (mode, self.remote.cursor) {
                (Mode::Down, _) => Err(away()),
                (Mode::Misconfigured, _) => Err(wrong()),
                (_, Cursor::None) => Ok(None),
                (_, Cursor::Kept) => {
                    let last = self.remote.stored().pop();
                    let ahead = std::mem::take(&mut self.remote.shared.lock().ahead);
                    Ok(last.map(|stored| Position {
                        run: stored.run,
                        n: stored.n + ahead,
                    }))
                }
            }
        })
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        let mut shared = self.remote.shared.lock();
        shared.deliveries += 1;
        let struck = shared.strike(batch);
        drop(shared);
        Box::pin(async move {
            match struck {
                Some((fault, stored)) => fault.answer(stored),
                None => self.remote.carry_out(batch).await,
            }
        })
    }
}

impl Storage {
    fn read(&self) -> Vec<Stored> {
        match self {
            Self::Memory(stored) => stored.clone(),
            Self::File(path) => serde_json::Deserializer::from_slice(&whole_lines(path))
                .into_iter()
                .map(|row| row.expect("a line of the journal"))
                .collect(),
        }
    }

    fn append(&mut self, rows: &[Stored]) {
        match self {
            Self::Memory(stored) => stored.extend_from_slice(rows),
            Self::File(path) => {
                let whole = whole_lines(path).len();
                let mut file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&*path)
                    .expect("the journal");
                file.set_len(whole as u64).expect("the journal cut back");
                let lines: String = rows
                    .iter()
                    .map(|row| serde_json::to_string(row).expect("a line") + "\n")
                    .collect();
                file.write_all(lines.as_bytes()).expect("the journal");
            }
        }
    }
}

/// A line that a kill has torn is none, as with any journal; the tear may be within a character.
fn whole_lines(path: &Path) -> Vec<u8> {
    let mut text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.expect("the journal"),
    };
    let whole = text.iter().rposition(|&byte| byte == b'\n');
    text.truncate(whole.map_or(0, |at| at + 1));
    text
}

impl Stored {
    fn of(record: &Record) -> Self {
        let losses = record.losses_before().iter();
        Self {
            run: record.id().run,
            n: record.id().n,
            losses: losses.map(|loss| (loss.count, loss.reason)).collect(),
            opens: record.opens_run().map(|run| Opening {
                publisher: run.publisher(),
                previous: run
                    .previous()
                    .map(|previous| (previous.id, previous.last, previous.end)),
                header: run.to_string(),
            }),
            subject: record.subject().to_owned(),
            text: text(record),
        }
    }

    pub fn lost(&self) -> u64 {
        self.losses.iter().map(|&(count, _)| count).sum()
    }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.bytes().to_vec()).expect("the text of a note")
}

fn away() -> SinkError {
    SinkError::Unavailable("as the test wants it".to_owned())
}

fn wrong() -> SinkError {
    SinkError::Misconfigured("as the test wants it".to_owned())
}
