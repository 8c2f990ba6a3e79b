//! A candidate with its receiver: [`Rig`], one for each type of sender, and [`Lane`], what the rounds see of it.
//!
//! Each end notes times for itself: the publisher when it sent the n-th entry, the receiver when it got the n-th. They
//! are put together after the block, so that measuring adds no line of memory that both ends write.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use quanta::Clock;
use spillring::AuditEntry;

use crate::machine::Threads;
use crate::times::{Call, Sender, Shape, Times, drive, timed};

/// How many entries every queue holds: the default of spillring's ring.
pub(crate) const CAPACITY: usize = 65_536;
/// How many calls a block has: less than half of that, so that none is refused and spillring relieves nothing.
pub(crate) const BLOCK: usize = 32_000;
/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How a receiver that polls backs off.
const POLL_MIN: Duration = Duration::from_micros(50);
const POLL_MAX: Duration = Duration::from_millis(8);

/// What a candidate is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The empty region.
    Floor,
    /// What ratios are to: the queue without anything around it, its receiver polling.
    Bare,
    Ours,
    Other,
}

/// A candidate in turns with others.
pub(crate) trait Lane {
    fn name(&self) -> &str;
    fn role(&self) -> Role;
    /// Makes the calls of a block.
    fn run(&mut self, clock: &Clock, shape: Shape, entries: Vec<AuditEntry>, times: &mut Times);
    /// Makes one call, so many nanoseconds after `start`.
    fn call(&mut self, clock: &Clock, entry: AuditEntry, start: u64, due: u64) -> Call;
    /// From here on its receiver polls, if it is one that does; before, it does not disturb the others.
    fn wake(&self);
    fn rest(&self);
    /// Waits until so many entries have been received, or are where else they should get to.
    fn settle(&mut self, entries: usize);
    /// When they were received, since the last [`Receipts::clear`].
    fn receipts(&self) -> Option<&Receipts>;
    fn threads(&self) -> &Threads;
}

/// When the receiver got each entry of a block, in order, in raw readings of the clock.
#[derive(Debug)]
pub(crate) struct Receipts {
    clock: Clock,
    times: Box<[AtomicU64]>,
    count: AtomicUsize,
}

impl Receipts {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::new(),
            times: (0..CAPACITY).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
        })
    }

    /// Notes that so many were received now; those beyond the capacity only count. For the receiver alone.
    #[inline]
    pub(crate) fn stamp(&self, entries: usize) {
        let (now, count) = (self.clock.raw(), self.count.load(Ordering::Relaxed));
        for time in self.times.iter().skip(count).take(entries) {
            time.store(now, Ordering::Relaxed);
        }
        self.count.store(count + entries, Ordering::Release);
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = u64> {
        let count = self.count.load(Ordering::Acquire);
        self.times
            .iter()
            .take(count)
            .map(|time| time.load(Ordering::Relaxed))
    }

    /// While nothing is under way.
    pub(crate) fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    /// Waits until so many have been received; fewer are received only if some were refused.
    pub(crate) fn wait(&self, entries: usize) {
        let begin = Instant::now();
        while self.count.load(Ordering::Acquire) < entries {
            assert!(begin.elapsed() < LIMIT, "not all entries are received");
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A sender with what belongs to it.
pub(crate) struct Rig<S> {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Dropped before the receiver, which may end by that.
    pub(crate) sender: S,
    pub(crate) receiver: Receiver,
    pub(crate) receipts: Option<Arc<Receipts>>,
    pub(crate) threads: Threads,
    /// What else is waited for after a block.
    pub(crate) settle: Box<dyn FnMut()>,
    /// What must live as long.
    pub(crate) keep: Box<dyn Any>,
}

impl<S: Sender> Rig<S> {
    /// Without a receiver.
    pub(crate) fn alone(name: &'static str, role: Role, sender: S) -> Self {
        Self {
            name,
            role,
            sender,
            receiver: Receiver::default(),
            receipts: None,
            threads: Threads::None,
            settle: Box::new(|| {}),
            keep: Box::new(()),
        }
    }

    /// With a receiver that waits in its own way, until the sender is gone.
    pub(crate) fn shipped(
        name: &'static str,
        sender: S,
        receive: impl FnOnce(&Receipts) + Send + 'static,
    ) -> Self {
        let receipts = Receipts::new();
        let stamps = Arc::clone(&receipts);
        let (thread, threads) = spawn(move || receive(&stamps));
        Self {
            receiver: Receiver {
                thread: Some(thread),
                turn: None,
            },
            receipts: Some(receipts),
            threads,
            ..Self::alone(name, Role::Other, sender)
        }
    }

    /// With a receiver that polls: it takes what there is, then sleeps for 50 µs, and for twice as long each time it
    /// finds nothing, up to 8 ms.
    pub(crate) fn polled<T>(
        name: &'static str,
        sender: S,
        pop: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Self {
        Self::polled_after(POLL_MIN, name, sender, pop)
    }

    /// The same with another first sleep; a receiver without one spins, and holds its core.
    pub(crate) fn polled_after<T>(
        pause: Duration,
        name: &'static str,
        sender: S,
        pop: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Self {
        let (receipts, turn) = (Receipts::new(), Arc::new(Turn::default()));
        let (stamps, its) = (Arc::clone(&receipts), Arc::clone(&turn));
        let (thread, threads) = spawn(move || poll(&its, &stamps, pause, pop));
        Self {
            receiver: Receiver {
                thread: Some(thread),
                turn: Some(turn),
            },
            receipts: Some(receipts),
            threads,
            ..Self::alone(name, Role::Other, sender)
        }
    }

    /// The same with a sender made of this one.
    pub(crate) fn with_sender<T: Sender>(
        self,
        name: &'static str,
        role: Role,
        of: impl FnOnce(S) -> T,
    ) -> Rig<T> {
        Rig {
            name,
            role,
            sender: of(self.sender),
            receiver: self.receiver,
            receipts: self.receipts,
            threads: self.threads,
            settle: self.settle,
            keep: self.keep,
        }
    }
}

/// Starts a receiver, and answers which thread it is.
fn spawn(work: impl FnOnce() + Send + 'static) -> (JoinHandle<()>, Threads) {
    let (say, hear) = std::sync::mpsc::channel();
    let receiver = thread::spawn(move || {
        say.send(rustix::thread::gettid())
            .expect("it is waited for");
        work();
    });
    (receiver, Threads::One(hear.recv().expect("it says it")))
}

/// Whether a receiver that polls is to do so.
#[derive(Debug, Default)]
struct Turn(AtomicU8);

const RESTING: u8 = 0;
const POLLING: u8 = 1;
const OVER: u8 = 2;

fn poll<T>(
    turn: &Turn,
    receipts: &Receipts,
    pause_min: Duration,
    mut pop: impl FnMut() -> Option<T>,
) {
    let mut pause = pause_min;
    loop {
        match turn.0.load(Ordering::Acquire) {
            RESTING => {
                thread::park();
                pause = pause_min;
                continue;
            }
            POLLING => {}
            _ => return,
        }
        while let Some(entry) = pop() {
            receipts.stamp(1);
            drop(entry);
            pause = pause_min;
        }
        if pause.is_zero() {
            std::hint::spin_loop();
        } else {
            thread::park_timeout(pause);
            pause = (pause * 2).min(POLL_MAX);
        }
    }
}

/// A receiver's thread, if it is the rig's; it ends with the rig.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    thread: Option<JoinHandle<()>>,
    turn: Option<Arc<Turn>>,
}

impl Receiver {
    fn turn(&self, to: u8) {
        if let (Some(turn), Some(thread)) = (&self.turn, &self.thread) {
            turn.0.store(to, Ordering::Release);
            thread.thread().unpark();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.turn(OVER);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the receiver ends");
        }
    }
}

impl<S: Sender> Lane for Rig<S> {
    fn name(&self) -> &str {
        self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    fn run(&mut self, clock: &Clock, shape: Shape, entries: Vec<AuditEntry>, times: &mut Times) {
        let mut items: Vec<_> = entries.into_iter().map(S::prepare).collect();
        S::chill(&mut items);
        drive(clock, shape, &mut self.sender, items, times);
    }

    fn call(&mut self, clock: &Clock, entry: AuditEntry, start: u64, due: u64) -> Call {
        timed(clock, &mut self.sender, S::prepare(entry), start, due).0
    }

    fn wake(&self) {
        self.receiver.turn(POLLING);
    }

    fn rest(&self) {
        self.receiver.turn(RESTING);
    }

    fn settle(&mut self, entries: usize) {
        if let Some(receipts) = &self.receipts {
            receipts.wait(entries);
        }
        (self.settle)();
    }

    fn receipts(&self) -> Option<&Receipts> {
        self.receipts.as_deref()
    }

    fn threads(&self) -> &Threads {
        &self.threads
    }
}
