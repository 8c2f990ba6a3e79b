//! The spill.
