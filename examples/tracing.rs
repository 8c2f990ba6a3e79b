//! An application that uses `tracing-appender`, and the one line that makes its log lines audit entries.
//!
//!     cargo run --features tracing --example tracing
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::thread;

use spillring::log_writer::LogWriter;
use spillring::{Config, JsonLinesSink};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("app.jsonl");

    // Before: dropped if the queue of 128,000 lines is full, gone if the process is killed.
    //
    //     let (writer, guard) = tracing_appender::non_blocking(File::create(&output)?);
    //
    // After: counted and announced if the ring is full and the disk takes nothing. Name a `ring_dir` in the settings,
    // and a kill loses nothing. With a `JetStreamSink` the lines go to NATS.
    let config = Config::new(dir.path().join("spill"));
    let (writer, guard) = LogWriter::start(config, JsonLinesSink::new(&output), "acme.app")?;

    // All else as before. The guard goes last: what is not delivered by then, the next start delivers.
    tracing_subscriber::fmt().json().with_writer(writer).init();
    thread::scope(|scope| {
        for agent in 1..=3 {
            scope.spawn(move || {
                for tool in ["read_file", "bash"] {
                    tracing::info!(agent, tool, "tool call");
                }
            });
        }
    });
    drop(guard);

    print!("{}", std::fs::read_to_string(&output)?);
    Ok(())
}
