//! Checks that every entry was delivered once, in the order of its thread, with its chain unbroken.

use std::thread;

use super::entries::{Coordinates, DemoPlan, agent};
use super::links::{Blocks, ChainLink, parse_all};
use crate::console::Problem;

/// Threads that parse and hash.
const WORKERS: usize = 2;

/// Returns the number of entries, or the first problem. Calls `progress` with the number of entries checked so far.
pub(super) fn check(
    blocks: Blocks,
    plan: &DemoPlan,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Problem> {
    let mut threads: Vec<Thread> = (0..plan.of_threads().len()).map(Thread::new).collect();
    let mut checked = 0;
    thread::scope(|scope| {
        let results = parse_all(blocks, WORKERS, scope);
        for result in results.iter().cycle() {
            let Ok(parsed) = result.recv() else {
                return Ok(());
            };
            for link in &parsed.links {
                checked += 1;
                thread_of(&mut threads, link)
                    .and_then(|thread| thread.take(link))
                    .map_err(|problem| Problem::new(format_args!("entry {checked}: {problem}")))?;
            }
            if let Some(problem) = parsed.problem {
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

fn thread_of<'a>(threads: &'a mut [Thread], link: &ChainLink) -> Result<&'a mut Thread, String> {
    threads
        .iter_mut()
        .find(|thread| agent(thread.number) == link.coordinates.agent)
        .ok_or_else(|| format!("agent {} is not one of the demo's", link.coordinates.agent))
}

/// The progress within one thread's entries.
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

    fn take(&mut self, link: &ChainLink) -> Result<(), String> {
        let expected = Coordinates::of(self.number, self.found);
        if link.coordinates != expected {
            return Err(format!(
                "thread {} should go on with seq {} of session {}, but went on with seq {} of session {}",
                self.number,
                expected.seq,
                expected.session,
                link.coordinates.seq,
                link.coordinates.session
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
