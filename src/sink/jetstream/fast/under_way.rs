//! A batch under way, and what was sent of it.

use uuid::Uuid;

use crate::event::{Record, fresh_uuid};
use crate::seal::Hash;

/// How many portions are under way.
pub(super) const PORTIONS: u64 = 4;
/// How many messages are sent before the server has announced how many it acknowledges at once.
const FIRST: u64 = 64;

/// The entries of the last batch, as leaves, so that recovery can recognise them.
#[derive(Debug, Default)]
pub(in crate::sink::jetstream) struct Sent {
    pub(in crate::sink::jetstream) batch: Uuid,
    pub(in crate::sink::jetstream) leaves: Vec<Hash>,
}

/// A batch under way.
pub(super) struct UnderWay<'a> {
    pub(super) id: Uuid,
    pub(super) records: &'a [Record],
    /// All messages up to this number are stored.
    pub(super) stored: u64,
    /// How many messages the server acknowledges at once.
    pub(super) portion: u64,
    pub(super) sent: u64,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        Self {
            id: fresh_uuid(),
            records,
            stored: 0,
            portion: FIRST / PORTIONS,
            sent: 0,
        }
    }
}
