//! The frames of NATS's protocol: a line, and for a message as many bytes after it as its last word says.

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
    /// A message that is stored by itself, and known by its `Nats-Msg-Id`: a whole transaction.
    Alone,
}

impl Place {
    pub(super) fn begins(self) -> bool {
        matches!(self, Self::First | Self::Alone)
    }

    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Commit | Self::Alone)
    }
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

    /// What a message of a fast batch says in its reply: the batch, the number of the message, and what it does.
    fn fast(&self) -> Option<(&str, u64, u8)> {
        let reply = self.reply()?.strip_suffix(".$FI")?;
        let mut words = reply.rsplit('.');
        let (op, number) = (words.next()?, words.next()?);
        let id = words.nth(2)?;
        Some((id, number.parse().ok()?, op.parse().ok()?))
    }

    /// The batch of the message.
    pub(super) fn batch(&self) -> Option<&str> {
        let fast = self.fast().map(|(id, ..)| id);
        self.header("Nats-Batch-Id").or(fast)
    }

    /// The number of the message in its batch.
    pub(super) fn number(&self) -> Option<u64> {
        let fast = self.fast().map(|(_, number, _)| number);
        let number = self.header("Nats-Batch-Sequence");
        number.and_then(|number| number.parse().ok()).or(fast)
    }

    pub(super) fn place(&self) -> Place {
        match (self.number(), self.fast()) {
            (None, _) if self.header("Nats-Msg-Id").is_some() => Place::Alone,
            (None, _) | (_, Some((_, _, 4))) => Place::Outside,
            (_, Some((_, _, 2))) => Place::Commit,
            _ if self.header("Nats-Batch-Commit").is_some() => Place::Commit,
            (Some(1), _) => Place::First,
            _ => Place::Middle,
        }
    }

    /// What stands behind the line.
    pub(super) fn body(&self) -> &str {
        str::from_utf8(&self.bytes[self.line..]).unwrap_or_default()
    }

    /// Whether a message of the server says that a transaction is stored.
    pub(super) fn is_acknowledgement(&self) -> bool {
        let says = |what| self.body().contains(what);
        // An answer while a fast batch goes on has a type.
        says("\"seq\":") && !says("\"type\":") && !says("\"error\":")
    }

    /// Puts other bytes, as many, where these first stand.
    pub(super) fn overwrite(&mut self, these: &str, others: &str) {
        assert_eq!(these.len(), others.len(), "{these:?} {others:?}");
        let mut windows = self.bytes.windows(these.len());
        if let Some(place) = windows.position(|bytes| bytes == these.as_bytes()) {
            self.bytes[place..][..others.len()].copy_from_slice(others.as_bytes());
        }
    }

    /// The bytes of a message of the server that answers a read of a cursor.
    pub(super) fn read_cursor(&self) -> Option<&str> {
        let (headers, data) = self.parts()?;
        headers
            .contains("Nats-Subject: assembly.cursor.")
            .then_some(data)
    }

    /// Headers and payload of a message of the server that has both.
    fn parts(&self) -> Option<(&str, &str)> {
        let words: Vec<&str> = self.words().collect();
        let ["HMSG", .., length, _] = words[..] else {
            return None;
        };
        let (headers, data) = self.body().split_at_checked(length.parse().ok()?)?;
        Some((headers, data.strip_suffix("\r\n")?))
    }

    /// Gives such a message another payload.
    pub(super) fn replace_data(&mut self, data: &str) {
        let Some((headers, _)) = self.parts() else {
            return;
        };
        let headers = headers.to_owned();
        let words: Vec<&str> = self.words().collect();
        let Some((_, kept)) = words.split_last() else {
            return;
        };
        let line = format!("{} {}\r\n", kept.join(" "), headers.len() + data.len());
        self.line = line.len();
        self.bytes = format!("{line}{headers}{data}\r\n").into_bytes();
    }
}
