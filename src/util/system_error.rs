//! Operating-system errors that can be cloned and compared, unlike [`io::Error`].

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// An operating-system error. `Display` shows the system's message, such as `Too many open files
/// (os error 24)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemError {
    kind: ErrorKind,
    code: Option<i32>,
}

impl SystemError {
    /// Kind of the error. Many system errors share a kind; use [`raw_os_error`](Self::raw_os_error)
    /// to distinguish them.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// System error code, or `None` if the error did not come from the operating system.
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
    fn display_shows_the_systems_message() {
        // 2 is a missing file on Unix and on Windows; 1 is another error on both.
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
