//! The published entries: each has its own number, from which all else follows.

use crate::event::{EncodeError, Event};

/// An entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) bytes: usize,
    pub(super) encoding: Encoding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Works,
    Fails,
    Panics,
}

impl Entry {
    /// The stored bytes.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = self.id.to_le_bytes().to_vec();
        let filler = (self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        content.resize(self.bytes.max(8), filler);
        content
    }

    pub(super) fn subject_of(id: u64) -> String {
        format!("agent.{}", id % 7)
    }
}

/// The number of the entry with this content.
pub(super) fn id_of(content: &[u8]) -> Option<u64> {
    content.first_chunk().map(|id| u64::from_le_bytes(*id))
}

impl Event for Entry {
    fn subject(&self) -> String {
        Self::subject_of(self.id)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self.encoding {
            Encoding::Works => {}
            Encoding::Fails => return Err(EncodeError("on purpose".into())),
            Encoding::Panics => std::panic::panic_any("on purpose"),
        }
        out.extend(self.content());
        Ok(())
    }

    fn weight(&self) -> usize {
        self.bytes + 64
    }
}
