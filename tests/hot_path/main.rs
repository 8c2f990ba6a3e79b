//! Tries to catch `publish` and `try_publish` waiting for somebody: at the allocator, by counting, and at the kernel,
//! by having it kill the process at the first system call. With room, with a full ring, after the close, and with
//! several publishers contending while the drainer works. Each gate has a test that it can fail.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails there and then"
)]

mod allocations;
pub(crate) mod rig;
mod system_calls;
