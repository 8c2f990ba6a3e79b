//! Sends messages for a while if the server keeps refusing batches although each of them is sound.
//!
//! A server with broken fences (2.12.0), or a stream that renames the subject of cursors, refuses each batch as stale,
//! even right after the cursor was read. One client can use up all the batches that a stream may have open.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::SinkError;
use crate::host::log;
use crate::sink::Delivery;

/// How many refusals in a row count as persistent.
const REFUSALS_MAX: u32 = 5;
/// How long to send messages before trying batches again.
const LASTS: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Detour {
    refusals: u32,
    absurd: bool,
    until: Option<Instant>,
}

impl Detour {
    pub(super) fn is_taken(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// A batch was refused although it continued from the newest cursor.
    pub(super) fn refused_without_reason(&mut self) {
        self.absurd = true;
    }

    /// Notes the outcome of a batch.
    pub(super) fn note(&mut self, delivery: &Delivery, now: Instant) {
        let absurd = std::mem::take(&mut self.absurd);
        let crowded = match &delivery.stopped {
            Some(SinkError::Unknown(why) | SinkError::Unavailable(why)) => {
                CROWDED.iter().any(|code| why.contains(code))
            }
            _ => false,
        };
        if delivery.stored > 0 || delivery.stopped.is_none() {
            self.refusals = 0;
        } else if absurd || crowded {
            self.refusals += 1;
        }
        if self.refusals >= REFUSALS_MAX {
            self.refusals = 0;
            self.until = Some(now + LASTS);
            let why = delivery.stopped.as_ref().map(ToString::to_string);
            log::error!(
                why = why.unwrap_or_default(),
                seconds = LASTS.as_secs(),
                "the server refuses every batch with a cursor: entries go as messages for a while, at least once. Use servers \
                 from 2.12.1 on, leave the subjects of cursors alone, and look for a client that keeps many batches open"
            );
        }
    }
}

/// Too many batches are open, atomic or fast ones.
const CROWDED: [&str; 2] = ["error code 10210", "error code 10211"];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u64) -> Delivery {
        Delivery::stopped(
            0,
            SinkError::Unknown(format!("said (code 400, error code {code})")),
        )
    }

    #[test]
    fn what_is_refused_again_and_again_goes_as_messages_for_a_while() {
        let (mut detour, now) = (Detour::default(), Instant::now());
        for _ in 1..REFUSALS_MAX {
            detour.refused_without_reason();
            detour.note(&refused(10_071), now);
            // A late batch, which can happen: not persistent.
            detour.note(&refused(10_071), now);
        }
        assert!(!detour.is_taken(now));
        detour.note(&refused(10_210), now);
        assert!(detour.is_taken(now));
        assert!(!detour.is_taken(now + LASTS));
    }

    #[test]
    fn a_success_ends_the_row() {
        let (mut detour, now) = (Detour::default(), Instant::now());
        for _ in 0..3 {
            for _ in 1..REFUSALS_MAX {
                detour.note(&refused(10_211), now);
            }
            let some = Delivery {
                stored: 1,
                stopped: None,
            };
            detour.note(&some, now);
        }
        assert!(!detour.is_taken(now));
    }
}
