//! Tests that run in a process of their own: their binary, started again.

use std::process::Output;

/// The name may be wrong: then nothing ran, and nothing failed.
#[track_caller]
pub fn assert_one_passed(output: &Output) {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains(" 1 passed"), "{out}{err}");
}
