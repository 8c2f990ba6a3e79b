//! Bytes that are already an encoded entry.

use std::sync::Arc;

use crate::durable::{Durable, Pack, Packer, Unpacker};
use crate::event::{EncodeError, Event};

/// A subject and bytes, which are stored unchanged.
///
/// ```
/// use spillring::{Event, RawEntry};
///
/// let entry = RawEntry::new("acme.agent-7", *b"{\"tool\":\"bash\"}");
/// assert_eq!(entry.subject(), "acme.agent-7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    subject: Arc<str>,
    bytes: Box<[u8]>,
}

impl RawEntry {
    /// The subject is below the sink's prefix: see [`Event::subject`]. An `Arc<str>` is shared among entries, and
    /// costs none of them an allocation.
    pub fn new(subject: impl Into<Arc<str>>, bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            subject: subject.into(),
            bytes: bytes.into(),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Event for RawEntry {
    fn subject(&self) -> String {
        self.subject.to_string()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.bytes);
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.subject.len() + self.bytes.len()
    }
}

impl Pack for RawEntry {
    fn packed_words(&self) -> usize {
        (&*self.subject, &*self.bytes).packed_words()
    }

    fn pack(&self, out: &mut Packer<'_>) {
        (&*self.subject, &*self.bytes).pack(out);
    }
}

/// A [`RawEntry`] that borrows: for [`publish_packed`](crate::Publisher::publish_packed), which then allocates
/// nothing.
impl Pack for (&str, &[u8]) {
    fn packed_words(&self) -> usize {
        Packer::words_of(self.0.len()) + Packer::words_of(self.1.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        out.put_bytes(self.0.as_bytes());
        out.put_bytes(self.1);
    }
}

impl Durable for RawEntry {
    const FORMAT: u32 = 1;

    fn unpack(format: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        if format != Self::FORMAT {
            return None;
        }
        let entry = Self::new(from.str()?, from.bytes()?);
        from.is_done().then_some(entry)
    }
}
