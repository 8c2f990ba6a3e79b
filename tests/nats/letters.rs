//! An entry that the server refuses, and an operator who has its limit raised and requeues it: it must arrive once, and
//! whoever has only the stream must see which lost number it is.

use std::process::{Command, Output};

use crate::bench::Bench;
use crate::losses::{oversize, told};
use crate::reading::Reading;
use test_support::nats::NatsServer;

fn spillring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spillring"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn a_requeued_entry_arrives_once_under_a_new_number_that_names_the_old_one() {
    let mut server = NatsServer::start_with("max_payload: 8192");
    let bench = Bench::new(&server.url());
    let dir = bench.spill().to_str().expect("a path").to_owned();
    let letters = |arguments: &[&str]| spillring(&[&["dead-letters", &dir], arguments].concat());
    let mut first = bench.start();
    first.publish(0..10);
    first.publish_one(oversize());
    first.publish(10..20);
    first.until("one is buried", |stats| stats.dead_lettered == 1);
    let refused = letters(&["requeue", "--all"]);
    assert_eq!(refused.status.code(), Some(2));
    let by = format!("in use by process {}", std::process::id());
    assert!(said(&refused).contains(&by), "{}", said(&refused));
    assert_eq!(first.shutdown(crate::bench::AMPLE).rejected, 1);

    server.restart_with("max_payload: 65536");
    let requeued = letters(&["requeue", "--all"]);
    assert_eq!(requeued.status.code(), Some(0), "{}", said(&requeued));
    let nothing = letters(&["requeue", "--all"]);
    assert_eq!(
        said(&nothing),
        "0 dead letters requeued: the next run delivers what was requeued\n"
    );

    let mut second = bench.start();
    second.publish(20..30);
    let stats = second.deliver_all();
    assert_eq!((stats.inherited, stats.delivered), (1, 11));
    let [one, own, other] = Reading::of(&server).runs_each_once();
    assert_eq!(one.lines(), (0..20).collect::<Vec<_>>());
    assert_eq!(told(&one), [(12, 1)]);
    let (old, new) = (format!("{}.11", one.id), format!("{}.1", own.id));
    assert!(said(&requeued).starts_with(&format!("requeued {old} as {new}\n")));
    let [entry] = &own.entries[..] else {
        panic!("{own:#?}");
    };
    assert_eq!(entry.requeued.as_ref(), Some(&old));
    own.assert_follows_clean(&one, 21);
    other.assert_lines(20..30);
    other.assert_follows_clean(&own, 1);
    assert!(
        one.entries
            .iter()
            .chain(&other.entries)
            .all(|entry| entry.requeued.is_none())
    );

    let verdict = spillring(&["verify", &server.url()]);
    assert_eq!(verdict.status.code(), Some(0), "{}", said(&verdict));
    assert!(
        said(&verdict).contains("; requeued: 1\n"),
        "{}",
        said(&verdict)
    );
}
