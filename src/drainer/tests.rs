//! The drainer's loop in virtual time, promise by promise: a real ring, and two workers whose desks the test serves.
//! The spill is a map in memory that the test freezes, fails and fills.

mod bench;
mod dead_letters;
mod ending;
mod faults;
mod flow;
mod positions;

use std::time::Duration;

use crate::error::SinkError;
use crate::event::Loss;
use crate::event::LossReason::{self, DeadLettered};
use bench::{Bench, Disk, Sink};

fn losses(losses: &[Loss]) -> Vec<(u64, LossReason)> {
    losses.iter().map(|l| (l.count, l.reason)).collect()
}

const SECOND: Duration = Duration::from_secs(1);
