//! The calls that fail, and how.

use crash_tests::{ActKind, Fault, FileKind};
use rusqlite::ffi;

pub(crate) const SYNC: Fault = fault(FileKind::SegmentLog, ActKind::Sync, ffi::SQLITE_IOERR_FSYNC);
pub(crate) const WRITE: Fault = fault(
    FileKind::SegmentLog,
    ActKind::Write,
    ffi::SQLITE_IOERR_WRITE,
);
pub(crate) const FULL: Fault = fault(FileKind::SegmentLog, ActKind::Write, ffi::SQLITE_FULL);
pub(crate) const CUT: Fault = fault(
    FileKind::SegmentLog,
    ActKind::Truncate,
    ffi::SQLITE_IOERR_TRUNCATE,
);
pub(crate) const DELETE: Fault = fault(
    FileKind::SegmentLog,
    ActKind::Delete,
    ffi::SQLITE_IOERR_DELETE,
);
pub(crate) const CHECKPOINT: Fault =
    fault(FileKind::Segment, ActKind::Write, ffi::SQLITE_IOERR_WRITE);
pub(crate) const CHECKPOINT_FULL: Fault =
    fault(FileKind::Segment, ActKind::Write, ffi::SQLITE_FULL);
pub(crate) const CHECKPOINT_SYNC: Fault =
    fault(FileKind::Segment, ActKind::Sync, ffi::SQLITE_IOERR_FSYNC);
pub(crate) const READ: Fault = fault(FileKind::Segment, ActKind::Read, ffi::SQLITE_IOERR_READ);
pub(crate) const READ_EIO: Fault = fault(
    FileKind::Segment,
    ActKind::Read,
    ffi::SQLITE_IOERR_CORRUPTFS,
);
pub(crate) const READ_LOG: Fault =
    fault(FileKind::SegmentLog, ActKind::Read, ffi::SQLITE_IOERR_READ);
pub(crate) const READ_LOG_EIO: Fault = fault(
    FileKind::SegmentLog,
    ActKind::Read,
    ffi::SQLITE_IOERR_CORRUPTFS,
);
pub(crate) const OPEN: Fault = fault(FileKind::Segment, ActKind::Open, ffi::SQLITE_CANTOPEN);
pub(crate) const OPEN_LOG: Fault = fault(FileKind::SegmentLog, ActKind::Open, ffi::SQLITE_CANTOPEN);
pub(crate) const JOURNAL_OPEN: Fault =
    fault(FileKind::Journal, ActKind::Open, ffi::SQLITE_CANTOPEN);
pub(crate) const JOURNAL_WRITE: Fault = fault(FileKind::Journal, ActKind::Write, ffi::SQLITE_FULL);
pub(crate) const JOURNAL_SYNC: Fault =
    fault(FileKind::Journal, ActKind::Sync, ffi::SQLITE_IOERR_FSYNC);
pub(crate) const JOURNAL_DELETE: Fault =
    fault(FileKind::Journal, ActKind::Delete, ffi::SQLITE_IOERR_DELETE);
pub(crate) const INDEX_SYNC: Fault =
    fault(FileKind::IndexLog, ActKind::Sync, ffi::SQLITE_IOERR_FSYNC);
pub(crate) const INDEX_WRITE: Fault =
    fault(FileKind::IndexLog, ActKind::Write, ffi::SQLITE_IOERR_WRITE);
pub(crate) const INDEX_FULL: Fault = fault(FileKind::IndexLog, ActKind::Write, ffi::SQLITE_FULL);
pub(crate) const INDEX_READ: Fault = fault(FileKind::Index, ActKind::Read, ffi::SQLITE_IOERR_READ);
pub(crate) const INDEX_READ_EIO: Fault =
    fault(FileKind::Index, ActKind::Read, ffi::SQLITE_IOERR_CORRUPTFS);
pub(crate) const INDEX_READ_LOG: Fault =
    fault(FileKind::IndexLog, ActKind::Read, ffi::SQLITE_IOERR_READ);
pub(crate) const INDEX_OPEN: Fault = fault(FileKind::Index, ActKind::Open, ffi::SQLITE_CANTOPEN);
pub(crate) const INDEX_OPEN_LOG: Fault =
    fault(FileKind::IndexLog, ActKind::Open, ffi::SQLITE_CANTOPEN);

const fn fault(file: FileKind, act: ActKind, code: i32) -> Fault {
    Fault { file, act, code }
}
