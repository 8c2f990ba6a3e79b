use super::*;
use crate::spill::Counted;

fn key(n: u64) -> Key {
    Key::new(1, n)
}

fn tally(entries: u64) -> Tally {
    Tally {
        entries,
        bytes: entries * 10,
    }
}

/// This many rows, the newest with this number.
fn view(entries: u64, newest: u64) -> View {
    let mut view = View {
        newest: Some(key(newest)),
        ..View::default()
    };
    view.totals.backlog.entries = entries;
    view
}

/// Up to this number, this many entries.
fn settled(n: u64, entries: u64) -> Settled {
    Settled {
        through: key(n),
        tally: tally(entries),
    }
}

fn counted(order: Order) -> Counted {
    match order {
        Order::Settle { entries, .. } => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_spill_that_never_held_anything_gets_no_settlement() {
    let mut settlement = Settlement::default();
    let now = Instant::now();
    let due = settlement.due(Some(key(9)), &View::default(), now);
    assert_eq!(due, None);
}

#[test]
fn what_was_delivered_is_due_until_it_is_settled() {
    let mut settlement = Settlement::default();
    let start = Instant::now();
    let later = start + std::time::Duration::from_secs(1);
    let holding = view(9, 9);
    settlement.add(tally(4));
    assert_eq!(settlement.due(Some(key(4)), &holding, start), Some(start));
    assert_eq!(settlement.due(Some(key(4)), &holding, later), Some(start));
    let order = settlement.order(key(4));
    assert_eq!(counted(order), Counted::Known(tally(4)));
    // More is delivered meanwhile.
    settlement.add(tally(2));
    assert_eq!(settlement.done(settled(4, 4)), 0);
    assert_eq!(settlement.unsettled(), tally(2));
    assert_eq!(settlement.due(Some(key(4)), &view(5, 9), later), None);
    assert_eq!(
        settlement.due(Some(key(6)), &view(5, 9), later),
        Some(later)
    );
}

#[test]
fn a_settlement_that_failed_is_due_as_before() {
    let mut settlement = Settlement::default();
    let now = Instant::now();
    settlement.add(tally(4));
    settlement.order(key(4));
    settlement.failed();
    assert_eq!(settlement.unsettled(), tally(4));
    assert_eq!(settlement.due(Some(key(4)), &view(9, 9), now), Some(now));
}

/// The sink reports ten; four of them passed through memory.
#[test]
fn the_spill_counts_entries_that_were_never_in_memory() {
    let mut settlement = Settlement::default();
    settlement.add(tally(4));
    settlement.add_unknown();
    assert_eq!(counted(settlement.order(key(10))), Counted::Unknown);
    assert_eq!(settlement.done(settled(10, 10)), 6);
    assert_eq!(settlement.unsettled(), Tally::default());
}

/// As above, in parts: delivered and spilled add up after each. Another answer of the sink comes meanwhile.
#[test]
fn what_the_spill_counts_in_parts_is_due_until_the_last() {
    let mut settlement = Settlement::default();
    let now = Instant::now();
    settlement.add(tally(4));
    settlement.add_unknown();
    settlement.order(key(10));
    assert_eq!(settlement.done(settled(3, 3)), 0);
    assert_eq!(settlement.unsettled(), tally(1));
    assert_eq!(settlement.due(Some(key(10)), &view(7, 20), now), Some(now));
    assert_eq!(counted(settlement.order(key(10))), Counted::Unknown);
    assert_eq!(settlement.done(settled(8, 5)), 4);
    assert_eq!(settlement.unsettled(), Tally::default());
    settlement.order(key(10));
    settlement.add(tally(2));
    settlement.add_unknown();
    assert_eq!(settlement.done(settled(10, 2)), 2);
    assert_eq!(settlement.unsettled(), tally(2));
    assert_eq!(counted(settlement.order(key(15))), Counted::Unknown);
    settlement.failed();
    assert_eq!(counted(settlement.order(key(15))), Counted::Unknown);
    assert_eq!(settlement.done(settled(15, 5)), 3);
    assert_eq!(settlement.due(Some(key(15)), &view(5, 20), now), None);
    settlement.add(tally(1));
    let order = settlement.order(key(16));
    assert_eq!(counted(order), Counted::Known(tally(1)));
}

/// It may have left rows, which the next start must not deliver again.
#[test]
fn after_a_failed_append_one_settlement_goes() {
    let mut settlement = Settlement::default();
    let now = Instant::now();
    settlement.doubt(Some(key(5)));
    let empty = View::default();
    assert_eq!(settlement.due(Some(key(4)), &empty, now), Some(now));
    settlement.order(key(5));
    settlement.done(settled(5, 0));
    assert_eq!(settlement.due(Some(key(6)), &empty, now), None);
}

#[test]
fn losses_after_the_fact_are_settled_like_entries() {
    let mut settlement = Settlement::default();
    let now = Instant::now();
    let mut view = View::default();
    view.totals.absent = 1;
    assert_eq!(settlement.due(Some(key(1)), &view, now), Some(now));
}
