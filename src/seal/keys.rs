//! The keys of a publisher, in a file of its spill directory that only its owner may read.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use signed_note::{StandardSigner, generate_key};

use super::checkpoint::{Checkpoint, SealError, origin};
use super::tree::Tree;
use crate::host::log;
use crate::ids::{Position, PublisherId};
use crate::replace::{Persist, replace};

/// The name of the file.
pub(crate) const KEYS: &str = "signing-keys.json";
/// How many certificates are kept: the newest.
const KEPT_MAX: usize = 1_000;

/// The public keys of a publisher.
///
/// See the [example](super).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PublicKeys {
    /// The publisher.
    pub publisher: PublisherId,
    /// The first public key, from which the certificates lead to the present one.
    pub first: String,
    /// The present public key.
    pub current: String,
    /// The newest checkpoints that name the next key, oldest first.
    pub certificates: Vec<String>,
}

impl PublicKeys {
    /// Reads those in a spill directory, whether or not its publisher is running. `None` if it has none.
    ///
    /// # Errors
    ///
    /// [`SealError`] if they cannot be read, or are damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>, SealError> {
        Ok(Keys::read(dir)?.map(|keys| Self {
            publisher: keys.publisher,
            first: keys.first,
            current: keys.public,
            certificates: keys.certificates,
        }))
    }
}

/// The private key of the present run, and the certificates that lead from the first key to it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    /// The publisher. A copy of a directory becomes another publisher.
    pub(super) publisher: PublisherId,
    /// The first public key: an auditor must know it.
    pub(super) first: String,
    /// The present public key.
    pub(super) public: String,
    /// `PRIVATE+KEY+…`, as in C2SP's `signed-note`.
    private: String,
    /// Checkpoints that name the next key, oldest first.
    #[serde(default)]
    pub(super) certificates: Vec<String>,
    #[serde(skip)]
    dir: PathBuf,
}

impl Keys {
    /// The keys in this directory. `None` if there are none yet.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, SealError> {
        let path = dir.join(KEYS);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let unusable = |why: &dyn std::fmt::Display| {
            SealError::Malformed(format!(
                "{} cannot be used ({why}): restore it, or move it away; an auditor must then be given the new first key",
                path.display()
            ))
        };
        let mut keys: Self = serde_json::from_slice(&text).map_err(|error| unusable(&error))?;
        dir.clone_into(&mut keys.dir);
        keys.signer().map_err(|error| unusable(&error))?;
        Ok(Some(keys))
    }

    /// The keys in this directory. If there are none, the first one is generated, or read from the operator's file.
    pub(crate) fn open(
        dir: &Path,
        publisher: PublisherId,
        given: Option<&Path>,
    ) -> Result<Self, SealError> {
        if let Some(keys) = Self::read(dir)? {
            if let Some(path) = given.filter(|path| path.exists()) {
                log::warning!(
                    "remove {}: anybody who has it can sign again what this publisher has signed",
                    path.display()
                );
            }
            return Ok(keys);
        }
        let name = origin(publisher);
        let (private, public) = match given {
            None => generate_key(&mut OsRng, &name),
            Some(path) => given_key(path, &name)?,
        };
        let keys = Self {
            publisher,
            first: public.clone(),
            public,
            private,
            certificates: Vec::new(),
            dir: dir.to_owned(),
        };
        keys.write()?;
        Ok(keys)
    }

    pub(super) fn signer(&self) -> Result<StandardSigner, SealError> {
        StandardSigner::new(&self.private)
            .map_err(|error| SealError::Malformed(format!("the private key: {error}")))
    }

    /// Certifies a new key with the present one, continuing from this tree, and forgets the old one.
    pub(super) fn rotate(
        &mut self,
        tree: &Tree,
        through: Option<Position>,
    ) -> Result<(), SealError> {
        let (private, public) = generate_key(&mut OsRng, &origin(self.publisher));
        let next = Self {
            public,
            private,
            ..self.clone()
        };
        self.succeed(next, tree, through)
    }

    /// The same for a publisher that has taken another id: its log begins with a key that is certified by that of the
    /// old log.
    pub(super) fn rename(&mut self, publisher: PublisherId) -> Result<(), SealError> {
        let (private, public) = generate_key(&mut OsRng, &origin(publisher));
        let next = Self {
            publisher,
            first: public.clone(),
            public,
            private,
            ..self.clone()
        };
        self.succeed(next, &Tree::default(), None)
    }

    fn succeed(
        &mut self,
        mut next: Self,
        tree: &Tree,
        through: Option<Position>,
    ) -> Result<(), SealError> {
        let certificate = Checkpoint {
            next: Some(next.public.clone()),
            ..Checkpoint::of(self.publisher, tree, through)
        };
        next.certificates.push(certificate.sign(&self.signer()?)?);
        let surplus = next.certificates.len().saturating_sub(KEPT_MAX);
        next.certificates.drain(..surplus);
        next.write()?;
        *self = next;
        Ok(())
    }

    /// Replaces the file, synced, and overwrites the old one, so that the old key is gone as far as the file system
    /// allows.
    fn write(&self) -> Result<(), SealError> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from)?;
        let old = OpenOptions::new()
            .write(true)
            .open(self.dir.join(KEYS))
            .ok();
        replace(&self.dir, KEYS, &text, Persist::Synced)?;
        if let Some(old) = old
            && let Err(error) = erase(old)
        {
            log::warning!(%error, "the previous signing key may still be on disk");
        }
        Ok(())
    }
}

/// Writes zeros over the file, where it is.
fn erase(mut file: fs::File) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    file.sync_all()
}

/// Reads an operator's private key: a line that begins with `PRIVATE+KEY+<name>+`, or 32 bytes in base64.
fn given_key(path: &Path, name: &str) -> Result<(String, String), SealError> {
    let given = |why: String| SealError::Given(format!("{}: {why}", path.display()));
    let text =
        fs::read_to_string(path).map_err(|error| given(format!("cannot be read: {error}")))?;
    let text = text.trim();
    let encoded = match text.strip_prefix("PRIVATE+KEY+") {
        Some(rest) => rest.splitn(3, '+').nth(2).unwrap_or_default(),
        None => text,
    };
    let bytes = data_encoding::BASE64.decode(encoded.as_bytes()).ok();
    // A signed note's key begins with its algorithm: 1 is Ed25519.
    let seed = bytes.and_then(|bytes| match bytes.strip_prefix(&[1]) {
        Some(seed) if bytes.len() == 33 => seed.try_into().ok(),
        _ => bytes.try_into().ok(),
    });
    let malformed = || {
        given("holds no Ed25519 key: give a line PRIVATE+KEY+<name>+<id>+<key>, or 32 bytes in base64".into())
    };
    let seed: [u8; 32] = seed.ok_or_else(malformed)?;
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let public = signed_note::new_ed25519_verifier_key(name, &key.verifying_key());
    let id = public.split('+').nth(1).unwrap_or_default();
    let mut bytes = vec![1];
    bytes.extend_from_slice(&seed);
    let private = format!(
        "PRIVATE+KEY+{name}+{id}+{}",
        data_encoding::BASE64.encode(&bytes)
    );
    Ok((private, public))
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
