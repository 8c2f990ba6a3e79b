//! SIGINT and SIGTERM: the first one asks for an end, the second one is not caught.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::telling::Problem;

/// Whether an end was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
}

impl Signals {
    pub(crate) fn catch() -> Result<Self, Problem> {
        let asked = Arc::new(AtomicBool::new(false));
        catch(&asked).map_err(|error| {
            Problem::new(format_args!("SIGINT and SIGTERM cannot be caught: {error}"))
        })?;
        Ok(Self { asked })
    }

    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The order matters: the one that ends the process must find the flag as the signal before has left it.
fn catch(asked: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(asked))?;
        flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}
