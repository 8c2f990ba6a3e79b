//! What a publisher signs itself when somebody has meddled with its stream while it was away; and honest trails, as an
//! auditor with keys sees them.

use std::fs;

use async_nats::jetstream;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use spillring::config::SpillDurability;
use spillring::{Config, JsonLinesSink};

use super::bench::{Bench, Said};
use super::said::verify;
use super::signed::{Auditor, assert_forged, change_cursor, id};
use super::trail::{Publisher, Run, cursor, entries, places, sink, stream_with};
use test_support::eventually::eventually;
use test_support::nats::{Message, NatsServer, block_on, client, read_stream};

/// A stream with these messages, to which the publisher can go on writing.
fn restored(trail: &[Message]) -> NatsServer {
    stream_with(trail, |config| {
        "assembly.cursor.>".clone_into(&mut config.subjects[1]);
        config.allow_direct = true;
    })
}

/// One run of so many entries, and the trail after it.
fn ran(publisher: &Publisher, server: &NatsServer, range: std::ops::Range<usize>) -> Vec<Message> {
    let mut run = publisher.start_on(server);
    run.publish(entries(range));
    run.end();
    read_stream(&server.url(), "AUDIT")
}

/// Entries with an open cursor before them look like a batch that was cut off by a kill. Nobody but the publisher can
/// open one.
#[test]
fn a_publisher_does_not_sign_what_others_have_appended_after_a_cursor_that_they_opened() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    let trail = ran(&publisher, &server, 0..20);
    let mut forged = trail.clone();
    let newest = cursor(&trail);
    let mut opened = trail[newest].clone();
    let last = places(&trail)[19];
    let (run, n) = id(&trail[last]);
    change_cursor(&mut opened, |cursor| {
        cursor["state"] = json!({ "open": [run] });
    });
    forged.push(opened);
    let mut more = trail[last].clone();
    more.headers
        .insert("Audit-Id".to_owned(), format!("{run}.{}", n + 1));
    forged.push(more);
    let server = restored(&forged);
    let auditor = Auditor::knowing(&[&publisher.key()]);
    assert_eq!(auditor.judge(&server.url()).authentic(), "no");
    ran(&publisher, &server, 20..30);
    let verdict = auditor.judge(&server.url());
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
}

/// Entries after the newest cursor are not signed, whatever they say.
#[test]
fn entries_after_the_newest_checkpoint_are_not_authentic() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    let trail = ran(&publisher, &server, 0..20);
    let mut forged = trail.clone();
    let last = places(&trail)[19];
    let (run, n) = id(&trail[last]);
    let mut more = trail[last].clone();
    more.headers
        .insert("Audit-Id".to_owned(), format!("{run}.{}", n + 1));
    forged.push(more);
    let verdict = Auditor::knowing(&[&publisher.key()]).judge(&restored(&forged).url());
    assert_eq!(verdict.authentic(), "unsigned", "{verdict:#?}");
    assert_eq!(verdict.json["unsigned"], 1);
}

/// All checkpoints after some point are removed, and the entries changed: the publisher knows how far it had come.
#[test]
fn a_publisher_does_not_sign_again_what_it_has_signed_before() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    ran(&publisher, &server, 0..10);
    let first = cursor(&read_stream(&server.url(), "AUDIT"));
    let trail = ran(&publisher, &server, 10..20);
    let at = places(&trail);
    let mut forged = trail.clone();
    forged[at[15]].payload = trail[at[14]].payload.clone();
    forged[at[15]].subject = trail[at[14]].subject.clone();
    forged.retain(|message| {
        let is_cursor = message.subject.starts_with("assembly.cursor.");
        !is_cursor || message.payload == trail[first].payload
    });
    let server = restored(&forged);
    ran(&publisher, &server, 20..30);
    let verdict = Auditor::knowing(&[&publisher.key()]).judge(&server.url());
    assert_eq!(verdict.authentic(), "no", "{verdict:#?}");
}

/// The publisher was killed, so that no next run says how far it came; but it knows, and goes on from there.
#[test]
fn a_stream_set_back_while_its_publisher_is_away_is_found_by_the_next_checkpoint() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    let trail = ran(&publisher, &server, 0..20);
    let at = places(&trail);
    let back = restored(&trail[..=at[9]]);
    let auditor = Auditor::knowing(&[&publisher.key()]);
    assert_eq!(auditor.judge(&back.url()).authentic(), "yes");
    ran(&publisher, &back, 20..30);
    assert_forged(&auditor.judge(&back.url()), &["signed_missing"]);
}

#[test]
fn a_cursor_alone_is_no_publisher() {
    let (publisher, other, server) = (Publisher::new(), Publisher::new(), NatsServer::start());
    let trail = ran(&publisher, &server, 0..10);
    let newest = trail[cursor(&trail)].clone();
    let elsewhere = NatsServer::start();
    let mut forged = ran(&other, &elsewhere, 0..10);
    let mut bare = newest;
    change_cursor(&mut bare, |cursor| {
        let of = cursor.as_object_mut().unwrap();
        of.remove("seal");
        cursor["last"] = 0.into();
    });
    forged.push(bare);
    let auditor = Auditor::knowing(&[&publisher.key(), &other.key()]);
    assert_forged(&auditor.judge(&restored(&forged).url()), &["seal_missing"]);
}

/// Several starts, each with a new key; the auditor knows the first, or what the last audit has seen.
#[test]
fn an_audit_after_many_starts_follows_the_certificates() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    for at in 0..5 {
        ran(&publisher, &server, at * 5..at * 5 + 5);
    }
    let auditor = Auditor::knowing(&[&publisher.key()]);
    auditor.audit(&server.url());
    for at in 5..8 {
        ran(&publisher, &server, at * 5..at * 5 + 5);
    }
    let verdict = auditor.judge(&server.url());
    assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
    // Without the first key, from what was seen alone.
    let last = auditor.last();
    let verdict = verify(&server.url(), &["--since", last.to_str().unwrap()]);
    assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
    let text = fs::read_to_string(publisher.dir.path().join("spill/signing-keys.json")).unwrap();
    let keys: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(keys["certificates"].as_array().unwrap().len(), 8);
}

/// What is left of a stream begins in the middle of a batch: its certificates are gone with its head.
#[test]
fn a_stream_that_has_let_go_of_its_head_is_authentic_from_its_first_checkpoint_on() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    ran(&publisher, &server, 0..30);
    let trail = ran(&publisher, &server, 30..60);
    let at = places(&trail);
    for from in [at[4], at[12], at[29], at[33]] {
        let kept = i64::try_from(trail.len() - from).unwrap();
        let rest = stream_with(&trail, |config| config.max_messages = kept);
        let spill = publisher.dir.path().join("spill");
        let shown = Bench::new().run(&["key", "show", "--certificates", spill.to_str().unwrap()]);
        let auditor = Auditor::with(&shown.out);
        // Its settings may have been changed by whoever deletes.
        assert_forged(&auditor.judge(&rest.url()), &["signed_missing"]);
        let trust = auditor.trust();
        let told = ["--head-removed", "--publishers", trust.to_str().unwrap()];
        let verdict = verify(&rest.url(), &told);
        let head = verdict.json["before_first_seal"].as_u64().unwrap();
        // What is left of a batch, and an atomic one, whose checkpoint comes first.
        assert!(head <= 20, "{verdict:#?}");
        assert_eq!(verdict.authentic(), "yes", "from {from}: {verdict:#?}");
    }
}

/// Runs that were spilled while the output was away are delivered in one batch by a later one; the file is rotated in
/// between.
#[test]
fn files_that_are_rotated_and_batches_of_several_runs_are_authentic() {
    let publisher = Publisher::new();
    let folder = publisher.dir.path().join("out");
    let output = folder.join("audit.jsonl");
    for part in [0..10, 10..20] {
        let mut run = publisher.start(JsonLinesSink::new(&output));
        run.publish(entries(part));
        run.end_at_once();
    }
    fs::create_dir(&folder).unwrap();
    let auditor = Auditor::knowing(&[&publisher.key()]);
    let mut files = Vec::new();
    for (at, part) in [20..30, 30..40].into_iter().enumerate() {
        let mut run = start_in_one_batch(&publisher, &output);
        run.publish(entries(part));
        run.end();
        let verdict = auditor.judge(output.to_str().unwrap());
        assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
        auditor.audit(output.to_str().unwrap());
        let rotated = folder.join(format!("old-{at}.jsonl"));
        fs::rename(&output, &rotated).unwrap();
        files.push(rotated);
    }
}

fn start_in_one_batch(publisher: &Publisher, output: &std::path::Path) -> Run {
    let mut config = Config::new(publisher.dir.path().join("spill"));
    config.spill_durability = SpillDurability::ProcessCrash;
    Run::of(spillring::start(config, JsonLinesSink::new(output)).unwrap())
}

/// The range has more lines than it tells of, under a checksum that fits.
#[test]
fn lines_that_are_hidden_in_a_range_are_found() {
    let publisher = Publisher::new();
    let output = publisher.dir.path().join("audit.jsonl");
    let mut run = publisher.start(JsonLinesSink::new(&output));
    run.publish(entries(0..5));
    run.end();
    let text = fs::read_to_string(&output).unwrap() + "{\"forged\":1}\n";
    fs::write(&output, &text).unwrap();
    let ledger = publisher.dir.path().join("audit.jsonl.ledger");
    let told = fs::read_to_string(&ledger).unwrap();
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap();
    let mut range: Value = serde_json::from_str(last.split_once(' ').unwrap().1).unwrap();
    let start = usize::try_from(range["start"].as_u64().unwrap()).unwrap();
    range["end"] = text.len().into();
    range["crc32"] = crc32fast::hash(&text.as_bytes()[start..]).into();
    let body = range.to_string();
    lines.push(format!("{:08x} {body}", crc32fast::hash(body.as_bytes())));
    fs::write(&ledger, lines.join("\n") + "\n").unwrap();
    let verdict = Auditor::knowing(&[&publisher.key()]).judge(output.to_str().unwrap());
    verdict.assert_breaks(&["lines_extra"]);
    assert_eq!(verdict.authentic(), "unsigned", "{verdict:#?}");
}

/// An entry is cut off by the kill of its publisher, and its spill is read by the next.
#[test]
fn a_sink_that_is_killed_and_a_publisher_that_comes_back_stay_authentic() {
    let (publisher, server) = (Publisher::new(), NatsServer::start());
    let mut run = publisher.start(sink(&server));
    run.publish(entries(0..10));
    run.settle();
    run.publish(entries(10..20));
    run.settle();
    run.end_at_once();
    ran(&publisher, &server, 20..30);
    let verdict = Auditor::knowing(&[&publisher.key()]).judge(&server.url());
    assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
}

/// A silent publisher does not look like a cut tail: while nothing is delivered, it signs the newest checkpoint again,
/// after a start as well.
#[test]
fn an_idle_publisher_signs_again_into_a_stream_and_into_a_file() {
    let server = NatsServer::start();
    let bench = Bench::new();
    bench.write("config.toml", "[spillring]\ncheckpoint_age_max = \"1s\"\n");
    let line = serde_json::to_string(&entries(0..1)[0]).unwrap() + "\n";
    let sinks = [
        ("stream", server.url()),
        ("file", "jsonl:out.jsonl".to_owned()),
    ];
    for (spill, sink) in &sinks {
        let run = [
            "run",
            "--config",
            "config.toml",
            "--spill",
            spill,
            "--sink",
            sink,
        ];
        let signed = || match *spill {
            "stream" => messages(&server.url(), "AUDIT", "assembly.cursor.>"),
            _ => bench.read("out.jsonl.ledger").matches("checkpoint").count() as u64,
        };
        bench.run_with(&run, &line).assert_code(0);
        let once = signed();
        // Nothing more is published.
        let (child, stdin) = bench.piped(&run);
        eventually("it has signed again, and again", || {
            (signed() >= once + 2).then_some(())
        });
        drop(stdin);
        Said::of(child).assert_code(0);
    }
    let spill = bench.path("stream");
    let trust = bench.run(&["key", "show", spill.to_str().unwrap()]).out;
    let verdict = Auditor::knowing(&[trust.trim()]).judge(&server.url());
    assert_eq!(verdict.assert_holds().authentic(), "yes", "{verdict:#?}");
}

/// How many messages the stream has on these subjects.
fn messages(url: &str, stream: &str, subjects: &str) -> u64 {
    block_on(async {
        let context = jetstream::new(client(url).await);
        let stream = context.get_stream(stream).await.unwrap();
        let found = stream.info_with_subjects(subjects).await.unwrap();
        let counts: Vec<_> = found.try_collect().await.unwrap();
        counts.iter().map(|(_, count)| *count as u64).sum()
    })
}
