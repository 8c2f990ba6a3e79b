//! A record as a message.

use async_nats::HeaderMap;
use bytes::Bytes;

use super::connection::Connection;
use super::cursor::Account;
use super::stream::{Found, covers};
use crate::config::NatsConfig;
use crate::event::Record;

/// The header on the first record of a run.
const RUN: &str = "Audit-Run";

/// A message, ready to be published.
#[derive(Debug, Clone)]
pub(in crate::sink) struct Message {
    pub(in crate::sink) subject: String,
    pub(in crate::sink) headers: HeaderMap,
    pub(in crate::sink) payload: Bytes,
}

/// The limits of a stream and its server.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    pub(super) found: &'a Found,
    /// The largest payload, headers included, that the server takes.
    pub(super) payload_max: usize,
}

impl<'a> Limits<'a> {
    pub(super) fn of(found: &'a Found, connection: &Connection) -> Self {
        Self {
            found,
            payload_max: connection.payload_max(),
        }
    }
}

impl Message {
    /// The message of a record.
    pub(in crate::sink) fn new(config: &NatsConfig, record: &Record) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("Audit-Id", record.id().to_string());
        if record.lost_before() > 0 {
            headers.insert("Audit-Lost", record.lost_before().to_string());
        }
        if let Some(old) = record.requeued_from() {
            headers.insert("Audit-Requeued", old.to_string());
        }
        if let Some(run) = record.opens_run() {
            headers.insert(RUN, run.to_string());
        }
        Self {
            subject: format!("{}.{}", config.subject_prefix, record.subject()),
            headers,
            payload: record.bytes().clone(),
        }
    }

    /// Adds, at the beginning of a run, the cursor that the publisher had reached in the stream before.
    pub(super) fn after(mut self, account: Option<Account>) -> Self {
        if let Some(account) = account
            && self.headers.get(RUN).is_some()
        {
            self.headers.insert("Audit-After", account.to_string());
        }
        self
    }

    /// Checks that the stream will take it with this many more bytes of headers.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn check(&self, limits: &Limits<'_>, more: usize) -> Result<(), String> {
        self.check_alone(limits.payload_max, more)?;
        let theirs = &limits.found.subjects;
        if !theirs.iter().any(|pattern| covers(pattern, &self.subject)) {
            return Err(format!(
                "the stream takes the subjects [{}], not {}: add it to them",
                theirs.join(", "),
                self.subject
            ));
        }
        let size = self.wire_len() + more;
        match limits.found.message_max.filter(|max| size > *max) {
            Some(max) => Err(format!(
                "it has {size} bytes with its headers, the stream takes {max}: raise its `max_msg_size`"
            )),
            None => Ok(()),
        }
    }

    /// The same check for a server, whatever its streams.
    pub(in crate::sink) fn check_alone(
        &self,
        payload_max: usize,
        more: usize,
    ) -> Result<(), String> {
        let subject = &self.subject;
        if !can_be_published(subject) {
            return Err(format!("{subject:?} is not a subject to publish on"));
        }
        let size = self.wire_len() + more;
        if size > payload_max {
            return Err(format!(
                "it has {size} bytes with its headers, the NATS server takes {payload_max}: raise its `max_payload`"
            ));
        }
        Ok(())
    }

    fn wire_len(&self) -> usize {
        wire_len(&self.headers) + self.payload.len()
    }
}

/// The bytes of the headers on the wire, as the server counts them: version line, fields, empty line.
fn wire_len(headers: &HeaderMap) -> usize {
    let fields = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(move |value| name.len() + ": \r\n".len() + value.as_str().len())
    });
    "NATS/1.0\r\n\r\n".len() + fields.sum::<usize>()
}

/// Whether a message can be published on the subject: the server would take a wildcard for a word, and close the
/// connection over a space.
fn can_be_published(subject: &str) -> bool {
    subject.split('.').all(|token| {
        !token.is_empty()
            && !["*", ">"].contains(&token)
            && !token.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::can_be_published;

    #[test]
    fn only_plain_subjects_can_be_published() {
        for good in ["a", "a.b", "a.b-c_D.0", "a.*b"] {
            assert!(can_be_published(good), "{good}");
        }
        for bad in [
            "",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a.*",
            "a.>",
            "a\r\nPUB x",
            "a.\t",
        ] {
            assert!(!can_be_published(bad), "{bad:?}");
        }
    }
}
