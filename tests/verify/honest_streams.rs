//! Trails that went through something, and are complete and intact all the same.

use std::io::Write;

use async_nats::jetstream::{self, stream};
use spillring::AuditEntry;
use spillring::assembly::{AgentId, AuditEventType, SessionId};

use super::bench::Bench;
use super::page_streams::create;
use super::said::verify;
use super::trail::{Publisher, entries};
use test_support::eventually::eventually;
use test_support::nats::{Message, NatsServer, block_on, client, read_stream};

/// Larger than the server of these tests takes.
pub(super) fn oversize() -> Vec<AuditEntry> {
    let (agent, session) = (AgentId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
    let kind = AuditEventType::ToolCallIntercepted;
    vec![AuditEntry::new(
        0,
        1,
        kind,
        agent,
        session,
        "x".repeat(10_000),
        [0; 32],
    )]
}

/// Dead letters in the middle, in front, and at the end, where no entry tells of them, but the next run.
#[test]
fn losses_are_reported_as_losses_and_where_they_are() {
    let server = NatsServer::start_with("max_payload: 8192");
    let publisher = Publisher::new();
    let mut first = publisher.start_on(&server);
    first.publish(
        [
            entries(0..20),
            oversize(),
            entries(20..40),
            oversize(),
            oversize(),
        ]
        .concat(),
    );
    first.settle();
    first.end();
    let mut second = publisher.start_on(&server);
    second.publish([oversize(), entries(40..50)].concat());
    second.settle();
    second.end();
    let verdict = verify(&server.url(), &[]);
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("lost"), [3, 1]);
    assert_eq!(verdict.of_runs("entries"), [40, 10]);
    assert_eq!(verdict.of_runs("ended"), ["clean", "open"]);
    assert!(
        verdict.notes().iter().all(|name| *name == "lost"),
        "{verdict:#?}"
    );
}

/// The real binary, killed by a real signal while its input is still open.
#[test]
fn a_killed_run_is_reported_as_one() {
    let (server, bench) = (NatsServer::start(), Bench::new());
    let url = server.url();
    let arguments = ["run", "--sink", &url, "--spill", "spill"];
    let lines = |range| -> Vec<u8> {
        let lines = entries(range).into_iter();
        lines
            .flat_map(|entry| {
                serde_json::to_vec(&entry)
                    .unwrap()
                    .into_iter()
                    .chain(*b"\n")
            })
            .collect()
    };
    let (mut child, mut input) = bench.piped(&arguments);
    input.write_all(&lines(0..30)).unwrap();
    eventually("thirty are stored", || {
        let stored = block_on(async {
            let context = jetstream::new(client(&url).await);
            context.get_stream("AUDIT").await.is_ok()
        });
        let entry = |message: &Message| message.subject.starts_with("assembly.audit.");
        let count = || {
            read_stream(&url, "AUDIT")
                .iter()
                .filter(|it| entry(it))
                .count()
        };
        (stored && count() == 30).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let text = String::from_utf8(lines(30..60)).unwrap();
    bench.run_with(&arguments, &text).assert_code(0);

    let verdict = verify(&url, &[]);
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("ended"), ["killed", "open"]);
    assert_eq!(verdict.of_runs("entries"), [30, 30]);
}

#[test]
fn publishers_that_share_a_stream_are_told_apart() {
    let server = NatsServer::start();
    let publishers = [Publisher::new(), Publisher::new()];
    let mut runs = publishers.each_ref().map(|it| it.start_on(&server));
    // A session stays with its publisher.
    let of = |entry: &AuditEntry| usize::from(entry.session_id().as_bytes()[15] % 2);
    for part in [0..40, 40..80, 80..120] {
        for (at, run) in runs.iter_mut().enumerate() {
            let mut own = entries(part.clone());
            own.retain(|entry| of(entry) == at);
            run.publish(own);
            run.settle();
        }
    }
    for run in runs {
        run.end();
    }
    let verdict = verify(&server.url(), &[]);
    verdict.assert_holds();
    let publishers = verdict.of_runs("publisher");
    assert!(publishers.len() == 2 && publishers[0] != publishers[1]);
    assert_eq!(verdict.json["entries"], 120);
}

/// There is no cursor, so a cut tail would not be seen: that is reported, and is no break.
#[test]
fn a_stream_without_transactions_says_that_its_tail_cannot_be_checked() {
    let server = NatsServer::start();
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let config = stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec!["assembly.audit.>".to_owned(), "other.>".to_owned()],
            ..stream::Config::default()
        };
        context.create_stream(config).await.unwrap();
        // What others write there is not looked at, or counted.
        for subject in ["other.thing", "assembly.audit.default.me"] {
            context
                .publish(subject, "{}".into())
                .await
                .unwrap()
                .await
                .unwrap();
        }
    });
    let publisher = Publisher::new();
    for part in [0..30, 30..60] {
        let mut run = publisher.start_on(&server);
        run.publish(entries(part));
        run.settle();
        run.end();
    }
    let verdict = verify(&server.url(), &[]);
    verdict.assert_holds_unsigned();
    assert_eq!(verdict.notes(), ["tail_unchecked", "unidentified"]);
    assert_eq!(verdict.of_runs("entries"), [30, 30]);
}

/// The next run gives the last number; nothing says whether it was lost. It counts as missing, and the text accuses
/// nobody.
#[test]
fn a_loss_at_the_end_of_a_run_without_cursors_may_be_a_removal() {
    let server = NatsServer::start_with("max_payload: 8192");
    create(&server, &["assembly.audit.>"]);
    let publisher = Publisher::new();
    for part in [[entries(0..5), oversize()].concat(), entries(5..8)] {
        let mut run = publisher.start_on(&server);
        run.publish(part);
        run.settle();
        run.end();
    }
    let verdict = verify(&server.url(), &[]);
    verdict.assert_breaks(&["tail_missing"]);
    assert_eq!(verdict.of_runs("missing"), [1, 0]);
    let findings = verdict.json["findings"].as_array().unwrap();
    let mut texts = findings.iter().map(|it| it["text"].as_str().unwrap());
    let accuses_nobody = texts.any(|text| text.contains("lost or removed"));
    assert!(accuses_nobody, "{verdict:#?}");
}

/// Each delivery moves the cursor while the trail is read.
#[test]
fn a_stream_that_is_being_written_to_can_be_verified() {
    let server = NatsServer::start();
    let publisher = Publisher::new();
    let mut run = publisher.start_on(&server);
    let all = entries(0..2_000);
    let mut parts = all.chunks(20).cycle();
    run.publish(parts.next().unwrap().to_vec());
    run.settle();
    std::thread::scope(|scope| {
        let verified = scope.spawn(|| {
            for _ in 0..5 {
                verify(&server.url(), &[]).assert_holds();
            }
        });
        for part in parts.take(99) {
            run.publish(part.to_vec());
            run.settle();
            if verified.is_finished() {
                break;
            }
        }
        verified.join().unwrap();
    });
    run.end();
    assert!(read_stream(&server.url(), "AUDIT").len() > 100);
    verify(&server.url(), &[]).assert_holds();
}

#[test]
fn people_read_a_block_per_publisher_a_line_per_run_and_two_verdicts() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    let mut run = publisher.start_on(&server);
    run.publish(entries(0..30));
    run.settle();
    run.end();
    let said = Bench::new().run(&["verify", &server.url()]);
    said.assert_code(0);
    let mut lines = said.out.lines();
    let mut next = || lines.next().unwrap_or_default();
    assert_eq!(next(), format!("the stream AUDIT of {}", server.url()));
    assert!(next().starts_with("publisher "));
    let line = next();
    let end = ": numbers 1 to 30, 30 entries, complete, open: the last one so far";
    assert!(line.starts_with("  run ") && line.ends_with(end), "{line}");
    let line = next();
    assert!(
        line.starts_with("30 entries; hashes and chains: 30 audit entries in "),
        "{line}"
    );
    assert_eq!(
        [next(), next(), next()],
        ["", "complete: yes", "intact: yes"]
    );
}
