//! Moving from Agent Assembly's `AuditPublisher` (`aa-runtime` 0.0.1-alpha.8 to 0.0.1-rc.7).
//!
//! Nothing here is code: each row of the tables says what takes the place of an item of theirs, and the example below each
//! table compiles.
//!
//! # In short
//!
//! 1. Read their file: [`AssemblyConfig`] takes an `agent-assembly.toml` as it is.
//! 2. [`start`](crate::start()) with [`JetStreamSink`], or, where there is no `JetStream`, with [`AtMostOnceNatsSink`]; the old
//!    buffer is taken over at the start, if [`Config::import`] names it, or by hand ([`import`], `spillring import`).
//! 3. Replace `publisher.publish(entry).await` by `publisher.publish(entry)`. [`AuditEntry`] reads and writes theirs byte for
//!    byte; who keeps `aa_core::AuditEntry` writes the few lines of [`Event`] for a newtype of it.
//!
//! `aa-runtime` and `aa-storage-sqlite-buffer` themselves cannot stay in the same binary: each links a SQLite of its own,
//! which cargo refuses. `aa-core` can.
//!
//! ```no_run
//! use std::time::Duration;
//! use spillring::{AssemblyConfig, AuditEntry, JetStreamSink};
//!
//! let file = std::fs::read_to_string("agent-assembly.toml")?;
//! let assembly: AssemblyConfig = toml::from_str(&file)?;
//! let sink = JetStreamSink::new(assembly.nats()?)?;
//! let mut config = assembly.config("/var/lib/agent/spill");
//! config.import = std::env::var_os("AA_AUDIT_BUFFER_PATH").map(Into::into);    // where aa-runtime has its buffer
//! let drainer = spillring::start::<AuditEntry>(config, sink)?;
//! let publisher = drainer.publisher();       // Clone + Send + Sync: no Arc needed
//! // …
//! drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What you gain
//!
//! | | `aa-runtime` | spillring |
//! | --- | --- | --- |
//! | `publish` | awaits the sink, and writes to SQLite in the caller while it is down | a push onto a ring: no await, no lock, no allocation, no system call |
//! | NATS | core: nobody acknowledges | `JetStream`, acknowledged; in transactions each entry once and in order |
//! | NATS down at the start | no audit publisher at all | it starts, and spills until NATS is there |
//! | order | a live entry overtakes the backlog | a live entry never overtakes the backlog |
//! | a row that cannot be read | blocks all behind it, for ever | becomes a dead letter |
//! | the cap | 100,000 rows; then the oldest vanish, counted | bytes; then new ones are refused or the oldest evicted, counted and told in the stream |
//! | a full or failing disk | the entry is lost without a word | it stays in the ring, which refuses once it is full, counted by reason |
//! | the end of the process | what was in the client's memory is gone | [`shutdown`](crate::Drainer::shutdown) delivers, spills the rest, and accounts |
//!
//! # `AuditPublisher`
//!
//! | theirs | here |
//! | --- | --- |
//! | `AuditPublisher::new(sink, buffer)` | [`start(config, sink)`](crate::start()), which opens the buffer itself: [`Config::spill_dir`] |
//! | `publish(entry).await` | [`publish(entry)`](crate::Publisher::publish), or [`try_publish`](crate::Publisher::try_publish), which hands back what there is no room for |
//! | `buffered_len()` | [`spilled`](crate::Stats::spilled) of [`stats()`](crate::Publisher::stats); with `in_ring` and `in_memory` all that is not delivered yet |
//! | `flush_pending().await` | not to be called: the drainer replays as soon as the sink is back. Whoever wants to know that all is safe awaits [`flush`](crate::Publisher::flush) |
//! | `spawn_reconnect_flush_loop(interval)` | the same; a sink that cannot be reached is tried again every 500 ms or sooner, one that takes nothing after [`backoff_max`](Config::backoff_max) at the latest |
//! | `enriched_to_audit_entry` (rc.7) | none: it reads their pipeline's own types. What it makes is published as any other entry |
//! | `AA_NATS_CONFIG_PATH` | the host's to read: [`AssemblyConfig`] takes the text of the file |
//! | `AA_AUDIT_BUFFER_PATH`, else `aa-audit-buffer-<agent>.db` in the temporary directory | [`Config::import`] for what is in it, [`Config::spill_dir`] from then on |
//! | `subject_for(&entry)` | [`subject_for`] |
//!
//! ```
//! # use std::time::Duration;
//! # use spillring::{AgentId, AuditEntry, AuditEventType, Config, EmitSink, SessionId, subject_for};
//! # let dir = tempfile::tempdir()?;
//! # let config = Config::new(dir.path());
//! # let sink = EmitSink::entries(|_: AuditEntry| async { Ok(()) });
//! let drainer = spillring::start(config, sink)?;
//! let publisher = drainer.publisher();
//! let (agent, session) = (AgentId::from_bytes([7; 16]), SessionId::from_bytes([8; 16]));
//! let kind = AuditEventType::ToolCallIntercepted;
//! let entry = AuditEntry::new(0, 1, kind, agent, session, "{}".to_owned(), [0; 32]);
//! assert_eq!(subject_for(&entry), "assembly.audit.default.07070707-0707-0707-0707-070707070707");
//! publisher.publish(entry);
//! publisher.flush().wait(Duration::from_secs(10))?;          // or .await
//! let stats = publisher.stats();
//! assert_eq!(stats.in_ring + stats.in_memory + stats.spilled + stats.delivered, 1);
//! # drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # `AuditSink` and `StorageError`
//!
//! A [`Sink`] takes batches, so that a server is asked once for a thousand entries. [`EmitSink`] makes one of any
//! asynchronous function that takes one entry, such as `emit` of an implementation of theirs. What it answers decides more
//! than theirs, where each error meant "later":
//!
//! | theirs | here | then |
//! | --- | --- | --- |
//! | `AuditSink::emit` | [`EmitSink::new`], [`EmitSink::entries`]; [`Sink::deliver`] for whoever can take more at once | |
//! | `StorageError::Backend` | [`SinkError::Unavailable`], or [`SinkError::Disconnected`] where the connection is gone | tried again after a backoff, or every 500 ms |
//! | `StorageError::Serialization` | [`SinkError::Rejected`] | a dead letter; the next entry goes on |
//! | `StorageError::Conflict` | `Ok(())` where it means that the entry is there already, else [`SinkError::Rejected`] | |
//! | `StorageError::NotFound` | [`SinkError::Misconfigured`]: a table or bucket is missing | tried again slowly, told loudly |
//! | `Result<T>` of the storage traits | each call has its own error, such as [`StartError`](crate::StartError) and [`SpillError`](crate::SpillError) | |
//!
//! ```
//! # use std::sync::Arc;
//! use spillring::{AuditEntry, EmitSink, SinkError};
//!
//! # enum StorageError { NotFound(String), Backend(String), Serialization(String), Conflict(String) }
//! # struct Postgres;
//! # impl Postgres { async fn emit(&self, _: AuditEntry) -> Result<(), StorageError> { Ok(()) } }
//! # let postgres = Arc::new(Postgres);
//! let sink = EmitSink::entries(move |entry: AuditEntry| {    // or aa_core's: whatever reads the JSON
//!     let postgres = Arc::clone(&postgres);
//!     async move {
//!         postgres.emit(entry).await.or_else(|error| match error {
//!             StorageError::Conflict(_) => Ok(()),
//!             StorageError::Backend(why) => Err(SinkError::Unavailable(why)),
//!             StorageError::Serialization(why) => Err(SinkError::Rejected(why)),
//!             StorageError::NotFound(why) => Err(SinkError::Misconfigured(why)),
//!             # #[allow(unreachable_patterns)]
//!             _ => Err(SinkError::Unavailable("later".to_owned())), // theirs may grow
//!         })
//!     }
//! });
//! # drop(sink);
//! ```
//!
//! # `EventBuffer` and `SqliteBufferConfig`
//!
//! The spill belongs to the publisher, so that there is one order; whoever looks at it does so from outside.
//!
//! | theirs | here |
//! | --- | --- |
//! | `EventBuffer::new(path, cap)`, `from_config` | [`Config::spill_dir`], a directory instead of a file: lock, identity and database |
//! | `cap()`, in rows | [`Config::spill_bytes_max`], in bytes, and [`Config::when_spill_full`] |
//! | `journal_mode()`, `synchronous()` | always WAL; [`Config::spill_durability`]: `ProcessCrash` is their `synchronous = NORMAL`, `PowerLoss`, the default, is `FULL` |
//! | `len()`, `is_empty()` | [`spilled`](crate::Stats::spilled) of the stats, or [`status(dir)`](crate::status()) from another process |
//! | `enqueue(&entry)` | [`publish`](crate::Publisher::publish): it is spilled when the sink does not take it |
//! | `drain_and_send(&sink)` | the drainer's own work; without a publisher, [`export`](crate::export()) writes the backlog as JSON lines |
//! | `SqliteBufferConfig` | [`AssemblyConfig::config`] |
//! | `DEFAULT_CAP`, 10,000 rows | 4 GiB, and never more than half of what the disk has free |
//! | `default_path()`, `agent-assembly/buffer.db` in the user's data directory | none: each publisher is given a directory of its own; a default would be shared by two |
//! | a file with a backlog | [`import`], `spillring import FILE DIR`, or [`Config::import`] |
//!
//! ```no_run
//! # use spillring::{Config, SpillDurability, WhenSpillFull};
//! let done = spillring::import("/var/lib/agent-assembly/buffer.db", "/var/lib/agent/spill")?;
//! println!("{} entries imported", done.entries);
//! let mut config = Config::new("/var/lib/agent/spill");
//! config.spill_bytes_max = 100 << 20;
//! config.when_spill_full = WhenSpillFull::EvictOldest;       // as theirs, but announced
//! config.spill_durability = SpillDurability::ProcessCrash;   // as theirs
//! println!("{} entries wait", spillring::status("/var/lib/agent/spill".as_ref())?.stats.spilled);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # `NatsAuditSink` and `NatsConfig`
//!
//! | theirs | here |
//! | --- | --- |
//! | `NatsAuditSink::connect(&config).await` | [`JetStreamSink::new(config)`](JetStreamSink::new): it connects on its own thread, when it is first used, and again when it must |
//! | `NatsAuditSink::new(client)` | none: a client that reconnects by itself drops what it was writing. As they publish, without `JetStream`: [`AtMostOnceNatsSink`] |
//! | `is_connected()` | none: a connection that is up may take nothing. What counts is [`oldest_entry_age`](crate::Stats::oldest_entry_age), and the [`state`](crate::Stats::state), which is `Spilling` once something waits for a sink that is away |
//! | `NatsConfig`, `NatsTlsConfig` | [`NatsConfig`], [`NatsTls`]; a certificate without its key is an error instead of being passed over |
//! | `NatsConfig::from_toml_str` | `toml::from_str::<`[`AssemblyConfig`]`>(text)?.`[`nats()`](AssemblyConfig::nats) |
//! | `DEFAULT_URL` | the same, `nats://127.0.0.1:4222` |
//! | `DEFAULT_MAX_INFLIGHT`, `max_inflight` | [`Config::batch_max`], 999: one transaction is under way at a time |
//! | `connect_options()`, `connect()` | none: the connection is the sink's |
//!
//! ```
//! # use spillring::{AssemblyConfig, JetStreamSink, NatsConfig};
//! let text = "[gateway.nats]\nurl = \"nats://nats.example.org:4222\"\nmax_inflight = 256";
//! let assembly: AssemblyConfig = toml::from_str(text)?;
//! assert_eq!(assembly.config("spill").batch_max, 256);
//! let sink = JetStreamSink::new(assembly.nats()?)?;          // connects when it is first used
//!
//! let mut nats = NatsConfig::default();                      // or without their file
//! nats.urls = vec!["tls://nats.example.org".into()];
//! nats.tls.ca = Some("/etc/aa/ca.pem".into());
//! # drop((sink, nats));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Metrics
//!
//! | theirs | here |
//! | --- | --- |
//! | `aa_audit_published_total` | the same: taken by the sink without having been spilled |
//! | `aa_audit_publish_errors_total` | the same, once a failed delivery instead of once an entry |
//! | `aa_audit_buffered_total`, `aa_events_buffered` | the same: spilled |
//! | `aa_audit_flushed_total`, `aa_events_flushed_total` | the same: replayed from the spill |
//! | `aa_events_dropped_total` | the same: evicted at the cap. What the ring refuses is in `aa_audit_dropped_total{reason}` |
//!
//! The names are plain text: there are no constants for them such as `METRIC_PUBLISHED`. The README lists those that theirs
//! has not.

#[cfg(doc)]
use crate::{
    AssemblyConfig, AtMostOnceNatsSink, AuditEntry, Config, EmitSink, Event, JetStreamSink,
    NatsConfig, NatsTls, Sink, SinkError, import, subject_for,
};
