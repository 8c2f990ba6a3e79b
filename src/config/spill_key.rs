//! The key of an encrypted spill.

use std::fmt;

#[cfg(not(feature = "encryption"))]
pub(crate) use absent::SpillKey;
#[cfg(feature = "encryption")]
pub use present::SpillKey;

#[cfg(feature = "encryption")]
mod present {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
    use zeroize::Zeroizing;

    use crate::error::ConfigError;
    use crate::host::log;

    /// How long a key is.
    const BYTES: usize = 32;
    /// A larger file cannot be a key file.
    const FILE_BYTES_MAX: u16 = 256;
    /// What anybody but the owner and the group may do.
    const OTHERS: u32 = 0o007;

    /// The key with which a spill is encrypted: 32 random bytes.
    ///
    /// Its memory is overwritten when it is dropped, and `Debug` shows nothing of it.
    ///
    /// ```
    /// use spillring::config::SpillKey;
    /// use spillring::{Config, JsonLinesSink, RawEntry, operate};
    /// # let temporary = tempfile::tempdir()?;
    /// # let (dir, output) = (temporary.path().join("spill"), temporary.path().join("out"));
    ///
    /// let key = SpillKey::from_text(&"0f".repeat(32))?; // or from_file
    /// let mut config = Config::new(&dir);
    /// config.spill_key = Some(key.clone());
    /// let drainer = spillring::start::<RawEntry>(config, JsonLinesSink::new(output))?;
    /// # let limit = std::time::Duration::from_secs(10);
    /// drainer.shutdown(limit).wait(limit)?;
    ///
    /// let status = operate::status_with_key(&dir, Some(&key))?;
    /// assert!(operate::status(&dir).is_err()); // encrypted
    /// # let _read = status;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, PartialEq, Eq)]
    pub struct SpillKey(Zeroizing<[u8; BYTES]>);

    impl SpillKey {
        /// A key of these bytes.
        #[must_use]
        pub fn new(bytes: [u8; BYTES]) -> Self {
            Self(Zeroizing::new(bytes))
        }

        /// Reads a key from text: 64 hexadecimal digits, or Base64 of 32 bytes. Spaces around it do not count.
        ///
        /// # Errors
        ///
        /// [`ConfigError`] if the text is neither. The error does not show the text.
        pub fn from_text(text: &str) -> Result<Self, ConfigError> {
            let text = text.trim().as_bytes();
            let decoded = HEXLOWER_PERMISSIVE.decode(text);
            let decoded = decoded.or_else(|_| BASE64.decode(text)).map(Zeroizing::new);
            let bytes = decoded.ok().and_then(|bytes| bytes[..].try_into().ok());
            bytes.map(Self::new).ok_or_else(|| {
                problem("is not 64 hexadecimal digits, nor Base64 of 32 bytes: `openssl rand -hex 32` makes one")
            })
        }

        /// Reads a key from a file: text as [`from_text`](Self::from_text) takes it, or 32 bytes as they are. Warns if
        /// other users may read the file.
        ///
        /// # Errors
        ///
        /// [`ConfigError`] names the file and the reason.
        pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
            let in_file = |what: &dyn std::fmt::Display| {
                problem(&format!("cannot be read from {}: {what}", file.display()))
            };
            let mut content = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX.into()));
            File::open(file)
                .and_then(|opened| opened.take(FILE_BYTES_MAX.into()).read_to_end(&mut content))
                .map_err(|error| in_file(&error))?;
            warn_if_open(file);
            if let Ok(bytes) = content[..].try_into() {
                return Ok(Self::new(bytes));
            }
            let text = std::str::from_utf8(&content).unwrap_or_default();
            Self::from_text(text).map_err(|error| in_file(&format_args!("it {}", error.problem)))
        }

        pub(crate) fn bytes(&self) -> &[u8; BYTES] {
            &self.0
        }
    }

    fn problem(what: &str) -> ConfigError {
        ConfigError {
            key: "spill_key",
            problem: what.to_owned(),
        }
    }

    fn warn_if_open(file: &Path) {
        let mode = fs::metadata(file).map_or(0, |it| it.permissions().mode());
        if mode & OTHERS != 0 {
            log::warning!(
                file = %file.display(),
                mode = %format_args!("{:o}", mode & 0o777),
                "other users may read the key of the spill: restrict the file with `chmod 600`"
            );
        }
    }
}

#[cfg(not(feature = "encryption"))]
mod absent {
    /// There is none without the feature `encryption`.
    #[derive(Clone, PartialEq, Eq)]
    pub(crate) enum SpillKey {}
}

impl fmt::Debug for SpillKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpillKey(..)")
    }
}

#[cfg(all(test, feature = "encryption"))]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_key_is_read_from_hex_base64_and_bytes_and_shows_itself_nowhere() -> std::io::Result<()> {
        let key = SpillKey::new(*b"0123456789abcdef0123456789ABCDEF");
        let hex = "3031323334353637383961626364656630313233343536373839414243444546";
        let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlBQkNERUY=";
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("key");
        for text in [hex, &hex.to_uppercase(), base64, &format!(" {hex}\n")] {
            assert_eq!(SpillKey::from_text(text).as_ref(), Ok(&key));
            fs::write(&file, text)?;
            assert_eq!(SpillKey::from_file(&file).as_ref(), Ok(&key));
        }
        fs::write(&file, key.bytes())?;
        assert_eq!(SpillKey::from_file(&file).as_ref(), Ok(&key));
        assert_eq!(format!("{key:?}"), "SpillKey(..)");
        for wrong in ["", "secret", &hex[1..], &format!("{hex}00"), &base64[4..]] {
            fs::write(&file, wrong)?;
            let error = SpillKey::from_file(&file).expect_err("no key").to_string();
            assert!(error.contains(&file.display().to_string()), "{error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
        assert!(SpillKey::from_file(&dir.path().join("none")).is_err());
        Ok(())
    }
}
