//! Parses delivered lines in blocks, on several threads.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use spillring::AuditEntry;

use super::entries::Coordinates;

/// Complete lines, each with its line feed.
pub(super) type Block = Vec<u8>;

/// The blocks that are read back, in order.
pub(super) type Blocks = Box<dyn Iterator<Item = io::Result<Block>> + Send>;

/// Blocks queued for a thread, and results queued by it.
const QUEUE_MAX: usize = 2;

/// The chain data of an entry whose own hash is right.
#[derive(Debug)]
pub(super) struct ChainLink {
    pub(super) coordinates: Coordinates,
    pub(super) previous_hash: [u8; 32],
    pub(super) entry_hash: [u8; 32],
}

/// The links of a block, up to the first problem.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) links: Vec<ChainLink>,
    pub(super) problem: Option<String>,
}

/// Parses blocks on `workers` threads. Results come in order, round robin: the first from the first receiver, the
/// second from the second, and so on.
pub(super) fn parse_all<'scope>(
    blocks: Blocks,
    workers: usize,
    scope: &'scope Scope<'scope, '_>,
) -> Vec<Receiver<Parsed>> {
    let mut inputs: Vec<SyncSender<io::Result<Block>>> = Vec::new();
    let mut results = Vec::new();
    for _ in 0..workers {
        let (input, blocks_in) = sync_channel::<io::Result<Block>>(QUEUE_MAX);
        let (output, result) = sync_channel(QUEUE_MAX);
        scope.spawn(move || {
            blocks_in
                .iter()
                .try_for_each(|block| output.send(parse(block)))
        });
        inputs.push(input);
        results.push(result);
    }
    scope.spawn(move || {
        let mut turn = inputs.iter().cycle();
        blocks
            .zip(&mut turn)
            .try_for_each(|(block, input)| input.send(block))
    });
    results
}

fn parse(block: io::Result<Block>) -> Parsed {
    let mut parsed = Parsed::default();
    let block = match block {
        Ok(block) => block,
        Err(error) => {
            parsed.problem = Some(format!("the delivered entries cannot be read: {error}"));
            return parsed;
        }
    };
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        match link(line) {
            Ok(link) => parsed.links.push(link),
            Err(problem) => {
                parsed.problem = Some(problem);
                break;
            }
        }
    }
    parsed
}

fn link(line: &[u8]) -> Result<ChainLink, String> {
    let line = line.strip_suffix(b"\n").ok_or("the last line has no end")?;
    let entry: AuditEntry =
        serde_json::from_slice(line).map_err(|error| format!("a line is not an entry: {error}"))?;
    if !entry.verify_integrity() {
        return Err(format!("its hash does not match: {entry}"));
    }
    Ok(ChainLink {
        coordinates: Coordinates {
            agent: entry.agent_id(),
            session: entry.session_id(),
            seq: entry.seq(),
        },
        previous_hash: *entry.previous_hash(),
        entry_hash: *entry.entry_hash(),
    })
}
