//! `spillring verify`: checks that a trail is complete, intact and authentic.

mod chains;
mod file;
mod finding;
mod judge;
mod ledger;
mod numbers;
mod overtaken;
mod progress;
mod report;
mod retention;
mod seals;
mod stream;
pub(crate) mod trail;

use std::path::{Path, PathBuf};

use indicatif::HumanCount;
use spillring::error::ConfigError;
use spillring::event::Position;
use spillring::sink::SinkAddress;

use crate::console::{Exit, Problem, show};
use crate::settings;
use judge::{Judge, Judgement, TrailHead, Writers};
use report::TrailReport;
pub(crate) use seals::Proof;
use seals::{Authentic, Removed, Seals, Trust};
pub(crate) use trail::position_of;

/// Check that a trail is complete, intact and authentic
///
/// Complete: every number of every run, up to the last known one, is an entry or an announced loss. Intact: each entry
/// is there once, in order, unchanged, and chained to the previous entry of its session. An announced loss is reported
/// and breaks neither; nor does the unknown end of a run that was killed or is still running. A requeued entry may come
/// after later entries of its session, but only once, and not under its old number as well. Authentic: the publishers
/// have signed what is there; `untrusted` without `--publishers`, because nothing shows whose the keys are; `unsigned`
/// if some of it is not signed.
///
/// If a limit of the stream may have removed the beginning of a run, the run is checked from its first remaining entry
/// on. Otherwise, and in a file, only with `--head-removed`. Messages removed from the middle or the end of a stream
/// make it incomplete. A stream without batches has no cursors: a missing end goes undetected, and the report says so;
/// a valid entry may appear twice or late; and losses at the end of a clean run look like a missing end. A trail
/// without entries is never complete.
///
/// Exit code: 0 complete, intact, and no signature contradicts it, and with `--publishers` or `--since` authentic; 1
/// otherwise; 2 bad usage, or it cannot be read.
///
/// Credentials for NATS come from the environment and the config file, as for `spillring run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trail: Trail,
    /// Spill directory of a publisher: the trail must contain everything that it records as acknowledged
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
    /// File that `--save` wrote at the last audit: the trail must go on from there
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Save the state of the trail, for `--since` at the next audit; nothing is saved if the trail is not authentic
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A trail, and what the auditor knows of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Trail {
    /// nats://HOST:PORT, tls://HOST:PORT, nats for the servers of `NATS_URL` or of the config file, or a file of JSON
    /// lines
    #[arg(value_name = "TRAIL")]
    address: String,
    /// Stream of NATS that holds the trail [default: AUDIT]
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Ledger of the file, such as that of a rotated one [default: the file's name with .ledger appended]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// TOML file that lists all known publishers, one table [[publisher]] each: `key`, as `spillring key show` prints
    /// it; optional are `certificates`, `since`, `retired` (such as 2026-11-01T00:00:00Z) and `silence_max` (such as
    /// "10m"). The trail must then be authentic
    #[arg(long, value_name = "FILE")]
    pub(crate) publishers: Option<PathBuf>,
    /// The beginning of the trail was removed on purpose: accept that it begins later
    #[arg(long)]
    head_removed: bool,
    /// TOML file with the tables [spillring] and [spillring.nats]; other tables are ignored
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    // Read before the trail: the publisher may deliver more meanwhile.
    let acknowledged = args.spill.as_deref().map(acknowledged).transpose()?;
    let trust = args.trail.trust(args.since.as_deref())?;
    let (name, judgement) = args.trail.judge(acknowledged, &|| Seals::new(&trust))?;
    if let Some(path) = &args.save
        && judgement.signed.verdict != Authentic::No
    {
        judgement.signed.save(&trust, path)?;
    }
    let report = TrailReport::new(name, judgement, &trust);
    if args.json {
        show(&report.to_json()?);
    } else {
        show(&report.to_string());
    }
    Ok(report.exit())
}

impl Trail {
    /// Reads and judges the trail. Returns its name with the judgement.
    fn judge(
        &self,
        acknowledged: Option<Position>,
        seals: &dyn Fn() -> Seals,
    ) -> Result<(String, Judgement), Problem> {
        let head = if self.head_removed {
            TrailHead::MayBeGone { kept_from_ms: None }
        } else {
            TrailHead::Kept
        };
        match address(&self.address)? {
            SinkAddress::JsonLines(path) => {
                if self.stream.is_some() {
                    return Err(Problem::new(format_args!(
                        "`--stream` names a stream of NATS, but {} is a file: leave it out, or give nats://HOST:PORT",
                        path.display()
                    )));
                }
                let ledger = self.ledger.as_deref();
                let judge = Judge::new(head, Writers::Idle).expecting(acknowledged);
                let judgement = file::read(&path, ledger, judge, seals())?;
                Ok((path.display().to_string(), judgement))
            }
            servers => {
                if self.ledger.is_some() {
                    return Err(Problem::new(
                        "`--ledger` belongs to a file, but a stream is to be read: leave it out, or give the file",
                    ));
                }
                let stream = self.stream.clone();
                let nats = settings::nats(self.config.as_deref(), &servers, stream)?;
                let judgement = stream::judge(&nats, head, acknowledged, seals)?;
                Ok((settings::in_words(&nats), judgement))
            }
        }
    }

    fn trust(&self, since: Option<&Path>) -> Result<Trust, Problem> {
        let removed = if self.head_removed {
            Removed::Accepted
        } else {
            Removed::Unaccepted
        };
        Trust::read(self.publishers.as_deref(), since, removed)
    }

    /// The proof that an entry is in the trail, and the key that signed it.
    pub(crate) fn prove(&self, entry: Position) -> Result<Proof, Problem> {
        let trust = self.trust(None)?;
        let (name, judgement) = self.judge(None, &|| Seals::new(&trust).proving(entry))?;
        let proof = judgement.signed.proof;
        let absent = || Problem::new(format_args!("{entry} is not in {name}"));
        let proof = proof.ok_or_else(absent)?;
        proof.map_err(|why| Problem::new(format_args!("{entry} cannot be proved: {why}")))
    }
}

/// The last acknowledged position, according to the publisher's spill directory.
fn acknowledged(dir: &Path) -> Result<Position, Problem> {
    let status = spillring::operate::status(dir).map_err(Problem::new)?;
    status.delivered.ok_or_else(|| {
        Problem::new(format_args!(
            "the spill in {} records no acknowledged entry: leave `--spill` out",
            dir.display()
        ))
    })
}

/// An address without a scheme is a file, except `nats`.
fn address(text: &str) -> Result<SinkAddress, Problem> {
    if text != "nats" && !text.contains("://") && !text.starts_with("jsonl:") {
        return Ok(SinkAddress::JsonLines(text.into()));
    }
    text.parse()
        .map_err(|error: ConfigError| Problem::new(format_args!("the trail {}", error.problem)))
}

/// `counted(3, "entry")` is `3 entries`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let number = HumanCount(count);
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with('s') => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// The singular or the plural form.
pub(crate) fn verb(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

fn numbers_in_words(first: u64, last: u64) -> String {
    if first == last {
        format!("number {first}")
    } else {
        format!("numbers {first} to {last}")
    }
}
