//! Encryption of entries on disk: XChaCha20-Poly1305, with a fresh random nonce for each.
//!
//! The ciphertext is as long as the entry, and takes its place in the column `bytes`. Nonce and tag are in a column of
//! their own, `nonce_tag`, which only encrypted segments and indexes have. The tag also covers the entry's
//! [`AssociatedData`]: a row that was changed, or put in another's place, does not decrypt, and counts as damaged. The
//! checksum of a row covers the ciphertext: a checksum of the plain text would reveal something about it.
//!
//! Without the feature `encryption` there is no cipher, and [`unlock`](super::unlock) refuses directories that need
//! one.

use crate::config::SpillKey;
use crate::event::{Key, Position, RunId};

/// The nonce of an encrypted entry, and its tag after that.
pub(super) type NonceTag = [u8; NONCE_BYTES + TAG_BYTES];

pub(super) const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// What an encrypted entry cannot be parted from: the associated data of its tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct AssociatedData<'b> {
    pub(super) key: Key,
    pub(super) run: RunId,
    pub(super) popped_ms: u64,
    pub(super) requeued: Option<Position>,
    pub(super) subject: &'b str,
}

impl AssociatedData<'_> {
    /// As the tag covers it. The part of any length comes last.
    fn bytes(&self) -> Vec<u8> {
        let requeued = self.requeued.map_or([0; 24], Position::to_bytes);
        [
            b"entry",
            &self.key.row().to_le_bytes()[..],
            self.run.0.as_bytes(),
            &self.popped_ms.to_le_bytes(),
            &[u8::from(self.requeued.is_some())],
            &requeued,
            self.subject.as_bytes(),
        ]
        .concat()
    }
}

/// What a directory's check encrypts: nothing, with this as associated data.
const CHECK: &[u8] = b"check of the key";

impl Cipher {
    /// Encrypts the bytes where they are. An error says that the system gives no random numbers.
    pub(super) fn encrypt(
        &self,
        associated: AssociatedData<'_>,
        bytes: &mut [u8],
    ) -> rusqlite::Result<NonceTag> {
        self.encrypt_with(&associated.bytes(), bytes)
    }

    /// Decrypts the bytes where they are; `None` if they, or their associated data, were changed.
    pub(super) fn decrypt(
        &self,
        associated: AssociatedData<'_>,
        nonce_tag: NonceTag,
        bytes: &mut [u8],
    ) -> Option<()> {
        self.decrypt_with(&associated.bytes(), nonce_tag, bytes)
    }

    /// Something that only this key fits.
    pub(super) fn check(&self) -> rusqlite::Result<NonceTag> {
        self.encrypt_with(CHECK, &mut [])
    }

    /// Whether the check was made with this key.
    pub(super) fn fits(&self, check: NonceTag) -> bool {
        self.decrypt_with(CHECK, check, &mut []).is_some()
    }
}

#[cfg(feature = "encryption")]
pub(super) use present::Cipher;

#[cfg(feature = "encryption")]
mod present {
    use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
    use rand_core::{OsRng, RngCore};
    use rusqlite::ffi;

    use super::{NONCE_BYTES, NonceTag, SpillKey, TAG_BYTES};

    /// Encrypts and decrypts entries.
    #[derive(Debug, Clone)]
    pub(in crate::spill) struct Cipher(XChaCha20Poly1305);

    impl Cipher {
        pub(in crate::spill) fn new(key: &SpillKey) -> Self {
            Self(XChaCha20Poly1305::new(key.bytes().into()))
        }

        pub(super) fn encrypt_with(
            &self,
            associated: &[u8],
            bytes: &mut [u8],
        ) -> rusqlite::Result<NonceTag> {
            let mut nonce_tag = [0; NONCE_BYTES + TAG_BYTES];
            let (nonce, tag) = nonce_tag.split_at_mut(NONCE_BYTES);
            OsRng
                .try_fill_bytes(nonce)
                .map_err(|error| failed(&error))?;
            let nonce = XNonce::try_from(&*nonce).map_err(|error| failed(&error))?;
            let made = self
                .0
                .encrypt_inout_detached(&nonce, associated, bytes.into());
            tag.copy_from_slice(&made.map_err(|error| failed(&error))?);
            Ok(nonce_tag)
        }

        pub(super) fn decrypt_with(
            &self,
            associated: &[u8],
            nonce_tag: NonceTag,
            bytes: &mut [u8],
        ) -> Option<()> {
            let (nonce, tag) = nonce_tag.split_at(NONCE_BYTES);
            let (nonce, tag) = (XNonce::try_from(nonce).ok()?, Tag::try_from(tag).ok()?);
            let done = self
                .0
                .decrypt_inout_detached(&nonce, associated, bytes.into(), &tag);
            done.ok()
        }
    }

    /// An error that may pass, and says nothing about the database.
    fn failed(error: &dyn std::fmt::Display) -> rusqlite::Error {
        let code = ffi::Error::new(ffi::SQLITE_BUSY);
        rusqlite::Error::SqliteFailure(code, Some(format!("an entry cannot be encrypted: {error}")))
    }
}

/// There is none without the feature `encryption`.
#[cfg(not(feature = "encryption"))]
#[derive(Debug, Clone)]
pub(super) enum Cipher {}

#[cfg(not(feature = "encryption"))]
impl Cipher {
    pub(super) fn new(key: &SpillKey) -> Self {
        match *key {}
    }

    fn encrypt_with(&self, _: &[u8], _: &mut [u8]) -> rusqlite::Result<NonceTag> {
        match *self {}
    }

    fn decrypt_with(&self, _: &[u8], _: NonceTag, _: &mut [u8]) -> Option<()> {
        match *self {}
    }
}
