//! Publish audit entries from any thread in tens of nanoseconds; lose none.
//!
//! [`Publisher::publish`] pushes onto a bounded lock-free ring and returns, whatever the network and the disk are
//! doing. One drainer moves the entries, in order, to a [`Sink`], such as NATS JetStream, and to a local SQLite spill
//! whenever the sink does not take them fast enough; the backlog is replayed, in order, when it does.
//!
//! ```
//! use std::time::Duration;
//! use spillring::{AgentId, AuditEntry, AuditEventType, Config, JsonLinesSink, SessionId};
//!
//! let dir = tempfile::tempdir()?;
//! let sink = JsonLinesSink::new(dir.path().join("audit.jsonl"));
//! let drainer = spillring::start(Config::new(dir.path().join("spill")), sink)?;
//! let publisher = drainer.publisher();
//!
//! std::thread::scope(|scope| {
//!     for agent in 1..=4_u8 {
//!         let publisher = publisher.clone();
//!         scope.spawn(move || {
//!             let (agent, session) = (AgentId::from_bytes([agent; 16]), SessionId::from_bytes([agent; 16]));
//!             let payload = r#"{"tool":"bash"}"#.to_owned();
//!             let kind = AuditEventType::ToolCallIntercepted;
//!             publisher.publish(AuditEntry::new(0, 1, kind, agent, session, payload, [0; 32]));
//!         });
//!     }
//! });
//!
//! let account = drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
//! assert_eq!((account.accepted, account.delivered), (4, 4));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The life of an entry
//!
//! ```text
//!  any thread               drainer                           workers
//! ┌───────────┐ push ┌──────┐ pop ┌──────────────────┐ batch ┌─────────────┐
//! │ publish() │─────▶│ ring │────▶│ numbers, order,  │──────▶│ sink worker │ JetStream, JSON lines, …
//! └───────────┘      └──────┘     │ decisions        │◀──────└─────────────┘
//!                                 │ (memory only)    │ order ┌─────────────┐
//!                                 │                  │──────▶│ spill worker│ SQLite: holds the backlog
//!                                 └──────────────────┘◀──────└─────────────┘
//! ```
//!
//! `docs/architecture.md` in the repository explains the threads, and the lives of an entry, a segment and a run.
//!
//! # Invariants
//!
//! 1. **publish waits for nobody.** No await, no lock, no allocation, no system call; it retries only because another
//!    publisher or the drainer succeeded, and a stopped thread cannot hold it up. (Dropping a refused entry frees its
//!    memory.) A publisher that is stopped inside the call holds back the entries published after it, in the ring,
//!    until it runs again, but neither flushes of earlier entries, nor the sink, nor the disk.
//! 2. **One owner.** The ring's read end and the order belong to the drainer, which touches no file and no socket; the
//!    sink belongs to one worker thread, everything on disk to another. A frozen disk costs a healthy sink nothing, a
//!    frozen sink costs the disk nothing.
//! 3. **One order.** The order of popping is the order of delivery, across outages, replays and restarts. A live entry
//!    never overtakes the backlog.
//! 4. **The backlog is a suffix.** An entry is written to the spill only when every older undelivered one is. A kill
//!    then loses only the newest entries, never a middle.
//! 5. **A stalled sink costs nothing.** The ring is emptied into the spill when it is past
//!    [`ring_high_water`](Config::ring_high_water), or when an entry has been in memory only for
//!    [`pending_max`](Config::pending_max); entries that the disk or a spill at its cap does not take stay in memory,
//!    however long. Entries are refused only when publishers outrun the disk for longer than the ring is deep in
//!    entries or bytes, when the disk fails or the spill is at its cap and does not
//!    [evict](WhenSpillFull::EvictOldest), or when one is as heavy as the whole ring.
//! 6. **Nothing leaves without a receipt**: the ring into a batch, the spill, or the count of `encode_error`; a batch
//!    by acknowledgement, into the spill or the dead letters; the spill by acknowledgement, into the dead letters, or
//!    by eviction at the cap, which records a loss in the same transaction and never takes what the sink may have; the
//!    dead letters by an operator, who removes them or puts them back ([`DeadLetters`]). Entries that nothing takes at
//!    the end are reported as `in_ring` and `in_memory`.
//! 7. **Conservation**, per run, whenever [`Stats`] are read:
//!    `inherited + accepted = delivered + in_ring + in_memory + spilled + dead_lettered + discarded`, and
//!    `attempted = accepted + returned + lost`. [`Stats`] has all the terms; what was evicted is among the
//!    `discarded`.
//! 8. **No silent loss.** Each loss has a reason, is counted, and is announced in the stream itself: every entry has a
//!    number in its run, and announces how many numbers directly before it are missing. Losses are rows of the spill
//!    like entries, coalesced, and never evicted; nor is the newest entry of a run, which announces the others. Losses
//!    after the last entry of a run are announced by the next run: it names the last number of a run that ended clean,
//!    and reports one that was killed. Entries refused after the end are only counted.
//!
//! # What is lost when
//!
//! | | |
//! | --- | --- |
//! | the sink is away | nothing: the spill takes over before the ring is full |
//! | this process is killed, with [`Config::ring_dir`] | nothing that [`publish`](Publisher::publish) returned for |
//! | this process is killed, without | what was in memory only: always the newest, and at most `pending_max` old as long as the disk takes what the sink does not |
//! | the power fails | the same with [`SpillDurability::PowerLoss`] |
//! | the ring is full | what [`publish`](Publisher::publish) drops, counted and announced; [`try_publish`](Publisher::try_publish) hands it back |
//! | the disk is full, or fails, or files of the spill vanish | nothing that is on disk, or in memory while the process lives |
//! | files of the spill are damaged, or an old copy is put back | what can no longer be read, counted and announced |
//! | the disk fails, or the spill is at its cap, as well | the ring fills, and then as above; a kill loses what is in ring and memory, however old |
//! | the spill is at its cap, with [`WhenSpillFull::EvictOldest`] | the oldest of the backlog, counted and announced; as in the line above while the sink may have all there is |
//!
//! # Tools for a spill
//!
//! A damaged spill stops no start: what can be read is delivered, what is missing is announced. If the publisher is
//! not running, [`status`] reports whether its spill is healthy, and [`export`] writes its backlog as JSON lines. If
//! it is running, [`running_status`] reads its last report. None of them changes anything.
//!
//! [`import`] imports the backlog of Agent Assembly's buffer; the module `moving` maps the rest of its API to
//! spillring's.
//!
//! A publisher cannot be used across a fork: the child has no drainer.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "spillring needs a Unix system: it relies on Unix file locks, permissions and fsync"
);

mod config;
mod control;
mod dead_letters;
mod drainer;
mod durable;
mod entry;
mod error;
mod event;
mod export;
mod file_ring;
mod host;
mod import;
mod ingress;
#[cfg(feature = "tracing")]
mod log_writer;
mod metrics;
#[cfg(feature = "nats")]
pub mod moving;
mod own_thread;
mod policy;
mod publisher;
mod raw_entry;
mod ring;
mod ring_file;
pub mod seal;
#[cfg(test)]
mod simulation;
mod sink;
mod sink_worker;
mod spill;
mod start;
mod stats;
mod status;
mod sync;
pub mod testing;
mod ticket;
mod worker;

pub use config::*;
pub use dead_letters::{DeadLetter, DeadLetters, Selection};
pub use durable::{Durable, Pack, Packer, Unpacker};
pub use entry::*;
pub use error::*;
pub use event::*;
pub use export::{Exported, export};
pub use import::{Imported, import};
#[cfg(feature = "tracing")]
pub use log_writer::{LogGuard, LogLine, LogWriter};
pub use publisher::Publisher;
pub use raw_entry::RawEntry;
#[cfg(feature = "nats")]
pub use sink::address::SinkAddress;
#[cfg(feature = "nats")]
pub use sink::core_nats::AtMostOnceNatsSink;
pub use sink::emit::EmitSink;
#[cfg(feature = "nats")]
pub use sink::jetstream::JetStreamSink;
pub use sink::json_lines::JsonLinesSink;
pub use sink::{BoxFuture, Delivery, Sink, conformance};
pub use start::{Drainer, start, start_durable};
pub use stats::*;
pub use status::{running_status, status};
pub use ticket::Ticket;
