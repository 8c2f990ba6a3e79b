//! The audit entry.
