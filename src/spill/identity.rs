//! Who the publisher of a directory is.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::error::SpillError;
use crate::event::{PublisherId, fresh_uuid};
use crate::host::log;

use super::Spill;
use super::files::{io_error, read_if_there};
use crate::replace::{Persist, replace};

const IDENTITY: &str = "identity";

/// Who the publisher of a directory is, if that has been decided.
pub(crate) fn read(dir: &Path) -> Result<Option<PublisherId>, SpillError> {
    let file = dir.join(IDENTITY);
    let Some(text) = read_if_there(&file)? else {
        return Ok(None);
    };
    let id = Uuid::try_parse(String::from_utf8_lossy(&text).trim());
    id.map(|id| Some(PublisherId(id)))
        .map_err(|error| io_error("read", &file)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The same, if it can be read.
pub(crate) fn read_sound(dir: &Path) -> Result<Option<PublisherId>, SpillError> {
    match read(dir) {
        Err(SpillError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
            log::error!(dir = %dir.display(), "the publisher's id is damaged");
            Ok(None)
        }
        read => read,
    }
}

/// Who the publisher is; decided here, once and for good, if nobody has yet, or if it cannot be read any more.
pub(super) fn read_or_decide(dir: &Path) -> Result<PublisherId, SpillError> {
    if let Some(id) = read_sound(dir)? {
        return Ok(id);
    }
    let id = PublisherId(fresh_uuid());
    write(dir, id)?;
    Ok(id)
}

/// Survives a power cut.
pub(super) fn write(dir: &Path, id: PublisherId) -> Result<(), SpillError> {
    let line = format!("{id}\n");
    replace(dir, IDENTITY, line.as_bytes(), Persist::Synced)
        .map_err(io_error("write", &dir.join(IDENTITY)))
}

impl Spill {
    /// Takes another id. The ring has both names meanwhile: after a kill it is found under either.
    pub(super) fn renew_identity(&mut self) -> Result<PublisherId, SpillError> {
        let id = PublisherId(fresh_uuid());
        if let Some(ring) = &mut self.ring {
            ring.link(id);
        }
        let renewed = write(self.directory.path(), id);
        if let Some(ring) = &mut self.ring {
            // After an error the disk may have the new id all the same.
            let known = read_sound(self.directory.path()).ok().flatten();
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
