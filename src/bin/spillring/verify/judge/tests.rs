//! Trails made by hand: each break has its name and its verdict, and an honest trail has none.

mod requeued;

use spillring::AuditEntry;
use spillring::assembly::{AgentId, AuditEventType, AuditLog, SessionId};
use uuid::Uuid;

use super::*;
use crate::verify::seals::Seals;
use crate::verify::trail::{AnnouncedEnd, Opening, Previous};

const PUBLISHER: PublisherId = PublisherId(Uuid::from_u128(1));

/// A message of the trail: run, number, losses before it.
#[derive(Debug, Clone)]
struct Message {
    id: Position,
    lost: u64,
    opening: Option<Opening>,
    requeued: Option<Position>,
    after: Option<RunAccount>,
    way: Way,
    bytes: Vec<u8>,
}

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn message(of: u128, n: u64) -> Message {
    let opening = Opening {
        publisher: PUBLISHER,
        previous: None,
        killed_starts: 0,
    };
    Message {
        id: Position { run: run(of), n },
        lost: 0,
        opening: (n == 1).then_some(opening),
        requeued: None,
        after: None,
        way: Way::WithAccount,
        bytes: b"{}".to_vec(),
    }
}

/// The messages 1 to `last` of a run.
fn messages(of: u128, last: u64) -> Vec<Message> {
    (1..=last).map(|n| message(of, n)).collect()
}

fn account(of: u128, end: u64, lost: u64) -> RunAccount {
    RunAccount {
        run: run(of),
        first: 1,
        last: end,
        lost: Some(lost),
        open: false,
    }
}

/// Makes the first message name the run before.
fn follows(messages: &mut [Message], of: u128, end: AnnouncedEnd, after: RunAccount) {
    let opening = messages[0].opening.as_mut().expect("it opens its run");
    opening.previous = Some(Previous { run: run(of), end });
    messages[0].after = Some(after);
}

/// Ten messages of run 1, and ten of run 2, which knows that run 1 ended clean.
fn restarted() -> Vec<Message> {
    let mut second = messages(2, 10);
    follows(&mut second, 1, AnnouncedEnd::Clean(10), account(1, 10, 0));
    [messages(1, 10), second].concat()
}

fn judged(trail: &[Message], cursor: Option<RunAccount>, head: TrailHead) -> Judgement {
    let mut judge = Judge::new(head, Writers::Idle);
    if let Some(account) = cursor {
        judge.cursor(PUBLISHER, account, None);
    }
    for (sequence, message) in (1..).zip(trail) {
        judge.take(&Observed {
            place: TrailPlace::Sequence { sequence },
            id: message.id,
            lost: message.lost,
            opening: message.opening,
            requeued: message.requeued,
            after: message.after,
            publisher: None,
            subject: None,
            way: message.way,
            bytes: &message.bytes,
        });
    }
    judge.finish(Seals::default())
}

/// The names of what breaks a verdict, sorted by place.
fn breaks(judgement: &Judgement) -> Vec<Kind> {
    let findings = judgement.findings.iter();
    let breaks = findings.filter(|finding| finding.breaks.is_some());
    breaks.map(|finding| finding.name).collect()
}

#[track_caller]
fn assert_breaks(trail: &[Message], cursor: RunAccount, expected: &[Kind]) {
    let judgement = judged(trail, Some(cursor), TrailHead::Kept);
    assert_eq!(breaks(&judgement), expected, "{:#?}", judgement.findings);
}

#[test]
fn an_honest_trail_is_complete_and_intact() {
    let judgement = judged(&restarted(), Some(account(2, 10, 0)), TrailHead::Kept);
    assert_eq!(breaks(&judgement), []);
    let ends: Vec<_> = judgement.runs.iter().map(|run| run.ended).collect();
    assert_eq!(ends, [RunFate::Clean, RunFate::Open]);
}

#[test]
fn losses_that_are_announced_break_nothing_wherever_they_are() {
    let mut trail = restarted();
    // Before the first entry, in the middle, and at the end of a run, where only the next run and the cursor announce
    // them.
    trail.remove(0);
    trail[0].lost = 1;
    trail[0].opening = restarted()[0].opening;
    trail.remove(4);
    trail[4].lost = 1;
    trail.remove(7);
    trail[7].after = Some(account(1, 10, 3));
    let judgement = judged(&trail, Some(account(2, 12, 2)), TrailHead::Kept);
    assert_eq!(breaks(&judgement), [], "{:#?}", judgement.findings);
    let counts = judgement.runs.iter().map(|run| (run.entries, run.lost));
    assert_eq!(counts.collect::<Vec<_>>(), [(7, 3), (10, 2)]);
}

/// No entry can be removed without a trace, wherever it is.
#[test]
fn a_number_that_nobody_announces_is_missing() {
    let cursor = account(2, 10, 0);
    for at in 0..20 {
        let expected = match at % 10 {
            0 => Kind::HeadMissing,
            9 => Kind::TailMissing,
            _ => Kind::Missing,
        };
        let mut trail = restarted();
        trail.remove(at);
        // Without its first entry, nothing says which run this one followed.
        assert_breaks(&trail, cursor, &[expected]);
    }
    assert_breaks(&restarted()[..10], cursor, &[Kind::TailMissing]);
    assert_breaks(&restarted()[10..], cursor, &[Kind::RunMissing]);
}

#[test]
fn an_announced_loss_that_is_none_contradicts_the_cursor() {
    let mut trail = messages(1, 10);
    trail.remove(4);
    trail[4].lost = 1;
    assert_breaks(&trail, account(1, 10, 0), &[Kind::CursorMismatch]);
    let mut trail = messages(1, 10);
    trail[4].lost = 1;
    assert_breaks(&trail, account(1, 10, 0), &[Kind::FalseLoss]);
}

#[test]
fn an_entry_that_appears_twice_or_late_breaks_intact_and_not_complete() {
    let cursor = account(2, 10, 0);
    for (from, to) in (0..20).flat_map(|from| (from + 1..21).map(move |to| (from, to))) {
        let mut trail = restarted();
        trail.insert(to, trail[from].clone());
        assert_breaks(&trail, cursor, &[Kind::Doubled]);
    }
    for at in 0..19 {
        let mut trail = restarted();
        trail.swap(at, at + 1);
        let judgement = judged(&trail, Some(cursor), TrailHead::Kept);
        assert_eq!(breaks(&judgement), [Kind::OutOfOrder], "{at}");
        assert!(judgement.complete);
    }
}

#[test]
fn the_beginning_may_be_gone_only_if_the_trail_removes_it() {
    let (trail, cursor) = (restarted()[4..].to_vec(), Some(account(2, 10, 0)));
    let kept = judged(&trail, cursor, TrailHead::Kept);
    assert_eq!(breaks(&kept), [Kind::HeadMissing]);
    let gone = judged(&trail, cursor, TrailHead::MayBeGone { kept_from_ms: None });
    assert_eq!(breaks(&gone), []);
    assert_eq!(gone.findings[0].name, Kind::BeginsAt);
    assert_eq!(gone.runs[0].first, 5);
    // The beginning of a later run is missing all the same.
    let mut trail = restarted();
    trail.remove(10);
    let headless = judged(&trail, cursor, TrailHead::MayBeGone { kept_from_ms: None });
    assert_eq!(breaks(&headless), [Kind::HeadMissing]);
}

#[test]
fn a_run_between_two_that_know_each_other_is_spliced() {
    let mut trail = restarted();
    let mut foreign = messages(3, 5);
    follows(&mut foreign, 1, AnnouncedEnd::Clean(10), account(1, 10, 0));
    trail.splice(10..10, foreign.clone());
    assert_breaks(&trail, account(2, 10, 0), &[Kind::Spliced]);
    let mut trail = restarted();
    follows(&mut foreign, 2, AnnouncedEnd::Clean(10), account(2, 10, 0));
    trail.extend(foreign);
    assert_breaks(&trail, account(2, 10, 0), &[Kind::CursorBehind]);
}

#[test]
fn a_missing_cursor_is_a_break_where_there_was_one_and_a_note_where_there_is_none() {
    let judgement = judged(&restarted(), None, TrailHead::Kept);
    assert_eq!(breaks(&judgement), [Kind::CursorMissing]);
    let mut trail = messages(1, 10);
    for message in &mut trail {
        message.way = Way::Alone;
    }
    let judgement = judged(&trail, None, TrailHead::Kept);
    assert_eq!(breaks(&judgement), []);
    assert_eq!(judgement.findings[0].name, Kind::TailUnchecked);
}

#[test]
fn a_kill_hides_how_far_the_run_came_and_breaks_nothing() {
    let mut second = messages(2, 10);
    follows(
        &mut second,
        1,
        AnnouncedEnd::Killed(None),
        account(1, 10, 0),
    );
    let trail = [messages(1, 10), second.clone()].concat();
    let judgement = judged(&trail, Some(account(2, 10, 0)), TrailHead::Kept);
    assert_eq!(breaks(&judgement), []);
    assert_eq!(judgement.runs[0].ended, RunFate::Killed);
    // Runs that stored nothing come between.
    follows(
        &mut second,
        7,
        AnnouncedEnd::Killed(None),
        account(1, 10, 0),
    );
    let opening = second[0].opening.as_mut().expect("it opens its run");
    opening.killed_starts = 2;
    let trail = [messages(1, 10), second].concat();
    let judgement = judged(&trail, Some(account(2, 10, 0)), TrailHead::Kept);
    assert_eq!(breaks(&judgement), []);
    assert_eq!(judgement.runs[0].ended, RunFate::Unknown);
    assert_eq!(judgement.findings[0].name, Kind::KilledStarts);
}

/// A batch was cut off before its first entry, and no cursor was there before: what was stored alone has none, and
/// what was lost between left nothing.
#[test]
fn a_run_that_begins_after_itself_follows_one_that_was_stored_alone() {
    let mut first = messages(1, 10);
    for message in &mut first {
        message.way = Way::Alone;
    }
    for (previous, last) in [(1, 10), (7, 4)] {
        let mut second = messages(2, 10);
        let end = AnnouncedEnd::Clean(last);
        follows(&mut second, previous, end, account(2, 0, 0));
        let trail = [first.clone(), second].concat();
        assert_breaks(&trail, account(2, 10, 0), &[]);
    }
    let mut alone = messages(2, 10);
    alone[0].after = Some(account(2, 0, 0));
    assert_breaks(&alone, account(2, 10, 0), &[]);
}

/// Ten messages whose payloads are the entries of one session.
fn session() -> (Vec<Message>, Vec<AuditEntry>) {
    let (agent, id) = (AgentId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
    let mut log = AuditLog::new(agent, id);
    for _ in 0..10 {
        log.next_entry(AuditEventType::ToolCallIntercepted, 1, "{}".into());
    }
    let mut trail = messages(1, 10);
    for (message, entry) in trail.iter_mut().zip(log.entries()) {
        message.bytes = serde_json::to_vec(entry).expect("JSON");
    }
    (trail, log.entries().to_vec())
}

#[test]
fn a_chain_goes_on_after_a_loss_and_nowhere_else() {
    let (mut trail, entries) = session();
    assert_breaks(&trail, account(1, 10, 0), &[]);
    trail.remove(4);
    trail[4].lost = 1;
    let judgement = judged(&trail, Some(account(1, 10, 1)), TrailHead::Kept);
    assert_eq!(breaks(&judgement), []);
    let gap = |finding: &crate::verify::finding::Finding| finding.name == Kind::ChainGapAnnounced;
    assert!(judgement.findings.iter().any(gap));
    // Renumbered, so that the numbers show no gap.
    trail[4].lost = 0;
    for (n, message) in (1..).zip(&mut trail) {
        message.id.n = n;
    }
    assert_breaks(&trail, account(1, 9, 0), &[Kind::ChainGap]);

    // Hashed again, it is not the entry that the next one was chained to.
    let (mut trail, _) = session();
    let old = &entries[4];
    let forged = AuditEntry::new(
        old.seq(),
        2,
        old.event_type(),
        old.agent_id(),
        old.session_id(),
        "{}".into(),
        *old.previous_hash(),
    );
    trail[4].bytes = serde_json::to_vec(&forged).expect("JSON");
    assert_breaks(&trail, account(1, 10, 0), &[Kind::ChainBroken]);
}

#[test]
fn an_edited_entry_is_found_even_if_it_no_longer_parses() {
    for (from, to) in [
        ("\"timestamp_ns\":1,", "\"timestamp_ns\":2,"),
        ("[", "[["),
        ("{", "{\"trace_id\":7,"),
    ] {
        let (mut trail, _) = session();
        let text = String::from_utf8(trail[9].bytes.clone()).expect("JSON");
        trail[9].bytes = text.replacen(from, to, 1).into_bytes();
        assert_breaks(&trail, account(1, 10, 0), &[Kind::Edited]);
    }
}
