//! A leaf of the tree: everything that the trail contains about an entry.

use std::fmt::Display;
use std::io::Write;

use sha2::{Digest, Sha256};

use super::tree::Hash;
use crate::ids::Position;

/// An entry as a leaf. Its bytes are these lines, each only if present, in this order; then an empty line, and the
/// entry:
///
/// ```text
/// Audit-Id: <run id>.<n>
/// Audit-Lost: <how many numbers before it are missing>
/// Audit-Requeued: <the number under which it was a dead letter>
/// Audit-Run: <the header of the first entry of a run>
/// Subject: <the subject, below the prefix; in a stream only>
/// ```
///
/// See the [example](super).
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a new line would be another format"
)]
pub struct Leaf<'a> {
    /// Run and number.
    pub id: Position,
    /// How many numbers directly before it are missing; no line if none are.
    pub lost: u64,
    /// The number under which it was a dead letter.
    pub requeued: Option<Position>,
    /// The header on the first entry of a run.
    pub opening: Option<&'a str>,
    /// The subject below the prefix.
    pub subject: Option<&'a str>,
    /// The entry.
    pub bytes: &'a [u8],
}

impl Leaf<'_> {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend_from_slice(self.bytes);
        out
    }

    /// Its hash, as in RFC 6962: SHA-256 over a zero byte and its bytes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(self.head());
        hasher.update(self.bytes);
        hasher.finalize().into()
    }

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        line(&mut out, "Audit-Id", &self.id);
        if self.lost > 0 {
            line(&mut out, "Audit-Lost", &self.lost);
        }
        if let Some(requeued) = &self.requeued {
            line(&mut out, "Audit-Requeued", requeued);
        }
        if let Some(opening) = self.opening {
            line(&mut out, "Audit-Run", &opening);
        }
        if let Some(subject) = self.subject {
            line(&mut out, "Subject", &subject);
        }
        out.push(b'\n');
        out
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &dyn Display) {
    // Writing to a vector cannot fail.
    let _written = writeln!(out, "{name}: {value}");
}
