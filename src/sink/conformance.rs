//! Tests for whoever writes a sink.
