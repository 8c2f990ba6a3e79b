//! The tail of `publish` beside more queues: those of the tail bench, whose code it shares, and others whose features
//! must stay out of the workspace. Built with them, a contended push onto spillring's ring may yield to the scheduler
//! (`crossbeam-utils/std`); with one publisher none is contended.
//!
//! `cargo bench --manifest-path benches/versus/channels/Cargo.toml`, with `-- --test` for a short run.
//!
//! `benches/tail/main.rs` says what is timed, and how. Of the candidates here:
//!
//! - crossbeam-channel, kanal and thingbuf (its blocking channel) as shipped, and polled.
//! - rtrb has one producer, one consumer and no way to wait: polled only.
//! - tracing-appender, lossy, is given ready bytes, the entry's JSON line, by `write_all`; copying them onto the heap
//!   is part of its call, making them is not. Its own worker writes them to a writer that only counts.
//! - disruptor with several producers, polled, and with a receiver that spins, as it is meant to: that one holds a core
//!   while it has its turn.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]
#![allow(
    dead_code,
    reason = "a part of the rooms is for other parts of the tail bench"
)]

#[path = "../../tail/channels.rs"]
mod channels;
#[path = "../../tail/figure.rs"]
mod figure;
#[path = "../../tail/lane.rs"]
mod lane;
#[path = "../../tail/machine.rs"]
mod machine;
mod more;
#[path = "../../tail/ours.rs"]
mod ours;
#[path = "../../tail/plot.rs"]
mod plot;
#[path = "../../tail/rounds.rs"]
mod rounds;
#[path = "../../tail/shipped.rs"]
mod shipped;
#[path = "../../support/mod.rs"]
mod support;
#[path = "../../tail/times.rs"]
mod times;

use machine::Machine;
use quanta::Clock;
use rounds::Context;
use support::args::Args;

fn main() {
    let context = Context::new(Clock::new(), Args::read());
    let machine = Machine::read(&context.clock);
    machine.print();
    let mut lanes = channels::in_the_workspace();
    lanes.extend(more::more());
    channels::channels("versus", &context, &machine, lanes);
}
