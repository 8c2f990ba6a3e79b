//! Logs and counts changes at the servers, once each.

use std::time::Duration;

use metrics::counter;
use tokio::time::Instant;

use super::failure::Link;
use super::inspect::Found;
use crate::host::{self, log};

#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The server that was last logged.
    server: String,
    /// The last warning about the stream.
    weaknesses: String,
    /// Since when separate messages have been in doubt.
    doubtful_since: Option<Instant>,
}

impl Reports {
    pub(super) fn weaknesses(&mut self, stream: &str, found: &Found) {
        let warning = found.weaknesses.join("; ");
        if self.weaknesses != warning && !warning.is_empty() {
            host::call(|| counter!("aa_audit_stream_changes_total", "kind" => "weak").increment(1));
            log::warning!(
                stream,
                "the stream's settings weaken delivery guarantees: {warning}"
            );
        }
        self.weaknesses = warning;
    }

    /// This server has the stream. (Outages and their ends are logged by the drainer.)
    pub(super) fn reached(&mut self, stream: &str, server: &str) {
        if self.server != server {
            log::info!(server, stream, "NATS takes entries");
            server.clone_into(&mut self.server);
        }
    }

    /// Notes whether separate messages are in doubt.
    pub(super) fn doubt(&mut self, link: Link) {
        self.doubtful_since = match link {
            Link::Sound => None,
            Link::Doubtful => self.doubtful_since.or_else(|| Some(Instant::now())),
        };
    }

    /// Entries in doubt for longer than the stream's duplicate window may be stored twice.
    pub(super) fn late(&mut self, duplicate_window: Duration) {
        let late = |since: &Instant| since.elapsed() > duplicate_window;
        if self.doubtful_since.take_if(|since| late(since)).is_some() {
            host::call(|| counter!("aa_audit_late_resends_total").increment(1));
            log::warning!(
                "entries in doubt are sent again after the stream's duplicate window: some may be stored twice, under the same ids"
            );
        }
    }
}
