//! What one thread logs.

use std::io::{self, Seek};
use std::sync::LazyLock;

use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Level};

/// Subscribers that take nothing. With a single one in the process, a callsite that another thread reaches first asks
/// only the subscriber of that thread, and stays off for all.
static OTHERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));

/// The log of this thread at this level and above, as text.
pub fn logged(level: Level, act: impl FnOnce()) -> String {
    LazyLock::force(&OTHERS);
    let mut log = tempfile::tempfile().expect("a file");
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(log.try_clone().expect("a file"))
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    log.rewind().expect("a file");
    io::read_to_string(log).expect("text")
}
