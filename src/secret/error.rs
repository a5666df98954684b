//! Why a key could not be had: the source by name, the rule that was broken, never a part of the key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CodePoint;
use crate::util::printable::printable;
use crate::util::serde_display::FromMessage;
use crate::util::system_error::SystemError;

/// A key could not be read. Two errors are equal if they have the same message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{origin}: {fault}")]
pub struct SecretError {
    origin: String,
    fault: SecretErrorKind,
}

/// What was wrong with a source of a key, or with what it gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// The environment variable is not set.
    #[error("not set")]
    Unset,
    /// The source gave nothing.
    #[error("empty")]
    Empty,
    /// The source gave bytes that are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// A newline, tab or other control character inside; a header cannot carry it.
    #[error("contains a control character at byte {0}; a key is one line (one newline at the end is allowed)")]
    ControlCharacter(usize),
    /// A blank at the start or the end: a space, a no-break space, a character that is shown as nothing.
    #[error("contains {character} at byte {at}; a key neither begins nor ends with a blank")]
    BlankAtEdge {
        /// Where it is, from 0.
        at: usize,
        /// Which one.
        character: CodePoint,
    },
    /// Quotes around the key; the first of them.
    #[error("in quotes, {0}; a key is written without them")]
    InQuotes(CodePoint),
    /// A character beyond ASCII in a key that is sent as it is, by `bearer` or `raw`.
    #[error("contains {character} at byte {at}; a key that is sent as bearer or raw is ASCII")]
    NotAscii {
        /// Where it is, from 0.
        at: usize,
        /// Which one.
        character: CodePoint,
    },
    /// The word that is sent before the key is in the key too.
    #[error("begins with the word {0}, which is added when the key is sent")]
    SchemeInKey(&'static str),
    /// The source gave more than a key can be.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// A folder, a pipe, a device.
    #[error("not a regular file")]
    NotAFile,
    /// The file is there and cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(SystemError),
    /// The file may be read or written by every user, and `keys.strict_permissions` is set. The file's mode.
    #[error("open to every user (mode {0:04o}), and keys.strict_permissions is set; close it with chmod o-rw")]
    OpenToEveryUser(u32),
    /// A link leads to a file that `untrusted.keys` does not allow.
    #[error("a link leads to a file that untrusted.keys does not allow")]
    LeadsElsewhere,
    /// `$CREDENTIALS_DIRECTORY` is not set: the process was not started by systemd with credentials.
    #[error("CREDENTIALS_DIRECTORY is not set; systemd sets it for a service with LoadCredential=")]
    NoCredentialsDirectory,
    /// The name would reach out of the credentials' folder.
    #[error("not a credential's name: it may not contain '/' or be '..'")]
    CredentialName,
    /// The command cannot be started.
    #[error("cannot be started: {0}")]
    NotStarted(SystemError),
    /// The command did not end in time, and was killed.
    #[error("did not end within {0:?} and was killed")]
    TimedOut(Duration),
    /// The command ended without a full line, and something that it started kept its output open.
    #[error("ended without a full line, and a process that it started kept its output open for {0:?}")]
    OutputHeldOpen(Duration),
    /// The command ended without output, and its exit status went elsewhere.
    #[error("printed nothing, and its exit status is unknown: the program ignores SIGCHLD, or reaps children itself")]
    StatusUnknown,
    /// The registry was shut down while the command ran.
    #[error("ended early: the registry was shut down")]
    GivenUp,
    /// The command failed.
    #[error("ended with {status}{}", .stderr.as_ref().map(|line| format!(": {line}")).unwrap_or_default())]
    Failed {
        /// How it ended, such as `exit status: 1`.
        status: String,
        /// The start of its standard error, if [`KeyCommand::show_stderr`](super::KeyCommand::show_stderr) is set and it printed nothing.
        stderr: Option<String>,
    },
    /// No [`SecretSource`](super::SecretSource) of that name was given to the registry's builder.
    #[error("no such provider; the program has: {0}")]
    UnknownProvider(String),
    /// The key was to be read again in the background, and the system refused a thread for that. It is tried again.
    #[error("a thread to read it cannot be started: {0}")]
    NoThread(SystemError),
    /// The program's own [`SecretSource`](super::SecretSource) panicked when it was asked again.
    #[error("panicked")]
    Panicked,
    /// The receiver refuses the key that the source gives now, and the source has no other.
    #[error("the receiver refuses the key that it gives now ({0})")]
    RefusedByReceiver(KeyRefusalStatus),
    /// The receiver refuses the key that the source gives now, and still takes the one before, which is used.
    #[error("the receiver refuses the key that it gives now ({0}); the one before is still taken, and used")]
    NotTaken(KeyRefusalStatus),
    /// The program's own [`SecretSource`](super::SecretSource) said so.
    #[error("{0}")]
    Refused(String),
    /// The error was read back from a status, as its message.
    #[error("{0}")]
    Reported(String),
}

/// What a receiver answered to a key that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyRefusalStatus {
    /// The HTTP status: 401 or 403.
    #[error("{0}")]
    Http(u16),
    /// The status of gRPC: 16 (`UNAUTHENTICATED`) or 7 (`PERMISSION_DENIED`).
    #[error("gRPC status {0}")]
    Grpc(i32),
}

impl PartialEq for SecretError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for SecretError {}

impl FromMessage for SecretError {
    fn from_message(message: String) -> Self {
        let (origin, fault) = message.split_once(": ").unwrap_or(("a source", &message));
        Self::new(origin, SecretErrorKind::Reported(fault.to_owned()))
    }
}

impl SecretError {
    pub(crate) fn new(origin: impl AsRef<str>, fault: SecretErrorKind) -> Self {
        Self {
            origin: printable(origin.as_ref()).to_string(),
            fault,
        }
    }

    /// An error of a program's own [`SecretSource`](super::SecretSource); the message must not contain the key.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new("secret source", SecretErrorKind::Refused(message.into()))
    }

    /// Whether the source may have a key later without a change of the configuration: it failed, or its key is not there yet.
    pub(crate) fn is_temporary(&self) -> bool {
        match self.fault {
            SecretErrorKind::Empty
            | SecretErrorKind::NotFound
            | SecretErrorKind::Unreadable(_)
            | SecretErrorKind::NotStarted(_)
            | SecretErrorKind::TimedOut(_)
            | SecretErrorKind::OutputHeldOpen(_)
            | SecretErrorKind::Failed { .. }
            | SecretErrorKind::NoThread(_)
            | SecretErrorKind::Panicked
            | SecretErrorKind::Refused(_) => true,
            SecretErrorKind::Unset
            | SecretErrorKind::NotUtf8
            | SecretErrorKind::ControlCharacter(_)
            | SecretErrorKind::BlankAtEdge { .. }
            | SecretErrorKind::InQuotes(_)
            | SecretErrorKind::NotAscii { .. }
            | SecretErrorKind::SchemeInKey(_)
            | SecretErrorKind::TooLarge(_)
            | SecretErrorKind::NotAFile
            | SecretErrorKind::OpenToEveryUser(_)
            | SecretErrorKind::LeadsElsewhere
            | SecretErrorKind::NoCredentialsDirectory
            | SecretErrorKind::CredentialName
            | SecretErrorKind::StatusUnknown
            | SecretErrorKind::GivenUp
            | SecretErrorKind::UnknownProvider(_)
            | SecretErrorKind::RefusedByReceiver(_)
            | SecretErrorKind::NotTaken(_)
            | SecretErrorKind::Reported(_) => false,
        }
    }

    /// Where the key should have come from, such as `environment variable HH_API_KEY`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What was wrong.
    pub fn fault(&self) -> &SecretErrorKind {
        &self.fault
    }
}
