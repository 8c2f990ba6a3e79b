//! Parses input lines: audit entries of Agent Assembly, or raw entries.

use spillring::{AuditEntry, Event, RawEntry};

/// The format of the lines.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LineFormat {
    /// Publish every line that is not blank as it is; needs `--subject`
    #[arg(long, requires = "subject", conflicts_with = "reject_wrong_hash")]
    raw: bool,
    /// The subject of raw entries, without the sink's prefix, such as acme.agent-7
    #[arg(long, value_name = "SUBJECT", requires = "raw", value_parser = subject)]
    subject: Option<String>,
    /// Reject a line whose `entry_hash` is wrong; by default it is reported and published
    #[arg(long)]
    reject_wrong_hash: bool,
}

/// The entry of a line.
#[derive(Debug)]
pub(super) struct ReadEntry {
    pub(super) entry: RawEntry,
    pub(super) hash: HashCheck,
}

/// Whether an entry's hash is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashCheck {
    Right,
    Wrong,
}

impl LineFormat {
    /// The entry of a line, unless it is blank.
    pub(super) fn read(&self, line: &[u8]) -> Result<Option<ReadEntry>, String> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let read = match &self.subject {
            Some(subject) => ReadEntry {
                entry: RawEntry::new(subject.as_str(), line),
                hash: HashCheck::Right,
            },
            None => audit_entry(line.trim_ascii())?,
        };
        if read.hash == HashCheck::Wrong && self.reject_wrong_hash {
            return Err("its entry_hash is not the hash of its fields".to_owned());
        }
        Ok(Some(read))
    }
}

/// Parses an audit entry, and encodes it in its canonical form. A line with unknown fields stays as it is, although the
/// hash does not cover them.
fn audit_entry(line: &[u8]) -> Result<ReadEntry, String> {
    let mut known = true;
    let mut json = serde_json::Deserializer::from_slice(line);
    let entry: AuditEntry = serde_ignored::deserialize(&mut json, |_| known = false)
        .and_then(|entry| json.end().map(|()| entry))
        .map_err(|error| reason(&error))?;
    let bytes = if known {
        let mut bytes = Vec::with_capacity(line.len());
        entry
            .encode(&mut bytes)
            .map_err(|error| error.to_string())?;
        bytes
    } else {
        line.to_vec()
    };
    Ok(ReadEntry {
        entry: RawEntry::new(entry.subject(), bytes),
        hash: if entry.verify_integrity() {
            HashCheck::Right
        } else {
            HashCheck::Wrong
        },
    })
}

/// The error without the parser's line number, which is always 1.
fn reason(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let reason = message.strip_suffix(&place).unwrap_or(&message);
    format!("{reason} (column {})", error.column())
}

fn subject(text: &str) -> Result<String, String> {
    let is_token = |token: &str| {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
        !token.is_empty() && token.bytes().all(allowed)
    };
    if text.split('.').all(is_token) {
        Ok(text.to_owned())
    } else {
        Err("a subject is tokens of letters, digits, - and _, with dots between them".to_owned())
    }
}
