//! Processes that tests start. Some are their own binary, started again.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Output};

use rustix::process::{Pid, Signal, kill_process};

/// Killed when it is dropped: no process outlives its test, also if that fails.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self), signal).expect("it runs");
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The name may be wrong: then nothing ran, and nothing failed.
#[track_caller]
pub fn assert_one_passed(output: &Output) {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains(" 1 passed"), "{out}{err}");
}
