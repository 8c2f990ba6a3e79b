//! The frames of NATS's protocol: a line, and for a message as many bytes behind it as its last word says.

use std::io::{self, BufRead, Read};

/// One frame, or what came of it before the connection ended.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// Where the line ends.
    line: usize,
}

/// Where a message stands in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Outside,
    First,
    Middle,
    Commit,
}

impl Frame {
    /// The next frame; `None` at the end of the connection.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let line = from.read_until(b'\n', &mut bytes)?;
        if line == 0 {
            return Ok(None);
        }
        let mut frame = Self { bytes, line };
        if let Some(length) = frame.length() {
            from.take(length).read_to_end(&mut frame.bytes)?;
        }
        Ok(Some(frame))
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let line = str::from_utf8(&self.bytes[..self.line]);
        line.unwrap_or_default().split_ascii_whitespace()
    }

    /// The bytes behind the line, if it is a message's.
    fn length(&self) -> Option<u64> {
        let verb = self.words().next()?;
        if !["PUB", "HPUB", "MSG", "HMSG"].contains(&verb) {
            return None;
        }
        let length: u64 = self.words().last()?.parse().ok()?;
        Some(length + "\r\n".len() as u64)
    }

    /// The subject of a message.
    pub(super) fn subject(&self) -> Option<&str> {
        self.length().and_then(|_| self.words().nth(1))
    }

    /// Where a message of the client wants its answer.
    pub(super) fn reply(&self) -> Option<&str> {
        let words: Vec<&str> = self.words().collect();
        match words[..] {
            ["PUB", _, reply, _] | ["HPUB", _, reply, _, _] => Some(reply),
            _ => None,
        }
    }

    fn headers(&self) -> &str {
        let words: Vec<&str> = self.words().collect();
        let length = match words[..] {
            ["HPUB", .., length, _] => length.parse().unwrap_or_default(),
            _ => 0,
        };
        let headers = &self.bytes[self.line..];
        str::from_utf8(&headers[..headers.len().min(length)]).unwrap_or_default()
    }

    /// A header of a message of the client.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self
            .headers()
            .lines()
            .filter_map(|line| line.split_once(':'));
        let field = fields.find(|(key, _)| *key == name);
        field.map(|(_, value)| value.trim())
    }

    /// The number of the message in its transaction.
    pub(super) fn number(&self) -> Option<u64> {
        self.header("Nats-Batch-Sequence")?.parse().ok()
    }

    pub(super) fn place(&self) -> Place {
        match self.number() {
            None => Place::Outside,
            Some(_) if self.header("Nats-Batch-Commit").is_some() => Place::Commit,
            Some(1) => Place::First,
            Some(_) => Place::Middle,
        }
    }

    /// What stands behind the line.
    pub(super) fn body(&self) -> &str {
        str::from_utf8(&self.bytes[self.line..]).unwrap_or_default()
    }

    /// Whether a message of the server says that a transaction is stored.
    pub(super) fn is_acknowledgement(&self) -> bool {
        self.body().contains("\"batch\":")
    }

    /// Puts other bytes, as many, where these first stand.
    pub(super) fn overwrite(&mut self, these: &str, others: &str) {
        assert_eq!(these.len(), others.len(), "{these:?} {others:?}");
        let mut windows = self.bytes.windows(these.len());
        if let Some(place) = windows.position(|bytes| bytes == these.as_bytes()) {
            self.bytes[place..][..others.len()].copy_from_slice(others.as_bytes());
        }
    }

    /// Gives a message without headers another body.
    pub(super) fn replace_body(&mut self, body: &str) {
        let words: Vec<&str> = self.words().collect();
        let Some((_, kept)) = words.split_last() else {
            return;
        };
        let line = format!("{} {}\r\n", kept.join(" "), body.len());
        self.line = line.len();
        self.bytes = format!("{line}{body}\r\n").into_bytes();
    }
}
