//! What the threads publish: each a chain of its own, which anyone who knows whose it is can make again.

use std::fmt;

use serde::{Deserialize, Serialize};
use spillring::AuditEntry;
use spillring::assembly::{AgentId, AuditEventType, SessionId};

/// All threads of all publishers act for the same agents, so they share their subjects.
const AGENTS: u64 = 5;

/// One thread of one publisher, from one of its starts to the end of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Whose {
    pub(crate) publisher: usize,
    pub(crate) start: usize,
    pub(crate) thread: usize,
}

/// The entries of one thread, one after the other.
#[derive(Debug)]
pub(crate) struct Chain {
    whose: Whose,
    pub(crate) made: u64,
    previous: [u8; 32],
}

impl Chain {
    pub(crate) fn new(whose: Whose) -> Self {
        Self {
            whose,
            made: 0,
            previous: [0; 32],
        }
    }

    pub(crate) fn next(&mut self) -> AuditEntry {
        let Self {
            whose,
            made,
            previous,
        } = *self;
        let mut session = [0; 16];
        for (place, part) in [whose.publisher, whose.start, whose.thread]
            .into_iter()
            .enumerate()
        {
            session[place] = u8::try_from(part % 256).expect("a byte");
        }
        let agent = u8::try_from(made % AGENTS).expect("a byte");
        let entry = AuditEntry::new(
            made,
            1_763_800_000_000_000_000 + made,
            AuditEventType::ToolCallIntercepted,
            AgentId::from_bytes([agent; 16]),
            SessionId::from_bytes(session),
            format!("{whose}; {}", "…".repeat(usize::from(agent) * 30)),
            previous,
        );
        self.made += 1;
        self.previous = *entry.entry_hash();
        entry
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            publisher,
            start,
            thread,
        } = self;
        write!(f, "{publisher} {start} {thread}")
    }
}

/// Whose an entry says that it is.
pub(crate) fn whose(json: &[u8]) -> Option<Whose> {
    #[derive(Deserialize)]
    struct Said {
        payload: String,
    }
    let said: Said = serde_json::from_slice(json).ok()?;
    let (words, _) = said.payload.split_once(';')?;
    let mut words = words.split(' ').map_while(|word| word.parse().ok());
    Some(Whose {
        publisher: words.next()?,
        start: words.next()?,
        thread: words.next()?,
    })
}
