//! Many publishers on one stream, each with an entry now and then: none is starved, and nothing is lost.

use std::collections::HashSet;

use crate::bench::{Bench, Running};
use crate::reading::Reading;
use test_support::nats::{Cluster, read_stream};

const PUBLISHERS: usize = 200;
const ROUNDS: usize = 5;

#[test]
fn two_hundred_publishers_with_an_entry_now_and_then_are_all_served() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let benches: Vec<Bench> = (0..PUBLISHERS).map(|_| patient(&url)).collect();
    let mut running: Vec<Running> = benches.iter().map(Bench::start).collect();
    for round in 0..ROUNDS {
        for (place, publisher) in running.iter_mut().enumerate() {
            publisher.publish(place * ROUNDS + round..place * ROUNDS + round + 1);
        }
        for publisher in &running {
            publisher.until_delivered(round as u64 + 1);
        }
    }
    for publisher in running {
        publisher.deliver_all();
    }
    let read = read_stream(&url, "AUDIT");
    let cursors: HashSet<_> = read
        .iter()
        .filter_map(|message| message.subject.strip_prefix("assembly.cursor."))
        .collect();
    assert_eq!(cursors.len(), PUBLISHERS);
    let reading = Reading::judge(&read);
    assert_eq!((reading.runs.len(), reading.doubles), (PUBLISHERS, 0));
    let mut lines: Vec<usize> = Vec::new();
    for run in &reading.runs {
        assert_eq!(run.last_n(), ROUNDS as u64);
        lines.extend(run.lines());
    }
    lines.sort_unstable();
    assert!(lines.iter().copied().eq(0..PUBLISHERS * ROUNDS));
}

/// With the acknowledgement limit that publishers have by default: an answer may take its time here.
fn patient(url: &str) -> Bench {
    let mut bench = Bench::new(url);
    bench.nats.stream_replicas = 3;
    bench.config.ack_timeout = std::time::Duration::from_secs(5);
    bench.config.ring_capacity = 1_024;
    bench
}
