//! What a seed decides once for a schedule: the settings, the kind of sink, the roughness.

use std::path::Path;
use std::time::Duration;

use fastrand::Rng;

use super::entry::{Encoding, Entry};
use super::sinks::PositionKept;
use crate::config::{Config, SpillDurability, WhenSpillFull};

/// The settings of a schedule.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) memory: PositionKept,
    pub(super) picky: u64,
    /// How many events there are.
    pub(super) events: u32,
    pub(super) burst_max: usize,
    pub(super) entry_bytes: usize,
    /// One of this many entries is too large for delivery; 0: none is.
    pub(super) oversize_every: u64,
    /// One of this many entries cannot be encoded; 0: all can.
    pub(super) failing_every: u64,
    /// How often something goes wrong, per thousand events.
    pub(super) rough: Rough,
}

/// Frequencies per thousand events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rough {
    pub(super) sink: u32,
    pub(super) disk: u32,
    pub(super) end: u32,
}

impl Plan {
    pub(super) fn of(random: &mut Rng, dir: &Path) -> Self {
        let pick = |random: &mut Rng, of: &[usize]| of[random.usize(..of.len())];
        let millis = |random: &mut Rng, of: &[usize]| {
            Duration::from_millis(of[random.usize(..of.len())] as u64)
        };
        let mut config = Config::new(dir);
        config.ring_capacity = pick(random, &[2, 8, 64, 256, 2_048]);
        config.ring_bytes_max = [1 << 14, 1 << 18, 1 << 24][random.usize(..3)];
        config.ring_high_water = [0.25, 0.5, 1.0][random.usize(..3)];
        config.batch_max = pick(random, &[1, 3, 8, 32, 200]);
        config.pending_max = millis(random, &[20, 200, 1_000]);
        config.ack_timeout = millis(random, &[100, 1_000, 5_000]);
        config.backoff_min = millis(random, &[5, 100]);
        config.backoff_max = millis(random, &[100, 1_000, 10_000]).max(config.backoff_min);
        config.entry_bytes_max = 6_000;
        config.spill_bytes_max = 1 << 20;
        config.replay_rate_max = [None, None, None, Some(500)][random.usize(..4)];
        if random.bool() {
            config.spill_durability = SpillDurability::ProcessCrash;
        }
        if random.bool() {
            config.when_spill_full = WhenSpillFull::EvictOldest;
        }
        let heavy = random.u8(..4) == 0;
        let scale = [0, 1, 1, 3][random.usize(..4)];
        Self {
            memory: [
                PositionKept::Cursor,
                PositionKept::Ledger,
                PositionKept::Blind,
            ][random.usize(..3)],
            picky: [0, 0, 5, 37][random.usize(..4)],
            events: random.u32(100..1_200),
            burst_max: pick(random, &[2, 10, 60]) * if heavy { 4 } else { 1 },
            entry_bytes: if heavy {
                4_000
            } else {
                pick(random, &[40, 400])
            },
            oversize_every: [0, 0, 13, 3][random.usize(..4)],
            failing_every: [0, 0, 11][random.usize(..3)],
            rough: Rough {
                sink: 20 * scale,
                disk: [0, 8, 25][random.usize(..3)],
                end: [1, 4, 12][random.usize(..3)],
            },
            config,
        }
    }
}

/// An entry with this number.
pub(super) fn entry(id: u64, plan: &Plan, random: &mut Rng) -> Entry {
    let every = |of: u64, random: &mut Rng| of > 0 && random.u64(..of) == 0;
    let large = every(plan.oversize_every, random);
    let encoding = match (every(plan.failing_every, random), random.bool()) {
        (false, _) => Encoding::Works,
        (true, false) => Encoding::Fails,
        (true, true) => Encoding::Panics,
    };
    Entry {
        id,
        bytes: if large {
            7_000
        } else {
            random.usize(8..=plan.entry_bytes)
        },
        encoding,
    }
}
