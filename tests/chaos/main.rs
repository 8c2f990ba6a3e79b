//! Tries to lose, double or reorder entries by everything at once, for as long as one likes.
//!
//! Two publishers with four threads each share the subjects of a replicated stream in a cluster of three nodes. A
//! schedule drawn from a seed kills and stops nodes, moves the stream's leader, cuts, stalls and deafens connections,
//! and kills publishers, each time while a transaction is not acknowledged: a proxy holds it, and then the fault
//! strikes. In the end the stream is compared with what the threads have noted.
//!
//! A transaction is an atomic batch, a fast one, or a message, by what the stream takes. Messages are promised once and
//! in order as long as outages are shorter than the stream's duplicate window, as all of them are here.
//!
//! By hand, for ten minutes: `SPILLRING_CHAOS_SECONDS=600 cargo test --release --test chaos -- --ignored --nocapture`.
//! It takes about two gigabytes of disk a minute. A printed seed, in `SPILLRING_CHAOS_SEED`, repeats its
//! schedule; `SPILLRING_CHAOS_RATE` is how many entries are offered in a second.
#![cfg(feature = "nats")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]

mod arena;
mod child;
mod entries;
mod journal;
mod judge;
mod publisher;
mod sabotage;
mod schedule;

use std::env;
use std::time::{Duration, Instant};

use arena::{Arena, Way, tell};
use judge::judge;
use schedule::{Kind, Schedule};

#[test]
fn atomic_batches_store_each_entry_once_and_in_order_under_faults() {
    chaos(Way::Atomic, 8, 1_000, 600);
}

#[test]
fn fast_batches_store_each_entry_once_and_in_order_under_faults() {
    chaos(Way::Fast, 8, 1_000, 600);
}

/// Each message in doubt is sent again well within the time in which the stream knows it.
#[test]
fn single_messages_store_each_entry_once_and_in_order_under_faults() {
    chaos(Way::Messages, 8, 500, 400);
}

#[test]
#[ignore = "as the one above with far more entries, by hand, for as long as one likes"]
fn each_entry_is_stored_once_and_in_order_at_ten_thousand_a_second() {
    chaos(Way::Both, 300, 12_000, 10_000);
}

/// So many entries are offered in a second, and it goes on until at least so many have been taken for each.
fn chaos(way: Way, seconds: u64, rate: u32, rate_min: u64) {
    let seconds = Duration::from_secs(variable("SECONDS").unwrap_or(seconds));
    let seed = variable("SEED").unwrap_or_else(|| fastrand::u64(..));
    let rate = variable("RATE").map_or(rate, |rate| u32::try_from(rate).expect("a rate"));
    tell(&format!("SPILLRING_CHAOS_SEED={seed}"));

    let mut arena = Arena::start(2, rate, way);
    let mut schedule = Schedule::new(seed, 2, way);
    let began = Instant::now();
    while began.elapsed() < seconds
        || arena.struck.len() < Kind::of(way).count()
        || arena.accepted() < rate_min * seconds.as_secs()
    {
        let strike = schedule.next().expect("it has no end");
        arena.strike(&strike);
    }
    arena.finish();
    let took = began.elapsed();
    let tally = judge(&arena).unwrap_or_else(|faults| panic!("{faults:#?}"));
    tell(&format!("{took:?}: {tally:#?}, {:#?}", arena.struck));
    verify(&arena.cluster.url(), way);
    let known: &[&str] = match way {
        Way::Messages => &["\"duplicate\": true"],
        _ => &["wrong last sequence", "batch publish ID unknown"],
    };
    let is_known = |said: &String| known.iter().any(|it| said.contains(it));
    assert!(arena.late.iter().any(is_known), "{:?}", arena.late);
}

/// The operator's own command finds the same.
#[cfg(feature = "cli")]
fn verify(url: &str, way: Way) {
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_spillring"))
        .args(["verify", url])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}");
    // Signed from the first to the last, with keys that nobody here vouches for.
    let signed = text.contains("authentic: untrusted");
    assert!(signed || matches!(way, Way::Messages), "{text}");
    tell(&text);
}

#[cfg(not(feature = "cli"))]
fn verify(_: &str, _: Way) {}

fn variable(name: &str) -> Option<u64> {
    let value = env::var(format!("SPILLRING_CHAOS_{name}")).ok()?;
    Some(value.parse().expect("a number"))
}
