//! Entries that can be packed into words, for a ring that outlives the process.

use crate::event::Event;
use crate::file_ring::Claim;

/// Packs an entry into words, on the publishing thread: without allocation, and fast. [`Durable`] unpacks it.
///
/// ```
/// use spillring::durable::{Pack, Packer};
///
/// struct Decision<'a> { at: u64, tool: &'a str }
///
/// impl Pack for Decision<'_> {
///     fn packed_words(&self) -> usize {
///         1 + Packer::words_of(self.tool.len())
///     }
///
///     fn pack(&self, out: &mut Packer<'_>) {
///         out.put_u64(self.at);
///         out.put_bytes(self.tool.as_bytes());
///     }
/// }
/// ```
pub trait Pack {
    /// The exact number of words that [`pack`](Self::pack) puts.
    fn packed_words(&self) -> usize;

    /// Puts the words of the entry. An entry whose `pack` puts a different number of words than announced, or panics,
    /// is lost, with the reason `encode_error`; the panic continues in the caller.
    fn pack(&self, out: &mut Packer<'_>);
}

/// An [`Event`] for [`start_durable`](crate::start_durable): published entries survive the death of the process.
///
/// ```
/// use spillring::durable::{Durable, Pack, Packer, Unpacker};
/// # use spillring::{Event, event::EncodeError};
///
/// #[derive(Debug, PartialEq)]
/// struct Decision { at: u64, tool: String } // an Event
/// # impl Event for Decision {
/// #     fn subject(&self) -> String { "decisions".into() }
/// #     fn encode(&self, _: &mut Vec<u8>) -> Result<(), EncodeError> { Ok(()) }
/// #     fn weight(&self) -> usize { size_of::<Self>() + self.tool.capacity() }
/// # }
///
/// impl Pack for Decision {
///     fn packed_words(&self) -> usize {
///         1 + Packer::words_of(self.tool.len())
///     }
///
///     fn pack(&self, out: &mut Packer<'_>) {
///         out.put_u64(self.at);
///         out.put_bytes(self.tool.as_bytes());
///     }
/// }
///
/// impl Durable for Decision {
///     const FORMAT: u32 = 1;
///
///     fn unpack(format: u32, from: &mut Unpacker<'_>) -> Option<Self> {
///         (format == Self::FORMAT).then_some(())?;
///         Some(Self { at: from.u64()?, tool: from.str()?.to_owned() })
///     }
/// }
///
/// let decision = Decision { at: 7, tool: "bash".into() };
/// let packed = Packer::pack_to_vec(&decision);
/// assert_eq!(Decision::unpack(1, &mut Unpacker::new(&packed)), Some(decision));
/// ```
pub trait Durable: Event + Pack {
    /// Identifies the layout of [`pack`](Pack::pack): change the number with the layout.
    const FORMAT: u32;

    /// Restores an entry that was packed under this format, perhaps by an earlier version. `None` if the words are not
    /// such an entry. Runs on the drainer, or at the start.
    fn unpack(format: u32, from: &mut Unpacker<'_>) -> Option<Self>
    where
        Self: Sized;
}

/// Collects the words of an entry.
///
/// See the example of [`Durable`].
#[derive(Debug)]
pub struct Packer<'r> {
    to: To<'r>,
}

#[derive(Debug)]
enum To<'r> {
    Ring(Claim<'r>),
    Bytes(&'r mut Vec<u8>),
}

/// Returns the words in the same order.
///
/// See the example of [`Durable`].
#[derive(Debug)]
pub struct Unpacker<'b> {
    rest: &'b [u8],
}

const WORD: usize = size_of::<u64>();

impl<'r> Packer<'r> {
    pub(crate) fn new(claim: Claim<'r>) -> Self {
        Self {
            to: To::Ring(claim),
        }
    }

    /// The packed bytes of an entry: for tests of your own type, with [`Unpacker::new`].
    #[must_use]
    pub fn pack_to_vec(entry: &impl Pack) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(entry.packed_words() * WORD);
        entry.pack(&mut Packer {
            to: To::Bytes(&mut bytes),
        });
        bytes
    }

    /// How many words this many bytes take, including one for their length.
    #[must_use]
    pub const fn words_of(bytes: usize) -> usize {
        1 + bytes.div_ceil(WORD)
    }

    /// One word.
    #[inline]
    pub fn put_u64(&mut self, word: u64) {
        match &mut self.to {
            To::Ring(claim) => claim.put(word),
            To::Bytes(bytes) => bytes.extend_from_slice(&word.to_le_bytes()),
        }
    }

    /// Bytes, preceded by their length.
    #[inline]
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_u64(bytes.len() as u64);
        self.put_whole(bytes);
    }

    /// Bytes without their length; the last word is padded with zeros.
    #[inline]
    pub(crate) fn put_whole(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<WORD>();
        for word in words {
            self.put_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; WORD];
            last[..rest.len()].copy_from_slice(rest);
            self.put_u64(u64::from_le_bytes(last));
        }
    }

    pub(crate) fn commit(self) {
        if let To::Ring(claim) = self.to {
            claim.commit();
        }
    }
}

impl<'b> Unpacker<'b> {
    /// Reads packed bytes.
    #[must_use]
    pub fn new(packed: &'b [u8]) -> Self {
        Self { rest: packed }
    }

    /// One word.
    pub fn u64(&mut self) -> Option<u64> {
        let (word, rest) = self.rest.split_first_chunk::<WORD>()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*word))
    }

    /// The bytes of a [`put_bytes`](Packer::put_bytes).
    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (padded, rest) =
            (self.rest).split_at_checked(length.checked_next_multiple_of(WORD)?)?;
        self.rest = rest;
        padded.get(..length)
    }

    /// The same, if they are UTF-8.
    pub fn str(&mut self) -> Option<&'b str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// Whether all words were read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}
