//! docs/wire-format.md is enough for a reader of streams, too: `tests/interop/streams.py`, which knows only that page,
//! calls honest streams complete, whichever way their batches went and wherever one was cut off, and finds what was
//! taken out or moved.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use async_nats::jetstream;
use data_encoding::BASE64;
use serde_json::{Value, json};
use spillring::{AuditEntry, Config, JetStreamSink, NatsConfig};

use super::honest_streams::oversize;
use super::said::verify;
use super::trail::{Publisher, Run, entries, places, stream_of};
use test_support::eventually::eventually;
use test_support::nats::{Message, NatsServer, block_on, client, free_port, read_stream};
use test_support::proxy::{Hold, Proxy, Verdict};

/// More than it takes until a batch comes by.
const AMPLE: Duration = Duration::from_secs(30);

/// Whether the reader calls the messages complete, and what it says: the same of a file as of its standard input.
fn read(messages: &[Message]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.jsonl");
    let lines: String = messages.iter().map(line).collect();
    fs::write(&path, lines).unwrap();
    let [piped, named] = [None, Some(&path)].map(|argument| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/streams.py");
        let mut reader = Command::new("python3");
        reader.args(["-B", script]).args(argument);
        reader.stdin(File::open(&path).unwrap());
        let said = reader.output().unwrap();
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        let err = String::from_utf8_lossy(&said.stderr);
        let read = matches!(said.status.code(), Some(0 | 1));
        assert!(read || out.contains("unreadable"), "{out}{err}");
        assert_eq!(err, "");
        (said.status.success(), out)
    });
    assert_eq!(piped, named);
    named
}

/// A message as the reader takes it.
fn line(message: &Message) -> String {
    let headers: BTreeMap<_, _> = message
        .headers
        .iter()
        .map(|(name, value)| (name, [value]))
        .collect();
    let line = json!({
        "sequence": message.seq, "subject": message.subject, "headers": headers,
        "payload": BASE64.encode(&message.payload),
    });
    format!("{line}\n")
}

/// It says this of the runs, in their order, and that they are complete.
#[track_caller]
fn assert_complete(messages: &[Message], runs: &[&str]) {
    let (complete, out) = read(messages);
    assert!(complete, "{out}");
    let said: Vec<_> = out.lines().filter_map(|it| it.split_once(": ")).collect();
    assert_eq!(said.iter().map(|it| it.1).collect::<Vec<_>>(), runs);
}

#[track_caller]
fn assert_found(messages: &[Message], problem: &str) {
    let (complete, out) = read(messages);
    assert!(!complete && out.contains(problem), "{out}");
}

fn dump(server: &NatsServer) -> Vec<Message> {
    read_stream(&server.url(), "AUDIT")
}

/// The state of a cursor; `None` of an entry.
fn state(message: &Message) -> Option<String> {
    message.subject.strip_prefix("assembly.cursor.")?;
    let cursor: Value = serde_json::from_slice(&message.payload).unwrap();
    let state = cursor["state"].as_object();
    Some(state.map_or("exact".to_owned(), |it| it.keys().next().unwrap().clone()))
}

/// Two runs of forty entries. Each sends three small batches atomically, the next three fast, and then goes on with the
/// faster way.
fn both_ways() -> Vec<Message> {
    static TRAIL: LazyLock<Vec<Message>> = LazyLock::new(|| {
        let (server, publisher) = (NatsServer::start(), Publisher::new());
        for part in [0..40, 40..80] {
            let mut run = publisher.start_on(&server);
            for few in entries(part).chunks(5) {
                run.publish(few.to_vec());
                run.settle();
            }
            run.end();
        }
        let trail = dump(&server);
        let atomic = |it: &Message| it.header("Nats-Batch-Id").is_some();
        let open = |it: &Message| state(it).as_deref() == Some("open");
        assert!(trail.iter().any(atomic) && trail.iter().any(open));
        trail
    });
    TRAIL.clone()
}

#[test]
fn an_honest_stream_of_both_ways_is_complete() {
    let whole = "40 entries, 0 lost, up to 40";
    assert_complete(&both_ways(), &[whole, whole]);
}

#[test]
fn an_entry_that_is_removed_from_a_stream_is_found() {
    let trail = both_ways();
    let at = places(&trail);
    for (entry, n) in [
        (0, 1),
        (7, 8),
        (22, 23),
        (39, 40),
        (40, 1),
        (57, 18),
        (79, 40),
    ] {
        let mut left = trail.clone();
        left.remove(at[entry]);
        assert_found(&left, &format!("announced as lost: [{n}]"));
    }
}

#[test]
fn a_removal_disguised_as_a_loss_is_found() {
    let mut trail = both_ways();
    let at = places(&trail);
    let lost = ("Audit-Lost".to_owned(), "1".to_owned());
    trail[at[23]].headers.extend([lost]);
    trail.remove(at[22]);
    assert_found(
        &trail,
        "its account has 40 entries up to number 40, there are 39",
    );
}

#[test]
fn a_loss_that_is_none_is_found() {
    let mut trail = both_ways();
    let at = places(&trail);
    let lost = ("Audit-Lost".to_owned(), "2".to_owned());
    trail[at[23]].headers.extend([lost]);
    assert_found(&trail, "there, and announced as lost: [22, 23]");
}

#[test]
fn a_run_that_is_moved_before_the_one_that_it_follows_is_found() {
    let trail = both_ways();
    // Its first cursor comes before its first entry.
    let (first, second) = trail.split_at(places(&trail)[40] - 1);
    let moved = numbered([second, first].concat());
    let run = first[1]
        .header("Audit-Id")
        .unwrap()
        .split_once('.')
        .unwrap()
        .0;
    assert_found(&moved, &format!("it follows {run}, not None"));
    assert_found(&moved, &format!("it says that it follows {run}, not None"));
}

/// A server puts it where the messages of a subject have expired.
#[test]
fn a_marker_is_no_message_of_ours() {
    let mut trail = both_ways();
    let mut marker = trail[0].clone();
    marker.headers = [("Nats-Marker-Reason".to_owned(), "MaxAge".to_owned())].into();
    marker.payload = "".into();
    let whole = "40 entries, 0 lost, up to 40";
    trail.insert(0, marker);
    assert_complete(&numbered(trail), &[whole, whole]);
}

#[test]
fn a_run_that_is_removed_from_a_stream_is_found() {
    let mut trail = both_ways();
    let at = places(&trail);
    trail.drain(..=at[39]);
    assert_found(&trail, "which came before it, is not there");
}

#[test]
fn cursors_that_are_removed_are_found() {
    let trail = both_ways();
    let cursor = |it: &&Message| state(it).is_some();
    // All of them, and those of the second run.
    for from in [0, places(&trail)[40] - 1] {
        let (kept, cut) = trail.split_at(from);
        let cut = cut.iter().filter(|it| !cursor(it));
        let left: Vec<_> = kept.iter().chain(cut).cloned().collect();
        assert_found(&left, "a cursor went with its entries, and there is none");
    }
}

#[test]
fn a_doubled_a_late_and_an_edited_entry_are_found() {
    let trail = both_ways();
    let at = places(&trail);
    let mut doubled = trail.clone();
    doubled.insert(at[12], trail[at[9]].clone());
    assert_found(&doubled, "unreadable: the messages are not in the order");
    assert_found(&numbered(doubled), "number 10 is there twice");
    let mut swapped = trail.clone();
    swapped.swap(at[11], at[12]);
    assert_found(&numbered(swapped), "number 12 comes after number 13");
    let mut edited = trail;
    change(
        &mut edited[at[20]],
        "\"timestamp_ns\":1",
        "\"timestamp_ns\":2",
    );
    assert_found(&edited, "an entry has been edited");
}

/// Changes the payload.
fn change(message: &mut Message, from: &str, to: &str) {
    let text = String::from_utf8(message.payload.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    message.payload = text.replacen(from, to, 1).into();
}

/// With the sequences of a stream.
fn numbered(mut messages: Vec<Message>) -> Vec<Message> {
    (1..).zip(&mut messages).for_each(|(seq, it)| it.seq = seq);
    messages
}

#[test]
fn losses_that_a_header_or_a_cursor_announces_are_not_missing() {
    let server = NatsServer::start_with("max_payload: 8192");
    let publisher = Publisher::new();
    let mut first = publisher.start_on(&server);
    first.publish([oversize(), entries(0..20), oversize(), entries(20..40)].concat());
    first.publish([oversize(), oversize()].concat());
    first.settle();
    first.end();
    let trail = dump(&server);
    assert_complete(&trail, &["40 entries, 4 lost, up to 44"]);
    let mut left = trail.clone();
    left.remove(places(&trail)[39]);
    assert_found(&left, "announced as lost: [44]");
    let mut second = publisher.start_on(&server);
    second.publish(entries(40..50));
    second.settle();
    second.end();
    let mut trail = dump(&server);
    let whole = [
        "40 entries, 4 lost, up to 44",
        "10 entries, 0 lost, up to 10",
    ];
    assert_complete(&trail, &whole);
    // Without the cursor that counts the last two, only the next run mentions them.
    let at = places(&trail);
    let between = at[39] + 1..at[40] - 1;
    assert!(!between.is_empty());
    trail.drain(between);
    assert_complete(&trail, &whole);
}

/// Entries come at least once.
#[test]
fn an_entry_that_was_stored_alone_may_be_there_twice() {
    let server = NatsServer::start();
    create(&server, &["assembly.audit.>"]);
    let publisher = Publisher::new();
    for part in [0..10, 10..20] {
        let mut run = publisher.start_on(&server);
        run.publish(entries(part));
        run.settle();
        run.end();
    }
    let mut trail = dump(&server);
    trail.insert(9, trail[4].clone());
    trail.swap(13, 14);
    let whole = "10 entries, 0 lost, up to 10";
    assert_complete(&numbered(trail.clone()), &[whole, whole]);
    // The next run says how many there were.
    trail.remove(10);
    assert_found(
        &numbered(trail),
        "neither stored nor announced as lost: [10]",
    );
}

/// A run of two entries, and then these runs in one batch, which is cut off: the server refuses an entry of it that has
/// become too large since the batch was on its way. It ends as a dead letter, and what comes after it is in another
/// batch.
fn cut_off(runs: &[Vec<AuditEntry>]) -> Vec<Message> {
    cut_off_after(&[entries(0..2)], runs)
}

/// The same after these runs.
fn cut_off_after(earlier: &[Vec<AuditEntry>], runs: &[Vec<AuditEntry>]) -> Vec<Message> {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    create(&server, &["assembly.audit.>", "assembly.cursor.>"]);
    spill(&publisher, earlier);
    publisher.start_on(&server).end();
    spill(&publisher, runs);

    let proxy = Proxy::new(&[server.port()]);
    proxy.arm(Hold::Batch);
    // The batch is not given up while it is held.
    let last = start(&publisher, &proxy.url(), |config| {
        config.ack_timeout = AMPLE;
    });
    assert!(proxy.catch(Hold::Batch, AMPLE));
    let mut config = ask(&server, "INFO", &json!({}))["config"].clone();
    config["max_msg_size"] = 4_096.into();
    ask(&server, "UPDATE", &config);
    proxy.release(Verdict::Pass);
    // All but the entry that is too large.
    let all = earlier.iter().chain(runs).flatten().count() - 1;
    eventually("all is stored", || {
        let trail = dump(&server);
        let ended = trail.last().and_then(state).as_deref() == Some("exact");
        (ended && places(&trail).len() == all).then_some(())
    });
    last.end();
    dump(&server)
}

/// Runs that reach no server: what they leave goes in one batch.
fn spill(publisher: &Publisher, runs: &[Vec<AuditEntry>]) {
    for entries in runs {
        let mut run = publisher.start(sink(&nowhere()));
        run.publish(entries.clone());
        run.end_at_once();
    }
}

fn start(publisher: &Publisher, url: &str, set: impl FnOnce(&mut Config)) -> Run {
    let mut config = Config::new(publisher.dir.path().join("spill"));
    set(&mut config);
    Run::of(spillring::start(config, sink(url)).unwrap())
}

fn sink(url: &str) -> JetStreamSink {
    let mut nats = NatsConfig::default();
    nats.urls = vec![url.into()];
    JetStreamSink::new(nats).unwrap()
}

/// An address where no server listens.
fn nowhere() -> String {
    format!("nats://127.0.0.1:{}", free_port())
}

/// A stream that takes fast batches, if it takes cursors.
pub(super) fn create(server: &NatsServer, subjects: &[&str]) {
    let wanted = json!({ "name": "AUDIT", "subjects": subjects, "allow_direct": true, "allow_batched": true });
    ask(server, "CREATE", &wanted);
}

fn ask(server: &NatsServer, what: &str, wanted: &Value) -> Value {
    block_on(async {
        let context = jetstream::new(client(&server.url()).await);
        let said: Value = context
            .request(format!("STREAM.{what}.AUDIT"), wanted)
            .await
            .unwrap();
        assert!(said.get("error").is_none(), "{said}");
        said
    })
}

/// The states of the cursors, and the numbers of the entries.
fn outline(messages: &[Message]) -> Vec<String> {
    let number = |it: &Message| {
        it.header("Audit-Id")
            .unwrap()
            .split_once('.')
            .unwrap()
            .1
            .to_owned()
    };
    let outline = messages
        .iter()
        .map(|it| state(it).unwrap_or_else(|| number(it)));
    outline.collect()
}

/// The example of the page.
#[test]
fn a_fast_batch_that_was_cut_off_is_read_right_at_each_moment() {
    let trail = cut_off(&[[entries(2..5), oversize(), entries(5..7)].concat()]);
    let expected = [
        "open", "1", "2", "exact", "open", "1", "2", "3", "fence", "open",
    ];
    // The rest may be tried more than once.
    assert_eq!(outline(&trail[..10]), expected);
    let fifth = places(&trail)[5];
    let [first, half] = ["2 entries, 0 lost, up to 2", "3 entries, 0 lost, up to 3"];
    for (read, runs) in [
        (5, vec![first]),
        (7, vec![first, "2 entries, 0 lost, up to 2"]),
        (8, vec![first, half]),
        (9, vec![first, half]),
        (10, vec![first, half]),
        (fifth + 1, vec![first, "4 entries, 1 lost, up to 5"]),
        (trail.len(), vec![first, "5 entries, 1 lost, up to 6"]),
    ] {
        assert_complete(&trail[..read], &runs);
    }
}

#[test]
fn an_entry_of_a_batch_that_was_cut_off_is_found_if_it_is_removed_or_comes_late() {
    let trail = cut_off(&[[entries(2..5), oversize(), entries(5..7)].concat()]);
    let without = |at: usize, read: usize| {
        let mut left = trail[..read].to_vec();
        left.remove(at);
        left
    };
    assert_found(&without(6, 8), "announced as lost: [2]");
    // As far as the fence it could have been cut off.
    assert_complete(&without(7, 9), &["2 entries, 0 lost, up to 2"; 2]);
    assert_found(&without(7, 10), "announced as lost: [3]");
    assert_found(&without(7, trail.len()), "announced as lost: [3]");
    let mut late = trail.clone();
    late.swap(7, 8);
    let mut another = trail.clone();
    another[2..5].rotate_left(1);
    assert_found(
        &numbered(another),
        "number 2 comes after a cursor that does not allow for it",
    );
    assert_found(
        &numbered(late),
        "number 3 comes after a cursor that does not allow for it",
    );
    assert_found(
        &without(4, trail.len()),
        "is the fence of message 5, which is not the open cursor before it",
    );
}

#[test]
fn batches_of_several_runs_are_read_right() {
    let runs = [
        entries(2..4),
        [entries(4..5), oversize(), entries(5..6)].concat(),
    ];
    let trail = cut_off(&runs);
    let expected = [
        "open", "1", "2", "exact", "open", "1", "2", "1", "fence", "open",
    ];
    assert_eq!(outline(&trail[..10]), expected);
    let two = "2 entries, 0 lost, up to 2";
    assert_complete(&trail, &[two, two, "2 entries, 1 lost, up to 3"]);

    let (server, publisher) = (NatsServer::start(), Publisher::new());
    spill(&publisher, &[entries(0..3), entries(3..5)]);
    publisher.start_on(&server).end();
    let trail = dump(&server);
    assert_eq!(outline(&trail), ["exact", "1", "2", "3", "1", "2"]);
    assert_complete(&trail, &["3 entries, 0 lost, up to 3", two]);
    // The cursor is of the second run; what opens that one counts the entries of the first.
    let mut left = trail.clone();
    left.remove(3);
    assert_found(&left, "announced as lost: [3]");
    let mut set_back = trail;
    change(&mut set_back[0], "\"last\":2", "\"last\":1");
    assert_found(
        &set_back,
        "number 2 comes after a cursor that does not allow for it",
    );
}

/// Its first batch was cut off before the first entry: what opens the run says that it had come to number 0.
#[test]
fn a_run_that_begins_after_itself_is_complete() {
    let trail = cut_off_after(&[], &[[oversize(), entries(2..4)].concat()]);
    let first = &trail[places(&trail)[0]];
    let run = first.header("Audit-Id").unwrap().split_once('.').unwrap().0;
    let itself = format!("{run}.0; first=1; lost=0");
    assert_eq!(first.header("Audit-After"), Some(itself.as_str()));
    let runs = ["2 entries, 1 lost, up to 3"];
    assert_complete(&trail, &runs);
    verify(&stream_of(&trail).url(), &[]).assert_holds();
    let mut set_back = trail.clone();
    change(set_back.last_mut().unwrap(), "\"last\":3", "\"last\":2");
    assert_found(&set_back, "number 3 comes before a cursor that ends with 2");
    // As an atomic batch has it, the cursor comes first.
    let mut atomic = trail;
    let exact = atomic.pop().unwrap();
    let open = atomic.iter().rposition(|it| state(it).is_some());
    atomic[open.unwrap()] = exact;
    let mut atomic = numbered(atomic);
    assert_complete(&atomic, &runs);
    atomic.pop();
    assert_found(&atomic, "announced as lost: [3]");
}

/// There is nothing of it but a cursor.
#[test]
fn a_run_whose_numbers_are_all_lost_is_not_missing() {
    let server = NatsServer::start_with("max_payload: 8192");
    let publisher = Publisher::new();
    for part in [[oversize(), oversize()].concat(), entries(0..3)] {
        let mut run = publisher.start_on(&server);
        run.publish(part);
        run.settle();
        run.end();
    }
    let runs = ["3 entries, 0 lost, up to 3", "0 entries, 2 lost, up to 2"];
    assert_complete(&dump(&server), &runs);
    verify(&server.url(), &[]).assert_holds();
}

/// No cursor goes with it, and the next run goes on from the one that was there before.
#[test]
fn a_run_that_was_stored_alone_between_batches_is_complete() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    create(&server, &["assembly.audit.>", "assembly.cursor.>"]);
    for (part, cursors) in [(0..2, true), (2..4, false), (4..6, true)] {
        take_cursors(&server, cursors);
        spill(&publisher, &[entries(part)]);
        publisher.start_on(&server).end();
        verify(&server.url(), &[]).assert_holds_unsigned();
    }
    let trail = dump(&server);
    let expected = [
        "open", "1", "2", "exact", "1", "2", "open", "1", "2", "exact",
    ];
    assert_eq!(outline(&trail), expected);
    assert_complete(&trail, &["2 entries, 0 lost, up to 2"; 3]);
}

/// Whether the stream takes cursors from now on.
fn take_cursors(server: &NatsServer, cursors: bool) {
    let mut config = ask(server, "INFO", &json!({}))["config"].clone();
    let subjects = ["assembly.audit.>", "assembly.cursor.>"];
    config["subjects"] = json!(subjects[..=usize::from(cursors)]);
    ask(server, "UPDATE", &config);
}

/// A publisher, and a run of it that stores each part in batches or alone; a dead letter before each has the stream
/// inspected.
fn now_and_then_alone(server: &NatsServer, parts: &[(Vec<AuditEntry>, bool)]) -> Publisher {
    create(server, &["assembly.audit.>", "assembly.cursor.>"]);
    let publisher = Publisher::new();
    let mut run = publisher.start_on(server);
    for (part, cursors) in parts {
        take_cursors(server, *cursors);
        run.publish([oversize(), part.clone()].concat());
        run.settle();
    }
    run.end();
    publisher
}

/// What is stored alone announces losses that no cursor counts.
#[test]
fn a_run_that_was_stored_alone_for_a_while_is_complete() {
    let server = NatsServer::start_with("max_payload: 8192");
    let parts = [
        (entries(0..2), true),
        (entries(2..4), false),
        (entries(4..6), true),
        (entries(6..8), false),
    ];
    let publisher = now_and_then_alone(&server, &parts);
    let outlined = outline(&dump(&server)).join(" ");
    let expected = "open 2 3 exact 5 6 open 8 9 exact 11 12";
    assert_eq!(outlined, expected);
    assert_complete(&dump(&server), &["8 entries, 4 lost, up to 12"]);
    verify(&server.url(), &[]).assert_holds_unsigned();
    take_cursors(&server, true);
    let mut second = publisher.start_on(&server);
    second.publish(entries(8..10));
    second.end();
    let runs = ["8 entries, 4 lost, up to 12", "2 entries, 0 lost, up to 2"];
    assert_complete(&dump(&server), &runs);
    let verdict = verify(&server.url(), &[]);
    verdict.assert_holds_unsigned();
    assert_eq!(verdict.of_runs("lost"), [4, 0]);
}

/// The cursor of the last losses does not take entries for lost that were stored alone before.
#[test]
fn losses_after_entries_that_were_stored_alone_are_counted_right() {
    let server = NatsServer::start_with("max_payload: 8192");
    let parts = [
        (entries(0..2), true),
        (entries(2..4), false),
        (Vec::new(), true),
    ];
    now_and_then_alone(&server, &parts);
    let trail = dump(&server);
    assert_eq!(outline(&trail).join(" "), "open 2 3 exact 5 6 exact");
    assert_complete(&trail, &["4 entries, 3 lost, up to 7"]);
    let verdict = verify(&server.url(), &[]);
    verdict.assert_holds_unsigned();
    assert_eq!(verdict.of_runs("lost"), [3]);
}

/// Its last number was refused before it reached the stream: the next run mentions it, no cursor does.
#[test]
fn losses_at_the_end_of_a_run_that_no_cursor_counts_are_not_missing() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    let start = |url: &str| {
        start(&publisher, url, |config| {
            config.entry_bytes_max = 8_192;
        })
    };
    let mut run = start(&nowhere());
    run.publish([entries(0..3), oversize()].concat());
    run.end_at_once();
    let mut run = start(&server.url());
    run.publish(entries(3..5));
    run.end();
    let trail = dump(&server);
    let counts = |it: &Message| String::from_utf8_lossy(&it.payload).contains("\"lost\":1");
    assert!(!trail.iter().any(counts));
    assert_complete(
        &trail,
        &["3 entries, 1 lost, up to 4", "2 entries, 0 lost, up to 2"],
    );
}
