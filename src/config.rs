//! Settings: plain data, validated once by `start`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

#[cfg(feature = "assembly")]
pub(crate) mod assembly;
mod bounds;
mod choices;
#[cfg(feature = "nats")]
pub(crate) mod nats;
mod size;
mod spill_key;
pub use choices::{Signing, SpillDurability, WhenRingUnusable, WhenSpillFull, WhenSpillUnusable};
#[cfg(feature = "nats")]
pub(crate) use nats::{
    DiscoveredServers, NatsConfig, NatsTls, NatsUrl, Secret, StreamCare, StreamStorage,
    TlsHandshake,
};
#[cfg(feature = "encryption")]
pub use spill_key::SpillKey;
#[cfg(not(feature = "encryption"))]
pub(crate) use spill_key::SpillKey;

/// The settings of a publisher. Only `spill_dir` is required.
///
/// With serde, a duration is a string such as `"250ms"`, a size is a number of bytes or a string such as `"10 GiB"`,
/// and an unknown key is an error. Missing keys have their defaults; a missing `spill_dir` fails
/// [`validate`](Self::validate).
///
/// ```
/// use spillring::Config;
/// use spillring::config::{Signing, SpillDurability, WhenRingUnusable};
/// use spillring::config::{WhenSpillFull, WhenSpillUnusable};
///
/// let mut config = Config::new("/var/lib/agent/spill");
/// config.spill_bytes_max = 10 << 30;
/// config.when_spill_full = WhenSpillFull::EvictOldest; // the newest matter most
/// config.spill_durability = SpillDurability::ProcessCrash; // no sync per commit
/// config.when_spill_unusable = WhenSpillUnusable::StartWithout;
/// config.ring_dir = Some("/dev/shm".into());
/// config.when_ring_unusable = WhenRingUnusable::UseMemory;
/// config.signing = Signing::Off;
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default = "Config::without_directory", deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The directory of the spill, one per publisher; created if missing. A relative path is resolved against the
    /// current directory at the start.
    pub spill_dir: PathBuf,
    /// An event buffer of Agent Assembly whose backlog is imported at the start, before anything else, as by
    /// [`import`]. A missing buffer counts as empty. A buffer that cannot be read, or that Agent Assembly has open, is
    /// an error. Entries for which the spill or the disk has no room wait in the buffer for the next start. Default:
    /// none.
    ///
    /// [`import`]: crate::operate::import()
    pub import: Option<PathBuf>,
    /// How many entries the ring holds, from 2 to 1,048,576. Default 65,536.
    pub ring_capacity: usize,
    /// How many bytes the entries in the ring may take together, up to 4 GiB - 1. Default 64 MiB. With `ring_dir` from
    /// 64 KiB to 512 MiB, rounded up to a power of two; one entry may then take a quarter of it.
    #[serde(deserialize_with = "size::deserialize")]
    pub ring_bytes_max: u64,
    /// The directory for a ring in a file, so that published entries survive SIGKILL; for
    /// [`start_durable`](crate::start_durable). Use a tmpfs, such as `/dev/shm`: a disk makes `publish` slower, and
    /// saves entries from a reboot only as far as the kernel wrote them back, since the file is never synced. Default:
    /// none; the ring is in memory and dies with the process.
    pub ring_dir: Option<PathBuf>,
    /// What happens if the ring cannot be kept in `ring_dir`. Default [`WhenRingUnusable::FailStart`].
    pub when_ring_unusable: WhenRingUnusable,
    /// How full the ring may be, as a share of either bound, before it is emptied into the spill; above 0 and up to 1.
    /// Default 0.5.
    pub ring_high_water: f64,
    /// How long an entry may be in memory without a copy on disk while a delivery is pending. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub pending_max: Duration,
    /// The largest number of entries in a batch, from 1 to 10,000. A batch is also bounded to 4 MiB and to an eighth
    /// of the spill's cap. Default 3,996: with their cursors, four atomic batches of NATS with 1,000 messages each.
    pub batch_max: usize,
    /// The longest wait between two checks of an empty ring. Default 8 ms.
    #[serde(with = "humantime_serde")]
    pub poll_max: Duration,
    /// How long a sink may take over a batch before the outcome counts as unknown. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub ack_timeout: Duration,
    /// The first wait after a failed delivery; it doubles, with full jitter. Default 100 ms.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// The longest wait after a failed delivery. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// By how many entries a second a backlog may shrink, on top of what arrives meanwhile: keeps a long backlog from
    /// flooding a server that has just come back. Default: no bound.
    pub replay_rate_max: Option<u32>,
    /// The largest entry, encoded, in bytes; a larger one becomes a dead letter. Default 1 MiB.
    #[serde(deserialize_with = "size::deserialize")]
    pub entry_bytes_max: u64,
    /// How many bytes the backlog and the dead letters may take together. Each entry counts with its stored bytes, its
    /// subject, and 32 more. The cap is also limited to half of what the disk has free without them, or had free at any
    /// time since the start, but never below what is already stored. Default 4 GiB.
    #[serde(deserialize_with = "size::deserialize")]
    pub spill_bytes_max: u64,
    /// What a committed spill survives. Default [`SpillDurability::PowerLoss`].
    pub spill_durability: SpillDurability,
    /// Encrypts the entries of the spill on disk, dead letters included. docs/encryption.md says what stays in plain
    /// text. Neither read nor written by serde. Default: none, entries lie in plain text.
    #[cfg(feature = "encryption")]
    #[serde(skip)]
    pub spill_key: Option<SpillKey>,
    /// Whether sinks that keep checkpoints sign them, so that an auditor can see what this publisher has written.
    /// Default [`Signing::On`].
    pub signing: Signing,
    /// A private key that becomes this publisher's first one if the spill directory has none: a line
    /// `PRIVATE+KEY+<name>+<id>+<key>` as in C2SP's `signed-note`, or 32 bytes in base64. It is read once. Default:
    /// the first key is generated.
    pub signing_key: Option<PathBuf>,
    /// The age at which the newest checkpoint is signed again while nothing is delivered, at least a second. Default 1
    /// min.
    #[serde(with = "humantime_serde")]
    pub checkpoint_age_max: Duration,
    /// What happens at `spill_bytes_max`. Default [`WhenSpillFull::RefuseNew`].
    pub when_spill_full: WhenSpillFull,
    /// What happens if the spill directory cannot be used at the start. Default [`WhenSpillUnusable::FailStart`].
    pub when_spill_unusable: WhenSpillUnusable,
}

impl Config {
    /// The default settings with this spill directory.
    #[must_use]
    pub fn new(spill_dir: impl Into<PathBuf>) -> Self {
        Self {
            spill_dir: spill_dir.into(),
            import: None,
            ring_capacity: 65_536,
            ring_bytes_max: 64 << 20,
            ring_dir: None,
            when_ring_unusable: WhenRingUnusable::default(),
            ring_high_water: 0.5,
            pending_max: Duration::from_secs(1),
            batch_max: 3_996,
            poll_max: Duration::from_millis(8),
            ack_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            replay_rate_max: None,
            entry_bytes_max: 1 << 20,
            spill_bytes_max: 4 << 30,
            spill_durability: SpillDurability::default(),
            #[cfg(feature = "encryption")]
            spill_key: None,
            signing: Signing::default(),
            signing_key: None,
            checkpoint_age_max: Duration::from_secs(60),
            when_spill_full: WhenSpillFull::default(),
            when_spill_unusable: WhenSpillUnusable::default(),
        }
    }

    /// For serde, which fills in what is missing from it.
    fn without_directory() -> Self {
        Self::new("")
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, and its valid values.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, holds, problem) in self.bounds() {
            if !holds {
                return Err(ConfigError {
                    key,
                    problem: problem.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The key of the spill.
    #[cfg(feature = "encryption")]
    pub(crate) fn spill_key(&self) -> Option<&SpillKey> {
        self.spill_key.as_ref()
    }

    /// None: this build cannot encrypt.
    #[cfg(not(feature = "encryption"))]
    #[allow(clippy::unused_self, reason = "with the feature it is a setting")]
    pub(crate) fn spill_key(&self) -> Option<&SpillKey> {
        None
    }

    /// The same settings with absolute paths: if the host changes its current directory later, the spill does not
    /// move.
    ///
    /// # Errors
    ///
    /// An empty path, or a relative one if the current directory cannot be found.
    pub(crate) fn with_absolute_paths(mut self) -> Result<Self, ConfigError> {
        self.spill_dir = absolute_path("spill_dir", &self.spill_dir)?;
        if let Some(buffer) = &self.import {
            self.import = Some(absolute_path("import", buffer)?);
        }
        if let Some(dir) = &self.ring_dir {
            self.ring_dir = Some(absolute_path("ring_dir", dir)?);
        }
        if let Some(key) = &self.signing_key {
            self.signing_key = Some(absolute_path("signing_key", key)?);
        }
        Ok(self)
    }

    pub(crate) const RING_CAPACITY_MAX: usize = 1 << 20;
    /// The largest ring in a file: its count of records must not wrap around.
    pub(crate) const RING_FILE_BYTES_MAX: u64 = 512 << 20;
    const RING_FILE_BYTES: RangeInclusive<u64> = 64 << 10..=Self::RING_FILE_BYTES_MAX;
    pub(crate) const BATCH_MAX: usize = 10_000;
    const ENTRY_BYTES_MAX: u64 = 512 << 20;
}

fn absolute_path(key: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
    absolute(path).map_err(|error| ConfigError {
        key,
        problem: format!(
            "cannot be made absolute (`{}`: {error}): give an absolute path",
            path.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_keys_have_their_defaults_and_only_the_directory_is_needed() {
        let read = |text| serde_json::from_str::<Config>(text).unwrap();
        assert_eq!(read(r#"{"spill_dir": "spill"}"#), Config::new("spill"));
        let problem = read("{}").validate().unwrap_err();
        assert_eq!(problem.key, "spill_dir");
    }

    /// The clock panics on a moment past its end.
    #[test]
    fn a_duration_without_end_is_refused() {
        let settings: [fn(&mut Config) -> &mut Duration; 4] = [
            |config| &mut config.pending_max,
            |config| &mut config.ack_timeout,
            |config| &mut config.backoff_min,
            |config| &mut config.backoff_max,
        ];
        for setting in settings {
            for wrong in [Duration::ZERO, Duration::MAX] {
                let mut config = Config::new("spill");
                *setting(&mut config) = wrong;
                assert!(config.validate().is_err(), "{config:?}");
            }
        }
        assert!(Config::new("spill").validate().is_ok());
    }
}
