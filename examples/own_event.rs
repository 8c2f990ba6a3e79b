//! Publishes a type of one's own: what it needs is a subject, its bytes and its weight.
//!
//!     cargo run --example own_event
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use spillring::{Config, EncodeError, Event, JsonLinesSink};

/// A decision of a policy, as the agent's threads make it many times a second.
#[derive(Serialize)]
struct Decision {
    agent: u16,
    tool: String,
    allowed: bool,
}

impl Event for Decision {
    fn subject(&self) -> String {
        format!("decisions.agent-{}", self.agent)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        serde_json::to_writer(out, self).map_err(|error| EncodeError(Box::new(error)))
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.tool.capacity()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("decisions.jsonl");
    let drainer = spillring::start(
        Config::new(dir.path().join("spill")),
        JsonLinesSink::new(&output),
    )?;

    thread::scope(|scope| {
        for agent in 1..=3 {
            let publisher = drainer.publisher();
            scope.spawn(move || {
                for tool in ["read_file", "bash"] {
                    publisher.publish(Decision {
                        agent,
                        tool: tool.to_owned(),
                        allowed: tool != "bash",
                    });
                }
            });
        }
    });

    let account = drainer
        .shutdown(Duration::from_secs(5))
        .wait(Duration::from_secs(10))?;
    print!("{}", std::fs::read_to_string(&output)?);
    println!(
        "{} accepted, {} delivered, {} lost",
        account.accepted,
        account.delivered,
        account.lost.total()
    );
    Ok(())
}
