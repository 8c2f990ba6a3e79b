//! What an error of the database says about the database. Pure.

use rusqlite::{Error, ErrorCode};

use crate::error::SpillError;

/// What is to be done after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It passes, or somebody mends it: the same is tried again.
    Passing,
    /// The disk has no room left.
    Full,
    /// The disk failed. What a commit has done is not known, and what the connection remembers may not be what is on
    /// disk: it is given up, and the database opened anew.
    Unsure,
    /// The database is damaged: it is set aside.
    Damaged,
    /// It is none of ours, or of another version: it is set aside as well.
    Foreign,
}

impl Fault {
    pub(super) fn of(error: &SpillError) -> Self {
        match error {
            SpillError::Database { source, .. } => source
                .downcast_ref::<Error>()
                .map_or(Self::Passing, Self::of_database),
            SpillError::Schema { .. } => Self::Foreign,
            _ => Self::Passing,
        }
    }

    /// Another database takes the place of this one.
    pub(super) fn sets_aside(self) -> bool {
        matches!(self, Self::Damaged | Self::Foreign)
    }

    /// What is damaged beyond `SQLite`'s own notice shows as rows that are missing, or of another shape.
    fn of_database(error: &Error) -> Self {
        match error {
            Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
                // A statement that does not fit the tables: ours fit ours.
                ErrorCode::Unknown => Self::Foreign,
                ErrorCode::DiskFull => Self::Full,
                ErrorCode::SystemIoFailure => Self::Unsure,
                _ => Self::Passing,
            },
            Error::SqlInputError { .. } => Self::Foreign,
            Error::QueryReturnedNoRows
            | Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..) => Self::Damaged,
            _ => Self::Passing,
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;
    use crate::spill::database::database_error;

    #[test]
    fn only_damage_sets_a_database_aside() {
        for (code, fault) in [
            (ffi::SQLITE_NOTADB, Fault::Damaged),
            (ffi::SQLITE_CORRUPT, Fault::Damaged),
            (ffi::SQLITE_ERROR, Fault::Foreign),
            (ffi::SQLITE_FULL, Fault::Full),
            (ffi::SQLITE_IOERR, Fault::Unsure),
            (ffi::SQLITE_IOERR_FSYNC, Fault::Unsure),
            (ffi::SQLITE_IOERR_READ, Fault::Unsure),
            (ffi::SQLITE_BUSY, Fault::Passing),
            (ffi::SQLITE_LOCKED, Fault::Passing),
            (ffi::SQLITE_CANTOPEN, Fault::Passing),
            (ffi::SQLITE_PERM, Fault::Passing),
            (ffi::SQLITE_READONLY, Fault::Passing),
            (ffi::SQLITE_NOMEM, Fault::Passing),
            (ffi::SQLITE_INTERRUPT, Fault::Passing),
        ] {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            let error = database_error("try")(error);
            assert_eq!(Fault::of(&error), fault, "{error}");
        }
        let newer = SpillError::Schema { found: 9, known: 1 };
        assert_eq!(Fault::of(&newer), Fault::Foreign);
    }
}
