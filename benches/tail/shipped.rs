//! The other candidates that may stand in the workspace's graph: the bare queue, the channels of tokio and std, flume.
//!
//! Each channel stands here twice: as shipped, its receiver blocking in its own receive (tokio's awaiting on a
//! current-thread runtime of its own), which the sender has to wake; and with a receiver that polls as spillring's does,
//! which nobody wakes. The receiver drops what it gets.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crossbeam_queue::ArrayQueue;
use spillring::AuditEntry;
use tokio::sync::mpsc;

use crate::lane::{CAPACITY, Lane, Rig, Role};
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

/// The channels, as shipped and polled.
pub(crate) fn channels() -> Vec<Box<dyn Lane>> {
    let (tokio, mut receiver) = mpsc::channel(CAPACITY);
    let tokio = Rig::shipped("tokio mpsc", tokio, move |receipts| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            while let Some(entry) = receiver.recv().await {
                receipts.stamp(1);
                drop::<AuditEntry>(entry);
            }
        });
    });
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
        Box::new(tokio),
        Box::new(tokio_polled),
        Box::new(std),
        Box::new(std_polled),
        Box::new(flume),
        Box::new(flume_polled),
    ]
}
