//! JSON lines.

/// Sink.
#[derive(Debug)]
pub struct JsonLinesSink;
