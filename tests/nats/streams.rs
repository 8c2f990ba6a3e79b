//! The server is there, the stream is not.

use async_nats::jetstream::{self, stream};
use spillring::State;
use spillring::nats::StreamCare;

use crate::bench::{ALL, Bench};
use crate::reading::Reading;
use test_support::eventually::eventually;
use test_support::nats::{NatsServer, block_on, client};

#[test]
fn entries_wait_in_the_spill_for_a_stream_that_somebody_else_makes() {
    let server = NatsServer::start();
    let mut bench = Bench::new(&server.url());
    bench.nats.stream_care = StreamCare::Verify;
    let mut running = bench.start();
    running.publish(0..ALL);
    let stats = running.until_all_spilled();
    assert!(stats.delivery_errors > 0, "{stats:#?}");
    // Whoever may not open the database is told as well.
    eventually("status.json tells", || {
        let told = spillring::operate::status(bench.spill())
            .expect("a status")
            .stats;
        (told.state == State::Spilling && told.spilled == 2_000).then_some(())
    });

    make_stream(&server);
    running.until("the backlog is gone", |stats| {
        stats.state == State::Live && stats.delivered == 2_000
    });
    running.deliver_all();
    Reading::of(&server).one_run().assert_lines(0..ALL);
}

/// A stream that is deleted under a publisher takes its entries along; those published afterwards are not lost.
#[test]
fn a_stream_that_is_deleted_is_made_again() {
    let server = NatsServer::start();
    let mut running = Bench::new(&server.url()).start();
    running.publish(0..100);
    running.until_delivered(100);
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        context.delete_stream("AUDIT").await.expect("it is deleted");
    });
    running.publish(100..ALL);
    let stats = running.deliver_all();
    assert_eq!(stats.delivered, 2_000);
    // The reader's rule starts at the first message: what came before it is told by its number.
    let messages = test_support::nats::read_stream(&server.url(), "AUDIT");
    let numbers: Vec<u64> = messages
        .iter()
        .filter_map(|message| message.header("Audit-Id"))
        .map(|id| id.rsplit_once('.').expect("a number").1)
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert!(numbers.iter().copied().eq(101..=2_000), "{numbers:?}");
}

pub(crate) fn make_stream(server: &NatsServer) {
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let made = context
            .create_stream(stream::Config {
                name: "AUDIT".to_owned(),
                subjects: vec!["assembly.audit.>".to_owned()],
                ..stream::Config::default()
            })
            .await;
        made.expect("it is made");
    });
}
