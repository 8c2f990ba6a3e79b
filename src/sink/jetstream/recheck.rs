//! Inspects a stream again after it refused an entry.

use tokio::time::Instant;

use super::message::{Limits, Message};
use super::{Connected, JetStreamSink, Settings};
use crate::error::SinkError;
use crate::event::Record;

impl JetStreamSink {
    /// Checks, before an entry becomes a dead letter, whether the stream would take it by now. If so, returns the
    /// error to report instead.
    pub(super) async fn recheck(
        &mut self,
        to: &mut Connected,
        refused: Option<&Record>,
        why: &str,
        until: Instant,
    ) -> Option<SinkError> {
        let payload_max = to.wire.connection.payload_max();
        let message = refused.map(|record| Message::new(&self.config, record));
        let (wire, known) = (&mut to.wire, &self.discovered);
        let renewed = wire.renew_for(message.as_ref(), &self.config, known, until);
        if let Err(error) = renewed.await {
            return Some(error);
        }
        let found = match self.find(&mut to.wire, until).await {
            Ok(found) => found,
            Err(error) => return Some(error),
        };
        to.settings = Settings::Fresh;
        let limits = Limits::of(&found, &to.wire.connection);
        let fits = message.is_some_and(|it| it.check(&limits, 0).is_ok());
        let changed = !found.takes_as(&to.found) || limits.payload_max > payload_max;
        to.found = found;
        (changed && fits).then(|| {
            SinkError::Unavailable(format!("the settings of the stream have changed: {why}"))
        })
    }
}
