//! The spill against power cuts, kills and failing calls, in the middle of whatever `SQLite` is doing for it.
//!
//! A VFS of our own ([`vfs`]) stands between `SQLite` and the disk. spillring uses it without knowing, since it is the
//! default of the process: the code under test is the one that ships, through its public face. What watches the calls
//! may record them ([`Trace`]), kill the process in the midst of one ([`Killer`]), or let one fail ([`Faults`]).
//!
//! # A power cut
//!
//! A recorded run is cut after each of its calls, and what the disk may hold then is rebuilt ([`Disk`]); a sample of
//! these disks is checked, or all of them (`SPILLRING_ALL_CUTS=1`):
//!
//! - What was written to a file before its last sync is there. Of what was written, or cut off, since then, any subset
//!   may be there, in the order of the calls; the last one that is, perhaps half of it.
//! - A file that was made or deleted has its name, or has lost it, for sure once its folder is synced. `os_unix.c` does
//!   that with the first sync of a new journal or WAL (`UNIXFILE_DIRSYNC`, in `unixSync`) and where `xDelete` is asked
//!   to (`unixDelete`), which closing a WAL does not. Until then it may have happened or not. A file without its name
//!   is lost with its content. That spillring itself syncs the folder of a new segment cannot be seen here, and is not
//!   supposed.
//! - spillring makes segments before `SQLite` opens them, and unlinks them, past the VFS: they are looked for with each
//!   call.
//! - What was written before a sync that failed may be missing for good, whatever is synced later, until it is written
//!   over: the kernel reports the error once, and then takes the pages for clean.
//! - The small files that spillring writes itself are as they were at some moment since the run began, when all but two
//!   were absent; only `identity`, which is synced before it is used, is always as it was last. The two slots of the
//!   watermark are each as they were at some moment since a segment was last unlinked, which spillring does only after
//!   a sync of the watermark; the newest one may be torn.
//!
//! That is what `SQLite` itself supposes ("Atomic Commit In SQLite", section 2, "Hardware Assumptions"): that a sync is
//! honest, that writes between two syncs may be carried out in any order, that a single one may be torn but harms
//! nothing beside it ("powersafe overwrite", which `os_unix.c` reports by default). Not modelled: disks that lie about
//! syncs, and bits that rot.
//!
//! What does not lose power is the sink: it is the truth outside the disk, and is given what it had stored by then.
//!
//! # Scale
//!
//! The pages that start a checkpoint, 1,024 as shipped, are lowered on the way, in the pragma itself ([`SCALED`]): the
//! same is done every few commits. With the smallest cap that there may be ([`SPILL_BYTES_MAX`]) a segment is full at
//! 64 KiB. So a run of some hundred calls checkpoints, restarts and truncates logs, and seals and unlinks segments,
//! several times over.
#![deny(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests only: a failed expectation fails the test"
)]

mod call;
mod disk;
mod disks;
mod faults;
mod killer;
mod parallel;
mod small;
mod subsets;
mod trace;
#[allow(unsafe_code, reason = "SQLite's interface for a VFS is one of C")]
pub mod vfs;

pub use call::{Act, Call, FileKind, Verdict, Watch};
pub use disk::{Age, Disk, Portion};
pub use disks::Disks;
pub use faults::{ActKind, Fault, Faults};
pub use killer::{Killer, Landing};
pub use parallel::{check_each, memory};
pub use trace::{Event, Mark, Step, Trace};

/// The pragmas that bound a WAL, scaled down: a checkpoint at 6 pages, and what is longer than 5 is cut off.
pub const SCALED: [(&str, &str); 2] =
    [("wal_autocheckpoint", "6"), ("journal_size_limit", "81920")];

/// The least cap: segments are as small as they can be.
pub const SPILL_BYTES_MAX: u64 = 1 << 20;

/// The scaled value of a pragma.
pub(crate) fn scaled(name: &str) -> Option<&'static str> {
    SCALED
        .iter()
        .find(|(scaled, _)| *scaled == name)
        .map(|&(_, value)| value)
}
