//! What a proxy knows of its connections, and what it has been told to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::link::Link;
use super::moments::Kept;
use super::reads::Reads;
use super::{Fault, Hold, Tamper, Verdict};

#[derive(Debug)]
pub(super) struct State {
    pub(super) links: BTreeMap<usize, Arc<Link>>,
    /// How many connections have come.
    pub(super) accepted: usize,
    /// Where each connection's transaction that is not acknowledged wants its answer.
    pub(super) unacknowledged: BTreeMap<usize, String>,
    /// How many transactions have been, as far as the clients know.
    pub(super) acknowledged: u64,
    /// What is to be held as soon as it comes by.
    pub(super) armed: Option<Hold>,
    pub(super) held: Option<Held>,
    pub(super) verdict: Option<Verdict>,
    pub(super) fault: Option<Fault>,
    /// The connection on which something was held last, and what the server said to it since.
    pub(super) released: Option<usize>,
    pub(super) answer: Option<String>,
    /// How many more bytes go to the servers before a connection is cut, once.
    pub(super) bytes_left: usize,
    pub(super) intruding: bool,
    pub(super) tamper: Option<Tamper>,
    pub(super) first_cursor: Option<String>,
    /// The id that a batch was given, and its own.
    pub(super) reused: Option<(String, String)>,
    pub(super) reads: Reads,
    pub(super) ended: bool,
}

#[derive(Debug)]
pub(super) struct Held {
    /// How many connections had come by then.
    pub(super) accepted: usize,
    /// What of a transaction is held, if all of it is.
    pub(super) kept: Option<Kept>,
}

impl State {
    pub(super) fn is_unacknowledged(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.accepted == self.accepted)
    }

    pub(super) fn new(bytes_left: usize) -> Self {
        Self {
            links: BTreeMap::new(),
            accepted: 0,
            unacknowledged: BTreeMap::new(),
            acknowledged: 0,
            armed: None,
            held: None,
            verdict: None,
            fault: None,
            released: None,
            answer: None,
            bytes_left,
            intruding: false,
            tamper: None,
            first_cursor: None,
            reused: None,
            reads: Reads::default(),
            ended: false,
        }
    }
}
