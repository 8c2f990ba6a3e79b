//! The small files beside the databases, as they may be after a power cut.

use crate::disk::Age;
use crate::trace::{Event, Small};

/// Synced before it is used.
const IDENTITY: &str = "identity";
const WATERMARK: &str = "watermark";
/// The watermark has two slots of 64 bytes, one per sector.
const SECTOR: usize = 512;
const SLOT: usize = 64;

/// Some state of them.
#[derive(Debug, Hash)]
pub(crate) struct Beside {
    pub(crate) small: Small,
    pub(crate) watermark: Age,
}

/// As they were after an event, the two slots of the watermark as they were after others, and what was synced as it is.
pub(crate) fn of(events: &[Event], moment: usize, slots: [usize; 2]) -> Beside {
    let watermark = mix(slots.map(|slot| watermark_at(events, slot)));
    beside(events, moment, watermark)
}

/// As they were after an event, the newest slot of the watermark half written since an earlier one.
pub(crate) fn torn(events: &[Event], moment: usize, before: usize) -> Beside {
    let (old, new) = (watermark_at(events, before), watermark_at(events, moment));
    let torn = match (old, new) {
        (old, Some(new)) if old != Some(new) => {
            let mut torn = new.to_owned();
            let at = newest_slot(new) * SECTOR;
            if let Some(half) = torn.get_mut(at + SLOT / 2..at + SLOT) {
                half.fill(0);
            }
            Some(torn)
        }
        (_, new) => new.map(ToOwned::to_owned),
    };
    beside(events, moment, torn)
}

fn beside(events: &[Event], moment: usize, watermark: Option<Vec<u8>>) -> Beside {
    let mut small = (*events[moment].small).clone();
    let last = &events[events.len() - 1].small;
    let age = if last.get(WATERMARK) == watermark.as_ref() {
        Age::Newest
    } else {
        Age::Older
    };
    for (name, content) in [
        (IDENTITY, last.get(IDENTITY).cloned()),
        (WATERMARK, watermark),
    ] {
        match content {
            Some(content) => small.insert(name.to_owned(), content),
            None => small.remove(name),
        };
    }
    Beside {
        small,
        watermark: age,
    }
}

fn watermark_at(events: &[Event], moment: usize) -> Option<&Vec<u8>> {
    events[moment].small.get(WATERMARK)
}

/// The first sector of the first one, and the rest of the second.
fn mix([first, second]: [Option<&Vec<u8>>; 2]) -> Option<Vec<u8>> {
    let (Some(first), Some(second)) = (first, second) else {
        return first.or(second).cloned();
    };
    let mut mixed = first[..first.len().min(SECTOR)].to_vec();
    if second.len() > SECTOR {
        mixed.resize(SECTOR, 0);
        mixed.extend_from_slice(&second[SECTOR..]);
    }
    Some(mixed)
}

/// The number of the slot with the higher turn, its second number of 8 bytes.
fn newest_slot(watermark: &[u8]) -> usize {
    let turn = |slot: usize| {
        let at = slot * SECTOR + 8;
        let bytes = watermark.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    usize::from(turn(1) > turn(0))
}
