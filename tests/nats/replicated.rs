//! A replicated stream that knows no transactions: leaders that step down again and again reorder nothing, because one
//! message at a time is under way.

use async_nats::jetstream::{self, stream};

use crate::bench::Bench;
use crate::reading::Reading;
use test_support::nats::{Cluster, block_on, client, read_stream};

const ENTRIES: usize = 600;
const STEP_DOWNS: u64 = 5;

#[test]
fn leaders_that_step_down_reorder_nothing_where_there_are_no_transactions() {
    let cluster = Cluster::start();
    block_on(async {
        let context = jetstream::new(client(&cluster.url()).await);
        let config = stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec!["assembly.audit.>".to_owned()],
            num_replicas: 3,
            ..stream::Config::default()
        };
        context.create_stream(config).await.expect("a stream");
    });
    let mut bench = Bench::new(&cluster.url());
    bench.config.ack_timeout = std::time::Duration::from_secs(2);
    let mut running = bench.start();
    let part = ENTRIES / 6;
    running.publish(0..part);
    for round in 1..=STEP_DOWNS {
        running.until_delivered(round * part as u64 / 2);
        let place = usize::try_from(round).expect("small") * part;
        running.publish(place..place + part);
        cluster.step_down("AUDIT");
    }
    running.deliver_all();
    let reading = Reading::judge(&read_stream(&cluster.url(), "AUDIT"));
    reading.one_run().assert_lines(0..ENTRIES);
}
