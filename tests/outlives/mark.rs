//! The entries.

use spillring::durable::{Pack, Packer, Unpacker};
use spillring::event::EncodeError;
use spillring::{Durable, Event};

/// An entry that says who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    life: u64,
    thread: u64,
    n: u64,
    pub(crate) filling: String,
}

impl Mark {
    pub(crate) fn new(life: u64, thread: u64, n: u64) -> Self {
        let filling = "x".repeat(usize::try_from(n * 37 % 700).unwrap());
        Self {
            life,
            thread,
            n,
            filling,
        }
    }
}

impl Event for Mark {
    fn subject(&self) -> String {
        format!("assembly.audit.thread.{}", self.thread)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Self {
            life,
            thread,
            n,
            filling,
        } = self;
        out.extend_from_slice(format!("{life} {thread} {n} {filling}").as_bytes());
        Ok(())
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.filling.len()
    }
}

impl Pack for Mark {
    fn packed_words(&self) -> usize {
        3 + Packer::words_of(self.filling.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        for word in [self.life, self.thread, self.n] {
            out.put_u64(word);
        }
        out.put_bytes(self.filling.as_bytes());
    }
}

impl Durable for Mark {
    const FORMAT: u32 = 7;

    fn unpack(_: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            life: from.u64()?,
            thread: from.u64()?,
            n: from.u64()?,
            filling: from.str()?.to_owned(),
        })
    }
}
