//! Failures, in the terms that the drainer acts on.
//!
//! The errors of `JetStream` are distinguished by their `err_code`. The `code` next to it looks like HTTP's, but is
//! 400 for a full stream and 503 for a sealed one.

use std::error::Error;
use std::io;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::jetstream;
use async_nats::{ConnectError, ConnectErrorKind, ServerError, rustls};

use crate::error::SinkError;

/// The cursor is not the one that was expected.
pub(super) const STALE: u64 = 10_071;
/// The same, while another batch with that cursor is under way.
pub(super) const OVERTAKEN: u64 = 10_164;

/// An answer did not come.
#[derive(Debug)]
pub(in crate::sink) enum NoAnswer {
    /// The server denied the request: its message, and the remedy.
    Denied(String),
    /// No answer in time.
    Late,
    /// The connection has ended.
    Ended,
}

/// A record was not stored.
#[derive(Debug)]
pub(super) struct NotStored {
    pub(super) error: SinkError,
    pub(super) link: Link,
    pub(super) cause: Cause,
}

/// The cause of a failure, as far as the size of a batch depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The whole limit passed without an answer.
    Silence,
    /// The server refused some message of the batch.
    Content,
    /// The batch has more messages than the server takes.
    TooMany,
    Other,
}

/// The state of the connection after a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Everything that was sent has been answered.
    Sound,
    /// Something may still be under way, or the stream must be inspected again: a new connection is needed.
    Doubtful,
}

impl Link {
    pub(super) fn and(self, other: Self) -> Self {
        match self {
            Self::Sound => other,
            Self::Doubtful => Self::Doubtful,
        }
    }
}

impl NotStored {
    /// The same, if it is certain that nothing was stored.
    pub(super) fn unavailable(self) -> Self {
        Self {
            error: SinkError::Unavailable(self.error.to_string()),
            ..self
        }
    }

    /// The same, if something may have been stored.
    pub(super) fn unknown(self) -> Self {
        Self {
            error: SinkError::Unknown(self.error.to_string()),
            ..self
        }
    }
}

fn sound(error: SinkError) -> NotStored {
    NotStored {
        error,
        link: Link::Sound,
        cause: Cause::Other,
    }
}

fn doubtful(error: SinkError) -> NotStored {
    NotStored {
        error,
        link: Link::Doubtful,
        cause: Cause::Other,
    }
}

pub(super) fn rejected(why: String) -> NotStored {
    sound(SinkError::Rejected(why))
}

pub(super) fn misconfigured(why: String) -> NotStored {
    doubtful(SinkError::Misconfigured(why))
}

/// The connection ended.
pub(super) fn broken(why: &str) -> NotStored {
    doubtful(SinkError::Unknown(format!(
        "the connection to the NATS server broke: {why}"
    )))
}

/// The whole limit passed.
pub(super) fn silent() -> NotStored {
    let text = "the NATS server did not acknowledge within the time limit";
    NotStored {
        cause: Cause::Silence,
        ..doubtful(SinkError::Unknown(text.to_owned()))
    }
}

/// The stream or the server has no room for a cursor.
pub(super) fn no_cursor(why: &str) -> NotStored {
    sound(SinkError::Misconfigured(format!(
        "no room for a cursor: {why}"
    )))
}

/// No stream takes messages on the subject.
pub(super) fn no_stream() -> NotStored {
    doubtful(SinkError::Unavailable(
        "no stream took the entry: it is missing, has no leader, or JetStream is off".to_owned(),
    ))
}

/// A message that the client could not send.
pub(super) fn unsent(error: &PublishError) -> NotStored {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            rejected(format!("{error}: raise `max_payload` of the NATS servers"))
        }
        PublishErrorKind::InvalidSubject => rejected(error.to_string()),
        PublishErrorKind::Send => broken(&error.to_string()),
    }
}

/// An answer that did not arrive.
pub(super) fn unanswered(why: NoAnswer) -> NotStored {
    match why {
        NoAnswer::Denied(why) => misconfigured(why),
        NoAnswer::Late => silent(),
        NoAnswer::Ended => broken("no acknowledgement can come any more"),
    }
}

/// The sequence of the newest cursor, as a [stale](STALE) refusal names it; 0 if there is none.
pub(super) fn newest(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("wrong last sequence: ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The server answered a message with an error.
pub(super) fn of_answer(error: &jetstream::Error) -> NotStored {
    sound(of_server(error))
}

/// The server answered with an error.
pub(super) fn of_server(error: &jetstream::Error) -> SinkError {
    classified(error.error_code().0, &error.to_string())
}

fn classified(code: u64, said: &str) -> SinkError {
    let with = |hint: &str| format!("JetStream said: {said}{hint}");
    match code {
        10077 if said.contains("large") => SinkError::Rejected(with("")),
        10077 if said.contains("per subject") => {
            SinkError::Rejected(with(": raise the stream's `max_msgs_per_subject`"))
        }
        10077 if said.contains("maximum") => SinkError::Unavailable(with(
            ": the stream is full; raise its limits or let it discard old messages",
        )),
        10054 => SinkError::Rejected(with(": raise the stream's `max_msg_size`")),
        10097 => SinkError::Rejected(with("")),
        10002 => SinkError::Unavailable(with(
            ": the account is at its limits; raise them or remove data",
        )),
        10071 | 10164 | 10176 | 10199 | 10201 | 10208 => SinkError::Unknown(with("")),
        10109 => SinkError::Misconfigured(with(
            ": a sealed stream takes nothing more; name another one",
        )),
        10039 => SinkError::Misconfigured(with(": switch JetStream on for the account")),
        10065 => SinkError::Misconfigured(with(
            ": another stream claims the subjects; name that one, or change its subjects",
        )),
        10060 | 10174 | 10185 | 10205 => SinkError::Misconfigured(with("")),
        // The stream cannot be made as requested: bad request or configuration, too many replicas.
        10003 | 10025 | 10052 | 10074 => SinkError::Misconfigured(with(
            ": the server cannot make the stream with these settings",
        )),
        // Those known to be temporary, and all unknown ones: nothing is lost by trying again.
        _ => SinkError::Unavailable(with("")),
    }
}

/// A connect that failed.
pub(super) fn of_connect(error: &ConnectError) -> SinkError {
    let text = error.to_string();
    match error.kind() {
        ConnectErrorKind::Authentication => SinkError::Misconfigured(format!(
            "{text}: the credentials cannot be used; give a valid nkey seed or credentials file"
        )),
        ConnectErrorKind::AuthorizationViolation => SinkError::Misconfigured(format!(
            "{text}: the server does not let us in; give it the token, user or credentials that it knows"
        )),
        ConnectErrorKind::ServerParse => SinkError::Misconfigured(text),
        ConnectErrorKind::Tls => SinkError::Misconfigured(format!(
            "{text}: give certificates that can be read, in PEM"
        )),
        ConnectErrorKind::Io if refused_by_tls(error) => SinkError::Misconfigured(format!(
            "{text}: give the `ca` that signed the server's certificate, and the certificate that it asks for, and set \
             `tls.handshake` to \"first\" where the server has `handshake_first`, and only there"
        )),
        ConnectErrorKind::Io if refused_by_server(error) => SinkError::Misconfigured(format!(
            "{text}: the server does not let us in; renew the credentials"
        )),
        _ => SinkError::Disconnected(text),
    }
}

/// Whether the server has not sent INFO, as servers do first.
pub(super) fn is_silence(error: &ConnectError) -> bool {
    error.kind() == ConnectErrorKind::TimedOut || error.to_string().contains("expected INFO")
}

fn refused_by_tls(error: &ConnectError) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

/// Matches `user authentication expired`, but not `maximum connections exceeded`.
fn refused_by_server(error: &ConnectError) -> bool {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(ServerError::Other(said)) => {
            let said = said.to_lowercase();
            said.contains("auth") || said.contains("tls") || said.contains("account")
        }
        Some(_) | None => false,
    }
}

/// All servers failed. The settings are to blame only if they are for every server.
pub(super) fn of_all(failures: Vec<(String, SinkError)>) -> SinkError {
    let mut texts = Vec::with_capacity(failures.len());
    let mut settings = !failures.is_empty();
    for (server, why) in failures {
        let (SinkError::Disconnected(text)
        | SinkError::Unavailable(text)
        | SinkError::Rejected(text)
        | SinkError::Misconfigured(text)
        | SinkError::Unknown(text)) = &why;
        texts.push(format!("{server}: {text}"));
        settings &= matches!(why, SinkError::Misconfigured(_));
    }
    let text = format!("cannot connect to {}", texts.join("; "));
    if settings {
        SinkError::Misconfigured(text)
    } else {
        SinkError::Disconnected(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_and_for_10077_the_text() {
        let unavailable = &SinkError::Unavailable(String::new());
        let rejected = &SinkError::Rejected(String::new());
        let misconfigured = &SinkError::Misconfigured(String::new());
        let unknown = &SinkError::Unknown(String::new());
        let table = [
            (10077, "maximum messages exceeded", unavailable),
            (10077, "maximum bytes exceeded", unavailable),
            (10077, "message to large", rejected),
            (10077, "maximum messages per subject exceeded", rejected),
            (10077, "no space left on device", unavailable),
            (10002, "resource limits exceeded for account", unavailable),
            (10054, "message size exceeds maximum allowed", rejected),
            (
                10097,
                "header size exceeds maximum allowed of 64k",
                rejected,
            ),
            (
                10008,
                "JetStream system temporarily unavailable",
                unavailable,
            ),
            (10071, "wrong last sequence: 7", unknown),
            (10109, "invalid operation on sealed stream", misconfigured),
            (10060, "expected stream does not match", misconfigured),
            (99999, "something new", unavailable),
        ];
        for (code, said, expected) in table {
            let found = classified(code, said);
            assert_eq!(
                std::mem::discriminant(&found),
                std::mem::discriminant(expected),
                "{code} {said}: {found}"
            );
            assert!(found.to_string().contains(said), "{found}");
        }
    }

    #[test]
    fn one_server_that_may_come_back_is_worth_trying() {
        let down = || ("a".to_owned(), SinkError::Disconnected("down".to_owned()));
        let shut = || ("b".to_owned(), SinkError::Misconfigured("shut".to_owned()));
        let all = |failures| of_all(failures);
        assert!(matches!(
            all(vec![shut(), down()]),
            SinkError::Disconnected(_)
        ));
        assert!(matches!(
            all(vec![shut(), shut()]),
            SinkError::Misconfigured(_)
        ));
        let text = all(vec![shut(), down()]).to_string();
        assert!(
            text.contains("a: down") && text.contains("b: shut"),
            "{text}"
        );
    }
}
