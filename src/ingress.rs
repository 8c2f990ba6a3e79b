//! The publishers' end of the ring, in memory or in a file.

use std::sync::Arc;

use crate::durable::{Durable, Pack, Packer, Unpacker};
use crate::event::Event;
use crate::ring::{Inside, PushError, Refusal, Ring};
use crate::ring_file::MappedRing;

/// The ring, as publishers see it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, and publishing must not follow a pointer"
)]
pub(crate) enum Ingress<E> {
    Memory(Ring<E>),
    File {
        ring: Arc<MappedRing>,
        /// Set where the type of the entries is known to be durable.
        pack: fn(&E, &MappedRing) -> Result<(), Refusal>,
    },
}

/// Packs an entry straight into the ring.
pub(crate) fn pack<P: Pack>(entry: &P, ring: &MappedRing) -> Result<(), Refusal> {
    let mut packer = Packer::new(ring.claim(entry.packed_words())?);
    entry.pack(&mut packer);
    packer.commit();
    Ok(())
}

/// An `E` made from the packed words of another type.
pub(crate) fn repack<E: Durable>(entry: &impl Pack) -> Option<E> {
    let packed = Packer::pack_to_vec(entry);
    E::unpack(E::FORMAT, &mut Unpacker::new(&packed))
}

impl<E> Ingress<E> {
    /// How many entries have entered so far. Counts every publish that happened before the call, and never decreases.
    pub(crate) fn accepted(&self) -> u64 {
        match self {
            Self::Memory(ring) => ring.accepted(),
            Self::File { ring, .. } => ring.accepted(),
        }
    }

    /// Counts every publish that happened before the call.
    pub(crate) fn inside(&self) -> Inside {
        match self {
            Self::Memory(ring) => ring.inside(),
            Self::File { ring, .. } => ring.inside(),
        }
    }

    /// Refuses entries from now on.
    pub(crate) fn close(&self) {
        match self {
            Self::Memory(ring) => ring.close(),
            Self::File { ring, .. } => ring.close(),
        }
    }

    /// Counts an entry that its publisher dropped.
    pub(crate) fn lose(&self) {
        match self {
            Self::Memory(ring) => ring.lose(),
            Self::File { ring, .. } => ring.lose(),
        }
    }

    pub(crate) fn lost(&self) -> u64 {
        match self {
            Self::Memory(ring) => ring.lost(),
            Self::File { ring, .. } => ring.lost(),
        }
    }
}

impl<E: Event> Ingress<E> {
    /// Accepts the entry, or hands it back.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "as a call, it would take a copy of the entry"
    )]
    pub(crate) fn push(&self, entry: E) -> Result<(), PushError<E>> {
        match self {
            Self::Memory(ring) => {
                let weight = entry.weight();
                ring.push(entry, weight)
            }
            Self::File { ring, pack } => push_packed(entry, ring, *pack),
        }
    }
}

/// Separate from `push`, which must stay as short as it is for a ring in memory.
#[inline(never)]
fn push_packed<E>(
    entry: E,
    ring: &MappedRing,
    pack: fn(&E, &MappedRing) -> Result<(), Refusal>,
) -> Result<(), PushError<E>> {
    pack(&entry, ring).map_err(|refusal| match refusal {
        Refusal::Full => PushError::full(entry),
        Refusal::Closed => PushError::closed(entry),
    })
}
