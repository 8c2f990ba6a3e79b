//! Tests of the tests: the shipping ring with one thing broken must fail its model. A scenario that stopped looking
//! would pass here, and be noticed.

use loom_tests::{blind_look, deaf_enter, relaxed_enter, relaxed_leave, torn_leave};

#[test]
#[should_panic(expected = "a push that the gate had let in met")]
fn entering_must_acquire() {
    relaxed_enter::races::push_against_pop();
}

#[test]
#[should_panic(expected = "a push that the gate had let in met")]
fn entering_must_acquire_behind_a_refusal() {
    relaxed_enter::races::refusal_against_freeing();
}

#[test]
#[should_panic(expected = "a push that the gate had let in met")]
fn leaving_must_release() {
    relaxed_leave::races::push_against_pop();
}

#[test]
#[should_panic(expected = "a push that the gate had let in met")]
fn leaving_must_release_to_two() {
    relaxed_leave::races::two_pushes_against_two_pops();
}

#[test]
#[should_panic(expected = "the word was written after the close")]
fn publishers_must_look_first() {
    blind_look::races::refused_by_a_closed_ring();
}

#[test]
#[should_panic(expected = "a push that the gate had let in met a full queue")]
fn an_overshoot_must_be_noticed() {
    deaf_enter::races::two_publishers_on_the_last_slot();
}

#[test]
#[should_panic(expected = "left: ")]
fn a_close_must_be_noticed_by_who_is_entering() {
    deaf_enter::races::close_against_push();
}

#[test]
#[should_panic(expected = "room was lost")]
fn giving_back_must_be_one_step() {
    torn_leave::races::refusal_against_freeing();
}
