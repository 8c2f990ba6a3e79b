//! Batches with a cursor: reads the cursor, chooses how to send the next batch, and remembers what works.

use tokio::time::Instant;
use uuid::Uuid;

use super::cursor::Tip;
use super::detour::Detour;
use super::failure::Link;
use super::fast::{Fast, KNOWN_MAX, Sent};
use super::inspect::{Found, Mode};
use super::last_known::{LastKnown, Whose};
use super::rates::{Kind, Rates};
use super::read;
use super::recovery::{Progress, Recovery};
use super::sending::Sending;
use super::size::{ATOMIC_MAX, FAST_MAX, Size};
use super::suspect::Suspect;
use super::transaction::Transactions;
use super::wire::Wire;
use crate::error::SinkError;
use crate::event::{Batch, Position, PublisherId, RunId};
use crate::sink::Delivery;

/// The run of a position that another process has written.
const STRANGER: RunId = RunId(Uuid::nil());

#[derive(Debug)]
pub(super) struct Batches {
    /// The publisher served last, and its cursor; `None` after a doubt.
    tip: Option<(PublisherId, Tip)>,
    last_known: LastKnown,
    atomic_size: Size,
    fast_size: Size,
    detour: Detour,
    /// The last entry that was stored alone.
    alone: Option<Position>,
    rates: Rates,
    /// A fast batch that recovery has ended, and until when a replica may remember it.
    ended: Option<(Uuid, Instant)>,
    /// How far recovery has read.
    progress: Option<Progress>,
    /// What was sent of the last fast batch.
    sent: Sent,
    /// Whether it is unknown what is stored of the last batch.
    doubt: bool,
}

impl Batches {
    pub(super) fn new() -> Self {
        Self {
            tip: None,
            last_known: LastKnown::default(),
            atomic_size: Size::new(ATOMIC_MAX),
            fast_size: Size::new(FAST_MAX),
            detour: Detour::default(),
            alone: None,
            rates: Rates::default(),
            ended: None,
            progress: None,
            sent: Sent::default(),
            doubt: false,
        }
    }

    /// Whether it is unknown what is stored of the last batch. The cursor must then be read, even if messages go next.
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt
    }

    /// The cursor of a publisher, if known.
    pub(super) fn known(&self, of: PublisherId) -> Option<Position> {
        let known = self.tip.as_ref();
        let (_, tip) = known.filter(|(publisher, _)| *publisher == of)?;
        tip.position()
    }

    /// Whether to send batches now. If they keep being refused, messages are sent for a while.
    pub(super) fn go(&self, found: &Found) -> bool {
        found.mode != Mode::Messages && !self.detour.is_taken(Instant::now())
    }

    /// An entry was stored without a cursor.
    pub(super) fn stored_alone(&mut self, id: Position) {
        self.alone = Some(id);
    }

    /// The stream was inspected.
    pub(super) fn meet(&mut self, found: &Found) {
        let expires = found.settings.max_age > 0;
        let (created, last_sequence) = (&found.created, found.last_sequence);
        if !self.last_known.meet(created, last_sequence, expires) {
            self.tip = None;
        }
    }

    /// Reads the cursor of a publisher.
    pub(super) async fn read_cursor(
        &mut self,
        wire: &mut Wire,
        found: &Found,
        of: PublisherId,
        until: Instant,
    ) -> Result<Option<Position>, SinkError> {
        self.tip = None;
        let tip = read::newest(wire, found, of, until).await?;
        if let Some(newer) = self.last_known.newer(of, &tip)
            && found.is_fast()
            && read::is_there(wire, newer, until).await?
        {
            return Err(SinkError::Unavailable(format!(
                "message {} is the newest cursor, but the server does not find it by its subject: see its log, or let another \
                 server lead the stream",
                newer.sequence
            )));
        }
        match self.last_known.read(of, &tip) {
            Whose::Old => Err(SinkError::Unavailable(
                "the server that was asked for the cursor lags behind the others".to_owned(),
            )),
            Whose::Ours => {
                let tip = self.recover(wire, of, tip, until).await?;
                self.doubt = false;
                let position = tip.position();
                self.tip = Some((of, tip));
                Ok(position)
            }
            Whose::Anothers => Ok(tip.position().map(|at| Position::new(STRANGER, at.n))),
        }
    }

    /// Makes the cursor exact, if a fast batch was left half-way.
    async fn recover(
        &mut self,
        wire: &mut Wire,
        publisher: PublisherId,
        tip: Tip,
        until: Instant,
    ) -> Result<Tip, SinkError> {
        let open = tip.cursor.as_ref().filter(|cursor| cursor.is_open());
        let Some(batch) = open.map(|cursor| cursor.batch) else {
            return Ok(tip);
        };
        let mut recovery = Recovery {
            wire,
            publisher,
            progress: &mut self.progress,
            until,
        };
        let mut tip = recovery.close(tip).await?;
        let ours = batch == Some(self.sent.batch);
        if ours && self.sent.leaves.starts_with(&tip.leaves) {
            tip.recovered = 0;
        } else if ours || tip.leaves.len() > FAST_MAX {
            return Err(SinkError::Misconfigured(format!(
                "messages before sequence {} continue a batch of this publisher, which has not sent them: somebody else writes \
                 on its subjects; find out who, and delete these messages",
                tip.sequence
            )));
        }
        self.last_known.recovered(publisher, &tip);
        self.ended = batch.map(|id| (id, Instant::now() + KNOWN_MAX));
        Ok(tip)
    }

    /// Stores a prefix of the batch.
    pub(super) async fn store(
        &mut self,
        wire: &mut Wire,
        found: &Found,
        suspect: &mut Option<Suspect>,
        batch: &Batch,
        until: Instant,
    ) -> (Delivery, Link) {
        let publisher = batch.publisher();
        let entries = batch.records().len();
        let kind = self.kind(found, entries);
        // Taken out: a call that is dropped half-way leaves a doubt.
        let Some((_, tip)) = self.tip.take().filter(|(of, _)| *of == publisher) else {
            self.doubt = true;
            let why = "the cursor must be read first".to_owned();
            return (Delivery::stopped(0, SinkError::Unknown(why)), Link::Sound);
        };
        let started = Instant::now();
        let mut sending = Sending {
            wire,
            found,
            batch,
            size: match kind {
                Kind::Atomic => &mut self.atomic_size,
                Kind::Fast => &mut self.fast_size,
            },
            last_known: &mut self.last_known,
            detour: &mut self.detour,
            until,
            tip,
            alone: self.alone,
            stored: 0,
            doubt: false,
        };
        let to = &mut sending;
        let outcome = match kind {
            Kind::Atomic => Transactions(to).store().await,
            Kind::Fast => {
                let (ended, sent) = (&mut self.ended, &mut self.sent);
                let mut fast = Fast {
                    to,
                    suspect,
                    ended,
                    sent,
                };
                fast.store().await
            }
        };
        let Sending {
            tip, stored, doubt, ..
        } = sending;
        if doubt {
            self.doubt = true;
        } else {
            self.tip = Some((publisher, tip));
        }
        let link = outcome
            .as_ref()
            .map_or_else(|failure| failure.link, |()| Link::Sound);
        let stopped = outcome.err().map(|failure| failure.error);
        match &stopped {
            _ if entries == 0 => {}
            None => self.rates.note(kind, entries, started.elapsed()),
            Some(SinkError::Rejected(_)) => {}
            Some(_) => self.rates.failed(kind, entries),
        }
        let delivery = Delivery { stored, stopped };
        self.detour.note(&delivery, Instant::now());
        (delivery, link)
    }

    fn kind(&mut self, found: &Found, entries: usize) -> Kind {
        match found.mode {
            // A cursor alone is a message like any other.
            _ if entries == 0 => Kind::Atomic,
            Mode::Measured => self.rates.choose(entries),
            Mode::Fast => Kind::Fast,
            Mode::Atomic | Mode::Messages => Kind::Atomic,
        }
    }
}
