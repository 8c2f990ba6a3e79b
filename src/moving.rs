//! Moving from Agent Assembly's `AuditPublisher` (`aa-runtime` 0.0.1-alpha.8 to 0.0.1-rc.7).
//!
//! This is documentation, not code: each row of the tables maps an item of theirs to its replacement, and the example
//! after each table compiles.
//!
//! # In short
//!
//! 1. Read their file: [`AssemblyConfig`] takes an `agent-assembly.toml` as it is.
//! 2. [`start`](crate::start()) with [`JetStreamSink`], or, without `JetStream`, with [`AtMostOnceNatsSink`]. The old
//!    buffer is imported at the start, if [`Config::import`] names it, or by hand ([`import`], `spillring import`).
//!    `JetStreamSink` needs more permissions than to publish on `assembly.audit.>`: the README lists them, and so does
//!    the error.
//! 3. Replace `publisher.publish(entry).await` by `publisher.publish(entry)`.
//!
//! ```no_run
//! use std::path::PathBuf;
//! use std::time::Duration;
//! use spillring::{AssemblyConfig, AuditEntry, JetStreamSink};
//!
//! // As aa-runtime's environment has it, where an empty variable is none.
//! let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
//! let file = set("AA_NATS_CONFIG_PATH").ok_or("without it aa-runtime has no audit publisher")?;
//! let agent = std::env::var("AA_AGENT_ID")?;
//! let buffer = std::env::temp_dir().join(format!("aa-audit-buffer-{agent}.db"));
//!
//! let assembly = AssemblyConfig::from_toml_str(&std::fs::read_to_string(file)?)?;
//! let sink = JetStreamSink::new(assembly.nats()?)?;
//! let mut config = assembly.config(format!("/var/lib/agent/{agent}/spill"));   // a directory for each publisher
//! config.import = Some(set("AA_AUDIT_BUFFER_PATH").unwrap_or(buffer));
//! let drainer = spillring::start::<AuditEntry>(config, sink)?;
//! let publisher = drainer.publisher();       // Clone + Send + Sync: no Arc needed
//! // …
//! let account = drainer.shutdown(Duration::from_secs(5)).wait(Duration::from_secs(10))?;
//! println!("{} wait for the next start, {} lost", account.spilled, account.lost.total());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`AuditEntry`] reads and writes theirs byte for byte. To keep `aa_core::AuditEntry`, publish a newtype of it:
//!
//! ```
//! # mod aa_core {
//! #     pub struct Id([u8; 16]);
//! #     impl Id { pub fn as_bytes(&self) -> &[u8; 16] { &self.0 } }
//! #     #[derive(serde::Serialize)] pub struct AuditEntry { payload: String }
//! #     impl AuditEntry {
//! #         pub fn org_id(&self) -> Option<&str> { None }
//! #         pub fn team_id(&self) -> Option<&str> { None }
//! #         pub fn agent_id(&self) -> Id { Id([0; 16]) }
//! #         pub fn payload(&self) -> &str { &self.payload }
//! #     }
//! # }
//! use spillring::{AgentId, EncodeError, Event, subject_of};
//!
//! struct Theirs(aa_core::AuditEntry);
//!
//! impl Event for Theirs {
//!     fn subject(&self) -> String {
//!         let tenant = self.0.org_id().or(self.0.team_id());
//!         subject_of(tenant, AgentId::from_bytes(*self.0.agent_id().as_bytes()))
//!     }
//!
//!     fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
//!         serde_json::to_writer(out, &self.0).map_err(|error| EncodeError(error.into()))
//!     }
//!
//!     fn weight(&self) -> usize {
//!         size_of::<Self>() + self.0.payload().len()
//!     }
//! }
//! ```
//!
//! `aa-runtime` and `aa-storage-sqlite-buffer` themselves cannot stay in the same binary, nor can anything else that
//! links its own SQLite, such as another rusqlite or `sqlx-sqlite`: cargo refuses it. `aa-core` can. In a fork of
//! `aa-runtime` these places of `runtime.rs` change: `build_audit_publisher` becomes the code above;
//! `spawn_audit_drain` and `spawn_pipeline_audit_publisher` (rc.7) lose an `await`; in `run` the flush loop goes, and
//! `flush_pending` at its end becomes `shutdown`.
//!
//! Agent Assembly's gateway reads all of the stream `AUDIT`. On a stream that spillring creates or upgrades it would
//! also read the cursors on `assembly.cursor.>`, and take each for an entry. So let the gateway create the stream, and
//! leave it as it is ([`StreamCare::Verify`]): entries then arrive at least once, in order. Or first give its consumer
//! (`aa-gateway-audit-consumer`) the filter subject `assembly.audit.>`; then they arrive once.
//!
//! # What you gain
//!
//! | | `aa-runtime` | spillring |
//! | --- | --- | --- |
//! | `publish` | awaits the sink, and writes to SQLite in the caller while it is down | a push onto a ring: no await, no lock, no allocation, no system call |
//! | NATS | core: nobody acknowledges | `JetStream`, acknowledged: at least once and in order on a stream that the gateway made, once on one with transactions |
//! | NATS down at the start | no audit publisher at all | it starts, and spills until NATS is there |
//! | a wrong setting, a buffer that cannot be opened | a warning, and no audit publisher | an error of `start`; to run without one: `spillring::start(config, sink).inspect_err(\|why\| tracing::error!(%why, "no audit")).ok()` |
//! | order | a live entry overtakes the backlog | a live entry never overtakes the backlog |
//! | a row that cannot be read | blocks all later ones, until the cap evicts it | becomes a dead letter |
//! | the cap | 100,000 rows; then the oldest vanish, counted | bytes; then new ones are refused or the oldest evicted, counted and announced in the stream |
//! | a full or failing disk | the entry is lost, and nothing is logged | it stays in the ring, which refuses once it is full, counted by reason |
//! | the end of the process | entries in the client's memory are gone | [`shutdown`](crate::Drainer::shutdown) delivers, spills the rest, and accounts |
//!
//! # `AuditPublisher`
//!
//! | theirs | here |
//! | --- | --- |
//! | `AuditPublisher::new(sink, buffer)` | [`start(config, sink)`](crate::start()), which opens the buffer itself: [`Config::spill_dir`] |
//! | `publish(entry).await` | [`publish(entry)`](crate::Publisher::publish), or [`try_publish`](crate::Publisher::try_publish), which hands the entry back if there is no room |
//! | `buffered_len()` | [`spilled`](crate::Stats::spilled) of [`stats()`](crate::Publisher::stats); with `in_ring` and `in_memory` all that is not delivered yet |
//! | `flush_pending().await` | not needed: the drainer replays as soon as the sink is back. [`flush`](crate::Publisher::flush) waits until everything is safe; the sink has the backlog when `stats().spilled == 0`; [`replayed`](crate::Stats::replayed) counts how many it got from there |
//! | `spawn_reconnect_flush_loop(interval)` | not needed: the drainer is that loop. A sink that cannot be reached is tried again every 500 ms or sooner (`aa-runtime`: 5 s), one that takes nothing after [`backoff_max`](Config::backoff_max) at the latest; [`replay_rate_max`](Config::replay_rate_max) slows the replay |
//! | `enriched_to_audit_entry` (rc.7) | none: it reads their pipeline's own types. Publish its result like any other entry |
//! | `AA_NATS_CONFIG_PATH`; unset: no audit | read by the host: [`AssemblyConfig`] takes the text of the file |
//! | `AA_AUDIT_BUFFER_PATH`, else `aa-audit-buffer-<agent>.db` in the temporary directory | [`Config::import`] for what is in it, [`Config::spill_dir`] from then on |
//! | `subject_for(&entry)` | [`subject_for`], and [`subject_of`] for [`Event::subject`], which has no prefix |
//! | log lines ("audit publisher enabled", "audit buffer flush failed", …) | `tracing` with the target `spillring`: a line when the sink goes or comes back, not one per entry |
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
//! A [`Sink`] takes batches, so that a server is asked once for a thousand entries. [`EmitSink`] turns any
//! asynchronous function that takes one entry into a sink, such as `emit` of an implementation of theirs. Its result
//! decides more than theirs, where each error meant "later":
//!
//! | theirs | here | then |
//! | --- | --- | --- |
//! | `AuditSink::emit` | [`EmitSink::new`], [`EmitSink::entries`]; [`Sink::deliver`] to take more at once | |
//! | `StorageError::Backend` | [`SinkError::Unavailable`], or [`SinkError::Disconnected`] where the connection is gone | tried again after a backoff, or every 500 ms |
//! | `StorageError::Serialization` | [`SinkError::Rejected`] | a dead letter; the next entry goes on |
//! | `StorageError::Conflict` | `Ok(())` where it means that the entry is there already, else [`SinkError::Rejected`] | |
//! | `StorageError::NotFound` | [`SinkError::Misconfigured`]: a table or bucket is missing | tried again slowly, logged as an error |
//! | `Result<T>` of the storage traits | each call has its own error, such as [`StartError`](crate::StartError) and [`SpillError`](crate::SpillError) | |
//! | `conformance::assert_audit_sink_conformance` | [`conformance`](crate::conformance), whose rules test your own sink | |
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
//! The spill belongs to the publisher, so that there is one order; others inspect it from outside.
//!
//! | theirs | here |
//! | --- | --- |
//! | `EventBuffer::new(path, cap)`, `from_config` | [`Config::spill_dir`], a directory instead of a file: lock, identity and database |
//! | `cap()`, in rows | [`Config::spill_bytes_max`], in bytes, and [`Config::when_spill_full`] |
//! | `journal_mode()`, `synchronous()` | always WAL; [`Config::spill_durability`]: `ProcessCrash` is their `synchronous = NORMAL`, `PowerLoss`, the default, is `FULL` |
//! | `len()`, `is_empty()` | [`spilled`](crate::Stats::spilled) of the stats, or [`status(dir)`](crate::status()) from another process |
//! | `enqueue(&entry)` | [`publish`](crate::Publisher::publish): it is spilled when the sink does not take it |
//! | `drain_and_send(&sink)` | the drainer's own work: `start`, and then `shutdown(limit)`, which delivers until the limit; [`export`](crate::export()) only writes the backlog as JSON lines |
//! | `SqliteBufferConfig`, which `aa-runtime` itself does not read | [`AssemblyConfig::config`] |
//! | `DEFAULT_CAP`, 10,000 rows (`aa-runtime`: 100,000) | 4 GiB, and never more than half of what the disk has free |
//! | `default_path()`, `agent-assembly/buffer.db` in the user's data directory | none: give each publisher its own directory; two would share a default |
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
//! | `NatsAuditSink::new(client)` | for `JetStream` none: a client that reconnects by itself drops what it was writing. As they publish: [`AtMostOnceNatsSink`], or [`EmitSink`] around your own client, as below |
//! | `is_connected()` | none: a connection that is up may take nothing. What counts is [`oldest_entry_age`](crate::Stats::oldest_entry_age), and the [`state`](crate::Stats::state), which is `Spilling` once entries wait for an unreachable sink |
//! | `NatsConfig`, `NatsTlsConfig` | [`NatsConfig`], [`NatsTls`]; a certificate without its key is an error instead of being ignored |
//! | `NatsConfig::from_toml_str` | [`AssemblyConfig::from_toml_str`], then [`nats()`](AssemblyConfig::nats) |
//! | `DEFAULT_URL` | the same, `nats://127.0.0.1:4222` |
//! | `ws://`, `wss://` | none: `nats://` and `tls://` |
//! | `DEFAULT_MAX_INFLIGHT`, `max_inflight`, the client's queue | [`Config::batch_max`], 999: one batch is under way at a time, and acknowledged. A small value, which costs theirs nothing, makes ours slow |
//! | `connect_options()`, `connect()` | none: the connection is the sink's |
//!
//! ```
//! # use spillring::{AssemblyConfig, AuditEntry, EmitSink, JetStreamSink, NatsConfig, Publisher, Record, SinkError, State};
//! let text = "[gateway.nats]\nurl = \"nats://nats.example.org:4222\"\nmax_inflight = 256";
//! let assembly = AssemblyConfig::from_toml_str(text)?;
//! assert_eq!(assembly.config("spill").batch_max, 256);
//! let sink = JetStreamSink::new(assembly.nats()?)?;          // connects when it is first used
//!
//! let mut nats = NatsConfig::default();                      // or without their file
//! nats.urls = vec!["tls://nats.example.org".into()];
//! nats.tls.ca = Some("/etc/aa/ca.pem".into());
//!
//! fn is_behind(publisher: &Publisher<AuditEntry>) -> bool {  // instead of is_connected()
//!     publisher.stats().state == State::Spilling
//! }
//!
//! // With a client that the host already has: at most once, as theirs.
//! let own = |client: async_nats::Client| EmitSink::new(move |record: Record| {
//!     let client = client.clone();
//!     async move {
//!         let subject = format!("assembly.audit.{}", record.subject());
//!         let published = client.publish(subject, record.bytes().clone()).await;
//!         published.map_err(|error| SinkError::Unavailable(error.to_string()))
//!     }
//! });
//! # drop((sink, nats, own)); let _ = is_behind;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Metrics
//!
//! | theirs | here |
//! | --- | --- |
//! | `aa_audit_published_total` | the same: taken by the sink without having been spilled |
//! | `aa_audit_publish_errors_total` | the same, once a failed delivery instead of once an entry |
//! | `aa_audit_buffered_total`, `aa_events_buffered` | the same, both counters: spilled. How many wait is the gauge `aa_audit_spill_entries` |
//! | `aa_audit_flushed_total`, `aa_events_flushed_total` | the same: replayed from the spill |
//! | `aa_events_dropped_total` | the same: evicted at the cap, which happens only with `EvictOldest`. Alert on the sum of `aa_audit_dropped_total{reason}`, which has all losses |
//!
//! The names are plain text: there are no constants for them such as `METRIC_PUBLISHED`. The README has a table of all.

#[cfg(doc)]
use crate::{
    AssemblyConfig, AtMostOnceNatsSink, AuditEntry, Config, EmitSink, Event, JetStreamSink,
    NatsConfig, NatsTls, Sink, SinkError, StreamCare, import, subject_for, subject_of,
};
