//! `spillring verify`, tried like a lock: real trails are made by the library, and then everything is done to them that
//! somebody could do who wants to hide something. Each manipulation must be found, and named; and an honest trail,
//! whatever it went through, must be called complete and intact.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]

#[path = "../cli/bench.rs"]
#[allow(dead_code, reason = "it is shared")]
mod bench;
mod files;
mod gone;
mod honest_files;
mod honest_streams;
mod page;
mod page_streams;
mod permissions;
mod publisher;
mod said;
mod signed;
mod signed_files;
mod strangers;
mod streams;
mod trail;
mod usage;
