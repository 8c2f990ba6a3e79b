//! The auditor's input: the known publishers with their keys, and the state saved by the last audit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use spillring::event::PublisherId;
use spillring::seal::Checkpoint;

use super::keys::Trusted;
use super::{Complaint, Kind};
use crate::console::Problem;

/// The state of a publisher at an audit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    pub(super) key: String,
    pub(super) checkpoint: String,
    /// Whether the auditor trusted the key.
    #[serde(default)]
    pub(super) vouched: bool,
}

/// The auditor's knowledge before the audit.
#[derive(Debug, Default, Clone)]
pub(in crate::verify) struct Trust {
    /// All known publishers; none if `--publishers` was not given.
    publishers: Option<BTreeMap<PublisherId, KnownPublisher>>,
    pub(super) seen: BTreeMap<PublisherId, (Seen, Checkpoint)>,
    pub(super) removed: Removed,
}

/// Whether the auditor accepts that the beginning of the trail is gone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum Removed {
    #[default]
    Unaccepted,
    Accepted,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    #[serde(default)]
    publisher: Vec<KnownPublisher>,
}

/// A publisher that must be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownPublisher {
    /// Its first public key.
    key: String,
    /// Certificates that lead to its later keys: the trail may have lost them.
    #[serde(default)]
    certificates: Vec<String>,
    /// It may be absent before this time, such as `2026-11-01T00:00:00Z`.
    since: Option<String>,
    /// It signs nothing after this time, and may be absent.
    retired: Option<String>,
    /// The maximum age of its newest checkpoint.
    #[serde(default, with = "humantime_serde")]
    silence_max: Option<Duration>,
}

impl Trust {
    /// Reads the files of `--publishers` and `--since`.
    pub(in crate::verify) fn read(
        publishers: Option<&Path>,
        since: Option<&Path>,
        removed: Removed,
    ) -> Result<Self, Problem> {
        let publishers = publishers
            .map(|path| parse(path, read_publishers))
            .transpose()?;
        let seen = since.map(|path| parse(path, read_seen)).transpose()?;
        Ok(Self {
            publishers,
            seen: seen.unwrap_or_default(),
            removed,
        })
    }

    /// Whether the trail must be authentic.
    pub(in crate::verify) fn is_given(&self) -> bool {
        self.publishers.is_some() || !self.seen.is_empty()
    }

    /// Keys to start from, certificates that lead on, and whether the keys are trusted.
    pub(super) fn keys(&self) -> impl Iterator<Item = (PublisherId, &str, &[String], Trusted)> {
        let known = self.publishers.iter().flatten().map(|(publisher, known)| {
            let certificates = &known.certificates[..];
            (*publisher, known.key.as_str(), certificates, Trusted::Yes)
        });
        let seen = self.seen.iter().map(|(publisher, (seen, _))| {
            let trusted = if seen.vouched {
                Trusted::Yes
            } else {
                Trusted::No
            };
            (*publisher, seen.key.as_str(), &[][..], trusted)
        });
        known.chain(seen)
    }

    /// The checkpoints of the last audit.
    pub(super) fn seen(&self) -> impl Iterator<Item = (PublisherId, &Checkpoint)> {
        self.seen
            .iter()
            .map(|(publisher, (_, checkpoint))| (*publisher, checkpoint))
    }

    /// Findings about a publisher with this newest checkpoint.
    pub(super) fn complaints(
        &self,
        publisher: PublisherId,
        newest: Option<&Checkpoint>,
        now: u64,
    ) -> Vec<Complaint> {
        let Some(known) = &self.publishers else {
            return Vec::new();
        };
        let Some(known) = known.get(&publisher) else {
            let text = "it is not among the known publishers: if it should be, such as a copy of another's directory, add its key";
            return vec![(Kind::PublisherUnknown, text.to_owned())];
        };
        let retired = known.retired();
        let Some(newest) = newest else {
            if retired.is_some_and(|retired| retired <= now) {
                return Vec::new();
            }
            let text = "none of its entries is signed".to_owned();
            return vec![(Kind::SealMissing, text)];
        };
        let mut complaints = Vec::new();
        if retired.is_some_and(|retired| newest.time > retired) {
            let text = "it has signed entries after it was retired".to_owned();
            complaints.push((Kind::NotSigned, text));
        }
        let silent = Duration::from_secs(now.saturating_sub(newest.time));
        if retired.is_none() && known.silence_max.is_some_and(|max| silent > max) {
            let silent = humantime_serde::re::humantime::format_duration(silent);
            let text = format!(
                "its newest checkpoint is {silent} old: it is not running, or its newest entries were removed"
            );
            complaints.push((Kind::Silent, text));
        }
        complaints
    }

    /// Whether its last entries may have expired.
    pub(super) fn is_retired(&self, publisher: PublisherId, now: u64) -> bool {
        let known = self.publishers.as_ref().and_then(|all| all.get(&publisher));
        known
            .and_then(KnownPublisher::retired)
            .is_some_and(|retired| retired <= now)
    }

    /// Publishers that must be there and are not.
    pub(super) fn absent<'a, T>(
        &'a self,
        logs: &'a BTreeMap<PublisherId, T>,
        now: u64,
    ) -> impl Iterator<Item = (PublisherId, &'static str)> {
        let known = self.publishers.iter().flatten();
        let must = known.filter(move |(_, known)| known.must_be_there(now));
        let there = move |publisher: &PublisherId| logs.contains_key(publisher);
        must.filter(move |(publisher, _)| !there(publisher))
            .map(|(publisher, _)| (*publisher, "the trail has none of its entries"))
    }
}

impl KnownPublisher {
    fn must_be_there(&self, now: u64) -> bool {
        let since = self.since.as_deref().and_then(seconds);
        since.is_none_or(|since| since <= now) && self.retired().is_none_or(|retired| retired > now)
    }

    fn retired(&self) -> Option<u64> {
        self.retired.as_deref().and_then(seconds)
    }
}

fn parse<T>(path: &Path, read: fn(&str) -> Result<T, String>) -> Result<T, Problem> {
    let unusable = |error: String| Problem::new(format_args!("{}: {error}", path.display()));
    let text =
        fs::read_to_string(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    read(&text).map_err(unusable)
}

fn read_publishers(text: &str) -> Result<BTreeMap<PublisherId, KnownPublisher>, String> {
    let file: TrustFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut publishers = BTreeMap::new();
    for known in file.publisher {
        for moment in [&known.since, &known.retired].into_iter().flatten() {
            if seconds(moment).is_none() {
                return Err(format!(
                    "{moment:?} is not a time: write it as 2026-11-01T00:00:00Z"
                ));
            }
        }
        publishers.insert(publisher_of(&known.key)?, known);
    }
    Ok(publishers)
}

fn read_seen(text: &str) -> Result<BTreeMap<PublisherId, (Seen, Checkpoint)>, String> {
    let all: BTreeMap<PublisherId, Seen> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut read = BTreeMap::new();
    for (publisher, seen) in all {
        let checkpoint = Checkpoint::open(&seen.checkpoint, &seen.key);
        let checkpoint = checkpoint.map_err(|error| format!("publisher {publisher}: {error}"))?;
        read.insert(publisher, (seen, checkpoint));
    }
    Ok(read)
}

/// The publisher in the name of a key.
fn publisher_of(key: &str) -> Result<PublisherId, String> {
    let name = key.split('+').next().unwrap_or_default();
    let id = name.strip_prefix("spillring/").map(uuid::Uuid::try_parse);
    match id {
        Some(Ok(id)) => Ok(PublisherId(id)),
        _ => Err(format!(
            "{key:?} is not the key of a publisher: `spillring key show` prints it"
        )),
    }
}

/// In seconds since 1970.
fn seconds(text: &str) -> Option<u64> {
    let time: SystemTime = humantime_serde::re::humantime::parse_rfc3339_weak(text).ok()?;
    time.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}
