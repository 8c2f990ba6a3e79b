//! How calls are timed: the shape of the load, the one loop that all candidates go through, and what it notes.

use std::hint::black_box;
use std::time::Duration;

use hdrhistogram::Histogram;
use quanta::Clock;

pub(crate) type Latencies = Histogram<u64>;

pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds")
}

/// When the calls of a block begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One right after the other.
    Saturated,
    /// One every so often.
    Paced(Duration),
    /// So many right after one another, every so often.
    Bursts { calls: u32, every: Duration },
    /// [`GROUP`] right after one another in each so many microseconds, timed together.
    Grouped,
}

/// How many calls share a reading of the clock where one takes less than the clock's step.
pub(crate) const GROUP: usize = 16;

impl Shape {
    /// When this call is to begin, in nanoseconds from the first. A schedule: a call that comes late does not move the
    /// ones after it.
    fn due(self, call: u64) -> u64 {
        match self {
            Self::Saturated => 0,
            Self::Paced(pace) => call * nanos(pace),
            Self::Bursts { calls, every } => call / u64::from(calls) * nanos(every),
            Self::Grouped => call * GROUP as u64 * 1_000,
        }
    }

    pub(crate) fn title(self) -> String {
        match self {
            Self::Saturated => "saturated".to_owned(),
            Self::Paced(pace) => format!("one call per {pace:?}"),
            Self::Bursts { calls, every } => format!("bursts of {calls} every {every:?}"),
            Self::Grouped => {
                format!("{GROUP} calls a reading every {GROUP} µs, the mean of a call")
            }
        }
    }

    pub(crate) fn slug(self) -> String {
        match self {
            Self::Saturated => "saturated".to_owned(),
            Self::Paced(pace) => format!("{pace:?}").replace('µ', "u"),
            Self::Bursts { .. } => "bursts".to_owned(),
            Self::Grouped => "grouped".to_owned(),
        }
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("a short span")
}

/// A publishing end, as the timed region sees it.
pub(crate) trait Sender {
    /// What is moved in; made of an entry before the clock is read.
    type Item;

    fn prepare(entry: spillring::AuditEntry) -> Self::Item;

    /// What else is done to the items of a block before its calls.
    fn chill(_items: &mut [Self::Item]) {}

    /// The timed call. Answers what stays in the caller's hands, a refused item for one: it is dropped after the clock
    /// has been read.
    fn send(&mut self, item: Self::Item) -> Option<Self::Item>;
}

/// When the calls of a block began and ended.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The beginning of the schedule.
    pub(crate) start: u64,
    pub(crate) calls: Vec<Call>,
}

/// One call, in raw readings of the clock; `due` in nanoseconds from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    due: u64,
    pub(crate) before: u64,
    after: u64,
}

impl Call {
    /// From before the call to after it.
    pub(crate) fn service(&self, clock: &Clock) -> u64 {
        clock.delta_as_nanos(self.before, self.after)
    }

    /// From when it should have begun to after it.
    pub(crate) fn open(&self, clock: &Clock, start: u64) -> u64 {
        clock
            .delta_as_nanos(start, self.after)
            .saturating_sub(self.due)
    }
}

/// Makes the calls of a block in this shape. The loop is compiled once for each type of sender, and alike for all: an
/// item is brought into the cache, the time waited for, the clock read, the call made, the clock read. What is noted is
/// a stream of writes of the publisher's own, shared with nobody.
#[inline(never)]
pub(crate) fn drive<S: Sender>(
    clock: &Clock,
    shape: Shape,
    sender: &mut S,
    items: Vec<S::Item>,
    times: &mut Times,
) {
    times.calls.clear();
    times.calls.reserve(items.len());
    times.start = clock.raw();
    if shape == Shape::Grouped {
        return drive_groups(clock, sender, items, times);
    }
    for (place, item) in (0..).zip(items) {
        let (call, left) = timed(clock, sender, item, times.start, shape.due(place));
        drop(left);
        times.calls.push(call);
    }
}

/// Notes a group as one call. Its items are brought into the cache first; what stays in the caller's hands is dropped
/// after the clock has been read.
fn drive_groups<S: Sender>(clock: &Clock, sender: &mut S, items: Vec<S::Item>, times: &mut Times) {
    let mut items = items.into_iter();
    let (mut group, mut left) = (Vec::with_capacity(GROUP), Vec::with_capacity(GROUP));
    for place in 0.. {
        group.extend(items.by_ref().take(GROUP));
        if group.is_empty() {
            return;
        }
        let due = Shape::Grouped.due(place);
        wait_until(clock, times.start, due);
        let before = clock.raw();
        left.extend(group.drain(..).filter_map(|item| sender.send(item)));
        let after = clock.raw();
        left.clear();
        times.calls.push(Call { due, before, after });
    }
}

/// One call that is due so many nanoseconds after `start`, and what stayed in the caller's hands.
#[inline]
pub(crate) fn timed<S: Sender>(
    clock: &Clock,
    sender: &mut S,
    item: S::Item,
    start: u64,
    due: u64,
) -> (Call, Option<S::Item>) {
    let item = black_box(item);
    wait_until(clock, start, due);
    let before = clock.raw();
    let left = sender.send(item);
    let after = clock.raw();
    (Call { due, before, after }, black_box(left))
}

/// How long before its time a call is waited for with the core held.
const SPIN: u64 = 200_000;

/// Sleeps through long waits, and spins at the end: what follows runs on a core that is awake.
fn wait_until(clock: &Clock, start: u64, due: u64) {
    if due == 0 {
        return;
    }
    let left = due.saturating_sub(clock.delta_as_nanos(start, clock.raw()));
    if left > SPIN {
        std::thread::sleep(Duration::from_nanos(left - SPIN));
    }
    while clock.delta_as_nanos(start, clock.raw()) < due {
        std::hint::spin_loop();
    }
}
