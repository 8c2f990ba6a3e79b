//! `spillring run`: publishes lines as entries, with back-pressure, and delivers them.

mod bookmark;
mod ending;
mod entries;
mod feed;
mod lines;
mod pace;
mod report;
mod tail;
mod watch;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spillring::RawEntry;
use spillring::error::StartError;

use crate::console::{Exit, Problem, errln, show};
use crate::logging::{self, Format};
use crate::settings::{Flags, Settings};
use crate::signals::Signals;
use bookmark::{Bookmark, Resume};
use entries::LineFormat;
use feed::{Feed, FeedEnd};
use lines::InputLines;
use pace::InputPace;
use report::InputReport;
use watch::Watch;

/// Publish entries from a file or standard input, one JSON object per line
///
/// Reading pauses while the ring is full. At the end of the input, delivery goes on as long as it makes progress.
/// Undelivered entries stay in the spill, and the next run with the same directory delivers them. A line that is not an
/// entry is reported on stderr and skipped. A line with unknown fields is published byte for byte.
///
/// On SIGINT, SIGTERM or SIGHUP it stops publishing, reports the first unpublished line, delivers for at most
/// `shutdown_max` (10 s unless the config file says otherwise), and spills the rest. A second signal ends it at once.
///
/// Exit code: 0 everything is delivered; 4 nothing is lost, but a backlog or dead letters are left, or lines were
/// rejected; 3 entries are lost; 2 bad usage; 6 it could not start, or its input failed: another try may succeed.
///
/// With `--listen`, `/metrics` serves Prometheus metrics; `/healthz` answers 200 while the drainer makes progress;
/// `/readyz` answers 200 while entries are accepted and none is about to be lost. Otherwise both answer 503 and the
/// reason. With `NOTIFY_SOCKET`, it reports readiness, status and watchdog keep-alives to the service manager.
///
/// Environment: `NATS_URL`, `NATS_CONTEXT`; credentials `NATS_TOKEN`, `NATS_USER` and `NATS_PASSWORD`, `NATS_CREDS`,
/// `NATS_NKEY`; TLS `NATS_CA`, `NATS_CERT`, `NATS_KEY`. They override the config file, and flags override them.
/// `RUST_LOG` filters the log on stderr.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    reading: LineFormat,
    /// Follow a growing file until a signal comes. The file may be rotated or truncated, or be a pipe whose writers
    /// come and go. After a kill the same command resumes where it was: needs `--ring-dir`
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    follow: Option<PathBuf>,
    /// Maximum entries per second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU64>,
    /// Serve /metrics, /healthz and /readyz over HTTP on this address, such as 127.0.0.1:9464; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Format of the report at the end, on standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    report: Format,
    /// Format of the log on stderr: text, or JSON, one object per line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

pub(crate) fn main(args: Args) -> Result<Exit, Problem> {
    let start = Instant::now();
    logging::start("warn", args.log_format)?;
    let settings = Settings::settle(args.flags)?;
    let sink = settings.sink()?;
    let signals = Signals::catch()?;
    let line_max = usize::try_from(settings.config.entry_bytes_max).unwrap_or(usize::MAX);
    let followed = args
        .follow
        .as_deref()
        .map(|path| followed(path, &settings))
        .transpose()?;
    let mut lines = match &followed {
        Some((path, resume)) => InputLines::follow(path, resume.position(), line_max)?,
        None => InputLines::open(settings.input.as_deref(), line_max)?,
    };
    if let Some(path) = settings.output().filter(|path| lines.come_from(path)) {
        return Err(Problem::new(format_args!(
            "the input is the file that the entries go to, {}: give another `--input` or another `--sink`",
            path.display()
        )));
    }
    let shutdown_max = settings.shutdown_max;
    let spill_dir = settings.config.spill_dir.clone();
    let destination = settings.destination();
    let choice = settings.choice();
    let watch = Watch::prepare(args.listen)?;
    let drainer = match spillring::start_durable::<RawEntry>(settings.config, sink) {
        Err(error @ StartError::Config(_)) => return Err(Problem::new(error)),
        Err(error) => {
            errln!("error: {error}");
            return Ok(Exit::Failed);
        }
        Ok(drainer) => drainer,
    };
    errln!("entries go to {destination}{choice}");
    let watched = watch.start(drainer.publisher())?;

    let pace = InputPace::new(args.rate);
    let mut feed = Feed::new(drainer.publisher(), args.reading, pace, signals.clone())?;
    if let (Some((path, resume)), Some(position)) = (&followed, lines.mark()) {
        // If reading begins elsewhere, the counted entries are not those of these lines.
        let counted = lines.found().then(|| resume.published(drainer.run()));
        let already = counted.unwrap_or_default();
        let (run, publisher) = (drainer.run().id(), drainer.publisher());
        let bookmark = Bookmark::begin(&spill_dir, path, (position, already), run, publisher);
        feed.follow(already, bookmark);
    }
    let end = feed.all_of(&mut lines);
    watched.stopping();
    report_end(&end, feed.next_line(), shutdown_max);
    let account = ending::deliver(drainer, &spill_dir, &signals, shutdown_max);

    let exit = account.exit(feed.counts.rejected);
    if exit != Exit::Lost {
        feed.end(&lines);
    }
    let report = InputReport::new(destination, &feed.counts, &account, start.elapsed());
    match args.report {
        Format::Text => show(&report.to_string()),
        Format::Json => show(&report.to_json()?),
    }
    Ok(match (end, exit) {
        (FeedEnd::Unreadable(_), Exit::Done | Exit::Left) => Exit::Failed,
        (_, exit) => exit,
    })
}

/// The absolute path of the file, and how far it was read.
fn followed(path: &Path, settings: &Settings) -> Result<(PathBuf, Resume), Problem> {
    if settings.config.ring_dir.is_none() {
        return Err(Problem::new(
            "`--follow` needs `--ring-dir DIR`, on a tmpfs such as /dev/shm: the ring records what was published before a kill",
        ));
    }
    let path = std::path::absolute(path).map_err(Problem::new)?;
    let resume = Resume::read(&settings.config.spill_dir, &path)?;
    Ok((path, resume))
}

fn report_end(end: &FeedEnd, next: u64, shutdown_max: Duration) {
    match end {
        FeedEnd::Input => {}
        FeedEnd::Asked => {
            errln!(
                "stopping: not reading line {next} and later, delivering for at most {shutdown_max:?}"
            );
        }
        FeedEnd::Closed => {
            errln!("the publisher has closed: not reading line {next} and later; the log says why");
        }
        FeedEnd::Unreadable(error) => {
            errln!(
                "cannot read the input from line {next} on: {error}; what was read is delivered"
            );
        }
    }
}
