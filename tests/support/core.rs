//! What the tests of the core share: a publisher on a temporary directory, a sink that does as it is told, the law.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unreachable_pub, reason = "compiled into every test that names it")]

#[path = "bench.rs"]
pub mod bench;
#[path = "law.rs"]
pub mod law;
#[path = "sinks.rs"]
pub mod sinks;
