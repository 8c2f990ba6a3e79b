//! Stores a batch message by message, for streams that take no batches with a cursor. Sends ahead of the
//! acknowledgements, and takes them in order.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::failure::{self, Link, NotStored};
use super::inspect::Found;
use super::message::Message;
use super::wire::{Answer, Wire};
use crate::event::{Batch, Record};
use crate::sink::Delivery;

/// Stores a prefix of the batch, and returns whether the connection is good for the next one.
pub(super) async fn deliver(
    wire: &mut Wire,
    found: &Found,
    batch: &Batch,
    until: Instant,
) -> (Delivery, Link) {
    wire.skip_answers();
    let mut window = Window {
        wire,
        found,
        until,
        settled: 0,
        under_way: VecDeque::new(),
    };
    let mut unsent = batch.records().iter();
    let mut stored = 0;
    let stopped = loop {
        let refused = window.fill(&mut unsent).await.err();
        match window.oldest().await {
            Some(Ok(())) => stored += 1,
            Some(Err(failure)) => break Some(failure),
            None => break refused,
        }
        // A message that could not be sent ends the batch, once all before it are settled: nothing is sent after it.
        if let Some(refused) = refused {
            break Some(window.drain(&mut stored).await.unwrap_or(refused));
        }
    };
    match stopped {
        None => (Delivery::all(batch), Link::Sound),
        Some(failure) => {
            let link = failure.link.and(window.settle().await);
            (Delivery::stopped(stored, failure.error), link)
        }
    }
}

struct Window<'a> {
    wire: &'a mut Wire,
    found: &'a Found,
    until: Instant,
    /// How many messages are settled. Their numbers are their tokens.
    settled: usize,
    /// Later messages, with their answers: with several servers answers overtake one another.
    under_way: VecDeque<Option<Answer>>,
}

impl Window<'_> {
    /// Sends until the window is full, nothing is left, or one cannot be sent.
    async fn fill<'a>(
        &mut self,
        unsent: &mut impl Iterator<Item = &'a Record>,
    ) -> Result<(), NotStored> {
        while self.under_way.len() < self.found.in_flight_max() {
            let Some(record) = unsent.next() else {
                break;
            };
            self.send(record).await?;
        }
        Ok(())
    }

    async fn send(&mut self, record: &Record) -> Result<(), NotStored> {
        let mut message = Message::new(&self.wire.config, record);
        message
            .headers
            .insert("Nats-Msg-Id", record.id().to_string());
        let payload_max = self.wire.connection.payload_max();
        let fits = self.found.takes(&message, payload_max, 0);
        fits.map_err(failure::rejected)?;
        let token = (self.settled + self.under_way.len()).to_string();
        self.wire.send(message, Some(&token), self.until).await?;
        self.under_way.push_back(None);
        Ok(())
    }

    /// The outcome of the oldest message under way; `None` if there is none.
    async fn oldest(&mut self) -> Option<Result<(), NotStored>> {
        let outcome = loop {
            if let Some(answer) = self.under_way.front()? {
                break self.check(answer);
            }
            let answer = match self.wire.answer(self.until).await {
                Ok(answer) => answer,
                Err(why) => break Err(failure::unanswered(why)),
            };
            let number = answer.token.parse::<usize>().ok();
            let place = number.and_then(|number| number.checked_sub(self.settled));
            if let Some(waiting) = place.and_then(|place| self.under_way.get_mut(place)) {
                *waiting = Some(answer);
            }
        };
        self.under_way.pop_front();
        self.settled += 1;
        Some(outcome)
    }

    fn check(&self, answer: &Answer) -> Result<(), NotStored> {
        let ack = answer.ack()?.unwrap_or_default();
        if let Some(error) = &ack.error {
            return Err(failure::of_answer(error));
        }
        self.found.took(&ack, &self.wire.config)
    }

    /// Takes all acknowledgements, up to the first that failed.
    async fn drain(&mut self, stored: &mut usize) -> Option<NotStored> {
        while let Some(outcome) = self.oldest().await {
            match outcome {
                Ok(()) => *stored += 1,
                Err(failure) => return Some(failure),
            }
        }
        None
    }

    /// Waits until nothing is under way, or returns that something may be.
    async fn settle(&mut self) -> Link {
        let mut link = Link::Sound;
        while let Some(outcome) = self.oldest().await {
            link = link.and(outcome.map_or_else(|failure| failure.link, |()| Link::Sound));
        }
        link
    }
}
