//! The moments of a transaction, at which the connections ask what is to become of what they have in hand.

use std::time::Instant;

use super::frame::{Frame, Place};
use super::link::Link;
use super::state::Held;
use super::{ANSWER_MAX, Direction, Fault, Hold, Shared, Verdict};

/// A whole transaction that is held before the server.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: String,
    /// How many messages it has.
    length: u64,
    /// The last of them.
    last: Vec<u8>,
}

impl Kept {
    pub(super) fn until(last: &Frame) -> Self {
        Self {
            id: last.batch().unwrap_or_default().to_owned(),
            length: last.number().unwrap_or_default(),
            last: last.bytes.clone(),
        }
    }
}

impl Shared {
    /// Alters a frame to the servers, and lets the last message of what is held intrude where it would fit.
    pub(super) fn alter(&self, frame: &mut Frame) {
        let mut state = self.state.lock();
        let number = frame.number();
        state.tamper_to_server(frame);
        if !state.intruding {
            return;
        }
        let kept = state.held.as_mut().and_then(|held| {
            let fits = |kept: &mut Kept| Some(kept.length) == number;
            held.kept.take_if(fits)
        });
        if let Some(kept) = kept {
            frame.bytes.splice(..0, kept.last);
            state.intruding = false;
            self.changed.notify_all();
        }
    }

    /// Notes a frame to the server, and says what is to be held: nothing of a connection that its client has given up.
    pub(super) fn saw(&self, link: &Link, frame: &Frame, place: Place) -> Option<Hold> {
        let mut state = self.state.lock();
        if let Some(reply) = frame.reply().filter(|_| place.ends()) {
            state.unacknowledged.insert(link.number, reply.to_owned());
        }
        let is_newest = link.number == state.accepted;
        state.armed.filter(|_| is_newest && state.held.is_none())
    }

    /// Waits until it is said what becomes of what is in hand.
    pub(super) fn hold(&self, link: &Link, kept: Option<Kept>) -> Verdict {
        let mut state = self.state.lock();
        if state.held.is_some() {
            return Verdict::Pass;
        }
        state.armed = None;
        state.held = Some(Held {
            accepted: state.accepted,
            kept,
        });
        self.changed.notify_all();
        while state.verdict.is_none() && !state.ended {
            self.changed.wait(&mut state);
        }
        state.held = None;
        state.released = Some(link.number);
        self.changed.notify_all();
        state.verdict.take().unwrap_or(Verdict::Cut)
    }

    pub(super) fn while_stalled(&self, direction: Direction) {
        let mut state = self.state.lock();
        while state.fault == Some(Fault::Stalled(direction)) && !state.ended {
            self.changed.wait(&mut state);
        }
    }

    /// How many of so many bytes may still go to the servers.
    pub(super) fn budget(&self, bytes: usize) -> usize {
        let mut state = self.state.lock();
        if bytes >= state.bytes_left {
            return std::mem::replace(&mut state.bytes_left, usize::MAX);
        }
        if state.bytes_left != usize::MAX {
            state.bytes_left -= bytes;
        }
        bytes
    }

    /// Whether this is what the connection's transaction is waiting for.
    pub(super) fn answers(&self, link: &Link, frame: &Frame) -> bool {
        let state = self.state.lock();
        let awaited = state.unacknowledged.get(&link.number).map(String::as_str);
        awaited.is_some() && awaited == frame.subject()
    }

    pub(super) fn acknowledgement(&self, link: &Link) -> Verdict {
        let armed = self.state.lock().armed;
        let verdict = match armed {
            Some(Hold::Acknowledgement) => self.hold(link, None),
            _ => Verdict::Pass,
        };
        if self.state.lock().fault == Some(Fault::Swallowing) {
            return Verdict::Swallow;
        }
        verdict
    }

    pub(super) fn answered(&self, link: &Link, frame: &Frame, acknowledged: bool) {
        let mut state = self.state.lock();
        state.unacknowledged.remove(&link.number);
        // While something is held, what was sent before it counts for nothing.
        let is_later = |held: &Held| link.number > held.accepted;
        let counts = acknowledged && state.held.as_ref().is_none_or(is_later);
        state.acknowledged += u64::from(counts);
        if state.released == Some(link.number) {
            state.answer = Some(frame.body().trim_end().to_owned());
        }
        self.changed.notify_all();
    }

    pub(super) fn until_answered(&self, link: &Link) {
        let mut state = self.state.lock();
        let until = Instant::now() + ANSWER_MAX;
        while state.unacknowledged.contains_key(&link.number) && !state.ended {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}
