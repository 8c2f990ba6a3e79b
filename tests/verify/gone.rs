//! What somebody has removed from a stream, beside what a stream removes by itself; and sessions whose entries do not
//! come from one thread of one publisher.

use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use spillring::AuditEntry;
use spillring::assembly::{AgentId, AuditEventType, SessionId};

use super::said::{Verdict, verify};
use super::trail::{
    Publisher, cursor, delete, entries, places, stream_of, stream_trail, stream_with,
};
use test_support::nats::{NatsServer, block_on, client, read_stream};

fn judge(server: &NatsServer) -> Verdict {
    verify(&server.url(), &[])
}

fn manage<T>(server: &NatsServer, change: impl AsyncFnOnce(Context) -> T) -> T {
    block_on(async { change(jetstream::new(client(&server.url()).await)).await })
}

fn make_stream(server: &NatsServer, set: impl FnOnce(&mut stream::Config)) {
    let mut config = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec![
            "assembly.audit.>".to_owned(),
            "assembly.cursor.>".to_owned(),
        ],
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    set(&mut config);
    manage(server, async |context| {
        context.create_stream(config).await.unwrap()
    });
}

fn change_stream(server: &NatsServer, change: impl FnOnce(&mut stream::Config)) {
    manage(server, async |context| {
        let mut stream = context.get_stream("AUDIT").await.unwrap();
        let mut config = stream.info().await.unwrap().config.clone();
        change(&mut config);
        context.update_stream(config).await.unwrap();
    });
}

/// One session, from its beginning.
fn session(count: u64) -> Vec<AuditEntry> {
    session_with(count, |_| 1)
}

/// The same with payloads of so many bytes.
fn session_with(count: u64, bytes: impl Fn(u64) -> usize) -> Vec<AuditEntry> {
    let (agent, session) = (AgentId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
    let kind = AuditEventType::ToolCallIntercepted;
    let mut hash = [0; 32];
    let entries = (0..count).map(|seq| {
        let entry = AuditEntry::new(
            seq,
            1 + seq,
            kind,
            agent,
            session,
            "x".repeat(bytes(seq)),
            hash,
        );
        hash = *entry.entry_hash();
        entry
    });
    entries.collect()
}

/// A stream that keeps everything for an hour has let go of nothing that began a moment ago.
#[test]
fn a_head_that_was_purged_by_hand_is_missing_though_the_stream_has_limits() {
    let trail = stream_trail();
    let at = places(&trail);
    let server = stream_with(&trail, |config| config.max_age = Duration::from_secs(3_600));
    let up_to = at[4] as u64 + 2;
    manage(&server, async |context| {
        let stream = context.get_stream("AUDIT").await.unwrap();
        stream.purge().sequence(up_to).await.unwrap();
    });
    judge(&server)
        .assert_breaks(&["head_missing"])
        .assert_is(false, true);
    verify(&server.url(), &["--head-removed"]).assert_holds();
}

#[test]
fn a_tail_that_was_deleted_with_its_cursor_leaves_a_hole_at_the_end() {
    let trail = stream_trail();
    let at = places(&trail);
    let server = stream_of(&trail);
    // The batch before it ended with a cursor, or goes on without one.
    delete(&server, at[40] as u64..=trail.len() as u64);
    let verdict = judge(&server);
    verdict.assert_is(false, true);
    assert_eq!(verdict.place("messages_gone")["sequence"], at[40] as u64);
}

#[test]
fn deleting_all_entries_but_the_cursors_is_found() {
    let trail = stream_trail();
    let server = stream_of(&trail);
    delete(&server, places(&trail).iter().map(|at| *at as u64 + 1));
    let verdict = judge(&server);
    verdict.assert_is(false, true);
    assert!(verdict.breaks().contains(&"messages_gone"), "{verdict:#?}");
    assert!(verdict.breaks().contains(&"nothing"), "{verdict:#?}");
}

#[test]
fn a_stream_that_was_made_again_lacks_the_run_before() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    let mut run = publisher.start_on(&server);
    run.publish(entries(0..30));
    run.end();
    manage(&server, async |context| {
        context.delete_stream("AUDIT").await.unwrap()
    });
    let mut run = publisher.start_on(&server);
    run.publish(entries(30..60));
    run.end();
    judge(&server)
        .assert_breaks(&["run_missing"])
        .assert_is(false, true);
    verify(&server.url(), &["--head-removed"]).assert_holds();
}

#[test]
fn a_stream_that_was_set_back_under_a_publisher_lacks_what_it_had_acknowledged() {
    let (mut server, publisher) = (NatsServer::start(), Publisher::new());
    let mut run = publisher.start_on(&server);
    run.publish(entries(0..20));
    run.settle();
    server.end();
    let before = server.save_store();
    server.restart();
    run.publish(entries(20..40));
    run.settle();
    server.kill();
    server.restore_store(&before);
    server.restart();
    run.publish(entries(40..60));
    run.settle();
    run.end();
    judge(&server)
        .assert_breaks(&["missing"])
        .assert_is(false, true);
}

/// Its publisher does not come back; its directory knows what is missing.
#[test]
fn a_stream_that_was_set_back_is_found_by_the_spill_of_its_publisher() {
    let (mut server, publisher) = (NatsServer::start(), Publisher::new());
    let mut run = publisher.start_on(&server);
    run.publish(entries(0..20));
    run.settle();
    server.end();
    let before = server.save_store();
    server.restart();
    run.publish(entries(20..40));
    run.settle();
    run.end();
    let spill = publisher.dir.path().join("spill");
    let spill = spill.to_str().unwrap();
    let with_spill = |server: &NatsServer| verify(&server.url(), &["--spill", spill]);
    with_spill(&server).assert_holds();
    server.kill();
    server.restore_store(&before);
    server.restart();
    judge(&server).assert_holds();
    with_spill(&server)
        .assert_breaks(&["acknowledged_missing"])
        .assert_is(false, true);
}

#[test]
fn an_entry_that_was_replaced_by_something_without_a_hash_is_found() {
    let mut trail = stream_trail();
    let at = places(&trail);
    trail[at[20]].payload = "{}".into();
    let verdict = judge(&stream_of(&trail));
    assert!(verdict.breaks().contains(&"unsealed"), "{verdict:#?}");
    assert_eq!(verdict.place("unsealed")["sequence"], at[20] as u64 + 1);
}

#[test]
fn a_run_whose_entries_were_all_replaced_is_found_by_the_others() {
    let mut trail = stream_trail();
    for at in &places(&trail)[30..] {
        trail[*at].payload = "{}".into();
    }
    judge(&stream_of(&trail))
        .assert_breaks(&["unsealed"])
        .assert_is(true, false);
}

/// What a stream removes by itself is the oldest first.
#[test]
fn a_deleted_acknowledged_run_is_found_if_an_older_one_remains() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    let mut before = Vec::new();
    for part in [0..20, 20..40] {
        let mut run = publisher.start_on(&server);
        run.publish(entries(part));
        run.end();
        before.push(read_stream(&server.url(), "AUDIT"));
    }
    let server = stream_of(&before[0]);
    let spill = publisher.dir.path().join("spill");
    let arguments = ["--head-removed", "--spill", spill.to_str().unwrap()];
    verify(&server.url(), &arguments)
        .assert_breaks(&["acknowledged_missing"])
        .assert_is(false, true);
}

#[test]
fn an_empty_trail_never_verifies() {
    let server = NatsServer::start();
    make_stream(&server, |_| ());
    judge(&server).assert_breaks(&["nothing"]);
    manage(&server, async |context| {
        let subject = "assembly.audit.default.me";
        context
            .publish(subject, "{}".into())
            .await
            .unwrap()
            .await
            .unwrap();
    });
    assert_eq!(
        judge(&server).assert_breaks(&["nothing"]).notes(),
        ["unidentified"]
    );
}

/// An idle publisher's last batch is an atomic one: its cursor comes first, and goes first.
#[test]
fn a_cursor_that_the_stream_removed_before_its_entries_is_not_reported() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    make_stream(&server, |_| ());
    let mut run = publisher.start_on(&server);
    run.publish(entries(0..10));
    run.settle();
    let trail = read_stream(&server.url(), "AUDIT");
    let after = trail.len() - 1 - cursor(&trail);
    assert!(after > 0);
    change_stream(&server, |config| {
        config.max_messages = i64::try_from(after).unwrap();
    });
    let verdict = judge(&server);
    let notes = verdict.assert_holds_unsigned().notes();
    assert!(notes.contains(&"tail_unchecked"), "{verdict:#?}");
    run.end();
}

/// All entries of the publisher that goes on are there, and nothing of the one that began: only another one's in
/// between.
#[test]
fn a_session_whose_older_part_the_stream_has_let_go_of_goes_on_elsewhere() {
    let (server, session) = (NatsServer::start(), session(40));
    make_stream(&server, |config| config.max_messages = 25);
    for part in [&session[..30], &entries(0..20), &session[30..]] {
        let publisher = Publisher::new();
        let mut run = publisher.start_on(&server);
        run.publish(part.to_vec());
        run.settle();
        run.end();
    }
    let verdict = judge(&server);
    assert_eq!(
        verdict.assert_holds().of_runs("entries").last(),
        Some(&&10.into())
    );
}

#[test]
fn a_session_of_two_publishers_is_reported() {
    let (server, entries) = (NatsServer::start(), session(20));
    for part in [&entries[..10], &entries[10..]] {
        let publisher = Publisher::new();
        let mut run = publisher.start_on(&server);
        run.publish(part.to_vec());
        run.settle();
        run.end();
    }
    assert_eq!(judge(&server).assert_holds().notes(), ["session_shared"]);
}

/// One of them was behind an outage.
#[test]
fn a_session_of_two_publishers_need_not_be_in_line() {
    let (server, entries) = (NatsServer::start(), session(40));
    let (one, other) = (Publisher::new(), Publisher::new());
    let mut runs = [one.start_on(&server), other.start_on(&server)];
    for (at, part) in [(0, 0..10), (0, 20..30), (1, 10..20), (1, 30..40)] {
        runs[at].publish(entries[part].to_vec());
        runs[at].settle();
    }
    for run in runs {
        run.end();
    }
    assert_eq!(judge(&server).assert_holds().notes(), ["session_shared"]);
}

/// The entry that is missing is announced by a later one than that which shows the gap.
#[test]
fn threads_that_race_over_a_dead_letter_break_nothing() {
    let (server, publisher) = (
        NatsServer::start_with("max_payload: 8192"),
        Publisher::new(),
    );
    let mut entries = session_with(6, |seq| if seq == 1 { 10_000 } else { 1 });
    entries.swap(1, 2);
    let mut run = publisher.start_on(&server);
    run.publish(entries);
    run.settle();
    run.end();
    let notes = judge(&server).assert_holds().notes().concat();
    assert!(notes.contains("chain_gap_announced"), "{notes}");
}

#[test]
fn threads_may_race_at_the_beginning_of_a_session_where_old_messages_go() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    make_stream(&server, |config| config.max_messages = 30);
    let mut late = session(6);
    late.swap(0, 1);
    let mut run = publisher.start_on(&server);
    run.publish([entries(0..60), late].concat());
    run.settle();
    run.end();
    judge(&server).assert_holds();
}

#[test]
fn threads_that_race_one_session_are_reported() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    let mut entries = session(12);
    entries.swap(0, 1);
    entries[4..8].rotate_left(1);
    let mut run = publisher.start_on(&server);
    run.publish(entries);
    run.settle();
    run.end();
    assert_eq!(judge(&server).assert_holds().notes(), ["session_raced"]);
}

/// What was overtaken and never comes is missing, as before.
#[test]
fn an_entry_that_no_thread_has_published_is_a_gap() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    let mut entries = session(12);
    entries.remove(5);
    entries.swap(7, 8);
    let mut run = publisher.start_on(&server);
    run.publish(entries);
    run.settle();
    run.end();
    judge(&server)
        .assert_breaks(&["chain_gap"])
        .assert_is(true, false);
}

#[test]
fn transactions_that_are_switched_off_and_on_again_break_nothing() {
    let (server, publisher) = (NatsServer::start(), Publisher::new());
    make_stream(&server, |_| ());
    for (part, atomic) in [(0..20, true), (20..40, false), (40..60, true)] {
        change_stream(&server, |config| config.allow_atomic_publish = atomic);
        let mut run = publisher.start_on(&server);
        run.publish(entries(part));
        run.settle();
        run.end();
    }
    judge(&server).assert_holds_unsigned();
}
