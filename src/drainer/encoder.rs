//! Encodes and drops entries; both are the host's code.

use std::sync::Arc;

use bytes::Bytes;

use super::sequencer::Encoded;
use crate::durable::{Durable, Unpacker};
use crate::event::{Event, Record};
use crate::host;

/// A buffer that grew larger than this for one entry is freed.
const BUFFER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
}

impl Encoder {
    pub(crate) fn encode<E: Event>(&mut self, entry: E) -> Encoded {
        self.buffer.clear();
        let buffer = &mut self.buffer;
        let encoded = host::call(|| {
            entry
                .encode(buffer)
                .map(|()| Arc::from(entry.subject()))
                .map_err(|error| error.to_string())
        });
        host::drop_quietly(entry);
        let encoded = match encoded {
            Some(Ok(_)) if self.buffer.len() > Record::BYTES_MAX => {
                let bytes = self.buffer.len();
                Err(format!("its {bytes} bytes are more than can be stored"))
            }
            Some(Ok(subject)) => Ok((subject, Bytes::copy_from_slice(&self.buffer))),
            Some(Err(problem)) => Err(problem),
            None => Err("encoding it panicked".to_owned()),
        };
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        encoded
    }

    /// The same for an entry that was packed under this format.
    pub(crate) fn unpack_and_encode<E: Durable>(&mut self, format: u32, packed: &[u8]) -> Encoded {
        match host::call(|| E::unpack(format, &mut Unpacker::new(packed))) {
            Some(Some(entry)) => self.encode(entry),
            Some(None) => Err("the packed words are not such an entry".to_owned()),
            None => Err("unpacking it panicked".to_owned()),
        }
    }
}
