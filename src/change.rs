//! All changes to files, except `SQLite`'s own. Tests may inject faults between a change and the disk.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What is about to be done. Paths that are not absolute begin at the spill directory.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "only the watcher in tests reads the fields")]
pub(crate) enum Change<'c> {
    /// An empty file is made, or one is opened to be written to.
    Make(&'c Path),
    /// Bytes are written from this offset on.
    Write(&'c Path, u64, &'c [u8]),
    Sync(&'c Path),
    SyncFolder(&'c Path),
    Remove(&'c Path),
    Rename(&'c Path, &'c Path),
    /// Nothing: something is read.
    Stat(&'c Path),
}

impl Change<'_> {
    /// Does it.
    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        reason = "the version for tests shows it to a watcher"
    )]
    pub(crate) fn make<T>(self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        act()
    }

    /// Does it, if the watcher of this thread lets it.
    #[cfg(test)]
    pub(crate) fn make<T>(self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(watch) = WATCH.with_borrow(Clone::clone) else {
            return act();
        };
        watch.before(self)?;
        act().inspect(|_| watch.after(self))
    }
}

/// Sees the changes that one thread makes.
#[cfg(test)]
pub(crate) trait WatchChanges {
    /// An error keeps the change from being made.
    fn before(&self, change: Change<'_>) -> io::Result<()>;
    fn after(&self, change: Change<'_>);
    /// The time that passes for a start.
    fn now(&self) -> Instant;
    fn pause(&self, pause: Duration);
}

/// The time, for waits outside of orders: an order has its own.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(watch) = WATCH.with_borrow(Clone::clone) {
        return watch.now();
    }
    Instant::now()
}

/// Waits for the disk.
pub(crate) fn pause(pause: Duration) {
    #[cfg(test)]
    if let Some(watch) = WATCH.with_borrow(Clone::clone) {
        return watch.pause(pause);
    }
    thread::sleep(pause);
}

#[cfg(test)]
type Watcher = std::sync::Arc<dyn WatchChanges>;

#[cfg(test)]
thread_local! {
    static WATCH: std::cell::RefCell<Option<Watcher>> = const { std::cell::RefCell::new(None) };
}

/// Watches the changes of this thread from now on, or lets them be.
#[cfg(test)]
pub(crate) fn watch_changes(watch: Option<Watcher>) {
    WATCH.set(watch);
}
