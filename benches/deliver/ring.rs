//! A ring that survives the process beside the one in memory, in turns: into a server, and to the disk while there is none.

use std::time::{Duration, Instant};

use spillring::{AuditEntry, Drainer};

use crate::support::{Away, entries, start_with};
use crate::test_support::nats::NatsServer;
use crate::{LIMIT, Length, median, ours, sink};

/// The ring in a file is on a tmpfs, as it is meant to be.
const RING_DIR: &str = "/dev/shm";

pub(crate) fn ring(length: Length) {
    let (rounds, block) = match length {
        Length::Full => (9, 60_000),
        Length::Short => (1, 500),
    };
    let server = NatsServer::start();
    let make = |in_a_file: bool| {
        start_with(sink(&server.url()), |config| {
            config.ring_dir = in_a_file.then(|| RING_DIR.into());
        })
    };
    let (memory, file) = (make(false), make(true));
    turns("into a server, publish to acknowledged", rounds, || {
        [&memory.0, &file.0].map(|drainer| ours(drainer, block))
    });
    for (drainer, _) in [memory, file] {
        drainer.shutdown(LIMIT).wait(LIMIT * 2).expect("an account");
    }
    let make = |in_a_file: bool| {
        start_with(Away, |config| {
            config.ring_dir = in_a_file.then(|| RING_DIR.into());
            config.spill_bytes_max = 16 << 30;
        })
    };
    let (memory, file) = (make(false), make(true));
    turns("to the disk, publish to flushed", rounds, || {
        [&memory.0, &file.0].map(|drainer| spilled(drainer, block))
    });
    for (drainer, _) in [memory, file] {
        drainer
            .shutdown(Duration::ZERO)
            .wait(LIMIT)
            .expect("an account");
    }
}

fn turns(title: &str, rounds: usize, mut round: impl FnMut() -> [f64; 2]) {
    round();
    let (mut memory, mut file): (Vec<_>, Vec<_>) = (0..rounds).map(|_| round().into()).unzip();
    let mut ratios: Vec<_> = memory
        .iter()
        .zip(&file)
        .map(|(memory, file)| file / memory)
        .collect();
    println!(
        "\n{title}, entries a second: {:.0} with the ring in memory, {:.0} with ring_dir, {:.2} of it",
        median(&mut memory),
        median(&mut file),
        median(&mut ratios)
    );
}

/// The rate at which so many entries are published and on disk.
fn spilled(drainer: &Drainer<AuditEntry>, count: usize) -> f64 {
    let publisher = drainer.publisher();
    let block: Vec<_> = entries().into_iter().cycle().take(count).collect();
    let begin = Instant::now();
    for entry in block {
        publisher.publish_timeout(entry, LIMIT).expect("room");
    }
    publisher.flush().wait(LIMIT).expect("all is on disk");
    count as f64 / begin.elapsed().as_secs_f64()
}
