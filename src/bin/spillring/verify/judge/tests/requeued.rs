//! Requeued dead letters, in a run of their own, after others of their session.

use super::*;

/// A run of requeued entries after run 1, which ended with number `end`. `entries` are the old numbers with their
/// bytes.
fn requeued(end: u64, lost: u64, entries: &[(u64, Vec<u8>)]) -> Vec<Message> {
    let mut trail = messages(2, entries.len() as u64);
    follows(
        &mut trail,
        1,
        AnnouncedEnd::Clean(end),
        account(1, end, lost),
    );
    for (message, (was, bytes)) in trail.iter_mut().zip(entries) {
        message.requeued = Some(Position {
            run: run(1),
            n: *was,
        });
        message.bytes.clone_from(bytes);
    }
    trail
}

/// One session over two runs: the entries with these numbers are rejected in the first, and requeued in the second.
fn rejected(numbers: &[u64]) -> Vec<Message> {
    let (mut trail, _) = session();
    let mut again = Vec::new();
    for &n in numbers {
        let at = trail.iter().position(|message| message.id.n == n);
        let message = trail.remove(at.expect("it is there"));
        if let Some(next) = trail.get_mut(at.expect("it is there")) {
            next.lost += message.lost + 1;
            next.opening = next.opening.or(message.opening);
        }
        again.push((n, message.bytes));
    }
    let lost = numbers.len() as u64;
    trail.extend(requeued(10, lost, &again));
    trail
}

#[test]
fn requeued_entries_break_nothing_wherever_they_were_lost() {
    for numbers in [&[1_u64][..], &[5], &[10], &[9, 10], &[3, 4, 7], &[1, 2, 10]] {
        let trail = rejected(numbers);
        let count = numbers.len() as u64;
        let judgement = judged(&trail, Some(account(2, count, 0)), TrailHead::Kept);
        assert_eq!(breaks(&judgement), [], "{numbers:?}: {judgement:#?}");
        assert_eq!(judgement.counts.requeued, count);
        assert_eq!(judgement.runs[0].lost, count);
    }
}

/// A dead letter is requeued before its session goes on.
#[test]
fn a_session_goes_on_after_a_requeued_entry() {
    let mut trail = rejected(&[9]);
    let last = trail.remove(8);
    assert_eq!(last.id.n, 10);
    let mut third = messages(3, 1);
    follows(&mut third, 2, AnnouncedEnd::Clean(1), account(2, 1, 0));
    third[0].bytes = last.bytes;
    // The first run ended before its last entry.
    let opening = trail[8].opening.as_mut().expect("it opens its run");
    opening.previous = Some(Previous {
        run: run(1),
        end: AnnouncedEnd::Clean(9),
    });
    trail[8].after = Some(account(1, 9, 1));
    trail.extend(third);
    let judgement = judged(&trail, Some(account(3, 1, 0)), TrailHead::Kept);
    assert_eq!(breaks(&judgement), [], "{judgement:#?}");
    let gap = |finding: &crate::verify::finding::Finding| finding.name == Kind::ChainGapAnnounced;
    assert!(!judgement.findings.iter().any(gap), "{judgement:#?}");
}

#[test]
fn one_that_is_also_there_under_its_old_number_or_twice_is_false() {
    let bytes = || b"{}".to_vec();
    let first = messages(1, 10);
    let trail = [first, requeued(10, 0, &[(4, bytes())])].concat();
    assert_breaks(&trail, account(2, 1, 0), &[Kind::FalseRequeue]);

    let mut first = messages(1, 10);
    first.remove(3);
    first[3].lost = 1;
    let once = requeued(10, 1, &[(4, bytes())]);
    let trail = [first.clone(), once].concat();
    assert_breaks(&trail, account(2, 1, 0), &[]);
    let twice = requeued(10, 1, &[(4, bytes()), (4, bytes())]);
    let trail = [first, twice].concat();
    assert_breaks(&trail, account(2, 2, 0), &[Kind::FalseRequeue]);
}

#[test]
fn an_edited_requeued_entry_is_found() {
    let mut trail = rejected(&[5]);
    let text = String::from_utf8(trail[9].bytes.clone()).expect("JSON");
    let edited = text.replacen("\"timestamp_ns\":1,", "\"timestamp_ns\":2,", 1);
    assert_ne!(text, edited);
    trail[9].bytes = edited.into_bytes();
    assert_breaks(&trail, account(2, 1, 0), &[Kind::Edited]);
}
