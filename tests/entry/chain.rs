//! Tries to get a broken chain past the log and the verifier: swapped, removed, edited, replaced, foreign entries; and
//! asks of each break that it is named where it is.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::json;
use spillring::AuditEntry;
use spillring::assembly::{
    AuditEventType, AuditLog, AuditLogError, ChainVerifier, Lineage, SessionId,
};

use crate::{SESSIONS, agent, edited, hash_of, read, session};

fn log_of(count: u64) -> AuditLog {
    let mut log = AuditLog::new(agent(), session());
    for seq in 0..count {
        let entry = log.next_entry(
            AuditEventType::ToolCallIntercepted,
            seq,
            format!("{{\"call\":{seq}}}"),
        );
        assert_eq!(entry.seq(), seq);
    }
    log
}

/// The first break in `entries`, taken as a whole chain.
fn break_in(entries: &[AuditEntry]) -> AuditLogError {
    let mut chain = ChainVerifier::new(session());
    let broken = entries.iter().find_map(|entry| chain.verify(entry).err());
    broken.expect("the chain was accepted")
}

#[test]
fn the_original_s_sessions_are_unbroken_chains() {
    let mut chains = HashMap::<SessionId, ChainVerifier>::new();
    for line in SESSIONS.lines() {
        let entry = read(line);
        let chain = chains
            .entry(entry.session_id())
            .or_insert_with(|| ChainVerifier::new(entry.session_id()));
        chain.verify(&entry).unwrap();
    }
    assert_eq!(chains.len(), 12);
    assert_eq!(
        chains.values().map(ChainVerifier::verified).sum::<u64>(),
        2_000
    );
}

#[test]
fn a_log_chains_what_it_makes_and_takes_what_fits() {
    let mut log = log_of(5);
    assert_eq!((log.len(), log.is_empty()), (5, false));
    assert_eq!((log.agent_id(), log.session_id()), (agent(), session()));
    assert_eq!(log.entries()[0].previous_hash(), &[0; 32]);
    log.verify_chain().unwrap();
    let mut copy = AuditLog::new(agent(), session());
    assert!(copy.is_empty());
    for entry in log.entries() {
        copy.push(entry.clone()).unwrap();
    }
    let lineage = Lineage {
        depth: Some(1),
        ..Lineage::default()
    };
    let last = log.next_entry_with_lineage(AuditEventType::MessageBlocked, 9, "{}".into(), lineage);
    assert_eq!((last.seq(), last.depth()), (5, Some(1)));
    copy.push(last.clone()).unwrap();
    copy.verify_chain().unwrap();
    assert_eq!(copy.entries(), log.entries());
}

#[test]
fn a_refused_entry_leaves_the_log_as_it_was() {
    let mut log = log_of(2);
    let next = log_of(3).entries()[2].clone();
    let gap = log.push(edited(&next, "seq", json!(7)));
    assert_eq!(
        gap,
        Err(AuditLogError::SequenceGap {
            index: 2,
            expected: 2,
            got: 7
        })
    );
    assert!(matches!(
        log.push(edited(&next, "previous_hash", json!(vec![5; 32]))),
        Err(AuditLogError::HashChainBroken {
            index: 2,
            at_seq: 2,
            ..
        })
    ));
    assert!(matches!(
        log.push(edited(&next, "session_id", json!(vec![5; 16]))),
        Err(AuditLogError::WrongSession {
            index: 2,
            seq: 2,
            ..
        })
    ));
    log.push(next).unwrap();
    log.verify_chain().unwrap();
}

#[test]
fn a_forged_entry_in_the_right_place_is_found_by_verifying() {
    let mut log = log_of(2);
    let next = log_of(3).entries()[2].clone();
    log.push(edited(&next, "payload", json!("{}"))).unwrap();
    assert!(matches!(
        log.verify_chain(),
        Err(AuditLogError::Tampered {
            index: 2,
            seq: 2,
            ..
        })
    ));
}

#[test]
fn swapped_and_removed_entries_are_named_by_their_gap() {
    let whole = log_of(6).entries().to_vec();
    let mut swapped = whole.clone();
    swapped.swap(2, 3);
    let mut removed = whole.clone();
    removed.remove(4);
    let mut beheaded = whole.clone();
    beheaded.remove(0);
    let mut repeated = whole.clone();
    repeated.insert(2, whole[1].clone());
    let cases = [
        (swapped, 2, 3),
        (removed, 4, 5),
        (beheaded, 0, 1),
        (repeated, 2, 1),
    ];
    for (entries, index, got) in cases {
        let expected = index;
        assert_eq!(
            break_in(&entries),
            AuditLogError::SequenceGap {
                index,
                expected,
                got
            }
        );
    }
}

#[test]
fn an_edited_entry_is_named_or_if_rehashed_the_next_one() {
    let mut entries = log_of(6).entries().to_vec();
    let was = *entries[1].entry_hash();
    entries[1] = edited(&entries[1], "payload", json!("nothing happened"));
    let forged = hash_of(&serde_json::to_value(&entries[1]).unwrap());
    let tampered = AuditLogError::Tampered {
        index: 1,
        seq: 1,
        expected: forged,
        got: was,
    };
    assert_eq!(break_in(&entries), tampered);

    entries[1] = edited(&entries[1], "entry_hash", json!(forged));
    assert!(entries[1].verify_integrity());
    let broken = AuditLogError::HashChainBroken {
        index: 2,
        at_seq: 2,
        expected: forged,
        got: was,
    };
    assert_eq!(break_in(&entries), broken);
}

#[test]
fn an_entry_of_another_session_is_named() {
    let other = SessionId::from_bytes([7; 16]);
    let mut entries = log_of(6).entries().to_vec();
    let mut stranger = AuditLog::new(agent(), other);
    entries[3] = stranger
        .next_entry(AuditEventType::MessageBlocked, 0, "{}".into())
        .clone();
    let wrong = AuditLogError::WrongSession {
        index: 3,
        seq: 0,
        expected: session(),
        got: other,
    };
    assert_eq!(break_in(&entries), wrong);
}

#[test]
fn the_rest_of_a_chain_can_be_verified_alone() {
    let log = log_of(6);
    let (first, rest) = log.entries().split_at(4);
    let mut chain = ChainVerifier::resume(session(), 4, *first[3].entry_hash());
    for entry in rest {
        chain.verify(entry).unwrap();
    }
    assert_eq!(chain.verified(), 2);
}

#[test]
fn errors_say_where_and_what_was_expected() {
    let log = log_of(2);
    let tampered = edited(&log.entries()[0], "payload", json!(""));
    let text = break_in(&[tampered]).to_string();
    let hex = log.entries()[0]
        .entry_hash()
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
    assert!(
        text.starts_with("entry 0 (seq 0) was changed after it was sealed"),
        "{text}"
    );
    assert!(text.contains(&hex), "{text}");
    let gap = break_in(&log.entries()[1..]).to_string();
    assert!(gap.contains("has seq 1 where 0 should follow"), "{gap}");
}
