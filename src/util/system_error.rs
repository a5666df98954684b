//! An error of the operating system, as the errors of this crate carry it: they are cloned and compared, which an [`io::Error`] is not.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// An error of the operating system. `Display` shows the system's name of it, such as `Too many open files (os error 24)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemError {
    kind: ErrorKind,
    code: Option<i32>,
}

impl SystemError {
    /// What kind of error it is. Many have none of their own: tell those apart by [`raw_os_error`](Self::raw_os_error).
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The system's number of it; `None` if the error is not the system's.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.code
    }
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}

impl From<io::Error> for SystemError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<ErrorKind> for SystemError {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, code: None }
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

impl Error for SystemError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_as_the_system_names_it() {
        // ENOENT and EPERM have the same numbers everywhere; Windows has others of the same kinds.
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(SystemError::from(&error).to_string(), error.to_string());
        assert_eq!(
            SystemError::from(&error),
            SystemError::from(io::Error::from_raw_os_error(2))
        );
        assert_ne!(
            SystemError::from(error),
            SystemError::from(io::Error::from_raw_os_error(1))
        );
        let own = io::Error::new(ErrorKind::InvalidInput, "hh_canary");
        assert_eq!(SystemError::from(own).to_string(), ErrorKind::InvalidInput.to_string());
    }
}
