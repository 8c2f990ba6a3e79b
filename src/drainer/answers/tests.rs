use uuid::Uuid;

use super::*;

fn run(at: u128) -> RunId {
    RunId(Uuid::from_u128(at))
}

/// Run 50 is the second of a directory whose first was run 10.
fn known(sent_any: bool) -> PositionContext {
    PositionContext {
        run: run(50),
        local: 2,
        last_n: 7,
        earlier: None,
        newest: Some(run(10)),
        sent_any,
        inherited_until_ms: None,
    }
}

fn position(at: u128, n: u64) -> Position {
    Position { run: run(at), n }
}

#[test]
fn a_position_in_this_run_counts_up_to_its_last_number() {
    let known = known(true);
    let delivered = Meaning::Delivered(Key::new(2, 7));
    assert_eq!(known.judge(position(50, 7)), delivered);
    assert_eq!(known.judge(position(50, 8)), Meaning::Clone);
}

#[test]
fn a_position_in_an_earlier_run_is_where_it_lies() {
    let mut known = known(false);
    known.earlier = Some(Key::new(1, 3));
    let delivered = Meaning::Delivered(Key::new(1, 3));
    assert_eq!(known.judge(position(10, 3)), delivered);
}

/// The unknown run began between the newest run that the directory knows and this one.
#[test]
fn a_run_that_the_directory_has_missed_means_that_an_older_copy_was_restored() {
    assert_eq!(known(false).judge(position(30, 5)), Meaning::PutBack);
    for (at, sent) in [(30, true), (60, false), (5, false)] {
        assert_eq!(known(sent).judge(position(at, 5)), Meaning::Clone, "{at}");
    }
}

/// What was popped after the unknown run had begun cannot have been delivered by that run.
#[test]
fn a_directory_that_was_used_meanwhile_is_a_clone() {
    let began = |ms: u64| {
        let time = uuid::Timestamp::from_unix(uuid::NoContext, ms / 1_000, 0);
        RunId(Uuid::new_v7(time))
    };
    for (popped_ms, meaning) in [(4_000, Meaning::PutBack), (6_000, Meaning::Clone)] {
        let known = PositionContext {
            run: began(9_000),
            newest: Some(began(1_000)),
            inherited_until_ms: Some(popped_ms),
            ..known(false)
        };
        let position = Position {
            run: began(5_000),
            n: 5,
        };
        assert_eq!(known.judge(position), meaning, "{popped_ms}");
    }
}
