//! A checkpoint: size and root of a tree, signed.

use std::fmt::Write;

use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

use super::tree::{decoded, encoded};
use super::{Hash, SealError, Tree};
use crate::event::{Position, PublisherId, RunId};

/// The prefix of each log's name.
const ORIGIN: &str = "spillring/";

/// The extension line of a checkpoint at the beginning of a batch.
const OPEN: &str = "open";
/// Far more than any number of entries.
const SIZE_MAX: u64 = 1 << 62;

/// A C2SP checkpoint. Its text is the origin, the size, and the root in base64, one per line. Extension lines follow:
/// `through <run id>.<n>`, `time <seconds since 1970>`, and, where they apply, `open`, `recovered <count>`, and `next
/// <key>`.
///
/// See the [example](super).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The name of the log, and of its keys: `spillring/<publisher id>`.
    pub origin: String,
    /// How many entries the tree has.
    pub size: u64,
    /// The root of the tree.
    pub root: Hash,
    /// The last number that the publisher had covered: those after the last entry are losses.
    pub through: Option<Position>,
    /// When it was signed, in seconds since 1970, by the publisher's clock.
    pub time: u64,
    /// It is at the beginning of a batch, whose entries come after it.
    pub is_open: bool,
    /// How many of all its entries a publisher has found in the stream after kills, without a record of having sent
    /// them.
    pub recovered: u64,
    /// In a certificate: the key that replaces the one it is signed with.
    pub next: Option<String>,
}

impl Checkpoint {
    pub(super) fn of(origin: &str, tree: &Tree, through: Option<Position>, time: u64) -> Self {
        Self {
            origin: origin.to_owned(),
            size: tree.size(),
            root: tree.root(),
            through,
            time,
            is_open: false,
            recovered: 0,
            next: None,
        }
    }

    /// Reads a signed checkpoint without checking the signature.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`] if it is not a checkpoint.
    pub fn parse(note: &str) -> Result<Self, SealError> {
        let malformed = || SealError::Malformed("it is not a checkpoint".to_owned());
        let (text, _) = note.split_once("\n\n").ok_or_else(malformed)?;
        let mut lines = text.lines();
        let mut next = || lines.next().ok_or_else(malformed);
        let (origin, size, root) = (next()?.to_owned(), next()?, next()?);
        let size = size.parse().ok().filter(|size| *size < SIZE_MAX);
        let size = size.ok_or_else(malformed)?;
        let root = decoded(root).ok_or_else(malformed)?;
        let extension = |name: &str| {
            let mut lines = text.lines().skip(3);
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        };
        let number = |name| extension(name).and_then(|number| number.parse().ok());
        Ok(Self {
            origin,
            size,
            root,
            through: extension("through").and_then(position),
            time: number("time").unwrap_or(0),
            is_open: text.lines().skip(3).any(|line| line == OPEN),
            recovered: number("recovered").unwrap_or(0),
            next: extension("next").map(str::to_owned),
        })
    }

    /// Reads a checkpoint of the log with this public key's name, signed with that key.
    ///
    /// # Errors
    ///
    /// [`SealError::NotSigned`] if it is not, and [`SealError::Malformed`].
    pub fn open(note: &str, key: &str) -> Result<Self, SealError> {
        let not_signed = || SealError::NotSigned(key.to_owned());
        let verifier = StandardVerifier::new(key)
            .map_err(|error| SealError::Malformed(format!("{key:?} is not a key: {error}")))?;
        let malformed = |error| SealError::Malformed(format!("it is not a signed note: {error}"));
        let parsed = Note::from_bytes(note.as_bytes()).map_err(malformed)?;
        let known = VerifierList::new(vec![Box::new(verifier)]);
        parsed.verify(&known).map_err(|_| not_signed())?;
        let checkpoint = Self::parse(note)?;
        let same = key.split('+').next() == Some(checkpoint.origin.as_str());
        same.then_some(checkpoint).ok_or_else(not_signed)
    }

    /// The publisher named by the origin.
    #[must_use]
    pub fn publisher(&self) -> Option<PublisherId> {
        let id = self.origin.strip_prefix(ORIGIN)?;
        uuid::Uuid::try_parse(id).ok().map(PublisherId)
    }

    pub(super) fn sign(&self, key: &StandardSigner) -> Result<String, SealError> {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, encoded(&self.root));
        if let Some(through) = self.through {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "through {through}");
        }
        let _written = writeln!(text, "time {}", self.time);
        if self.is_open {
            let _written = writeln!(text, "{OPEN}");
        }
        if self.recovered > 0 {
            let _written = writeln!(text, "recovered {}", self.recovered);
        }
        if let Some(next) = &self.next {
            let _written = writeln!(text, "next {next}");
        }
        let malformed = |error| SealError::Malformed(format!("it cannot be signed: {error}"));
        let mut note = Note::new(text.as_bytes(), &[]).map_err(malformed)?;
        note.add_sigs(&[key]).map_err(malformed)?;
        Ok(String::from_utf8_lossy(&note.to_bytes()).into_owned())
    }
}

pub(super) fn origin(publisher: PublisherId) -> String {
    format!("{ORIGIN}{publisher}")
}

fn position(text: &str) -> Option<Position> {
    let (run, n) = text.rsplit_once('.')?;
    Some(Position {
        run: RunId(uuid::Uuid::try_parse(run).ok()?),
        n: n.parse().ok()?,
    })
}
