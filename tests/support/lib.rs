//! What the tests and benches share: real servers, a proxy before them, readers that share no code with the library, a
//! publisher on a temporary directory, and a sink whose faults a test chooses.
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
    reason = "paths in configuration files are quoted"
)]

pub mod child;
pub mod eventually;
pub mod filler;
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
pub mod logged;
#[cfg(feature = "publisher")]
pub mod sinks;
