//! Whether what was delivered is what was published: every entry once, in the order of its thread, its chain unbroken.

use std::thread;

use super::entries::{Plan, Station, agent};
use super::links::{Blocks, Link, look_at_all};
use crate::console::Problem;

/// Threads that parse and hash.
const WORKERS: usize = 2;

/// Checks, and says how many entries there are; or what is wrong first. `progress` is told how many are checked.
pub(super) fn check(
    blocks: Blocks,
    plan: &Plan,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Problem> {
    let mut threads: Vec<Thread> = (0..plan.of_threads().len()).map(Thread::new).collect();
    let mut checked = 0;
    thread::scope(|scope| {
        let results = look_at_all(blocks, WORKERS, scope);
        for result in results.iter().cycle() {
            let Ok(looked) = result.recv() else {
                return Ok(());
            };
            for link in &looked.links {
                checked += 1;
                thread_of(&mut threads, link)
                    .and_then(|thread| thread.take(link))
                    .map_err(|problem| Problem::new(format_args!("entry {checked}: {problem}")))?;
            }
            if let Some(problem) = looked.problem {
                return Err(Problem::new(format_args!(
                    "entry {}: {problem}",
                    checked + 1
                )));
            }
            progress(checked);
        }
        Ok(())
    })?;
    for (thread, &expected) in threads.iter().zip(plan.of_threads()) {
        if thread.found != expected {
            return Err(Problem::new(format_args!(
                "thread {} published {expected} entries, {} are there",
                thread.number, thread.found
            )));
        }
    }
    Ok(checked)
}

fn thread_of<'a>(threads: &'a mut [Thread], link: &Link) -> Result<&'a mut Thread, String> {
    threads
        .iter_mut()
        .find(|thread| agent(thread.number) == link.station.agent)
        .ok_or_else(|| format!("agent {} is none of the demo's", link.station.agent))
}

/// How far the entries of one thread have been found.
#[derive(Debug)]
struct Thread {
    number: usize,
    found: u64,
    last_hash: [u8; 32],
}

impl Thread {
    fn new(number: usize) -> Self {
        Self {
            number,
            found: 0,
            last_hash: [0; 32],
        }
    }

    fn take(&mut self, link: &Link) -> Result<(), String> {
        let expected = Station::of(self.number, self.found);
        if link.station != expected {
            return Err(format!(
                "thread {} goes on with seq {} of session {}, but seq {} of session {} stands there",
                self.number, expected.seq, expected.session, link.station.seq, link.station.session
            ));
        }
        let previous = if expected.seq == 0 {
            [0; 32]
        } else {
            self.last_hash
        };
        if link.previous_hash != previous {
            return Err(format!(
                "seq {} of session {} is not chained to the entry before it",
                expected.seq, expected.session
            ));
        }
        self.found += 1;
        self.last_hash = link.entry_hash;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
