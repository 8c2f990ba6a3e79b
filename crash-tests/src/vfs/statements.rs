//! What `SQLite` is asked to do.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

static STATEMENTS: OnceLock<fn(&str)> = OnceLock::new();

/// Hears the text of every statement that begins, on every connection opened from now on. Once a process.
#[expect(
    clippy::missing_transmute_annotations,
    reason = "versions of rusqlite declare the type differently"
)]
pub fn on_statement(hear: fn(&str)) {
    STATEMENTS.get_or_init(|| hear);
    let entry = trace_statements as *const ();
    // SAFETY: the entry point has the signature that SQLite documents, which versions of `rusqlite` declare
    // differently, and lives for ever.
    let code = unsafe { ffi::sqlite3_auto_extension(Some(std::mem::transmute(entry))) };
    assert_eq!(code, ffi::SQLITE_OK);
}

/// `SQLITE_TRACE_STMT`, whose type differs between versions of `rusqlite`.
const TRACE_STATEMENT: u32 = 1;

unsafe extern "C" fn trace_statements(
    db: *mut ffi::sqlite3,
    _: *mut *mut c_char,
    _: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite hands in a connection that is just being opened; the callback lives for ever.
    unsafe { ffi::sqlite3_trace_v2(db, TRACE_STATEMENT, Some(statement), std::ptr::null_mut()) }
}

unsafe extern "C" fn statement(
    _: u32,
    _: *mut c_void,
    statement: *mut c_void,
    _: *mut c_void,
) -> c_int {
    // SAFETY: for this kind of trace the third argument is the statement, whose text lives as long as it does.
    let text = unsafe { ffi::sqlite3_sql(statement.cast()) };
    if let (Some(hear), false) = (STATEMENTS.get(), text.is_null()) {
        // SAFETY: a text that ends with a zero, see above.
        hear(&unsafe { CStr::from_ptr(text) }.to_string_lossy());
    }
    ffi::SQLITE_OK
}
