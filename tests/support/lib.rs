//! What the tests and benches share: real servers, a proxy before them, readers that share nothing with the library;
//! and, for the core, a publisher on a temporary directory and a sink that does as it is told.
#![allow(missing_docs, reason = "names say it, or the line above them")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    reason = "docs for users of a library, which this is not"
)]
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "a path in a configuration stands in quotes"
)]

pub mod eventually;
#[cfg(feature = "servers")]
pub mod nats;
#[cfg(feature = "servers")]
pub mod proxy;
pub mod skipped;

#[cfg(feature = "publisher")]
pub mod bench;
#[cfg(feature = "publisher")]
pub mod damages;
#[cfg(feature = "publisher")]
pub mod ear;
#[cfg(feature = "publisher")]
pub mod law;
#[cfg(feature = "publisher")]
pub mod sinks;
