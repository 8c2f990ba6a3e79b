//! What the tests share: real servers, and readers that share nothing with the library.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]
#![allow(unreachable_pub, reason = "compiled into every test that names it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "docs for users of a library, which this is not"
)]
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "a path in a configuration stands in quotes"
)]

pub mod eventually;
pub mod nats;
pub mod proxy;
pub mod skipped;
