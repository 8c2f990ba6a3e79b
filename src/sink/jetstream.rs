//! JetStream.

/// Sink.
#[derive(Debug)]
pub struct JetStreamSink;
