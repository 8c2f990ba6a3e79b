//! Tries to break the ring's promises by letting loom choose every interleaving, and every value that a weak ordering
//! allows, of the shipping ring. Each scenario's docs state its promise.

use loom_tests::shipping::{file_races, races};

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
fn loss_reported_by_its_thread() {
    races::loss_reported_by_its_thread();
}

#[test]
fn loss_reported_by_who_learned_of_it() {
    races::loss_reported_by_who_learned_of_it();
}

#[test]
fn heavy_entry_enters_only_the_empty_ring() {
    races::heavy_entry_enters_only_the_empty_ring();
}

#[test]
fn heavy_entry_against_freeing() {
    races::heavy_entry_against_freeing();
}

#[test]
fn in_a_file_two_publishers_on_the_last_place() {
    file_races::two_publishers_on_the_last_place();
}

#[test]
fn in_a_file_publish_against_take() {
    file_races::publish_against_take();
}

#[test]
fn in_a_file_round_the_lap() {
    file_races::round_the_lap();
}

#[test]
fn in_a_file_room_that_moves() {
    file_races::room_that_moves();
}

#[test]
fn in_a_file_take_against_half_done_publishes() {
    file_races::take_against_half_done_publishes();
}

#[test]
fn in_a_file_close_against_publish() {
    file_races::close_against_publish();
}

#[test]
fn in_a_file_loss_reported_by_its_thread() {
    file_races::loss_reported_by_its_thread();
}
