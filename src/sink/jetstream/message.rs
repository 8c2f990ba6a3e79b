//! A record as a message.

use async_nats::client::PublishError;
use async_nats::{Client, HeaderMap, HeaderValue};
use bytes::Bytes;

use crate::config::NatsConfig;
use crate::event::Record;

/// A message, ready to be published.
#[derive(Debug, Clone)]
pub(in crate::sink) struct Message {
    pub(in crate::sink) subject: String,
    pub(in crate::sink) headers: HeaderMap,
    pub(in crate::sink) payload: Bytes,
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
            headers.insert("Audit-Run", run.to_string());
        }
        Self {
            subject: format!("{}.{}", config.subject_prefix, record.subject()),
            headers,
            payload: record.bytes().clone(),
        }
    }

    /// Hands it to the client. Its answer, if one is wanted, goes to the subject `reply`.
    pub(in crate::sink) async fn publish(
        self,
        client: &Client,
        reply: Option<String>,
    ) -> Result<(), PublishError> {
        let (subject, headers, payload) = (self.subject, self.headers, self.payload);
        match reply {
            None => client.publish_with_headers(subject, headers, payload).await,
            Some(reply) => {
                let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
                sent.await
            }
        }
    }

    /// Checks that a server with this `max_payload` takes it with `more` bytes of added headers.
    pub(in crate::sink) fn check(&self, payload_max: usize, more: usize) -> Result<(), String> {
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

    /// Its size as the server counts it: version line, headers, empty line, payload.
    pub(super) fn wire_len(&self) -> usize {
        let fields = self.headers.iter().flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values
                .iter()
                .map(move |value| name.len() + ": \r\n".len() + value.as_str().len())
        });
        "NATS/1.0\r\n\r\n".len() + fields.sum::<usize>() + self.payload.len()
    }
}

/// A header that a server adds to a message that is read. It comes after those of the message.
pub(super) fn added<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).last().map(HeaderValue::as_str)
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
