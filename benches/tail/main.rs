//! The tail of `publish` beside other queues, and under every condition: service times by percentile, in tables, JSON
//! and plots. `cargo bench --bench tail -- channels|cold|conditions|publishers|preempted|outlives|stall`; without a
//! name all of them run; with `--test` each runs short; `--samples N` sets how many each candidate has.
//!
//! # What is timed
//!
//! One call, from before it to after it (service time), by the processor's own counter. The entry is a real one, made
//! before and in the cache. Dropping what was refused and handed back is not in it, moving the entry in is. The first
//! row of each table is the same region with no call in it: clock and machine alone. The counter is read without a
//! fence, so a region of a few nanoseconds overlaps its neighbours, in all rows alike.
//!
//! The counter may count in steps that are longer than a call: 10 ns on an AMD EPYC. The first lines report the step,
//! and the tables give nothing below it. For calls that are shorter, 16 of them share a reading: their table shows a
//! call's mean in each group, and its empty row moves the entry into a vector.
//!
//! Where calls have a schedule, the time from when a call should have begun is reported as well (open loop): a wait for
//! a call that took long is hidden in service times, and shows there. Compare it with the empty row's: on a machine
//! whose cores are shared, most of it is the machine's.
//!
//! *Received* is from before the call until the receiver has the entry, in spillring's case the sink. *Receiver CPU* is
//! what the system counts for the receiver's threads, in spillring's case for all it has, from the beginning of a block
//! until everything is received (or on disk), over the entries of the block: for spillring it holds encoding each entry
//! to its bytes, which none of the others do. *Switches* are those that the publisher was made to do, *steal* is the
//! machine's, both only while calls were made.
//!
//! # Fairness
//!
//! All go through the same loop, compiled for each; all queues hold 65,536 entries of the same type, and are never full
//! unless stated otherwise. They take turns in random order, in blocks that begin with every receiver idle for 20 ms.
//! While others have their turn, receivers that poll are stopped, but for spillring's drainer, which goes on looking at
//! its ring every 8 ms: what that takes strikes the others too, and them only. Notes go to memory of the publisher's,
//! or of the receiver's, own.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints"
)]

mod channels;
mod cold;
mod conditions;
mod figure;
mod lane;
mod machine;
mod ours;
mod outlives;
mod plot;
mod preempted;
mod publishers;
mod rounds;
mod shipped;
mod stall;
#[path = "../support/mod.rs"]
mod support;
mod times;

use machine::Machine;
use quanta::Clock;
use rounds::Context;
use support::args::Args;

fn main() {
    let context = Context::new(Clock::new(), Args::read());
    let machine = Machine::read(&context.clock);
    machine.print();
    if context.args.wants("channels") {
        let lanes = channels::in_the_workspace();
        channels::channels("channels", &context, &machine, lanes);
    }
    if context.args.wants("cold") {
        cold::cold(&context, &machine);
    }
    if context.args.wants("conditions") {
        conditions::conditions(&context, &machine);
    }
    if context.args.wants("publishers") {
        publishers::publishers(&context, &machine);
    }
    if context.args.wants("preempted") {
        preempted::preempted(&context, &machine);
    }
    if context.args.wants("outlives") {
        outlives::outlives(&context, &machine);
    }
    if context.args.wants("stall") {
        stall::stall(&context, &machine);
    }
}
