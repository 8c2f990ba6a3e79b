//! Tries to make the JSON lines sink lose what it acknowledged, or store it twice: with torn writes of every length,
//! rotation, removal, foreign hands, full disks and a second owner. Real files throughout.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

pub(crate) mod bench;
mod crash;
mod kernel;
mod ledger;
mod model;
mod refusals;
mod rotation;
