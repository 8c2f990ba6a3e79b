//! `spillring proof`: proves that an entry is in a trail.

use spillring::event::Position;

use crate::console::{Exit, Problem, errln, show};
use crate::verify::{Trail, position_of};

/// Print a proof that an entry is in a trail, which anyone can check without the trail
///
/// It is a C2SP tlog-proof, see c2sp.org/tlog-proof: the index of the entry in the tree of its publisher, the hashes
/// that lead from it to the root, and a signed checkpoint of that root. Its extra data is the hashed leaf: the headers
/// and the entry. Stderr names the signing key; `spillring key show --certificates` prints the certificates that lead
/// to it from the publisher's first key.
///
/// Reads the whole trail, and needs about 130 bytes of memory per entry.
///
/// Exit code: 0 printed; 2 bad usage, or it cannot be proved.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The entry's Audit-Id: <run id>.<n>
    entry: String,
    #[command(flatten)]
    trail: Trail,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    let entry: Option<Position> = position_of(&args.entry);
    let entry = entry.ok_or_else(|| {
        Problem::new(format_args!(
            "{:?} is not an entry's id: give the id of its run and its number, as <run id>.<n>",
            args.entry
        ))
    })?;
    let proof = args.trail.prove(entry)?;
    errln!("signed with {}", proof.key);
    show(&proof.text);
    Ok(Exit::Done)
}
