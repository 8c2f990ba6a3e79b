//! Entries that cannot be stored anywhere: whoever has only the stream must learn how many are missing, and where.

use spillring::assembly::{AgentId, AuditEventType, SessionId};
use spillring::{AuditEntry, State};

use crate::bench::Bench;
use crate::reading::{Reading, Run};
use test_support::nats::NatsServer;

/// Larger than the server of these tests takes.
pub(crate) fn oversize() -> AuditEntry {
    AuditEntry::new(
        0,
        1_763_800_000_000_000_000,
        AuditEventType::ToolCallIntercepted,
        AgentId::from_bytes([1; 16]),
        SessionId::from_bytes([2; 16]),
        "x".repeat(10_000),
        [0; 32],
    )
}

/// Numbers with the losses told before them.
pub(crate) fn told(run: &Run) -> Vec<(u64, u64)> {
    let losses = run.entries.iter().filter(|entry| entry.lost > 0);
    losses.map(|entry| (entry.n, entry.lost)).collect()
}

#[test]
fn an_entry_too_large_for_the_server_is_buried_and_its_neighbours_are_delivered() {
    let server = NatsServer::start_with("max_payload: 8192");
    let bench = Bench::new(&server.url());
    let mut first = bench.start();
    first.publish(0..10);
    first.publish_one(oversize());
    first.publish(10..20);
    first.publish_one(oversize());
    first.publish_one(oversize());
    first.publish(20..30);
    first.publish_one(oversize());
    let stats = first.shutdown(crate::bench::AMPLE);
    assert_eq!((stats.delivered, stats.rejected), (30, 4), "{stats:#?}");
    assert_eq!(stats.dead_lettered, 4);
    let at_rest = spillring::operate::status(bench.spill()).expect("a status");
    assert_eq!(at_rest.dead_letters, 4);

    // No entry after the last loss can announce it: the next run does.
    let mut second = bench.start();
    second.publish(30..40);
    second.deliver_all();
    let [one, other] = Reading::of(&server).runs_each_once();
    assert_eq!(one.lines(), (0..30).collect::<Vec<_>>());
    assert_eq!(told(&one), [(12, 1), (24, 2)]);
    other.assert_lines(30..40);
    other.assert_follows_clean(&one, 34);
}

/// The same, but it waits in the spill before it turns out to be too large.
#[test]
fn an_entry_too_large_for_the_server_is_buried_out_of_the_backlog_too() {
    let mut server = NatsServer::start_with("max_payload: 8192");
    server.kill();
    let bench = Bench::new(&server.url());
    let mut running = bench.start();
    running.publish(0..150);
    running.publish_one(oversize());
    running.publish(150..300);
    running.until_all_spilled();
    server.restart();
    let stats = running.shutdown(crate::bench::AMPLE);
    assert_eq!((stats.delivered, stats.rejected), (300, 1), "{stats:#?}");
    let run = Reading::of(&server).one_run();
    assert_eq!(run.lines(), (0..300).collect::<Vec<_>>());
    assert_eq!(told(&run), [(152, 1)]);
}

/// One thread publishes into a tiny ring, and the disk has no room either. Each call uses up a number, so the number
/// of an entry is the call that it came from: that shows whether losses are told where they happened.
#[test]
fn what_ring_and_spill_could_not_hold_is_reported_in_the_stream_where_it_was_lost() {
    let server = NatsServer::start();
    let mut bench = Bench::new(&server.url());
    bench.config.ring_capacity = 64;
    bench.config.spill_bytes_max = 1 << 20;
    let mut running = bench.start();
    running.publish(0..10);
    running.until_delivered(10);
    server.stop_signal();
    let mut next = 10;
    let stats = loop {
        running.publish(next..next + 50);
        next += 50;
        let stats = running.until("the ring is seen", |stats| {
            stats.in_ring == 0 || stats.state == State::SpillFull
        });
        if stats.lost.spill_full > 200 {
            break stats;
        }
    };
    assert!(stats.spilled > 500, "{stats:#?}");
    server.cont_signal();
    running.until("the backlog is gone", |stats| {
        stats.state == State::Live && stats.in_ring + stats.in_memory == 0
    });
    running.publish(next..next + 10);
    let attempted = running.attempted();
    let stats = running.shutdown(crate::bench::AMPLE);
    assert_eq!(stats.delivered, stats.accepted, "{stats:#?}");

    let run = Reading::of(&server).one_run();
    assert_eq!(run.last_n(), attempted);
    assert_eq!(run.entries.len() as u64, stats.delivered);
    assert_eq!(run.lost(), stats.lost.total());
    for entry in &run.entries {
        let called = usize::try_from(entry.n - 1).expect("small") % crate::bench::ALL;
        assert_eq!(entry.line, Some(called), "{entry:?}");
    }
}
