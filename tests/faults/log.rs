//! What the library logs in a child: it is shown if the story fails, and the story can look into it.

use std::io::{self, Write};

use parking_lot::Mutex;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LINES.lock().extend_from_slice(text);
        io::stderr().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says where the story is, should it fail.
pub(crate) fn note(text: &str) {
    let line = format!("{text}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Listens to all that this process logs from now on.
pub(crate) fn listen() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(|| Log)
        .init();
}

/// How many lines of the log are so.
pub(crate) fn count(wanted: impl Fn(&str) -> bool) -> usize {
    let text = String::from_utf8_lossy(&LINES.lock()).into_owned();
    text.lines().filter(|line| wanted(line)).count()
}
