//! What a failed step means for the file.

use rusqlite::ffi;

use super::files::FolderError;
use crate::Failing;

/// Why a step on the file failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The disk is full, or a quota or a limit of file sizes is reached.
    Full,
    /// A write failed; perhaps the disk is full.
    Write(String),
    /// The call broke a rule of the schema. The file is fine.
    Refused(String),
    Damaged(String),
    /// The file has a later version of the schema.
    Newer(i64),
    /// The file is another program's.
    Foreign,
    Failing(Failing),
}

impl Fault {
    pub(crate) fn failing(what: &'static str, error: impl Into<String>) -> Self {
        Self::Failing(Failing {
            what,
            error: error.into(),
        })
    }

    /// The failure to report for calls that the fault ended.
    pub(crate) fn report(&self) -> Failing {
        let (what, error) = match self {
            Self::Failing(failing) => return failing.clone(),
            Self::Full => ("write", "the disk is full".to_owned()),
            Self::Write(error) => ("write", error.clone()),
            Self::Refused(error) => ("append", error.clone()),
            Self::Damaged(error) => ("read", error.clone()),
            Self::Newer(version) => ("open", format!("the file has version {version} of the schema")),
            Self::Foreign => ("open", "the file is no spool".to_owned()),
        };
        Failing { what, error }
    }

    /// The part of a name, and the rule, for a file that cannot be used.
    pub(crate) fn aside(&self) -> Option<(String, String)> {
        match self {
            Self::Damaged(error) => Some(("damaged".to_owned(), format!("the file is damaged: {error}"))),
            Self::Newer(version) => Some((
                format!("newer-{version}"),
                format!("the file has version {version} of the schema, which this program does not know"),
            )),
            Self::Foreign => Some(("foreign".to_owned(), "the file is no spool".to_owned())),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        let rusqlite::Error::SqliteFailure(code, _) = error else {
            // A value has a type or a range that this crate never writes.
            return Self::Damaged(text);
        };
        match code.extended_code {
            ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_TRUNCATE => {
                return Self::Write(text);
            }
            _ => {}
        }
        match code.extended_code & 0xff {
            ffi::SQLITE_FULL => Self::Full,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Self::Damaged(text),
            ffi::SQLITE_CONSTRAINT | ffi::SQLITE_TOOBIG => Self::Refused(text),
            _ => Self::failing("access the database", text),
        }
    }
}

impl From<FolderError> for Fault {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Rule { path, rule } => Self::failing("open", format!("{} {rule}", path.display())),
            FolderError::Io(error) => Self::failing("open", error.to_string()),
        }
    }
}
