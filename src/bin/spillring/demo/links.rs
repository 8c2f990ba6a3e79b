//! Delivered lines, looked at one by one, in blocks, on several threads.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use spillring::AuditEntry;

use super::entries::Station;

/// Whole lines, each with its line feed.
pub(super) type Block = Vec<u8>;

/// Blocks as they are read back.
pub(super) type Blocks = Box<dyn Iterator<Item = io::Result<Block>> + Send>;

/// Blocks that wait for a thread, and for their turn after it.
const QUEUE_MAX: usize = 2;

/// What the next check needs of an entry whose own hash is right.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) station: Station,
    pub(super) previous_hash: [u8; 32],
    pub(super) entry_hash: [u8; 32],
}

/// The links of a block, up to what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) links: Vec<Link>,
    pub(super) problem: Option<String>,
}

/// Has blocks looked at by `workers` threads, and gives them back in their order: the first one from the first
/// receiver, the second one from the second, and so on, round after round.
pub(super) fn look_at_all<'scope>(
    blocks: Blocks,
    workers: usize,
    scope: &'scope Scope<'scope, '_>,
) -> Vec<Receiver<Looked>> {
    let mut hands: Vec<SyncSender<io::Result<Block>>> = Vec::new();
    let mut results = Vec::new();
    for _ in 0..workers {
        let (hand, take) = sync_channel::<io::Result<Block>>(QUEUE_MAX);
        let (tell, result) = sync_channel(QUEUE_MAX);
        scope.spawn(move || take.iter().try_for_each(|block| tell.send(look_at(block))));
        hands.push(hand);
        results.push(result);
    }
    scope.spawn(move || {
        let mut turn = hands.iter().cycle();
        blocks
            .zip(&mut turn)
            .try_for_each(|(block, hand)| hand.send(block))
    });
    results
}

fn look_at(block: io::Result<Block>) -> Looked {
    let mut looked = Looked::default();
    let block = match block {
        Ok(block) => block,
        Err(error) => {
            looked.problem = Some(format!("what was delivered cannot be read: {error}"));
            return looked;
        }
    };
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        match link(line) {
            Ok(link) => looked.links.push(link),
            Err(problem) => {
                looked.problem = Some(problem);
                break;
            }
        }
    }
    looked
}

fn link(line: &[u8]) -> Result<Link, String> {
    let line = line.strip_suffix(b"\n").ok_or("the last line has no end")?;
    let entry: AuditEntry =
        serde_json::from_slice(line).map_err(|error| format!("a line is no entry: {error}"))?;
    if !entry.verify_integrity() {
        return Err(format!("its hash does not fit: {entry}"));
    }
    Ok(Link {
        station: Station {
            agent: entry.agent_id(),
            session: entry.session_id(),
            seq: entry.seq(),
        },
        previous_hash: *entry.previous_hash(),
        entry_hash: *entry.entry_hash(),
    })
}
