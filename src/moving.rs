// In rustdoc these two come first, and win over the file's own.
//! [nats.md]: https://docs.rs/crate/spillring/latest/source/docs/nats.md
//! [operating.md]: https://docs.rs/crate/spillring/latest/source/docs/operating.md
#![doc = include_str!("../docs/moving.md")]
