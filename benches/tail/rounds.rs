//! How candidates take turns: in short blocks, or call by call, in random order in each round, so that other load on
//! the machine affects all of them.

use std::thread;
use std::time::Duration;

use quanta::Clock;
use spillring::AuditEntry;

use crate::figure::Row;
use crate::lane::{BLOCK, CAPACITY, Lane};
use crate::machine::Noise;
use crate::support::args::Args;
use crate::times::{Shape, Times, nanos};

/// How long every receiver has had nothing to do when a block begins: one that polls is at its longest pause by then.
const IDLE: Duration = Duration::from_millis(20);
/// How long after a block its receiver may take to sleep again; only then has the system all of its processor time.
const DOZE: Duration = Duration::from_millis(2);

/// What all parts need.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) args: Args,
    entries: Vec<AuditEntry>,
}

impl Context {
    pub(crate) fn new(clock: Clock, args: Args) -> Self {
        Self {
            clock,
            args,
            entries: crate::support::entries(),
        }
    }

    /// Real entries, made before anything is timed.
    pub(crate) fn entries(&self, count: usize) -> Vec<AuditEntry> {
        self.entries_from(0, count)
    }

    /// The same, from this one on.
    pub(crate) fn entries_from(&self, first: usize, count: usize) -> Vec<AuditEntry> {
        let first = first % self.entries.len();
        let endless = self.entries.iter().cycle().skip(first);
        endless.take(count).cloned().collect()
    }

    /// How many calls a block has.
    pub(crate) fn block(&self) -> usize {
        self.args.choose(BLOCK, 2_000)
    }

    /// How many rounds of blocks make the samples that were asked for.
    pub(crate) fn rounds(&self) -> usize {
        self.samples(1_000_000, 1).div_ceil(self.block())
    }

    /// How many samples are asked for.
    pub(crate) fn samples(&self, full: usize, short: usize) -> usize {
        self.args.samples.unwrap_or(self.args.choose(full, short))
    }

    /// Sends more through each lane than its queue holds: none is measured while the system finds it memory.
    pub(crate) fn warm_up(&self, lanes: &mut [Box<dyn Lane>]) {
        let mut times = Times::default();
        for _ in 0..self.args.choose(CAPACITY / BLOCK + 1, 1) {
            for lane in &mut *lanes {
                lane.wake();
                if let Some(receipts) = lane.receipts() {
                    receipts.clear();
                }
                let entries = self.entries(self.block());
                lane.run(&self.clock, Shape::Saturated, entries, &mut times);
                lane.settle(self.block());
                lane.rest();
            }
        }
    }

    /// Blocks of all lanes in turns. Each begins with the queue empty and the receiver idle for as long as any other's;
    /// the first round warms up and is not counted.
    pub(crate) fn blocks(&self, lanes: &mut [Box<dyn Lane>], shape: Shape) -> Vec<Row> {
        let mut rows = rows(lanes);
        let mut times = Times::default();
        for round in 0..=self.rounds() {
            for turn in order(lanes.len()) {
                let lane = &mut lanes[turn];
                let (entries, calls) = (self.entries(self.block()), self.block());
                lane.wake();
                if let Some(receipts) = lane.receipts() {
                    receipts.clear();
                }
                thread::sleep(IDLE);
                let (cpu, noise) = (lane.threads().cpu(), Noise::now());
                lane.run(&self.clock, shape, entries, &mut times);
                let noise = noise.since();
                lane.settle(calls);
                thread::sleep(DOZE);
                let cpu = lane.threads().cpu().saturating_sub(cpu);
                lane.rest();
                if round > 0 {
                    rows[turn].add(&self.clock, shape, &times, lane.receipts());
                    rows[turn].add_cpu(cpu, calls);
                    rows[turn].add_noise(noise);
                }
            }
        }
        rows
    }

    /// One call of each lane in every period, at equal distances: so rarely does each receiver get anything. What was
    /// taken away from the publisher cannot be split by lane: the answer is for all of them.
    pub(crate) fn in_turns(
        &self,
        lanes: &mut [Box<dyn Lane>],
        period: Duration,
        periods: usize,
    ) -> (Vec<Row>, Noise) {
        /// Periods after which what was noted is put together, at the most, and their length in all.
        const STRETCH: usize = 10_000;
        const STRETCH_MAX: Duration = Duration::from_secs(2);
        let shape = Shape::Paced(period);
        let stretch = usize::try_from(STRETCH_MAX.as_nanos() / period.as_nanos());
        let stretch = stretch.unwrap_or(STRETCH).clamp(1, STRETCH);
        let (mut rows, mut noise) = (rows(lanes), Noise::default());
        for lane in lanes.iter() {
            lane.wake();
        }
        let warm_up = stretch.min(100);
        let mut left = periods + warm_up;
        while left > 0 {
            let warming = left > periods;
            let count = if warming { warm_up } else { left.min(stretch) };
            left -= count;
            for receipts in lanes.iter().filter_map(|lane| lane.receipts()) {
                receipts.clear();
            }
            thread::sleep(IDLE);
            let cpu: Vec<_> = lanes.iter().map(|lane| lane.threads().cpu()).collect();
            let before = Noise::now();
            let times = self.stretch(lanes, nanos(period), count);
            if !warming {
                noise.add(before.since());
            }
            for (place, lane) in lanes.iter_mut().enumerate() {
                lane.settle(count);
                thread::sleep(DOZE);
                let cpu = lane.threads().cpu().saturating_sub(cpu[place]);
                if !warming {
                    rows[place].add(&self.clock, shape, &times[place], lane.receipts());
                    rows[place].add_cpu(cpu, count);
                }
            }
        }
        for lane in lanes.iter() {
            lane.rest();
        }
        (rows, noise)
    }

    fn stretch(&self, lanes: &mut [Box<dyn Lane>], period: u64, count: usize) -> Vec<Times> {
        let mut times: Vec<_> = lanes.iter().map(|_| Times::default()).collect();
        let mut entries = self.entries(count * lanes.len()).into_iter();
        let start = self.clock.raw();
        let mut slot = 1;
        for _ in 0..count {
            for turn in order(lanes.len()) {
                let due = slot * period / lanes.len() as u64;
                slot += 1;
                let entry = entries.next().expect("one for each call");
                let call = lanes[turn].call(&self.clock, entry, start, due);
                times[turn].calls.push(call);
            }
        }
        for times in &mut times {
            times.start = start;
        }
        times
    }
}

fn rows(lanes: &[Box<dyn Lane>]) -> Vec<Row> {
    lanes
        .iter()
        .map(|lane| Row::new(lane.name(), lane.role()))
        .collect()
}

/// An order by chance.
pub(crate) fn order(count: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    fastrand::shuffle(&mut order);
    order
}
