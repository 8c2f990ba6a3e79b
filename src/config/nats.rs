//! NATS settings.

/// Placeholder filled by the JetStream sink.
#[derive(Debug, Clone)]
pub struct NatsConfig;

/// Placeholder.
#[derive(Debug, Clone, Copy)]
pub enum StreamCare {
    /// Make it.
    Create,
}
