//! What a record looks like on the wire.

use async_nats::HeaderMap;

use crate::event::Record;

/// The message of one record.
pub(super) fn headers(record: &Record) -> HeaderMap {
    let id = record.id().to_string();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.as_str());
    headers.insert("Audit-Id", id.as_str());
    if record.lost_before() > 0 {
        headers.insert("Audit-Lost", record.lost_before().to_string());
    }
    if let Some(run) = record.opens_run() {
        headers.insert("Audit-Run", run.to_string());
    }
    headers
}

/// The bytes that headers take on the wire, as the server counts them: version line, fields, empty line.
pub(super) fn wire_len(headers: &HeaderMap) -> usize {
    let fields = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(move |value| name.len() + ": \r\n".len() + value.as_str().len())
    });
    "NATS/1.0\r\n\r\n".len() + fields.sum::<usize>()
}

/// Whether a message can be published on the subject: the server would take a wildcard for a word, and end the
/// connection over a space.
pub(super) fn can_be_published(subject: &str) -> bool {
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
