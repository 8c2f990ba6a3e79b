//! A checkpoint: size and root of a tree, signed; and the seal, which a sink stores with a batch.

use std::io;

use serde::{Deserialize, Serialize};
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

use super::tree::{Hash, Tree, decoded, encoded};
use crate::clock::unix_ms;
use crate::ids::{Position, PublisherId};

/// The prefix of each log's name.
const ORIGIN: &str = "spillring/";

/// The extension line of a checkpoint at the beginning of a batch.
const OPEN: &str = "open";
/// Far more than any number of entries.
const SIZE_MAX: u64 = 1 << 62;

/// Stored by a sink with a batch: covers all entries up to the end of the batch.
///
/// See the [example](crate::seal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seal {
    /// A [`Checkpoint`] with its signature, as a C2SP signed note.
    pub checkpoint: String,
    /// The public key of the signature, as in C2SP's `signed-note`: `spillring/<publisher id>+<key id>+<key>`.
    pub key: String,
    /// The peaks of the tree, largest first, each in base64: one for each bit set in the size.
    pub peaks: Vec<String>,
    /// Included once a minute: the newest checkpoints that name the next key, oldest first. Each is signed with the
    /// key that the previous one names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

/// Why a seal, a checkpoint or a key cannot be used.
///
/// See the [example](crate::seal).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The signature is missing, by another key, or wrong.
    #[error("it is not signed with the key {0}")]
    NotSigned(String),
    /// The key that the operator gave cannot be used.
    #[error("`signing_key` {0}")]
    Given(String),
    /// The keys in the spill directory cannot be read or written.
    #[error("the signing keys cannot be used: {0}")]
    Keys(#[from] io::Error),
}

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
    /// The last number that the checkpoint covers: numbers after the last entry's are losses.
    pub through: Option<Position>,
    /// When it was signed, in seconds since 1970, by the publisher's clock.
    pub time: u64,
    /// It is at the beginning of a batch, whose entries come after it.
    pub is_open: bool,
    /// How many entries in all the publisher has found in the stream after kills, without a record of having sent them.
    pub recovered: u64,
    /// In a certificate: the key that replaces the one it is signed with.
    pub next: Option<String>,
}

impl Seal {
    /// The tree with these peaks, if its root is that of the checkpoint. Does not check the signature.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`] if they do not fit each other.
    pub fn tree(&self) -> Result<Tree, SealError> {
        let checkpoint = Checkpoint::parse(&self.checkpoint)?;
        let peaks = self.peaks.iter().map(|peak| decoded(peak));
        let tree = peaks
            .collect::<Option<Vec<_>>>()
            .and_then(|peaks| Tree::from_peaks(checkpoint.size, peaks))
            .filter(|tree| tree.root() == checkpoint.root);
        tree.ok_or_else(|| SealError::Malformed("the peaks are not those of the checkpoint".into()))
    }

    /// With the certificates of the seal before it, unless it has its own: not every seal repeats them.
    pub(crate) fn following(mut self, before: Option<Self>) -> Self {
        if self.certificates.is_empty() {
            self.certificates = before.map(|seal| seal.certificates).unwrap_or_default();
        }
        self
    }
}

impl Checkpoint {
    /// Of a publisher's tree now.
    pub(super) fn of(publisher: PublisherId, tree: &Tree, through: Option<Position>) -> Self {
        Self {
            origin: origin(publisher),
            size: tree.size(),
            root: tree.root(),
            through,
            time: unix_ms() / 1_000,
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
            through: extension("through").and_then(Position::parse),
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
        let lines = [
            Some(self.origin.clone()),
            Some(self.size.to_string()),
            Some(encoded(&self.root)),
            self.through.map(|through| format!("through {through}")),
            Some(format!("time {}", self.time)),
            self.is_open.then(|| OPEN.to_owned()),
            (self.recovered > 0).then(|| format!("recovered {}", self.recovered)),
            self.next.as_ref().map(|next| format!("next {next}")),
        ];
        let lines = lines.into_iter().flatten();
        let text: String = lines.map(|line| line + "\n").collect();
        let malformed = |error| SealError::Malformed(format!("it cannot be signed: {error}"));
        let mut note = Note::new(text.as_bytes(), &[]).map_err(malformed)?;
        note.add_sigs(&[key]).map_err(malformed)?;
        Ok(String::from_utf8_lossy(&note.to_bytes()).into_owned())
    }
}

pub(super) fn origin(publisher: PublisherId) -> String {
    format!("{ORIGIN}{publisher}")
}
