//! A kernel that refuses a thread what it asks for: the errors of a full or failing disk, at the call where they hurt.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use spillring::JsonLinesSink;

/// System calls by number.
#[cfg(target_arch = "x86_64")]
pub(crate) const WRITE: i64 = 1;
#[cfg(target_arch = "x86_64")]
pub(crate) const OPENAT: i64 = 257;
#[cfg(target_arch = "x86_64")]
pub(crate) const FDATASYNC: i64 = 75;
#[cfg(target_arch = "x86_64")]
pub(crate) const FTRUNCATE: i64 = 77;
#[cfg(target_arch = "aarch64")]
pub(crate) const WRITE: i64 = 64;
#[cfg(target_arch = "aarch64")]
pub(crate) const OPENAT: i64 = 56;
#[cfg(target_arch = "aarch64")]
pub(crate) const FDATASYNC: i64 = 83;
#[cfg(target_arch = "aarch64")]
pub(crate) const FTRUNCATE: i64 = 46;
pub(crate) const ENOSPC: u32 = 28;
pub(crate) const EACCES: u32 = 13;
pub(crate) const EIO: u32 = 5;

/// Runs a step on a thread of its own, after what cannot be undone on it, and brings the sink back.
pub(crate) fn on_a_thread<T: Send>(
    mut sink: JsonLinesSink,
    prepare: impl FnOnce() + Send,
    step: impl FnOnce(&mut JsonLinesSink) -> T + Send,
) -> (JsonLinesSink, T) {
    thread::scope(|scope| {
        let stepped = scope.spawn(|| {
            prepare();
            let outcome = step(&mut sink);
            (sink, outcome)
        });
        stepped.join().unwrap()
    })
}

/// From now on the kernel answers this thread's calls with an error: all, or those over so many bytes.
pub(crate) fn forbid(call: i64, longer_than: Option<u64>, errno: u32) {
    match longer_than {
        Some(bytes) => forbid_where(call, (2, SeccompCmpOp::Gt, bytes), errno),
        None => apply(call, Vec::new(), errno),
    }
}

/// The same for those calls whose argument compares so.
pub(crate) fn forbid_where(
    call: i64,
    (argument, compares, to): (u8, SeccompCmpOp, u64),
    errno: u32,
) {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, compares, to).unwrap();
    apply(
        call,
        vec![SeccompRule::new(vec![condition]).unwrap()],
        errno,
    );
}

fn apply(call: i64, rules: Vec<SeccompRule>, errno: u32) {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// The descriptor by which this process has a file open.
pub(crate) fn descriptor_of(path: &Path) -> u64 {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.map(|entry| entry.unwrap().path())
        .find(|entry| fs::read_link(entry).is_ok_and(|there| there == path))
        .and_then(|entry| entry.file_name()?.to_str()?.parse().ok())
        .unwrap()
}
