//! Who the publisher of a directory is.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::error::SpillError;
use crate::event::{PublisherId, fresh_uuid};
use crate::host::log;

use super::Spill;
use super::directory::{Directory, io_error};
use crate::replace::{Persist, replace};

const IDENTITY: &str = "identity";

impl Directory {
    /// Who the publisher is; decided here, once and for good, if nobody has yet, or if it cannot be read any more.
    pub(super) fn identity(&self) -> Result<PublisherId, SpillError> {
        if let Some(id) = self.known_identity()? {
            return Ok(id);
        }
        let id = PublisherId(fresh_uuid());
        self.renew_identity(id)?;
        Ok(id)
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

    /// Takes this id, synced to disk, if there is one.
    fn renew_identity(&self, id: PublisherId) -> Result<(), SpillError> {
        if self.is_held() {
            self.write_identity(id)?;
        }
        Ok(())
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

impl Spill {
    /// Takes another id. The ring has both names meanwhile: after a kill it is found under either.
    pub(super) fn renew_identity(&mut self) -> Result<PublisherId, SpillError> {
        let id = PublisherId(fresh_uuid());
        if let Some(ring) = &mut self.ring {
            ring.link(id);
        }
        let renewed = self.directory.renew_identity(id);
        if let Some(ring) = &mut self.ring {
            // After an error the disk may have the new id all the same.
            let known = self.directory.known_identity().ok().flatten();
            let failed = known.unwrap_or(self.publisher);
            ring.keep_one_name(if renewed.is_ok() { id } else { failed });
        }
        renewed?;
        self.publisher = id;
        if let Some(signer) = &self.signer {
            signer.rename(id);
        }
        self.index.rename(id);
        self.reader.close();
        Ok(id)
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
