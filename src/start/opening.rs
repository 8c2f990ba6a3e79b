//! Opens the directories at a start: recovers what is there, and creates the rest.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, Signing, WhenRingUnusable, WhenSpillUnusable};
use crate::drainer::Source;
use crate::error::{ConfigError, ImportError, RingError, SpillError, StartError};
use crate::host::log;
use crate::import::import_at_start;
use crate::publisher::Shared;
use crate::ring::Refusal;
use crate::ring_file::{MappedRing, RingFile};
use crate::seal::{SealError, Signer};
use crate::spill::{Begun, Spill};

type Drained<E> = fn(Arc<Shared<E>>, Arc<MappedRing>) -> Box<dyn Source>;

/// The functions of the entry type for a ring in a file.
pub(super) struct Packing<E> {
    pub(super) format: u32,
    pub(super) recover: fn(&Path, &mut Spill) -> Result<(), StartError>,
    pub(super) pack: fn(&E, &MappedRing) -> Result<(), Refusal>,
    pub(super) source: Drained<E>,
}

/// What a start finds and creates on disk.
pub(super) struct Opened {
    pub(super) spill: Spill,
    pub(super) begun: Begun,
    pub(super) ring: Option<RingFile>,
}

/// Recovers what is there, the ring of a killed process first, and begins a run.
pub(super) fn open<E>(config: &Config, packing: Option<&Packing<E>>) -> Result<Opened, StartError> {
    let mut spill = Spill::open(
        &config.spill_dir,
        config.spill_key(),
        config.spill_bytes_max,
        config.spill_durability,
    )?;
    let ring_dir = config.ring_dir.as_deref();
    let mut in_file = ring_dir.zip(packing);
    if let Some((dir, packing)) = in_file {
        match (packing.recover)(dir, &mut spill) {
            Err(StartError::Ring(error)) => {
                in_memory(config, error)?;
                in_file = None;
            }
            recovered => recovered?,
        }
    }
    if let Some(buffer) = &config.import {
        import_at_start(buffer, &mut spill).map_err(|error| match error {
            ImportError::Spill(error) => StartError::Spill(error),
            error => StartError::Import(error),
        })?;
    }
    let begun = spill.begin()?;
    let ring = match in_file {
        None => None,
        Some((dir, packing)) => {
            let (bytes, entries) = (config.ring_bytes_max, config.ring_capacity);
            match RingFile::create(dir, &begun.run, packing.format, bytes, entries) {
                Ok(ring) => Some(ring),
                Err(error) => {
                    in_memory(config, error)?;
                    None
                }
            }
        }
    };
    Ok(Opened { spill, begun, ring })
}

/// The signer of checkpoints. If the keys cannot be used, the publisher runs without: its entries matter more.
pub(super) fn signer(config: &Config, spill: &Spill) -> Result<Option<Arc<Signer>>, StartError> {
    if config.signing == Signing::Off || !spill.is_kept() {
        return Ok(None);
    }
    let given = config.signing_key.as_deref();
    let (dir, renew_every) = (&config.spill_dir, config.checkpoint_age_max);
    match Signer::open(dir, spill.publisher(), given, renew_every) {
        Ok(signer) => Ok(Some(Arc::new(signer))),
        Err(SealError::Given(problem)) => Err(StartError::Config(ConfigError {
            key: "signing_key",
            problem,
        })),
        Err(error) => {
            log::error!(%error, "starting WITHOUT signed checkpoints");
            Ok(None)
        }
    }
}

/// Continues with a ring in memory, if configured.
fn in_memory(config: &Config, error: RingError) -> Result<(), StartError> {
    if config.when_ring_unusable == WhenRingUnusable::FailStart {
        return Err(StartError::Ring(error));
    }
    log::error!(%error, "the ring is in memory this time: its entries die with the process");
    Ok(())
}

pub(super) fn without_spill(config: &Config) -> Opened {
    let (spill, run) = Spill::absent(&config.spill_dir);
    let begun = Begun {
        run,
        orphans: Vec::new(),
    };
    Opened {
        spill,
        begun,
        ring: None,
    }
}

pub(super) fn may_go_without(config: &Config, error: &SpillError) -> bool {
    config.when_spill_unusable == WhenSpillUnusable::StartWithout
        && !matches!(error, SpillError::InUse { .. })
}
