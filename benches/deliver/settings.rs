//! Two settings beside one another, in turns: a ring in memory and one in a file; unsigned and signed checkpoints. Into
//! a server, and to the disk while there is none.

use std::time::{Duration, Instant};

use signed_note::{Note, StandardSigner, generate_key};
use spillring::config::Signing;
use spillring::event::{Position, RunId};
use spillring::seal::{Leaf, Tree};
use spillring::{AuditEntry, Config, Drainer, Event};

use crate::support::{Away, entries, start_with};
use crate::{LIMIT, Length, median, ours, sink};
use test_support::nats::NatsServer;

/// The ring in a file is on a tmpfs, as it is meant to be.
const RING_DIR: &str = "/dev/shm";

pub(crate) fn ring(length: Length) {
    compare(length, ["ring in memory", "ring_dir"], |config, with| {
        config.ring_dir = with.then(|| RING_DIR.into());
    });
}

pub(crate) fn signed(length: Length) {
    costs();
    let sign = |config: &mut Config, with: bool| {
        config.signing = if with { Signing::On } else { Signing::Off };
    };
    compare(length, ["unsigned", "signed"], sign);
    let server = NatsServer::start();
    let make = |with| {
        start_with(sink(&server.url()), |config| {
            config.batch_max = 1;
            sign(config, with);
        })
    };
    let both = [make(false), make(true)];
    let (rounds, block) = match length {
        Length::Full => (9, 5_000),
        Length::Short => (1, 100),
    };
    turns("one entry a batch", ["unsigned", "signed"], rounds, || {
        [0, 1].map(|at| ours(&both[at].0, block))
    });
    end(both, LIMIT);
}

/// What an entry costs as a leaf of the tree, and a batch as a signature, on a core of its own.
fn costs() {
    let entries: Vec<_> = entries().iter().map(encoded).collect();
    let mut tree = Tree::default();
    let begin = Instant::now();
    for (n, (subject, bytes)) in (1..).zip(&entries) {
        let leaf = Leaf {
            id: Position {
                run: RunId(uuid::Uuid::nil()),
                n,
            },
            lost: 0,
            requeued: None,
            opening: None,
            subject: Some(subject),
            bytes,
        };
        tree.push(leaf.hash());
    }
    let leaf = begin.elapsed().as_nanos() as f64 / entries.len() as f64;
    let name = "spillring/01a21a2e-6a9f-703a-a491-da9c311ae493";
    let (private, _) = generate_key(&mut rand_core::OsRng, name);
    let key = StandardSigner::new(&private).expect("a key");
    let begin = Instant::now();
    for _ in 0..SIGNATURES {
        let mut note =
            Note::new(format!("{name}\n{:?}\n", tree.root()).as_bytes(), &[]).expect("a note");
        note.add_sigs(&[&key]).expect("a signature");
    }
    let sign = begin.elapsed().as_micros() as f64 / f64::from(SIGNATURES);
    println!("\nan entry as a leaf: {leaf:.0} ns; a signature: {sign:.1} us");
}

fn encoded(entry: &AuditEntry) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes).expect("it can be encoded");
    (entry.subject(), bytes)
}

/// How many signatures are timed.
const SIGNATURES: u32 = 2_000;

/// The setting is changed where `with` is true.
fn compare(length: Length, names: [&str; 2], set: impl Fn(&mut Config, bool)) {
    let (rounds, block) = match length {
        Length::Full => (9, 60_000),
        Length::Short => (1, 500),
    };
    let server = NatsServer::start();
    let both =
        [false, true].map(|with| start_with(sink(&server.url()), |config| set(config, with)));
    turns(
        "into a server, publish to acknowledged",
        names,
        rounds,
        || [0, 1].map(|at| ours(&both[at].0, block)),
    );
    end(both, LIMIT);
    let both = [false, true].map(|with| {
        start_with(Away, |config| {
            set(config, with);
            config.spill_bytes_max = 16 << 30;
        })
    });
    turns("to the disk, publish to flushed", names, rounds, || {
        [0, 1].map(|at| spilled(&both[at].0, block))
    });
    end(both, Duration::ZERO);
}

fn end<D>(drainers: [(Drainer<AuditEntry>, D); 2], limit: Duration) {
    for (drainer, _dir) in drainers {
        drainer.shutdown(limit).wait(LIMIT * 2).expect("an account");
    }
}

fn turns(title: &str, names: [&str; 2], rounds: usize, mut round: impl FnMut() -> [f64; 2]) {
    round();
    let (mut without, mut with): (Vec<_>, Vec<_>) = (0..rounds).map(|_| round().into()).unzip();
    let mut ratios: Vec<_> = without
        .iter()
        .zip(&with)
        .map(|(without, with)| with / without)
        .collect();
    println!(
        "\n{title}, entries a second: {:.0} {}, {:.0} {}, {:.2} of it",
        median(&mut without),
        names[0],
        median(&mut with),
        names[1],
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
