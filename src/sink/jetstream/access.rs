//! The way to the stream: connects, inspects, and does both again where something may have changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::inspect::Found;
use super::message::Message;
use super::stream::{self, ReadPermission};
use super::wire::Wire;
use crate::config::{NatsConfig, NatsUrl};
use crate::error::SinkError;
use crate::event::Record;

/// A connection is renewed only from this age on.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Access {
    pub(super) config: Arc<NatsConfig>,
    /// Servers that earlier ones have announced.
    discovered: Vec<NatsUrl>,
    /// Whether the user may read entries, which recovery of fast batches needs.
    reading: ReadPermission,
}

/// A connection, and what is known of its stream.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) wire: Wire,
    pub(super) found: Found,
    /// Whether the stream may have changed since it was inspected.
    pub(super) freshness: Freshness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    Used,
    /// Something failed, perhaps because of settings.
    Doubtful,
}

impl Access {
    pub(super) fn new(config: NatsConfig) -> Self {
        Self {
            config: Arc::new(config),
            discovered: Vec::new(),
            reading: ReadPermission::default(),
        }
    }

    /// Connects if needed, and inspects the stream.
    pub(super) async fn open(
        &mut self,
        wire: Option<Wire>,
        until: Instant,
    ) -> Result<Connected, SinkError> {
        let mut wire = match wire {
            Some(wire) => wire,
            None => Wire::open(&self.config, &self.discovered, until).await?,
        };
        self.discovered = wire.connection.discovered(self.config.discovered_servers);
        let found = self.find(&mut wire, until).await?;
        Ok(Connected {
            wire,
            found,
            freshness: Freshness::Fresh,
        })
    }

    /// Inspects the stream, with this user's permissions.
    async fn find(&mut self, wire: &mut Wire, until: Instant) -> Result<Found, SinkError> {
        let found = stream::make_sure(wire, &mut self.reading, until).await?;
        if !wire.connection.is_usable() {
            // The server has denied something that may not be needed.
            *wire = Wire::open(&self.config, &self.discovered, until).await?;
        }
        Ok(found)
    }

    /// Checks, before an entry becomes a dead letter, whether the stream would take it by now. If so, returns the
    /// error to report instead.
    pub(super) async fn recheck(
        &mut self,
        to: &mut Connected,
        refused: Option<&Record>,
        why: &str,
        until: Instant,
    ) -> Result<(), SinkError> {
        let payload_max = to.wire.connection.payload_max();
        let message = refused.map(|record| Message::new(&self.config, record));
        let too_large = |it: &Message| it.check(payload_max, 0).is_err();
        // A server announces a larger `max_payload` only to new connections. Nothing is under way.
        if message.as_ref().is_some_and(too_large) && to.wire.connection.age() >= RENEW_EVERY {
            to.wire = Wire::open(&self.config, &self.discovered, until).await?;
        }
        let found = self.find(&mut to.wire, until).await?;
        to.freshness = Freshness::Fresh;
        let now_max = to.wire.connection.payload_max();
        let fits = message.is_some_and(|it| found.takes(&it, now_max, 0).is_ok());
        let changed = !found.takes_as(&to.found) || now_max > payload_max;
        to.found = found;
        if changed && fits {
            let why = format!("the settings of the stream have changed: {why}");
            return Err(SinkError::Unavailable(why));
        }
        Ok(())
    }
}
