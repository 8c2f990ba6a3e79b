//! What a log line costs the thread that logs, through spillring's `LogWriter` and through tracing-appender, lossy and
//! not. `nothing` discards: the floor.
//!
//! `cargo bench --manifest-path benches/versus/channels/Cargo.toml --bench tracing`, with `-- line`, `event` or
//! `stalled` for a part, and `-- --test` for a short run.
//!
//! - line: the writer is given a ready line, the JSON of an entry. Copying it is part of the call, making it is not.
//! - event: `tracing::info!` with an entry's payload, through `fmt().json()`. Entering the subscriber is part of the
//!   call.
//! - stalled: events, one per 10 µs, while the file hangs for the first three seconds.
//!
//! Each queue holds 65,536 lines. Each writes to a file of its own in the build's folder; spillring's sink syncs that,
//! and keeps its ledger.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]
#![allow(
    dead_code,
    reason = "a part of the rooms is for other parts of the tail bench"
)]

#[path = "../../tail/figure.rs"]
mod figure;
#[path = "../../tail/lane.rs"]
mod lane;
#[path = "../../tail/machine.rs"]
mod machine;
#[path = "../../tail/plot.rs"]
mod plot;
#[path = "../../tail/rounds.rs"]
mod rounds;
#[path = "../../support/mod.rs"]
mod support;
#[path = "../../tail/times.rs"]
mod times;

use std::any::Any;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use figure::{Part, Row};
use lane::{CAPACITY, LIMIT, Lane, Receipts, Rig, Role};
use machine::{Machine, Threads};
use quanta::Clock;
use rounds::{Context, order};
use spillring::error::SinkError;
use spillring::event::{Batch, Position, PublisherId};
use spillring::log_writer::LogWriter;
use spillring::sink::{BoxFuture, Delivery};
use spillring::{AuditEntry, JsonLinesSink, RawEntry, Sink};
use support::args::Args;
use tempfile::TempDir;
use times::{Sender, Shape, Times};
use tracing::Dispatch;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::fmt::MakeWriter;

const PACE: Duration = Duration::from_micros(10);
/// How long the file hangs, and how many lines are logged meanwhile and after.
const STALL: Duration = Duration::from_secs(3);
const STALLED_LINES: usize = 400_000;

fn main() {
    let context = Context::new(Clock::new(), Args::read());
    let machine = Machine::read(&context.clock);
    machine.print();
    let paces = [Shape::Saturated, Shape::Paced(PACE)];
    for (part, what) in [("line", What::Line), ("event", What::Event)] {
        if context.args.wants(part) {
            measure(part, what, &paces, &context, &machine);
        }
    }
    if context.args.wants("stalled") {
        stalled(&context, &machine);
    }
}

fn measure(part: &'static str, what: What, shapes: &[Shape], context: &Context, machine: &Machine) {
    let parties = parties(what);
    let (mut lanes, lost): (Vec<_>, Vec<_>) = parties.into_iter().map(Party::parts).unzip();
    let mut part = Part::new(part, machine);
    context.warm_up(&mut lanes);
    for shape in shapes {
        let rows = context.blocks(&mut lanes, *shape);
        part.figure(&shape.title(), &shape.slug(), &rows);
    }
    assert!(lost.iter().all(|lost| lost() == 0), "a queue was full");
    part.finish();
}

/// The file hangs, then comes back.
fn stalled(context: &Context, machine: &Machine) {
    let count = context.args.choose(STALLED_LINES, 2_000);
    let stall = context.args.choose(STALL, Duration::from_millis(10));
    let mut parties = parties(What::Event);
    let mut part = Part::new("stalled", machine);
    let mut rows: Vec<_> = parties
        .iter()
        .map(|party| Row::new(party.lane.name(), party.lane.role()))
        .collect();
    let (shape, mut times) = (Shape::Paced(PACE), Times::default());
    for turn in order(parties.len()) {
        let party = &mut parties[turn];
        if let Some(receipts) = party.lane.receipts() {
            receipts.clear();
        }
        party.gate.shut();
        let gate = Arc::clone(&party.gate);
        let opens = thread::spawn(move || {
            thread::sleep(stall);
            gate.open();
        });
        let entries = context.entries(count);
        party.lane.run(&context.clock, shape, entries, &mut times);
        let lost = (party.lost)();
        opens.join().expect("it only sleeps");
        let kept = count - usize::try_from(lost).expect("no more than were logged");
        party.lane.settle(kept);
        rows[turn].add(&context.clock, shape, &times, None);
        rows[turn].refused = Some(lost);
    }
    let title = format!("{count} lines, one per {PACE:?}, while the file hangs for {stall:?}");
    part.figure(&title, "10us", &rows);
    part.finish();
}

/// What is timed.
#[derive(Debug, Clone, Copy)]
enum What {
    Line,
    Event,
}

type Lost = Box<dyn Fn() -> u64>;

/// A lane, how many of its lines were lost, and what makes its file hang.
struct Party {
    lane: Box<dyn Lane>,
    lost: Lost,
    gate: Arc<Gate>,
}

impl Party {
    fn parts(self) -> (Box<dyn Lane>, Lost) {
        (self.lane, self.lost)
    }
}

fn parties(what: What) -> Vec<Party> {
    let nothing = Ends {
        role: Role::Floor,
        ..Ends::default()
    };
    vec![
        Party {
            lane: lane(what, "nothing", io::sink, nothing),
            lost: Box::new(|| 0),
            gate: Arc::default(),
        },
        ours(what),
        appender(what, "tracing-appender, lossy", "appender-lossy", true),
        appender(what, "tracing-appender, not lossy", "appender-waits", false),
    ]
}

fn ours(what: What) -> Party {
    let gate = Arc::<Gate>::default();
    let output = directory();
    let sink = Gated {
        inner: JsonLinesSink::new(output.path().join("app.jsonl")),
        gate: Arc::clone(&gate),
    };
    let (drainer, spill) = support::start::<RawEntry>(sink);
    let [writer, flushed, lost] = [(); 3].map(|()| drainer.publisher());
    let ends = Ends {
        role: Role::Ours,
        threads: Threads::Named("spillring-"),
        settle: Box::new(move || flushed.flush().wait(LIMIT).expect("a flush")),
        keep: Box::new((drainer, spill, output)),
        receipts: None,
    };
    Party {
        lane: lane(what, "spillring", LogWriter::new(writer, "acme.app"), ends),
        lost: Box::new(move || lost.stats().lost.total()),
        gate,
    }
}

fn appender(what: What, name: &'static str, thread: &'static str, lossy: bool) -> Party {
    let (gate, receipts, dir) = (Arc::<Gate>::default(), Receipts::new(), directory());
    let file = Hanging {
        file: File::create(dir.path().join("app.jsonl")).expect("a file"),
        gate: Arc::clone(&gate),
        receipts: Arc::clone(&receipts),
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(lossy)
        .buffered_lines_limit(CAPACITY)
        .thread_name(thread)
        .finish(file);
    let lost = writer.error_counter();
    let ends = Ends {
        threads: Threads::Named(thread),
        receipts: Some(receipts),
        keep: Box::new((guard, dir)),
        ..Ends::default()
    };
    Party {
        lane: lane(what, name, writer, ends),
        lost: Box::new(move || lost.dropped_lines() as u64),
        gate,
    }
}

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// What a lane has beside its sender.
struct Ends {
    role: Role,
    threads: Threads,
    receipts: Option<Arc<Receipts>>,
    settle: Box<dyn FnMut()>,
    keep: Box<dyn Any>,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            role: Role::Other,
            threads: Threads::None,
            receipts: None,
            settle: Box::new(|| {}),
            keep: Box::new(()),
        }
    }
}

fn lane<W>(what: What, name: &'static str, writer: W, ends: Ends) -> Box<dyn Lane>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    fn rig<S: Sender + 'static>(name: &'static str, sender: S, ends: Ends) -> Box<dyn Lane> {
        Box::new(Rig {
            receipts: ends.receipts,
            threads: ends.threads,
            settle: ends.settle,
            keep: ends.keep,
            ..Rig::alone(name, ends.role, sender)
        })
    }
    match what {
        What::Line => rig(name, Line(writer), ends),
        What::Event => {
            let subscriber = tracing_subscriber::fmt().json().with_writer(writer);
            rig(name, Logs(subscriber.into()), ends)
        }
    }
}

/// Writes ready lines.
struct Line<W>(W);

impl<W: for<'w> MakeWriter<'w>> Sender for Line<W> {
    type Item = Vec<u8>;

    fn prepare(entry: AuditEntry) -> Vec<u8> {
        let mut line = serde_json::to_vec(&entry).expect("an entry has JSON");
        line.push(b'\n');
        line
    }

    #[inline]
    fn send(&mut self, line: Vec<u8>) -> Option<Vec<u8>> {
        let mut writer = self.0.make_writer();
        writer.write_all(&line).expect("it never fails");
        drop(writer);
        Some(line)
    }
}

/// Logs events.
struct Logs(Dispatch);

impl Sender for Logs {
    type Item = AuditEntry;

    fn prepare(entry: AuditEntry) -> AuditEntry {
        entry
    }

    #[inline]
    fn send(&mut self, entry: AuditEntry) -> Option<AuditEntry> {
        tracing::dispatcher::with_default(&self.0, || {
            tracing::info!(seq = entry.seq(), payload = entry.payload(), "tool call");
        });
        Some(entry)
    }
}

/// Blocks writers while it is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn shut(&self) {
        *self.shut.lock().expect("nobody panics with it") = true;
    }

    fn open(&self) {
        *self.shut.lock().expect("nobody panics with it") = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(shut, |shut| *shut));
    }
}

/// The file of tracing-appender.
struct Hanging {
    file: File,
    gate: Arc<Gate>,
    receipts: Arc<Receipts>,
}

impl Write for Hanging {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.gate.pass();
        self.file.write_all(line)?;
        self.receipts.stamp(1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The file of spillring.
struct Gated {
    inner: JsonLinesSink,
    gate: Arc<Gate>,
}

impl Sink for Gated {
    fn position<'a>(
        &'a mut self,
        of: &'a PublisherId,
    ) -> BoxFuture<'a, Result<Option<Position>, SinkError>> {
        self.inner.position(of)
    }

    fn deliver<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Delivery> {
        self.gate.pass();
        self.inner.deliver(batch)
    }
}
