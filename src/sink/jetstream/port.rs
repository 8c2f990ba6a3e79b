//! Probes a port that does not send INFO as a NATS server would, so that the error can name what it is.

use std::time::Duration;

use async_nats::ServerAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::SinkError;

/// The time limit of a probe.
pub(super) const PROBE_MAX: Duration = Duration::from_millis(500);
/// How many bytes of an answer are read.
const ANSWER_MAX: usize = 512;
/// A websocket port agrees to this request; an HTTP port answers something else.
const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: nats\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c3BpbGxyaW5nIHByb2JlIQ==\r\n\r\n";
/// An empty `ClientHello`, which a TLS port answers with an alert.
const HELLO: &[u8] = &[22, 3, 1, 0, 4, 1, 0, 0, 0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Websocket,
    Http,
    Https,
    Tls,
}

/// The error for a port that does not send INFO.
pub(super) async fn explain(address: &ServerAddr, text: &str) -> SinkError {
    let found = timeout(PROBE_MAX, probe(address)).await;
    let Some(port) = found.ok().flatten() else {
        return SinkError::Disconnected(format!("{text}; is it the port for clients?"));
    };
    let client_port = "give the port for clients, 4222 by default";
    let (is, instead) = match port {
        Port::Websocket => ("a port for websockets", client_port),
        Port::Http => (
            "a port for HTTP, such as the one for monitoring",
            client_port,
        ),
        Port::Https => (
            "a port for HTTPS, such as one for monitoring or websockets",
            client_port,
        ),
        Port::Tls => (
            "a port for TLS only",
            "set `tls.handshake` to \"first\", as for a server with `handshake_first`",
        ),
    };
    SinkError::Misconfigured(format!("{text}; it is {is}: {instead}"))
}

async fn probe(address: &ServerAddr) -> Option<Port> {
    let said = ask(address, UPGRADE).await?;
    if said.is_empty() {
        // A TLS port may hang up without an answer.
        return Port::of(&ask(address, HELLO).await?);
    }
    Port::of(&said)
}

/// The beginning of the port's answer; empty if it hangs up.
async fn ask(address: &ServerAddr, what: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect((address.host(), address.port()))
        .await
        .ok()?;
    stream.write_all(what).await.ok()?;
    let mut answer = vec![0; ANSWER_MAX];
    let length = stream.read(&mut answer).await.unwrap_or(0);
    answer.truncate(length);
    Some(answer)
}

impl Port {
    fn of(answer: &[u8]) -> Option<Self> {
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        if let [ALERT | HANDSHAKE, 3, ..] = answer {
            return Some(Self::Tls);
        }
        let answer = String::from_utf8_lossy(answer);
        let status = answer.strip_prefix("HTTP/")?.split(' ').nth(1)?;
        Some(match status {
            "101" => Self::Websocket,
            // The answers of Go servers and nginx.
            _ if answer.contains("HTTPS") => Self::Https,
            _ => Self::Http,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_known_by_its_answer() {
        let table: [(&[u8], Option<Port>); 7] = [
            (b"HTTP/1.1 101 Switching Protocols\r\n", Some(Port::Websocket)),
            (b"HTTP/1.1 200 OK\r\n", Some(Port::Http)),
            (
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
                Some(Port::Https),
            ),
            (&[21, 3, 1, 0, 2, 2, 50], Some(Port::Tls)),
            (b"INFO {}\r\n", None),
            (b"SSH-2.0-x\r\n", None),
            (b"", None),
        ];
        for (answer, port) in table {
            assert_eq!(Port::of(answer), port, "{answer:?}");
        }
    }
}
