//! The candidates that the workspace cannot hold.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disruptor::{BusySpin, MultiProducer, Producer, SingleConsumerBarrier, build_multi_producer};
use spillring::AuditEntry;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};

use crate::lane::{CAPACITY, Lane, Receipts, Rig, Role};
use crate::machine::Threads;
use crate::shipped::sends_entries;
use crate::times::Sender;

pub(crate) fn more() -> Vec<Box<dyn Lane>> {
    let mut lanes = crossbeam();
    lanes.extend(disruptor());
    lanes.push(appender());
    lanes.extend(kanal());
    lanes.extend(thingbuf());
    lanes.push(rtrb());
    lanes
}

sends_entries!(crossbeam_channel::Sender<AuditEntry>, |sender, entry| {
    sender
        .try_send(entry)
        .err()
        .map(crossbeam_channel::TrySendError::into_inner)
});

fn crossbeam() -> Vec<Box<dyn Lane>> {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let shipped = Rig::shipped("crossbeam-channel", sender, move |receipts| {
        for entry in receiver {
            receipts.stamp(1);
            drop::<AuditEntry>(entry);
        }
    });
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let polled = Rig::polled("crossbeam-channel, polled", sender, move || {
        receiver.try_recv().ok()
    });
    vec![Box::new(shipped), Box::new(polled)]
}

/// Its consumers see slots by reference: a lock that nobody else wants lets the receiver take the entry out, and free
/// it. The producer, to whom the slot is exclusive, does not lock.
type Shared = Mutex<Option<AuditEntry>>;
type Disruptor = MultiProducer<Shared, SingleConsumerBarrier>;

impl Sender for Disruptor {
    type Item = AuditEntry;

    fn prepare(entry: AuditEntry) -> AuditEntry {
        entry
    }

    #[inline]
    fn send(&mut self, entry: AuditEntry) -> Option<AuditEntry> {
        let put = |slot: &mut Shared| {
            *slot.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        };
        self.try_publish(put).expect("the queue was full");
        None
    }
}

/// Polled like the others; and spinning, as its consumers are meant to.
fn disruptor() -> [Box<dyn Lane>; 2] {
    fn parts() -> (Disruptor, impl FnMut() -> Option<AuditEntry> + Send) {
        let builder = build_multi_producer(CAPACITY, || Shared::new(None), BusySpin);
        let (mut poller, builder) = builder.new_event_poller();
        let mut taken = VecDeque::new();
        let pop = move || {
            if taken.is_empty() {
                let mut events = poller.poll().ok()?;
                let take = |slot: &Shared| {
                    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                    slot.take()
                };
                taken.extend((&mut events).filter_map(take));
            }
            taken.pop_front()
        };
        (builder.build(), pop)
    }
    let (sender, pop) = parts();
    let polled = Rig::polled("disruptor, polled", sender, pop);
    let (sender, pop) = parts();
    let spinning = Rig::polled_after(Duration::ZERO, "disruptor, spinning", sender, pop);
    [Box::new(polled), Box::new(spinning)]
}

/// A refused entry is dropped in the call; none is.
struct Kanal(kanal::Sender<AuditEntry>);

sends_entries!(Kanal, |sender, entry| {
    assert!(
        sender.0.try_send(entry).is_ok_and(|sent| sent),
        "the queue was full"
    );
    None
});

fn kanal() -> Vec<Box<dyn Lane>> {
    let (sender, receiver) = kanal::bounded(CAPACITY);
    let shipped = Rig::shipped("kanal", Kanal(sender), move |receipts| {
        for entry in receiver {
            receipts.stamp(1);
            drop::<AuditEntry>(entry);
        }
    });
    let (sender, receiver) = kanal::bounded(CAPACITY);
    let polled = Rig::polled("kanal, polled", Kanal(sender), move || {
        receiver.try_recv().ok().flatten()
    });
    vec![Box::new(shipped), Box::new(polled)]
}

/// Its slots are never empty: what is sent is an entry or none.
type Slot = Option<AuditEntry>;

impl Sender for thingbuf::mpsc::blocking::Sender<Slot> {
    type Item = Slot;

    fn prepare(entry: AuditEntry) -> Slot {
        Some(entry)
    }

    #[inline]
    fn send(&mut self, entry: Slot) -> Option<Slot> {
        self.try_send(entry)
            .err()
            .map(thingbuf::mpsc::errors::TrySendError::into_inner)
    }
}

fn thingbuf() -> Vec<Box<dyn Lane>> {
    let (sender, receiver) = thingbuf::mpsc::blocking::channel::<Slot>(CAPACITY);
    let shipped = Rig::shipped("thingbuf", sender, move |receipts| {
        while let Some(entry) = receiver.recv() {
            receipts.stamp(1);
            drop(entry);
        }
    });
    let (sender, receiver) = thingbuf::mpsc::blocking::channel::<Slot>(CAPACITY);
    let polled = Rig::polled("thingbuf, polled", sender, move || receiver.try_recv().ok());
    vec![Box::new(shipped), Box::new(polled)]
}

sends_entries!(rtrb::Producer<AuditEntry>, |producer, entry| {
    producer
        .push(entry)
        .err()
        .map(|rtrb::PushError::Full(entry)| entry)
});

fn rtrb() -> Box<dyn Lane> {
    let (producer, mut consumer) = rtrb::RingBuffer::new(CAPACITY);
    Box::new(Rig::polled("rtrb, polled", producer, move || {
        consumer.pop().ok()
    }))
}

impl Sender for NonBlocking {
    type Item = Vec<u8>;

    fn prepare(entry: AuditEntry) -> Vec<u8> {
        let mut line = serde_json::to_vec(&entry).expect("an entry has JSON");
        line.push(b'\n');
        line
    }

    #[inline]
    fn send(&mut self, line: Vec<u8>) -> Option<Vec<u8>> {
        self.write_all(&line).expect("it never fails");
        Some(line)
    }
}

/// What the worker writes to.
struct Counts(Arc<Receipts>);

impl Write for Counts {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.stamp(1);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn appender() -> Box<dyn Lane> {
    let receipts = Receipts::new();
    let (sender, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(CAPACITY)
        .thread_name("appender")
        .finish(Counts(Arc::clone(&receipts)));
    Box::new(Rig {
        receipts: Some(receipts),
        threads: Threads::Named("appender"),
        keep: Box::new(guard),
        ..Rig::alone("tracing-appender, lossy", Role::Other, sender)
    })
}
