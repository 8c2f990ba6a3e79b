//! Who the publisher of a directory is.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::error::SpillError;
use crate::event::{PublisherId, fresh_uuid};
use crate::host::log;

use super::directory::{Directory, Persist, io_error, replace};

const IDENTITY: &str = "identity";

impl Directory {
    /// Who the publisher is; decided here, once and for good, if nobody has yet, or if it cannot be read any more.
    pub(super) fn identity(&self) -> Result<PublisherId, SpillError> {
        match self.known_identity()? {
            Some(id) => Ok(id),
            None => self.renew_identity(),
        }
    }

    /// Who the publisher is, if that can be read.
    pub(crate) fn known_identity(&self) -> Result<Option<PublisherId>, SpillError> {
        match read_identity(self.path()) {
            Err(SpillError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                log::error!(dir = %self.path().display(), "the publisher's id is damaged");
                Ok(None)
            }
            read => read,
        }
    }

    /// Takes another id, synced to disk, if there is one.
    pub(super) fn renew_identity(&self) -> Result<PublisherId, SpillError> {
        let id = PublisherId(fresh_uuid());
        if self.is_held() {
            self.write_identity(id)?;
        }
        Ok(id)
    }

    pub(super) fn write_identity(&self, id: PublisherId) -> Result<(), SpillError> {
        replace(
            self.path(),
            IDENTITY,
            format!("{id}\n").as_bytes(),
            Persist::Synced,
        )
        .map_err(io_error("write", self.path().join(IDENTITY)))
    }
}

/// Who the publisher of a directory is, if that has been decided.
pub(crate) fn read_identity(dir: &Path) -> Result<Option<PublisherId>, SpillError> {
    let file = dir.join(IDENTITY);
    match std::fs::read_to_string(&file) {
        Ok(text) => Uuid::try_parse(text.trim())
            .map(|id| Some(PublisherId(id)))
            .map_err(|error| {
                io_error("read", file)(io::Error::new(io::ErrorKind::InvalidData, error))
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", file)(error)),
    }
}
