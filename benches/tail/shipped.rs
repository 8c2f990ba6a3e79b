//! The other candidates that the workspace's graph may hold: the bare queue, the channels of tokio and std, flume.
//!
//! Each channel is here twice: as shipped, its receiver blocking in its own receive (tokio's awaiting on a
//! current-thread runtime of its own, and in a task of a multi-thread runtime), which the sender has to wake; and with
//! a receiver that polls, which nobody wakes. The receiver drops what it gets.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crossbeam_queue::ArrayQueue;
use spillring::AuditEntry;
use tokio::sync::mpsc;

use crate::lane::{CAPACITY, Lane, Receipts, Rig, Role};
use crate::machine::Threads;
use crate::times::Sender;

/// Implements [`Sender`] for a sender of entries, with what stays in the caller's hands.
macro_rules! sends_entries {
    ($sender:ty, $send:expr) => {
        impl Sender for $sender {
            type Item = AuditEntry;

            fn prepare(entry: AuditEntry) -> AuditEntry {
                entry
            }

            #[inline]
            fn send(&mut self, entry: AuditEntry) -> Option<AuditEntry> {
                let send: fn(&mut Self, AuditEntry) -> Option<AuditEntry> = $send;
                send(self, entry)
            }
        }
    };
}
pub(crate) use sends_entries;

/// The empty region: the entry stays with the caller.
#[derive(Debug)]
pub(crate) struct Nothing;

sends_entries!(Nothing, |_, entry| Some(black_box(entry)));

pub(crate) fn nothing() -> Box<dyn Lane> {
    Box::new(Rig::alone("nothing", Role::Floor, Nothing))
}

pub(crate) type Queue = Arc<ArrayQueue<AuditEntry>>;

sends_entries!(Queue, |queue, entry| queue.push(entry).err());

/// What ratios are to: its receiver always polls, since it has no way to wait.
pub(crate) fn bare() -> Rig<Queue> {
    let queue = Arc::new(ArrayQueue::new(CAPACITY));
    let its = Arc::clone(&queue);
    Rig {
        role: Role::Bare,
        ..Rig::polled("ArrayQueue, polled", queue, move || its.pop())
    }
}

sends_entries!(mpsc::Sender<AuditEntry>, |sender, entry| {
    sender
        .try_send(entry)
        .err()
        .map(mpsc::error::TrySendError::into_inner)
});

sends_entries!(SyncSender<AuditEntry>, |sender, entry| {
    sender.try_send(entry).err().map(|refused| match refused {
        TrySendError::Full(entry) | TrySendError::Disconnected(entry) => entry,
    })
});

sends_entries!(flume::Sender<AuditEntry>, |sender, entry| {
    sender
        .try_send(entry)
        .err()
        .map(flume::TrySendError::into_inner)
});

async fn receive(mut receiver: mpsc::Receiver<AuditEntry>, receipts: &Receipts) {
    while let Some(entry) = receiver.recv().await {
        receipts.stamp(1);
        drop(entry);
    }
}

/// The receiver awaits on a current-thread runtime of its own.
pub(crate) fn tokio_mpsc() -> Rig<mpsc::Sender<AuditEntry>> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    Rig::shipped("tokio mpsc", sender, move |receipts| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(receive(receiver, receipts));
    })
}

/// The receiver is a task of a runtime with two workers.
fn tokio_mpsc_multi_thread() -> Rig<mpsc::Sender<AuditEntry>> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let receipts = Receipts::new();
    let stamps = Arc::clone(&receipts);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mpsc-worker")
        .build()
        .expect("a runtime");
    runtime.spawn(async move { receive(receiver, &stamps).await });
    Rig {
        receipts: Some(receipts),
        threads: Threads::Named("mpsc-worker"),
        keep: Box::new(runtime),
        ..Rig::alone("tokio mpsc, multi-thread", Role::Other, sender)
    }
}

/// The channels, as shipped and polled.
pub(crate) fn channels() -> Vec<Box<dyn Lane>> {
    let (std, receiver) = sync_channel(CAPACITY);
    let std = Rig::shipped("std sync_channel", std, move |receipts| {
        for entry in receiver {
            receipts.stamp(1);
            drop::<AuditEntry>(entry);
        }
    });
    let (flume, receiver) = flume::bounded(CAPACITY);
    let flume = Rig::shipped("flume", flume, move |receipts| {
        for entry in receiver {
            receipts.stamp(1);
            drop::<AuditEntry>(entry);
        }
    });
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let tokio_polled = Rig::polled("tokio mpsc, polled", sender, move || {
        receiver.try_recv().ok()
    });
    let (sender, receiver) = sync_channel(CAPACITY);
    let std_polled = Rig::polled("std sync_channel, polled", sender, move || {
        receiver.try_recv().ok()
    });
    let (sender, receiver) = flume::bounded(CAPACITY);
    let flume_polled = Rig::polled("flume, polled", sender, move || receiver.try_recv().ok());
    vec![
        Box::new(tokio_mpsc()),
        Box::new(tokio_mpsc_multi_thread()),
        Box::new(tokio_polled),
        Box::new(std),
        Box::new(std_polled),
        Box::new(flume),
        Box::new(flume_polled),
    ]
}
