//! Tries to break the ring's promises by letting loom choose every interleaving, and every value that a weak ordering
//! allows, of the shipping ring. What each race promises stands at its scenario.

use loom_tests::shipping::races;

#[test]
fn two_publishers_on_the_last_slot() {
    races::two_publishers_on_the_last_slot();
}

#[test]
fn push_against_pop() {
    races::push_against_pop();
}

#[test]
fn two_pushes_against_two_pops() {
    races::two_pushes_against_two_pops();
}

#[test]
fn pop_against_half_done_pushes() {
    races::pop_against_half_done_pushes();
}

#[test]
fn room_that_moves() {
    races::room_that_moves();
}

#[test]
fn refusal_against_freeing() {
    races::refusal_against_freeing();
}

#[test]
fn close_against_push() {
    races::close_against_push();
}

#[test]
fn shutdown_while_publishers_go_on_calling() {
    races::shutdown_while_publishers_go_on_calling();
}

#[test]
fn refused_by_a_closed_ring() {
    races::refused_by_a_closed_ring();
}

#[test]
fn flush_against_push() {
    races::flush_against_push();
}

#[test]
fn loss_told_by_its_thread() {
    races::loss_told_by_its_thread();
}

#[test]
fn loss_told_by_who_learned_of_it() {
    races::loss_told_by_who_learned_of_it();
}

#[test]
fn heavy_entry_enters_only_the_empty_ring() {
    races::heavy_entry_enters_only_the_empty_ring();
}

#[test]
fn heavy_entry_against_freeing() {
    races::heavy_entry_against_freeing();
}
