//! Tests of the tests: the shipping ring with one thing broken must fail its model. A scenario that stopped looking
//! would pass here, and be noticed.

use loom_tests::{
    doubled_enter, relaxed_enter, relaxed_fill, relaxed_leave, relaxed_take, torn_leave,
};

#[test]
#[should_panic(expected = "Causality violation")]
fn entering_must_acquire() {
    relaxed_enter::races::push_against_pop();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn entering_must_acquire_behind_a_refusal() {
    relaxed_enter::races::refusal_against_freeing();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn leaving_must_release() {
    relaxed_leave::races::push_against_pop();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn leaving_must_release_to_two() {
    relaxed_leave::races::two_pushes_against_two_pops();
}

#[test]
#[should_panic(expected = "a push met a full cell")]
fn entering_must_be_one_step() {
    doubled_enter::races::two_publishers_on_the_last_slot();
}

#[test]
#[should_panic(expected = "left: []")]
fn an_entering_publisher_must_notice_a_close() {
    doubled_enter::races::close_against_push();
}

#[test]
#[should_panic(expected = "room was lost")]
fn giving_back_must_be_one_step() {
    torn_leave::races::two_pushes_against_two_pops();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn filling_must_release() {
    relaxed_fill::races::pop_against_half_done_pushes();
}

#[test]
#[should_panic(expected = "refused though there was room")]
fn taking_must_pass_on_what_was_seen() {
    relaxed_take::races::room_that_moves();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn in_a_file_entering_must_acquire() {
    relaxed_enter::file_races::publish_against_take();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn in_a_file_freeing_must_release() {
    relaxed_leave::file_races::publish_against_take();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn in_a_file_claiming_must_be_one_step() {
    doubled_enter::file_races::two_publishers_on_the_last_place();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn in_a_file_filling_must_release() {
    relaxed_fill::file_races::take_against_half_done_publishes();
}

#[test]
#[should_panic(expected = "refused though there was room")]
fn in_a_file_taking_must_pass_on_what_was_seen() {
    relaxed_take::file_races::room_that_moves();
}
