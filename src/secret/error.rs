//! Errors of key sources. They contain the source's name and the broken rule, and never a part of a
//! key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CodePoint;
use crate::util::printable::printable;
use crate::util::serde_display::FromMessage;
use crate::util::system_error::SystemError;

/// A key could not be read. Errors with equal messages compare equal.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{origin}: {kind}")]
pub struct SecretError {
    origin: String,
    kind: SecretErrorKind,
}

/// Reason why a key source failed or returned an invalid key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// The environment variable is not set.
    #[error("not set in the environment of this process")]
    Unset,
    /// The source returned nothing.
    #[error("empty")]
    Empty,
    /// The source returned bytes that are not valid UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// The key contains a newline, tab or other control character, which a header cannot carry.
    #[error("contains a control character at byte {0}; a key is one line (one newline at the end is allowed)")]
    ControlCharacter(usize),
    /// The key starts or ends with white space or an invisible character.
    #[error("contains {character} at byte {at}; a key must not start or end with white space")]
    WhitespaceAtEdge {
        /// Byte offset of the character, from 0.
        at: usize,
        /// The character.
        character: CodePoint,
    },
    /// The key is enclosed in quotes. Carries the opening quote.
    #[error("enclosed in quotes, {0}; write the key without quotes")]
    InQuotes(CodePoint),
    /// The key contains a character beyond ASCII, and the `bearer` and `raw` schemes send it
    /// unencoded.
    #[error("contains {character} at byte {at}; the bearer and raw schemes need an ASCII key")]
    NotAscii {
        /// Byte offset of the character, from 0.
        at: usize,
        /// The character.
        character: CodePoint,
    },
    /// The key starts with the scheme word that is added when it is sent.
    #[error("starts with {0}, which is added when the key is sent")]
    SchemeInKey(&'static str),
    /// The key is larger than the limit, in bytes.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// The key is smaller than the limit, in bytes. Only keys of hashes have one.
    #[error("smaller than {0} bytes")]
    TooSmall(usize),
    /// The file does not exist.
    #[error("no such file")]
    NotFound,
    /// The path is not a regular file, but a folder, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// The file exists but cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(SystemError),
    /// Every user may read or write the file, and `keys.strict_permissions` is set. Carries the
    /// file's mode.
    #[error("open to every user (mode {0:04o}), and keys.strict_permissions is set; close it with chmod o-rw")]
    OpenToEveryUser(u32),
    /// A link points to a file that `untrusted.keys` does not allow.
    #[error("a link points to a file that untrusted.keys does not allow")]
    LinkNotAllowed,
    /// `$CREDENTIALS_DIRECTORY` is not set: systemd did not start the process with credentials.
    #[error("CREDENTIALS_DIRECTORY is not set; systemd sets it for a service with LoadCredential=")]
    NoCredentialsDirectory,
    /// The name would leave the credentials directory.
    #[error("invalid credential name: it must not be empty, '.' or '..', or contain '/'")]
    CredentialName,
    /// The command cannot be started.
    #[error("cannot be started: {0}")]
    NotStarted(SystemError),
    /// The command did not end in time and was killed.
    #[error("did not end within {0:?} and was killed")]
    TimedOut(Duration),
    /// The command exited without a full line, and a child process kept its output open.
    #[error("exited without a full line, and a child process kept its output open for {0:?}")]
    OutputHeldOpen(Duration),
    /// The command exited without output, and its exit status was lost.
    #[error("printed nothing, and its exit status is lost: this program ignores SIGCHLD or reaps child processes")]
    StatusUnknown,
    /// The registry was shut down while the command ran.
    #[error("cancelled: the registry was shut down")]
    Cancelled,
    /// The command exited with an error.
    #[error("failed with {status}{}", .stderr.as_ref().map(|line| format!(": {line}")).unwrap_or_default())]
    Failed {
        /// How it ended, such as `exit status: 1`.
        status: String,
        /// Start of its standard error, if
        /// [`KeyCommand::show_stderr`](super::KeyCommand::show_stderr) is set and it printed
        /// nothing to standard output.
        stderr: Option<String>,
    },
    /// The registry's builder was given no [`SecretSource`](super::SecretSource) of that name.
    #[error("unknown provider; known providers: {0}")]
    UnknownProvider(String),
    /// The system refused a thread to read the key again in the background. The read is retried.
    #[error("cannot start a thread to read the key: {0}")]
    NoThread(SystemError),
    /// The program's own [`SecretSource`](super::SecretSource) panicked during a background read.
    #[error("panicked")]
    Panicked,
    /// The receiver refuses the source's current key, and there is no other.
    #[error("the receiver refuses its current key ({0})")]
    RefusedByReceiver(KeyRefusalStatus),
    /// The receiver refuses the source's current key but accepts the previous one, which stays in
    /// use.
    #[error("the receiver refuses its current key ({0}); still using the previous key")]
    ReplacementRefused(KeyRefusalStatus),
    /// The program's own [`SecretSource`](super::SecretSource) returned this error.
    #[error("{0}")]
    Refused(String),
    /// The error was restored from a status, as its message.
    #[error("{0}")]
    Reported(String),
}

/// Status with which a receiver refuses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyRefusalStatus {
    /// HTTP status: 401 or 403.
    #[error("{0}")]
    Http(u16),
    /// gRPC status: 16 (`UNAUTHENTICATED`) or 7 (`PERMISSION_DENIED`).
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
        let (origin, kind) = message.split_once(": ").unwrap_or(("a source", &message));
        Self::new(origin, SecretErrorKind::Reported(kind.to_owned()))
    }
}

impl SecretError {
    pub(crate) fn new(origin: impl AsRef<str>, kind: SecretErrorKind) -> Self {
        Self {
            origin: printable(origin.as_ref()).to_string(),
            kind,
        }
    }

    /// Creates an error of a program's own [`SecretSource`](super::SecretSource). The message must
    /// not contain the key.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new("secret source", SecretErrorKind::Refused(message.into()))
    }

    /// Returns whether the source may provide a key later without a change of the configuration: it
    /// failed, or the key does not exist yet.
    pub(crate) fn is_temporary(&self) -> bool {
        match self.kind {
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
            | SecretErrorKind::WhitespaceAtEdge { .. }
            | SecretErrorKind::InQuotes(_)
            | SecretErrorKind::NotAscii { .. }
            | SecretErrorKind::SchemeInKey(_)
            | SecretErrorKind::TooLarge(_)
            | SecretErrorKind::TooSmall(_)
            | SecretErrorKind::NotAFile
            | SecretErrorKind::OpenToEveryUser(_)
            | SecretErrorKind::LinkNotAllowed
            | SecretErrorKind::NoCredentialsDirectory
            | SecretErrorKind::CredentialName
            | SecretErrorKind::StatusUnknown
            | SecretErrorKind::Cancelled
            | SecretErrorKind::UnknownProvider(_)
            | SecretErrorKind::RefusedByReceiver(_)
            | SecretErrorKind::ReplacementRefused(_)
            | SecretErrorKind::Reported(_) => false,
        }
    }

    /// Name of the source, such as `environment variable HH_API_KEY`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Reason of the error.
    pub fn kind(&self) -> &SecretErrorKind {
        &self.kind
    }
}
