//! The state of the sink: doubt, rests, trouble, and the record that it rejects.

use std::time::{Duration, Instant};

use super::rests::Rests;
use crate::config::Config;
use crate::error::SinkError;
use crate::event::{Key, Position, RunId};
use crate::host::log;
use crate::policy::{Availability, Due};
use crate::sink_worker::SinkWorker;
use crate::spill::SinkMayHave;

/// The longest wait between two attempts to reach a sink, or to ask it after a doubt.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct SinkSide {
    pub(super) worker: SinkWorker,
    /// It is being asked for its position, or to sign again. The pipeline knows about deliveries under way.
    pub(super) asked: bool,
    /// It must be asked what it has stored.
    pub(super) question: Due,
    pub(super) rests: Rests,
    /// Its last error, until it works again.
    pub(super) trouble: Option<SinkError>,
    /// A record that the sink will never take, and the reason.
    pub(super) rejected: Option<(Key, String)>,
    /// The sink's position, if it is not ours: another publisher id must be taken.
    pub(super) stranger: Option<Position>,
    /// The run of the newest batch that was sent.
    pub(super) sent: Option<RunId>,
    /// It reported entries whose acknowledgement was lost: their checkpoint may be lost too.
    pub(super) signature: Due,
    /// What the sink may have without an acknowledgement.
    pub(super) may_have: SinkMayHave,
    /// Its thread has ended.
    gone: bool,
    misconfigured_pause: Duration,
}

impl SinkSide {
    /// `may_have` is the part of the backlog that an earlier run may have sent.
    pub(super) fn new(config: &Config, worker: SinkWorker, may_have: SinkMayHave) -> Self {
        Self {
            worker,
            asked: false,
            question: Due::Now,
            rests: Rests::new(config),
            trouble: None,
            rejected: None,
            stranger: None,
            sent: None,
            signature: Due::No,
            may_have,
            gone: false,
            misconfigured_pause: config.backoff_max,
        }
    }

    pub(super) fn availability(&self, in_flight: bool) -> Availability {
        if self.gone {
            Availability::Gone
        } else if in_flight || self.asked {
            Availability::Busy
        } else {
            self.rests.availability(false)
        }
    }

    /// The sink has answered its position, so it can be reached. Other trouble ends only with a delivery: the answer
    /// may be all that this sink can do.
    pub(super) fn became_known(&mut self) {
        self.question = Due::No;
        if matches!(self.trouble, Some(SinkError::Disconnected(_))) {
            self.works();
        }
        self.may_have = SinkMayHave::Nothing;
        self.rests.wake();
    }

    pub(super) fn is_up(&self) -> bool {
        self.question == Due::No && self.trouble.is_none()
    }

    pub(super) fn works(&mut self) {
        self.rests.works();
        if self.trouble.take().is_some() {
            log::info!("the sink works again");
        }
    }

    pub(super) fn failed(&mut self, error: SinkError, now: Instant) {
        if matches!(self.trouble, Some(SinkError::Disconnected(_)))
            && !matches!(error, SinkError::Disconnected(_))
        {
            // It was reached: its present error is another matter.
            self.rests.reset();
        }
        match error {
            SinkError::Misconfigured(_) => self.rests.pause(self.misconfigured_pause, now),
            SinkError::Disconnected(_) | SinkError::Unknown(_) => {
                self.rests.failed(RECONNECT_MAX, now);
            }
            SinkError::Unavailable(_) | SinkError::Rejected(_) => {
                self.rests.failed(Duration::MAX, now);
            }
        }
        if matches!(error, SinkError::Unknown(_)) {
            self.question = Due::Now;
        }
        self.suffer(error);
    }

    /// The sink's thread has ended for good. Returns whether that is new.
    pub(super) fn thread_ended(&mut self) -> bool {
        self.asked = false;
        let new = !self.gone;
        self.gone = true;
        if new {
            log::error!("the sink's thread has ended: delivery stops until a restart");
            let why = "the sink's thread has ended";
            self.trouble = Some(SinkError::Unavailable(why.to_owned()));
        }
        new
    }

    fn suffer(&mut self, error: SinkError) {
        if self.trouble.as_ref() != Some(&error) {
            log::warning!(%error, "delivery paused");
            self.trouble = Some(error);
        }
    }
}
