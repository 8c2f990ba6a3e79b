//! Publish audit entries from any thread in tens of nanoseconds; none is lost in silence.
//!
//! [`Publisher::publish`] pushes onto a bounded lock-free ring and returns, whatever the network and the disk are
//! doing. One drainer moves the entries, in order, to a [`Sink`], such as NATS JetStream, and to a local SQLite spill
//! whenever the sink does not take them fast enough; the backlog is replayed, in order, when it does.
//!
//! ```
//! use std::time::Duration;
//! use spillring::{AuditEntry, Config, JsonLinesSink};
//! use spillring::assembly::{AgentId, AuditEventType, SessionId};
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
//!             let session = SessionId::from_bytes([agent; 16]);
//!             let agent = AgentId::from_bytes([agent; 16]);
//!             let text = r#"{"tool":"bash"}"#.to_owned();
//!             let kind = AuditEventType::ToolCallIntercepted;
//!             let entry = AuditEntry::new(0, 1, kind, agent, session, text, [0; 32]);
//!             publisher.publish(entry);
//!         });
//!     }
//! });
//!
//! let limit = Duration::from_secs(5);
//! let account = drainer.shutdown(limit).wait(Duration::MAX)?;
//! assert_eq!((account.accepted, account.delivered), (4, 4));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With NATS JetStream (feature `nats`, on by default), and with a ring that survives the process:
//!
//! ```no_run
//! # #[cfg(feature = "nats")] {
//! use std::time::Duration;
//! use spillring::{AuditEntry, Config, JetStreamSink, NatsConfig};
//!
//! let mut nats = NatsConfig::from_env()?;               // NATS_URL, NATS_CREDS, …
//! nats.stream = "AUDIT".into();                         // made if it is missing
//! let sink = JetStreamSink::new(nats)?;                 // connects at its first use
//! let mut config = Config::new("/var/lib/agent/spill");
//! config.ring_dir = Some("/dev/shm".into());            // entries survive SIGKILL
//! let drainer = spillring::start_durable::<AuditEntry>(config, sink)?;
//!
//! let publisher = drainer.publisher();                  // clone it for each thread
//! publisher.flush().wait(Duration::from_secs(5))?;      // acknowledged or on disk
//! publisher.delivered().wait(Duration::from_secs(60))?; // acknowledged; or .await?
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to publish | use |
//! | --- | --- |
//! | entries of Agent Assembly | [`AuditEntry`] |
//! | a subject and bytes | [`RawEntry`] |
//! | a type of your own | [`Event`]; [`Durable`] for a ring in a file |
//! | log lines of `tracing` | `LogWriter`, with the feature `tracing` |
//!
//! | to deliver to | use |
//! | --- | --- |
//! | NATS JetStream | `JetStreamSink`: once and in order, on streams with batches |
//! | NATS without JetStream | `AtMostOnceNatsSink` |
//! | a file | [`JsonLinesSink`] |
//! | an asynchronous function | [`EmitSink`](sink::EmitSink) |
//! | something else | [`Sink`], checked by [`conformance`](sink::conformance) |
//!
//! # Features
//!
//! | feature | |
//! | --- | --- |
//! | `nats` (default) | the sinks for NATS |
//! | `assembly` | the settings file of Agent Assembly, and the module `moving` |
//! | `tracing` | `LogWriter`: log lines as entries |
//! | `encryption` | `Config::spill_key`: entries are encrypted on disk |
//! | `cli` | the binary `spillring`; no API |
//!
//! # Metrics
//!
//! About once a second the publisher reports to the recorder of the [`metrics`](https://docs.rs/metrics) facade that
//! the host has installed. The four to watch; [operating.md] lists all, with alert rules:
//!
//! | name | what |
//! | --- | --- |
//! | `aa_audit_dropped_total{reason}` | entries lost |
//! | `aa_audit_state{state}` | 1 for the present [`State`] |
//! | `aa_audit_oldest_entry_age_seconds` | how long the oldest entry has waited for the sink |
//! | `aa_audit_spill_seconds_until_full` | time until the spill is at its cap |
//!
//! Any recorder will do, installed before or after the start. `metrics-exporter-prometheus`, for example:
//!
//! ```
//! # #[cfg(feature = "cli")] {
//! use metrics_exporter_prometheus::PrometheusBuilder;
//!
//! let prometheus = PrometheusBuilder::new().install_recorder()?;
//! let text = prometheus.render(); // answers GET /metrics
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Publisher::stats`] has the same counts without a recorder.
//!
//! # Embedding
//!
//! - Starting works with and without a Tokio runtime; three threads of spillring's own are started. Tickets can be
//!   awaited under any runtime.
//! - In a service, stop the server first, then the publisher. With axum, await
//!   `axum::serve(listener, app).with_graceful_shutdown(sigterm)`, then `drainer.shutdown(Duration::from_secs(5))`. Give
//!   the service manager longer than that limit: spilling comes after it.
//! - Before `process::exit`, and where handles are in a `static` or forgotten, nothing is dropped: call
//!   [`shutdown`](Drainer::shutdown) and wait for it.
//! - A publisher cannot be used across a fork: the child has no drainer.
//! - In unit tests, [`testing::start`] is a publisher that touches no file, and [`MemorySink`](testing::MemorySink)
//!   shows what it got.
//! - Log lines go through `tracing` with the target `spillring`. `LogWriter` leaves them out; leave them out in a layer
//!   of your own that turns log lines into audit entries.
//! - A panic in the host's code (log subscriber, metrics recorder, a task's waker, an entry's `encode` or `Drop`) stops
//!   nothing here.
//! - Relative paths are fixed at the start: the host may change its directory.
//! - A program can link one SQLite only. Beside other users of it, cargo takes whichever rusqlite from 0.30 to 0.43
//!   fits: sqlx 0.7 to 0.9, diesel 2.1 to 2.3, sea-orm 1 and 2 and tokio-rusqlite 0.5 to 0.7 were tried. If cargo
//!   refuses, the other crate wants an older or newer `libsqlite3-sys` than 0.27 to 0.40.
//! - A host that enables both the `ring` and the `aws-lc-rs` feature of rustls must install a default provider for TLS.
//!
//! # The path of an entry
//!
//! ```text
//!  any thread             drainer                      workers
//! ┌─────────┐push┌──────┐pop┌───────────────┐batch┌──────────────┐
//! │publish()│───▶│ ring │──▶│ numbers,      │────▶│ sink worker  │ NATS, a file, …
//! └─────────┘    └──────┘   │ order,        │◀────└──────────────┘
//!                           │ decisions     │order┌──────────────┐
//!                           │ (memory only) │────▶│ spill worker │ SQLite: backlog
//!                           └───────────────┘◀────└──────────────┘
//! ```
//!
//! [architecture.md] explains the threads, and the lives of an entry, a segment and a run; [guarantees.md] what happens
//! to entries in each fault, and what survives it.
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
//!    [`pending_max`](Config::pending_max); what the disk or a spill at its cap does not take stays in memory, however
//!    long. Entries are refused only when publishers outrun the disk for longer than the ring is deep in entries or
//!    bytes, when the disk fails or the spill is at its cap and does not [evict](config::WhenSpillFull::EvictOldest),
//!    or when one is as heavy as the whole ring.
//! 6. **Nothing leaves without a receipt**: the ring into a batch, the spill, or the count of `encode_error`; a batch
//!    by acknowledgement, into the spill or the dead letters; the spill by acknowledgement, into the dead letters, or
//!    by eviction at the cap, which notes the losses before rows go and never takes what the sink may have; the
//!    dead letters by an operator, who removes them or puts them back ([`DeadLetters`](operate::DeadLetters)). What can
//!    be put nowhere at the end is reported as `in_ring` and `in_memory`.
//! 7. **Conservation**, per run, whenever [`Stats`] are read:
//!    `inherited + accepted = delivered + in_ring + in_memory + spilled + dead_lettered + discarded`, and
//!    `attempted = accepted + returned + lost`. [`Stats`] has all the terms; what was evicted is among the
//!    `discarded`.
//! 8. **No silent loss.** Each loss has a reason, is counted, and is announced in the stream itself: every entry has a
//!    number in its run, and an entry says how many numbers directly before it are missing. Losses are rows of the
//!    spill like entries, coalesced, and never evicted; nor is the newest entry of a run, which announces the others.
//!    Losses after the last entry of a run are announced by the next run, which says the last number of a run that
//!    ended clean, or that it was killed. What is refused after the end is counted only.
//!
//! # Tools for a spill
//!
//! A damaged spill stops no start: what can be read is delivered, what is missing is announced. Of a publisher that is
//! not running, [`status`](operate::status()) says whether its spill is healthy, and [`export`](operate::export())
//! writes its backlog as JSON lines. Of one that is running, [`running_status`](operate::running_status()) reads its
//! last report. None of them changes anything.
//!
//! [`import`](operate::import()) takes over the backlog of Agent Assembly's buffer; the module `moving` says what else
//! takes the place of what.
//!
//! [architecture.md]: https://docs.rs/crate/spillring/latest/source/docs/architecture.md
//! [guarantees.md]: https://docs.rs/crate/spillring/latest/source/docs/guarantees.md
//! [operating.md]: https://docs.rs/crate/spillring/latest/source/docs/operating.md

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "spillring needs a Unix system: it relies on Unix file locks, permissions and fsync"
);

mod change;
mod clock;
pub mod config;
mod control;
mod dead_letters;
mod drainer;
pub mod durable;
mod entry;
pub mod error;
pub mod event;
mod export;
mod file_ring;
mod host;
mod ids;
mod import;
mod ingress;
#[cfg(feature = "tracing")]
pub mod log_writer;
mod metrics;
#[cfg(feature = "assembly")]
pub mod moving;
mod own_thread;
mod policy;
mod publisher;
mod raw_entry;
mod replace;
mod ring;
mod ring_file;
pub mod seal;
#[cfg(test)]
mod simulation;
pub mod sink;
mod sink_worker;
mod spill;
mod start;
pub mod stats;
mod status;
mod sync;
pub mod testing;
mod ticket;
mod worker;

/// The code blocks of README.md and of the docs are compiled as tests.
#[cfg(all(doctest, feature = "nats"))]
mod readme {
    #![doc = include_str!("../README.md")]
}
#[cfg(all(doctest, feature = "nats"))]
mod ring_dir_page {
    #![doc = include_str!("../docs/ring_dir.md")]
}

/// Entries and settings of Agent Assembly.
pub mod assembly {
    #[cfg(feature = "assembly")]
    pub use crate::config::assembly::AssemblyConfig;
    pub use crate::entry::{
        AgentId, AuditEntry, AuditEventType, AuditLog, AuditLogError, ChainVerifier,
        CredentialFinding, CredentialKind, Lineage, Redaction, SessionId, subject_for, subject_of,
    };
}

/// NATS: the sinks and their settings.
#[cfg(feature = "nats")]
pub mod nats {
    pub use crate::config::nats::{
        DiscoveredServers, NatsConfig, NatsTls, NatsUrl, Secret, StreamCare, StreamStorage,
        TlsHandshake,
    };
    pub use crate::sink::core_nats::AtMostOnceNatsSink;
    pub use crate::sink::jetstream::JetStreamSink;
}

/// Tools for operators of a spill directory: its state, its dead letters, its backlog as a file.
pub mod operate {
    pub use crate::dead_letters::{DeadLetters, Selection};
    pub use crate::export::{Exported, export};
    pub use crate::import::import;
    pub use crate::spill::{DeadLetter, Imported};
    pub use crate::status::{running_status, status};
    #[cfg(feature = "encryption")]
    pub use crate::{export::export_with_key, import::import_with_key, status::status_with_key};
}

pub use config::Config;
pub use durable::Durable;
pub use entry::AuditEntry;
pub use event::Event;
#[cfg(feature = "nats")]
pub use nats::{JetStreamSink, NatsConfig};
pub use publisher::Publisher;
pub use raw_entry::RawEntry;
pub use sink::{JsonLinesSink, Sink};
pub use start::{Drainer, start, start_durable};
pub use stats::{State, Stats};
pub use ticket::Ticket;
