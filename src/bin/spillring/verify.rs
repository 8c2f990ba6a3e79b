//! `spillring verify`: whether a trail is complete, and whether it is intact.

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
use spillring::{ConfigError, Position, SinkAddress};

use crate::console::{Exit, Problem, show};
use crate::settings;
use judge::{Head, Judge, Judgement, Pace};
use report::Report;
pub(crate) use seals::Proof;
use seals::{Authentic, Removed, Seals, Trust};
pub(crate) use trail::position_of;

/// Say of a trail whether it is complete, intact and authentic
///
/// Complete: every number of every run, up to the last one that anything tells of, is an entry or announced as lost.
/// Intact: what is there is what was published, each entry once, in order, unchanged and chained to the one before it
/// in its session. A loss that is announced is told, and breaks neither; nor does the unknown end of a run that was
/// killed, or still runs. An entry that was requeued stands behind later ones of its session, but not under its old
/// number as well, nor twice. Authentic: what is there is what its publishers have signed; `untrusted` without `--publishers`, as then
/// nobody says whose the keys are; `unsigned` if some of it is not signed.
///
/// If a limit of the stream may have removed the beginning of a run, the run counts from its first entry; otherwise, and in a
/// file, only with `--head-removed`. Messages removed from the middle or the end of a stream make it incomplete. A stream
/// without batches has no cursors: a missing end goes undetected, and the report says so; an honest entry may appear twice or late; and
/// losses at the end of a clean run look like a missing end. A trail without entries is never complete.
///
/// Exit code: 0 complete, intact, and not contradicted by a signature, with `--publishers` or `--since` authentic; 1 not so; 2 bad usage, or it cannot be read.
///
/// Credentials for NATS: as `spillring run` takes them, from the environment and the config file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trail: Trail,
    /// The spill directory of a publisher: what it knows as acknowledged must be in the trail
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
    /// What `--save` has written at the last audit: the trail must go on from there
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Write down what is there now, for `--since` of the next audit; not if the trail is not authentic
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A trail, and what may be known of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Trail {
    /// nats://HOST:PORT, tls://HOST:PORT, nats for the servers of `NATS_URL` or of the config file, or a file of JSON
    /// lines
    #[arg(value_name = "TRAIL")]
    address: String,
    /// Stream of NATS that holds the trail [default: AUDIT]
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Ledger of the file, such as that of a rotated one [default: the file's name with .ledger behind it]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// TOML file with the publishers that may be there, a table [[publisher]] each: `key`, as `spillring key show` prints it; and, if you
    /// like, `certificates`, `since`, `retired` (such as 2026-11-01T00:00:00Z) and `silence_max` (such as "10m"). The trail must then be authentic
    #[arg(long, value_name = "FILE")]
    pub(crate) publishers: Option<PathBuf>,
    /// The beginning of the trail was removed on purpose: let it begin where it does
    #[arg(long)]
    head_removed: bool,
    /// TOML file with the tables [spillring] and [spillring.nats]; other tables are passed over
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    // Before the trail is read: that may go on meanwhile.
    let acknowledged = args.spill.as_deref().map(acknowledged).transpose()?;
    let trust = args.trail.trust(args.since.as_deref())?;
    let (name, judgement) = args.trail.judge(acknowledged, &|| Seals::new(&trust))?;
    if let Some(path) = &args.save
        && judgement.signed.verdict != Authentic::No
    {
        judgement.signed.save(&trust, path)?;
    }
    let report = Report::new(name, judgement, &trust);
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
            Head::MayBeGone { kept_from_ms: None }
        } else {
            Head::Kept
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
                let judge = Judge::new(head, Pace::Still).expecting(acknowledged);
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
            Removed::Told
        } else {
            Removed::NotTold
        };
        Trust::read(self.publishers.as_deref(), since, removed)
    }

    /// The proof that an entry is in the trail, and the key that has signed it.
    pub(crate) fn prove(&self, entry: Position) -> Result<Proof, Problem> {
        let trust = self.trust(None)?;
        let (name, judgement) = self.judge(None, &|| Seals::new(&trust).proving(entry))?;
        let proof = judgement.signed.proof;
        let absent = || Problem::new(format_args!("{entry} is not in {name}"));
        let proof = proof.ok_or_else(absent)?;
        proof.map_err(|why| Problem::new(format_args!("{entry} cannot be proved: {why}")))
    }
}

/// How far the sink had acknowledged entries, as the publisher's directory says it.
fn acknowledged(dir: &Path) -> Result<Position, Problem> {
    let status = spillring::status(dir).map_err(Problem::new)?;
    status.delivered.ok_or_else(|| {
        Problem::new(format_args!(
            "the spill in {} knows of nothing that was acknowledged: leave `--spill` out",
            dir.display()
        ))
    })
}

/// What has neither a scheme nor the name `nats` is a file.
fn address(text: &str) -> Result<SinkAddress, Problem> {
    if text != "nats" && !text.contains("://") && !text.starts_with("jsonl:") {
        return Ok(SinkAddress::JsonLines(text.into()));
    }
    text.parse()
        .map_err(|error: ConfigError| Problem::new(format_args!("the trail {}", error.problem)))
}

/// Such as `3 entries`, of `entry`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let number = HumanCount(count);
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with('s') => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// The form of a word for so many.
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
