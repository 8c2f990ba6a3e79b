//! A VFS around the default one, registered as the default of this process, and another around `unix-none`, under that
//! name: every call on a watched folder goes through its [`Watch`]. All unsafe code of the workspace is in here and in
//! `statements`.
//!
//! Mapping files into memory is not offered (the methods are of version 2), so no write bypasses the watch. Everything
//! else, locks and shared memory included, is handed through.

mod statements;

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use rusqlite::ffi;

use crate::call::{Act, Call, Verdict, Watch};

pub use statements::on_statement;

static WATCHES: Mutex<Vec<(PathBuf, Arc<dyn Watch>)>> = Mutex::new(Vec::new());

/// What `SQLite` allocates for a file of ours.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    inner: *mut Inner,
}

struct Inner {
    /// Of the VFS around which this one is, `szOsFile` bytes long.
    real: *mut ffi::sqlite3_file,
    /// Owns these bytes.
    _memory: Vec<u64>,
    path: PathBuf,
    watch: Option<Arc<dyn Watch>>,
}

/// As long as it lives, files below the folder are opened to be watched.
#[derive(Debug)]
pub struct Watching(PathBuf);

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHES.lock().retain(|(dir, _)| *dir != self.0);
    }
}

/// Watches an existing folder.
#[must_use]
pub fn watch(dir: &Path, watch: Arc<dyn Watch>) -> Watching {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    let dir = dir.canonicalize().expect("the folder");
    WATCHES.lock().push((dir.clone(), watch));
    Watching(dir)
}

fn register() {
    // SAFETY: `sqlite3_vfs_find` initialises SQLite. What it finds lives as long as the process, and so do ours.
    let codes = unsafe {
        let none = ffi::sqlite3_vfs_find(c"unix-none".as_ptr());
        let default = ffi::sqlite3_vfs_find(std::ptr::null());
        [
            ffi::sqlite3_vfs_unregister(none),
            ffi::sqlite3_vfs_register(around_vfs(none, c"unix-none"), 0),
            ffi::sqlite3_vfs_register(around_vfs(default, c"crash-tests"), 1),
        ]
    };
    assert_eq!(codes, [ffi::SQLITE_OK; 3]);
}

/// One that differs in name, size of a file, opening and deleting, and knows the other one.
///
/// # Safety
///
/// The other one lives for ever.
unsafe fn around_vfs(real: *mut ffi::sqlite3_vfs, name: &'static CStr) -> *mut ffi::sqlite3_vfs {
    // SAFETY: the caller's. The copy is leaked. The methods that are kept do not look at the VFS they are called with,
    // but for `mxPathname`, which is the same.
    let ours = Box::leak(Box::new(unsafe { *real }));
    ours.szOsFile = c_int::try_from(size_of::<File>()).expect("two pointers");
    ours.pNext = std::ptr::null_mut();
    ours.zName = name.as_ptr();
    ours.pAppData = real.cast();
    ours.xOpen = Some(open);
    ours.xDelete = Some(delete);
    ours
}

fn watch_of(path: &Path) -> Option<Arc<dyn Watch>> {
    let watches = WATCHES.lock();
    let found = watches.iter().find(|(dir, _)| path.starts_with(dir));
    found.map(|(_, watch)| Arc::clone(watch))
}

/// # Safety
///
/// The VFS is one of ours.
unsafe fn real_vfs(ours: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: what `around_vfs` has put there.
    unsafe { (*ours).pAppData.cast() }
}

/// # Safety
///
/// The name is null, or a text that ends with a zero.
unsafe fn path(name: *const c_char) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: the caller's.
    let name = unsafe { CStr::from_ptr(name) };
    Path::new(OsStr::from_bytes(name.to_bytes())).to_owned()
}

/// Carries a call out, or not, as the watch has it. `real` gets how much of a write is wanted.
fn around(
    watch: Option<&Arc<dyn Watch>>,
    path: &Path,
    act: Act<'_>,
    real: impl Fn(Option<usize>) -> c_int,
) -> c_int {
    let Some(watch) = watch else {
        return real(None);
    };
    let call = Call { path, act };
    match watch.before(call) {
        Verdict::Pass => {
            let code = real(None);
            if code == ffi::SQLITE_OK {
                watch.after(call);
            }
            code
        }
        Verdict::Fail(code) => code,
        Verdict::Die { after } => {
            if after > 0 {
                real(Some(after));
            }
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("ours");
            loop {
                std::thread::park();
            }
        }
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands in a VFS of ours, which knows the one around which it is, and a name or null.
    let (vfs, path) = unsafe { (real_vfs(vfs), path(name)) };
    // SAFETY: it is alive.
    let size = usize::try_from(unsafe { (*vfs).szOsFile });
    let mut memory = vec![0_u64; size.expect("a size").div_ceil(8)];
    let inner = Inner {
        real: memory.as_mut_ptr().cast(),
        _memory: memory,
        watch: watch_of(&path),
        path,
    };
    let makes = flags & ffi::SQLITE_OPEN_CREATE != 0 && !inner.path.exists();
    let act = Act::Open { makes };
    let code = around(inner.watch.as_ref(), &inner.path, act, |_| {
        // SAFETY: the arguments are SQLite's, but for the file, which is zeroed memory of the size that this VFS asks
        // for.
        unsafe { (*vfs).xOpen.expect("a method")(vfs, name, inner.real, flags, out_flags) }
    });
    // SAFETY: SQLite has allocated `szOsFile` bytes for our file. Without methods it is not closed.
    unsafe {
        let opened = code == ffi::SQLITE_OK;
        let file = file.cast::<File>();
        (*file).base.pMethods = if opened {
            &raw const METHODS
        } else {
            std::ptr::null()
        };
        (*file).inner = if opened {
            Box::into_raw(Box::new(inner))
        } else {
            std::ptr::null_mut()
        };
    }
    code
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite hands in a VFS of ours, and a name.
    let (vfs, path) = unsafe { (real_vfs(vfs), path(name)) };
    let act = Act::Delete { synced: sync != 0 };
    around(watch_of(&path).as_ref(), &path, act, |_| {
        // SAFETY: the arguments are SQLite's.
        unsafe { (*vfs).xDelete.expect("a method")(vfs, name, sync) }
    })
}

/// # Safety
///
/// The file was opened here, and is not closed meanwhile.
unsafe fn inner<'f>(file: *mut ffi::sqlite3_file) -> &'f Inner {
    // SAFETY: what `open` has put there; nobody changes it.
    unsafe { &*(*file.cast::<File>()).inner }
}

/// Calls a method of the other VFS on its own file.
macro_rules! real {
    ($inner:expr, $method:ident ($($argument:expr),*)) => {
        // SAFETY: an open file of the other VFS, and arguments as SQLite has handed them in for this method.
        unsafe { (*(*$inner.real).pMethods).$method.expect("a method")($inner.real, $($argument),*) }
    };
}

/// A method that is handed through.
macro_rules! hand_through {
    ($name:ident, $method:ident ($($argument:ident: $type:ty),*) $(-> $result:ty)?) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: SQLite calls methods on open files only.
            let inner = unsafe { inner(file) };
            real!(inner, $method($($argument),*))
        }
    };
}

/// A method that goes through the watch.
macro_rules! watched {
    ($name:ident, $method:ident ($($argument:ident: $type:ty),*), $act:expr) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: SQLite calls methods on open files only.
            let inner = unsafe { inner(file) };
            around(inner.watch.as_ref(), &inner.path, $act, |_| real!(inner, $method($($argument),*)))
        }
    };
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file of ours, which SQLite does not use again.
    let inner = unsafe { Box::from_raw((*file.cast::<File>()).inner) };
    real!(inner, xClose())
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls methods on open files only, and hands in so many bytes.
    let (inner, bytes) = unsafe {
        let count = usize::try_from(count).expect("a length");
        (inner(file), std::slice::from_raw_parts(from.cast(), count))
    };
    let act = Act::Write {
        offset: usize::try_from(offset).expect("an offset"),
        bytes,
    };
    around(inner.watch.as_ref(), &inner.path, act, |part| {
        let count = part.map_or(count, |part| c_int::try_from(part).expect("a part of it"));
        real!(inner, xWrite(from, count, offset))
    })
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls methods on open files only.
    let inner = unsafe { inner(file) };
    if let (ffi::SQLITE_FCNTL_PRAGMA, Some(watch)) = (operation, &inner.watch) {
        // SAFETY: for this operation the argument is an array of texts: an answer, the name, and the value or null,
        // which the parser has copied for this statement alone, and reads again afterwards. No byte is written past its
        // end.
        unsafe {
            let texts = argument.cast::<*mut c_char>();
            let (name, value) = (*texts.add(1), *texts.add(2));
            let other = watch.pragma(&CStr::from_ptr(name).to_string_lossy());
            if let (Some(other), false) = (other, value.is_null()) {
                assert!(other.len() <= CStr::from_ptr(value).count_bytes());
                std::ptr::copy_nonoverlapping(other.as_ptr().cast(), value, other.len());
                *value.add(other.len()) = 0;
            }
        }
    }
    real!(inner, xFileControl(operation, argument))
}

watched!(read, xRead(to: *mut c_void, count: c_int, offset: i64), Act::Read);
watched!(truncate, xTruncate(len: i64), Act::Truncate { len: usize::try_from(len).expect("a length") });
watched!(sync, xSync(flags: c_int), Act::Sync);

hand_through!(file_size, xFileSize(to: *mut i64) -> c_int);
hand_through!(lock, xLock(level: c_int) -> c_int);
hand_through!(unlock, xUnlock(level: c_int) -> c_int);
hand_through!(check_reserved_lock, xCheckReservedLock(to: *mut c_int) -> c_int);
hand_through!(sector_size, xSectorSize() -> c_int);
hand_through!(device_characteristics, xDeviceCharacteristics() -> c_int);
hand_through!(shm_map, xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void) -> c_int);
hand_through!(shm_lock, xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int);
hand_through!(shm_barrier, xShmBarrier());
hand_through!(shm_unmap, xShmUnmap(delete: c_int) -> c_int);

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
