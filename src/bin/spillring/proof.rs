//! `spillring proof`: the receipt of an entry.

use spillring::Position;

use crate::console::{Exit, Problem, errln, show};
use crate::verify::{Trail, position_of};

/// Print the proof that an entry is in a trail, as a file that anyone can check without the trail
///
/// It is a tlog-proof of C2SP, see c2sp.org/tlog-proof: the index of the entry in the tree of its publisher, the hashes that lead from
/// it to the root, and a signed checkpoint of that root. Its extra data are the bytes that are hashed: what the headers say, and the
/// entry. Stderr names the key that has signed it; `spillring key show --certificates` has the certificates that lead to it from the
/// publisher's first key.
///
/// The whole trail is read, and takes about 130 bytes of memory an entry.
///
/// Exit code: 0 printed; 2 bad usage, or it cannot be proved.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The entry, as its header Audit-Id says it: <run id>.<n>
    entry: String,
    #[command(flatten)]
    trail: Trail,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    let entry: Option<Position> = position_of(&args.entry);
    let entry = entry.ok_or_else(|| {
        Problem::new(format_args!(
            "{:?} names no entry: give the id of its run and its number, as <run id>.<n>",
            args.entry
        ))
    })?;
    let proof = args.trail.prove(entry)?;
    errln!("signed with {}", proof.key);
    show(&proof.text);
    Ok(Exit::Done)
}
