//! A file mapped into shared memory, as atomic words. This is all the unsafe code of spillring.
//!
//! Truncating the file while it is mapped kills the process with SIGBUS; so does a sparse file on a full file system.
//! All blocks of the file must be allocated, and nobody else may write to it.

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A mapping of whole words, unmapped when it is dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: it is no more than a slice of atomic words, which any thread may use.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `words` words of the file, and brings them into memory.
    ///
    /// # Errors
    ///
    /// What the system says: no permission, no memory; or [`io::ErrorKind::UnexpectedEof`] if the file is shorter.
    pub fn new(file: &File, words: usize) -> io::Result<Self> {
        let bytes = words * size_of::<AtomicU64>();
        if words == 0 || file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: no address is asked for, so nothing that is mapped already is touched.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, flags, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, words })
    }

    /// The words, which other processes may change.
    #[must_use]
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, has this many words, and lives as long as `self`. Any bytes are a valid
        // word. Other processes may write to it only with atomic stores of whole words.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.words * size_of::<AtomicU64>();
        // SAFETY: this was mapped by `new`, and no slice of it lives any more.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), bytes) } {
            debug_assert!(false, "a mapping can be undone: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::Mapping;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        fs::write(&path, [0; 8192]).expect("it can be written");
        let options = fs::OpenOptions::new().read(true).write(true).open(&path);
        let file = options.expect("it can be opened");
        let mapping = Mapping::new(&file, 1024).expect("it can be mapped");
        mapping.words()[1023].store(7, Ordering::Relaxed);
        drop(mapping);
        let bytes = fs::read(&path).expect("it can be read");
        assert_eq!(bytes[8184..], 7_u64.to_ne_bytes());
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let file = tempfile::tempfile().expect("a temporary file");
        assert!(Mapping::new(&file, 1).is_err());
    }
}
