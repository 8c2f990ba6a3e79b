//! What can be done to a stream. Messages are written anew with the mutation, or deleted where they are.

use std::time::Duration;

use super::said::{Verdict, verify};
use super::trail::{cursor, delete, entries, places, stream_of, stream_trail, stream_with};
use test_support::nats::{Message, NatsServer};

fn judge(server: &NatsServer) -> Verdict {
    verify(&server.url(), &[])
}

/// Writes the trail anew once it is changed, and judges it.
fn mutated(change: impl FnOnce(&mut Vec<Message>, &[usize])) -> Verdict {
    let mut trail = stream_trail();
    let at = places(&trail);
    change(&mut trail, &at);
    judge(&stream_of(&trail))
}

fn set(message: &mut Message, header: &str, value: &str) {
    message.headers.insert(header.to_owned(), value.to_owned());
}

/// Which of the run's sessions a number is of does not matter: gaps of theirs are explained by the missing number.
#[test]
fn the_copy_itself_holds() {
    let verdict = mutated(|_, _| ());
    verdict.assert_holds();
    assert_eq!(verdict.of_runs("ended"), ["clean", "open"]);
    assert_eq!(verdict.of_runs("entries"), [30, 30]);
    assert_eq!(
        (&verdict.json["entries"], &verdict.json["audit_entries"]),
        (&60.into(), &60.into())
    );
}

#[test]
fn an_entry_deleted_in_the_middle_is_missing_at_the_next_one() {
    let trail = stream_trail();
    let at = places(&trail);
    let server = stream_of(&trail);
    delete(&server, [at[40] as u64 + 1]);
    let verdict = judge(&server);
    verdict.assert_breaks(&["missing"]).assert_is(false, true);
    assert!(verdict.notes().contains(&"hole"), "{verdict:#?}");
    assert_eq!(verdict.place("missing")["sequence"], at[41] as u64 + 1);
}

#[test]
fn a_deleted_head_is_missing_unless_the_stream_lets_go_of_old_messages_or_we_are_told() {
    let mut trail = stream_trail();
    let at = places(&trail);
    trail.drain(..=at[4]);
    let server = stream_of(&trail);
    judge(&server)
        .assert_breaks(&["head_missing"])
        .assert_is(false, true);
    let told = verify(&server.url(), &["--head-removed"]);
    assert_eq!(told.assert_holds().notes()[0], "begins_at");
    assert_eq!(told.of_runs("first"), [6, 1]);

    let all = stream_trail();
    let kept = i64::try_from(all.len() - at[4] - 1).unwrap();
    let let_go = stream_with(&all, |config| config.max_messages = kept);
    assert_eq!(judge(&let_go).assert_holds().notes()[0], "begins_at");
}

#[test]
fn the_head_of_a_later_run_is_missing_even_if_old_messages_may_be_gone() {
    let mut trail = stream_trail();
    let at = places(&trail);
    trail.remove(at[30]);
    let server = stream_with(&trail, |config| config.max_age = Duration::from_secs(3_600));
    judge(&server)
        .assert_breaks(&["head_missing"])
        .assert_is(false, true);
}

#[test]
fn a_first_run_that_is_deleted_is_missing_because_the_next_one_knows_of_it() {
    let verdict = mutated(|trail, at| drop(trail.drain(at[0]..at[30])));
    verdict
        .assert_breaks(&["run_missing"])
        .assert_is(false, true);
}

#[test]
fn two_swapped_are_out_of_order_and_nothing_is_missing() {
    for first in [3, 29, 30, 58] {
        let verdict = mutated(|trail, at| trail.swap(at[first], at[first + 1]));
        verdict
            .assert_breaks(&["out_of_order"])
            .assert_is(true, false);
    }
}

#[test]
fn one_doubled_is_called_so() {
    for (from, to) in [(10, 10), (2, 50), (0, 59)] {
        let verdict = mutated(|trail, at| trail.insert(at[to] + 1, trail[at[from]].clone()));
        verdict.assert_breaks(&["doubled"]).assert_is(true, false);
    }
}

#[test]
fn an_edited_payload_is_called_so() {
    let verdict = mutated(|trail, at| {
        let text = String::from_utf8(trail[at[20]].payload.to_vec()).unwrap();
        let edited = text.replacen("\"timestamp_ns\":1", "\"timestamp_ns\":2", 1);
        assert_ne!(edited, text);
        trail[at[20]].payload = edited.into();
    });
    verdict.assert_breaks(&["edited"]).assert_is(true, false);
}

/// The hash covers only what it knows.
#[test]
fn a_field_that_no_entry_has_is_called_edited() {
    let verdict = mutated(|trail, at| {
        let text = String::from_utf8(trail[at[20]].payload.to_vec()).unwrap();
        let forged = text.replacen('{', "{\"approved_by\":\"nobody\",", 1);
        trail[at[20]].payload = forged.into();
    });
    verdict.assert_breaks(&["edited"]).assert_is(true, false);
}

#[test]
fn a_payload_sealed_again_breaks_the_chain_of_its_session() {
    let verdict = mutated(|trail, at| {
        let old = &entries(0..1)[0];
        let forged = spillring::AuditEntry::new(
            old.seq(),
            old.timestamp_ns() + 1,
            old.event_type(),
            old.agent_id(),
            old.session_id(),
            "{}".to_owned(),
            *old.previous_hash(),
        );
        trail[at[0]].payload = serde_json::to_vec(&forged).unwrap().into();
        trail[at[0]].subject = spillring::assembly::subject_for(&forged);
    });
    verdict
        .assert_breaks(&["chain_broken"])
        .assert_is(true, false);
}

#[test]
fn an_edited_header_is_found_whatever_it_says_then() {
    let table: [(usize, &str, &str, &[&str]); 6] = [
        (20, "Audit-Lost", "2", &["false_loss"]),
        (20, "Audit-Lost", "many", &["bad_header"]),
        (20, "Audit-Id", "21", &["bad_header", "missing"]),
        (
            0,
            "Audit-Run",
            "publisher=me",
            &["bad_header", "run_unopened"],
        ),
        (30, "Audit-After", "nothing", &["bad_header"]),
        (
            20,
            "Audit-Run",
            "publisher=0198c0de-0000-7000-8000-000000000000",
            &["bad_header"],
        ),
    ];
    for (entry, header, value, expected) in table {
        let verdict = mutated(|trail, at| set(&mut trail[at[entry]], header, value));
        verdict.assert_breaks(expected);
    }
}

/// The next entry announces the deleted one as lost: the cursor knows better.
#[test]
fn a_deletion_disguised_as_a_loss_contradicts_the_account() {
    for (entry, expected) in [(10, "cursor_mismatch"), (40, "cursor_mismatch")] {
        let verdict = mutated(|trail, at| {
            set(&mut trail[at[entry + 1]], "Audit-Lost", "1");
            trail.remove(at[entry]);
        });
        verdict.assert_breaks(&[expected]).assert_is(true, false);
    }
}

#[test]
fn a_cut_tail_is_found_by_the_cursor() {
    for cut in [1, 12, 30] {
        let verdict = mutated(|trail, at| {
            at[60 - cut..]
                .iter()
                .rev()
                .for_each(|at| drop(trail.remove(*at)));
        });
        verdict
            .assert_breaks(&["tail_missing"])
            .assert_is(false, true);
    }
}

#[test]
fn the_cut_tail_of_an_earlier_run_is_missing_because_the_next_one_reports_how_it_stood() {
    let trail = stream_trail();
    let at = places(&trail);
    let server = stream_of(&trail);
    delete(&server, [28, 29].map(|entry| at[entry] as u64 + 1));
    let verdict = judge(&server);
    verdict
        .assert_breaks(&["tail_missing", "messages_gone"])
        .assert_is(false, true);
    assert_eq!(verdict.place("tail_missing")["sequence"], at[27] as u64 + 1);
}

#[test]
fn a_run_spliced_in_is_none_that_the_publisher_knows_of() {
    let foreign = "0198c0de-0000-7000-8000-00000000beef";
    let splice = |trail: &mut Vec<Message>, at: &[usize], to: usize| {
        let mut copies: Vec<_> = at[30..35].iter().map(|at| trail[*at].clone()).collect();
        for (n, copy) in (1..).zip(&mut copies) {
            set(copy, "Audit-Id", &format!("{foreign}.{n}"));
            copy.payload = "{}".into();
        }
        trail.splice(to..to, copies);
    };
    let verdict = mutated(|trail, at| splice(trail, at, at[29] + 1));
    verdict
        .assert_breaks(&["unsealed", "spliced"])
        .assert_is(true, false);
    let verdict = mutated(|trail, at| splice(trail, at, at[59] + 1));
    assert!(!verdict.json["intact"].as_bool().unwrap());
}

/// Whoever writes headers may write any numbers.
#[test]
fn numbers_that_are_too_large_to_be_added_are_found_to_be_wrong() {
    let verdict = mutated(|trail, at| {
        let first = trail[at[0]].clone();
        trail.truncate(0);
        for run in 0..6 {
            let mut message = first.clone();
            let id = format!(
                "0198c0de-0000-7000-8000-00000000000{run}.{}",
                (1_u64 << 62) - 1
            );
            set(&mut message, "Audit-Id", &id);
            set(&mut message, "Audit-Lost", &((1_u64 << 62) - 2).to_string());
            trail.push(message);
        }
    });
    assert!(!verdict.breaks().is_empty(), "{verdict:#?}");
}

/// A part of another trail, with its own numbers.
#[test]
fn entries_of_another_publisher_have_neither_a_beginning_nor_a_cursor_here() {
    let verdict = mutated(|trail, at| {
        let mut copies: Vec<_> = at[10..15].iter().map(|at| trail[*at].clone()).collect();
        for copy in &mut copies {
            let (_, n) = copy.headers["Audit-Id"].split_once('.').unwrap();
            let id = format!("0198c0de-0000-7000-8000-00000000beef.{n}");
            set(copy, "Audit-Id", &id);
            copy.payload = "{}".into();
        }
        trail.splice(at[20]..at[20], copies);
    });
    verdict.assert_breaks(&["head_missing", "cursor_missing"]);
}

#[test]
fn a_removed_or_replaced_cursor_is_found() {
    let verdict = mutated(|trail, _| {
        trail.retain(|message| !message.subject.starts_with("assembly.cursor."));
    });
    verdict
        .assert_breaks(&["cursor_missing"])
        .assert_is(false, true);
    let verdict = mutated(|trail, _| {
        let at = cursor(trail);
        trail[at].payload = "gone".into();
    });
    verdict.assert_breaks(&["bad_cursor", "cursor_missing"]);
}

#[test]
fn a_cursor_set_back_with_the_tail_it_hides_is_found_by_what_is_left_of_the_tail() {
    let verdict = mutated(|trail, _| {
        let at = cursor(trail);
        let text = String::from_utf8(trail[at].payload.to_vec()).unwrap();
        trail[at].payload = text.replace("\"last\":30", "\"last\":20").into();
    });
    verdict
        .assert_breaks(&["cursor_behind"])
        .assert_is(true, false);
}

#[test]
fn an_entry_on_a_subject_of_another_is_found() {
    let verdict = mutated(|trail, at| {
        trail[at[5]].subject = "assembly.audit.default.somebody".to_owned();
    });
    verdict
        .assert_breaks(&["wrong_subject"])
        .assert_is(true, false);
}
