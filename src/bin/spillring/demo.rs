//! `spillring demo`: publishes from many threads through an outage, and checks that nothing is lost.

mod account;
mod entries;
mod kill;
mod latencies;
mod links;
mod outage;
mod publishers;
mod readback;
mod screen;
mod verify;
mod workspace;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use humantime_serde::re::humantime;
use spillring::{AuditEntry, Config, Drainer, Stats};

use crate::console::{Exit, Problem, show};
use crate::latency::Stopwatch;
use crate::logging::{self, Format};
use crate::signals::Signals;
use account::PromiseChecks;
use entries::DemoPlan;
use outage::{Flaky, Outage};
use publishers::Publishing;
use screen::{Scene, Screen};
use workspace::Workspace;

/// Time between two updates of the screen.
const POLL: Duration = Duration::from_millis(50);

/// The demo gives up if nothing is delivered for this long although the sink is there.
const STUCK_MAX: Duration = Duration::from_secs(20);

/// The longest wait between two tries during the outage: shorter than the library's default, so that the sink's return
/// is seen soon.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Publish a million entries through an outage, and check that all arrive
///
/// Several threads publish chained audit entries into a ring. The sink fails for a while, and comes back: meanwhile
/// entries are spilled to disk, then replayed. At the end everything that was delivered is read back and checked. Needs
/// about 1 GB in the temporary directory (`TMPDIR`), and removes it again.
///
/// Exit code: 0 every check holds; 1 one does not, or the delivered entries cannot be read back; 2 bad usage, or it
/// could not start; 130 ended by SIGINT or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("killed").args(["kill", "publish_in"]))]
pub(crate) struct Args {
    /// Deliver to this NATS server instead of a file
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// NATS stream; if it does not exist, it is created, and deleted at the end
    #[arg(
        long,
        value_name = "NAME",
        default_value = "SPILLRING_DEMO",
        requires = "nats"
    )]
    stream: String,
    /// Number of entries
    #[arg(long, value_name = "N", default_value = "1000000")]
    entries: NonZeroU64,
    /// Number of publishing threads
    #[arg(long, value_name = "N", default_value = "4", value_parser = threads)]
    threads: NonZeroUsize,
    /// Duration of the outage, such as 2s or 500ms; a plain number is seconds. It begins once a fifth is delivered
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    outage: Duration,
    /// Instead: kill the publishing process with SIGKILL, start again, and show that nothing is missing
    #[arg(long, conflicts_with_all = ["nats", "outage"])]
    kill: bool,
    /// Directory for the ring of `--kill` [default: /dev/shm]
    #[arg(long, value_name = "DIR", requires = "killed")]
    ring_dir: Option<PathBuf>,
    /// Publish there until it is killed
    #[arg(long, hide = true, value_name = "DIR")]
    publish_in: Option<PathBuf>,
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|threads: &NonZeroUsize| threads.get() <= entries::THREADS_MAX)
        .ok_or_else(|| format!("give a number from 1 to {}", entries::THREADS_MAX))
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .or_else(|| humantime::parse_duration(text).ok())
        .ok_or_else(|| "give a time, such as 2s or 500ms".to_owned())
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    let start = Instant::now();
    logging::start("error", Format::Text)?;
    if let Some(dir) = &args.publish_in {
        let ring_dir = kill::ring_dir(args.ring_dir.clone(), dir);
        return kill::publish(dir, ring_dir, args.threads.get());
    }
    if args.kill {
        let entries = args.entries.get() / 5;
        return kill::main(entries, args.threads.get(), args.ring_dir.clone());
    }
    let plan = DemoPlan::new(args.entries.get(), args.threads.get());
    let signals = Signals::catch()?;
    let workspace = Workspace::prepare(args.nats.as_deref(), &args.stream, &plan)?;
    let outage = Outage::new(plan.entries() / 5, args.outage);

    show(&opening(args, &workspace));
    let mut screen = Screen::open(plan.entries(), start);
    let drainer = begin(&workspace, &outage)?;
    let publishing = Publishing::start(&plan, &drainer)?;
    let watched = watch(&publishing, &drainer, &outage, &signals, &mut screen);
    let stats = end(drainer, watched)?;
    let published = publishing.join()?;
    if watched == Watched::Interrupted {
        screen.break_off();
        show("Interrupted: nothing is checked.\n");
        workspace.clean_up();
        return Ok(Exit::Interrupted);
    }
    screen.settle(&stats, Scene::Delivered);
    let found = workspace
        .blocks()
        .and_then(|blocks| verify::check(blocks, &plan, &mut |read| screen.checked(read)));
    screen.leave();

    let mut clock = Stopwatch::new()?;
    clock.time_clock();
    show(&latencies::describe(
        &published.times,
        published.full,
        &clock,
    ));
    let account = PromiseChecks::new(&plan, &stats, published.attempts(), found);
    show(&account.describe(start.elapsed()));
    if account.holds() {
        workspace.clean_up();
        Ok(Exit::Done)
    } else {
        show(&workspace.keep());
        Ok(Exit::Broken)
    }
}

fn opening(args: &Args, workspace: &Workspace) -> String {
    format!(
        "{} entries from {} threads, to\n  {workspace}\nOnce a fifth is delivered, the sink is taken away for {}.\n\n",
        indicatif::HumanCount(args.entries.get()),
        args.threads,
        humantime::format_duration(args.outage),
    )
}

fn begin(workspace: &Workspace, outage: &Outage) -> Result<Drainer<AuditEntry>, Problem> {
    let mut config = Config::new(workspace.spill_dir());
    config.backoff_max = BACKOFF_MAX;
    let sink = Flaky::new(workspace.sink()?, outage.clone());
    spillring::start(config, sink).map_err(Problem::new)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    ToTheEnd,
    Interrupted,
}

/// Updates the screen until everything is delivered, or there is no progress.
fn watch(
    publishing: &Publishing,
    drainer: &Drainer<AuditEntry>,
    outage: &Outage,
    signals: &Signals,
    screen: &mut Screen,
) -> Watched {
    let mut moved = (0, Instant::now());
    loop {
        if signals.asked() {
            return Watched::Interrupted;
        }
        let stats = drainer.stats();
        screen.update(&stats, Scene::of(&stats, outage));
        if publishing.is_done() && stats.delivered + stats.dead_lettered >= publishing.planned() {
            return Watched::ToTheEnd;
        }
        if moved.0 != stats.delivered || outage.is_on() {
            moved = (stats.delivered, Instant::now());
        }
        if moved.1.elapsed() > STUCK_MAX {
            return Watched::ToTheEnd;
        }
        std::thread::sleep(POLL);
    }
}

/// Shuts down. Threads that still publish get an error.
fn end(drainer: Drainer<AuditEntry>, watched: Watched) -> Result<Stats, Problem> {
    let limit = match watched {
        Watched::ToTheEnd => STUCK_MAX,
        Watched::Interrupted => Duration::ZERO,
    };
    drainer
        .shutdown(limit)
        .wait(Duration::MAX)
        .map_err(|error| Problem::new(format_args!("the shutdown failed: {error}")))
}
