//! Publishes a type of one's own: what it needs is a subject, its bytes and its weight.
//!
//!     cargo run --example own_event
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use spillring::durable::{Pack, Packer, Unpacker};
use spillring::event::EncodeError;
use spillring::{Config, Durable, Event, JsonLinesSink};

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
        Ok(serde_json::to_writer(out, self)?)
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.tool.capacity()
    }
}

/// Only for `start_durable`: with a `ring_dir` what was published outlives the process.
impl Pack for Decision {
    fn packed_words(&self) -> usize {
        1 + Packer::words_of(self.tool.len())
    }

    fn pack(&self, out: &mut Packer<'_>) {
        out.put_u64(u64::from(self.agent) << 1 | u64::from(self.allowed));
        out.put_bytes(self.tool.as_bytes());
    }
}

impl Durable for Decision {
    const FORMAT: u32 = 1;

    fn unpack(format: u32, from: &mut Unpacker<'_>) -> Option<Self> {
        if format != Self::FORMAT {
            return None;
        }
        let word = from.u64()?;
        Some(Self {
            agent: u16::try_from(word >> 1).ok()?,
            allowed: word & 1 == 1,
            tool: from.str()?.to_owned(),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("decisions.jsonl");
    let mut config = Config::new(dir.path().join("spill"));
    // A tmpfs in earnest: `/dev/shm`.
    config.ring_dir = Some(dir.path().join("ring"));
    let drainer = spillring::start_durable(config, JsonLinesSink::new(&output))?;

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
