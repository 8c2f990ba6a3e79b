//! Log lines as entries, for applications that use `tracing` already.
//!
//! It leaves out spillring's own lines, whose target is `spillring`, and everything logged on spillring's threads,
//! where the sink, its client, and the host's encoders run. Otherwise a failing sink would feed itself: its failure is
//! logged, the line is an entry, the entry fails. The threads mark themselves when they start, including those of the
//! sink's blocking pool.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Config;
use crate::error::StartError;
use crate::host::log;
use crate::own_thread::on_own_thread;
use crate::publisher::Publisher;
use crate::raw_entry::RawEntry;
use crate::sink::Sink;
use crate::start::start_durable;
use crate::stats::Stats;

/// How long a dropped [`LogGuard`] delivers; the rest is spilled.
const DELIVER_MAX: Duration = Duration::from_secs(1);
/// How long it waits for the end, spilling included.
const END_MAX: Duration = Duration::from_secs(10);

/// Publishes the lines of [`tracing_subscriber::fmt`](mod@fmt), each as one entry. Replaces
/// `tracing_appender::non_blocking`.
///
/// Writing a line never waits, as with [`publish`](Publisher::publish): if the ring is full, the line is dropped,
/// counted, and announced in the stream. It costs one allocation, for its bytes; `fmt` formats in a buffer that it
/// keeps.
///
/// Two kinds of lines are excluded, so that a sink that logs its failures does not feed itself: spillring's own, and
/// those that the sink and its client log, on the sink's thread or in its `spawn_blocking`. Threads that your own sink
/// starts are not recognised: filter their lines by target.
///
/// The line break at the end of a line is not part of the entry. [`JsonLinesSink`](crate::JsonLinesSink) refuses
/// entries with line breaks in them, which become dead letters: use `json()`, which writes none.
///
/// # Examples
///
/// ```no_run
/// use spillring::{Config, JsonLinesSink};
/// use spillring::log_writer::LogWriter;
///
/// // Before: tracing_appender::non_blocking(File::create("app.jsonl")?);
/// let sink = JsonLinesSink::new("app.jsonl");
/// let (writer, _guard) = LogWriter::start(Config::new("spill"), sink, "acme.app")?;
/// tracing_subscriber::fmt().json().with_writer(writer).init();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Next to other layers, and with your own [`Drainer`](crate::Drainer):
///
/// ```
/// use std::time::Duration;
/// use spillring::{Config, JsonLinesSink, RawEntry};
/// use spillring::log_writer::LogWriter;
/// use tracing_subscriber::filter::Targets;
/// use tracing_subscriber::prelude::*;
///
/// # let temporary = tempfile::tempdir()?;
/// # let (dir, output) = (temporary.path().join("spill"), temporary.path().join("out"));
/// let sink = JsonLinesSink::new(output);
/// let drainer = spillring::start::<RawEntry>(Config::new(dir), sink)?;
/// let audit = LogWriter::new(drainer.publisher(), "acme.app").into_json_layer();
/// let only = Targets::new().with_target("audit", tracing::Level::INFO);
/// let _scope = tracing_subscriber::registry()
///     .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
///     .with(audit.with_filter(only))
///     .set_default();
///
/// tracing::info!(target: "audit", tool = "bash", "tool call");
/// let limit = Duration::from_secs(10);
/// let account = drainer.shutdown(limit).wait(limit)?;
/// assert_eq!((account.accepted, account.delivered), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LogWriter {
    publisher: Publisher<RawEntry>,
    subject: Arc<str>,
}

/// One line: everything written until the drop becomes one entry. An empty line is no entry.
///
/// `fmt` gets it from a [`LogWriter`], whose example shows both.
#[derive(Debug)]
pub struct LogLine<'a> {
    /// `None`: the line is excluded.
    to: Option<&'a LogWriter>,
    bytes: Vec<u8>,
    /// Whether a line break follows the bytes. It becomes part of them only if more is written.
    broken: bool,
}

/// Ends the publisher of a [`LogWriter`] when dropped: delivers for up to a second, then spills the rest, which the
/// next start delivers. Waits for that, at most ten seconds.
///
/// See the example of [`LogWriter`].
///
/// Keep it until the end of `main`, in a named variable: `_` drops it at once. Later lines are lost, and counted.
#[derive(Debug)]
#[must_use = "dropped at once, it ends the publisher"]
pub struct LogGuard {
    publisher: Publisher<RawEntry>,
}

impl LogWriter {
    /// Starts a publisher for log lines alone, with or without [`Config::ring_dir`]. The subject of all lines is below
    /// the sink's prefix: see [`Event::subject`](crate::Event::subject).
    ///
    /// # Errors
    ///
    /// Those of [`start_durable`].
    pub fn start(
        config: Config,
        sink: impl Sink,
        subject: impl Into<Arc<str>>,
    ) -> Result<(Self, LogGuard), StartError> {
        let publisher = start_durable(config, sink)?.publisher();
        let guard = LogGuard {
            publisher: publisher.clone(),
        };
        Ok((Self::new(publisher, subject), guard))
    }

    /// Publishes through this publisher. Shut its [`Drainer`](crate::Drainer) down before the process exits: a global
    /// subscriber, and so this writer, is never dropped.
    #[must_use]
    pub fn new(publisher: Publisher<RawEntry>, subject: impl Into<Arc<str>>) -> Self {
        Self {
            publisher,
            subject: subject.into(),
        }
    }

    /// A layer that publishes each event as `tracing_subscriber::fmt::layer().json()` writes it. For another format:
    /// `fmt::layer().with_writer(writer)`.
    #[must_use]
    pub fn into_json_layer<S>(self) -> impl Layer<S> + Send + Sync
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        fmt::layer().json().with_writer(self)
    }

    fn line(&self, wanted: bool) -> LogLine<'_> {
        LogLine {
            to: wanted.then_some(self),
            bytes: Vec::new(),
            broken: false,
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        self.line(!on_own_thread())
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> LogLine<'a> {
        self.line(!is_own(of.target()) && !on_own_thread())
    }
}

/// Whether spillring logs under this target.
fn is_own(target: &str) -> bool {
    let below = target.strip_prefix("spillring");
    below.is_some_and(|below| below.is_empty() || below.starts_with("::"))
}

impl io::Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.to.is_some() && !bytes.is_empty() {
            if self.broken {
                self.bytes.push(b'\n');
            }
            let text = bytes.strip_suffix(b"\n");
            self.broken = text.is_some();
            self.bytes.extend_from_slice(text.unwrap_or(bytes));
        }
        Ok(bytes.len())
    }

    /// Does nothing: to wait for published lines, use [`flush`](Publisher::flush).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        if let Some(to) = self.to.filter(|_| !self.bytes.is_empty()) {
            let bytes = std::mem::take(&mut self.bytes);
            to.publisher
                .publish(RawEntry::new(Arc::clone(&to.subject), bytes));
        }
    }
}

impl LogGuard {
    /// The counts and depths: [`lost`](Stats::lost) counts the dropped lines.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.publisher.stats()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let ended = self.publisher.handles().shutdown(DELIVER_MAX);
        if let Err(error) = ended.wait(END_MAX) {
            log::error!(%error, "the publisher of the log lines did not end");
        }
    }
}
