//! Reads keys from files: mounted secrets and systemd credentials.

use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::key::{ApiKey, BYTE_ORDER_MARK};
use super::rules::MAX_KEY_BYTES;
use super::{ConfinedFile, SecretError, SecretErrorKind};
use crate::util::printable::printable_path;

/// A key with a byte order mark and a line end, plus one byte to detect a larger file.
const MAX_FILE_BYTES: usize = BYTE_ORDER_MARK.len() + MAX_KEY_BYTES + 3;

pub(super) fn read(path: &Path, strict: bool) -> Result<ApiKey, SecretError> {
    read_key(path, strict).map_err(|kind| SecretError::new(format!("file {}", printable_path(path)), kind))
}

/// Reads a file named by an untrusted layer. Refuses links out of the allowed files.
pub(super) fn read_confined(file: &ConfinedFile, strict: bool) -> Result<ApiKey, SecretError> {
    let key = file.open(open).and_then(|file| key_of(file, strict));
    key.map_err(|kind| SecretError::new(format!("file {}", printable_path(file.path())), kind))
}

/// Reads a credential that systemd passed to the service (systemd.exec(5), "Credentials").
pub(super) fn read_credential(name: &str, strict: bool) -> Result<ApiKey, SecretError> {
    let key = credential_path(name).and_then(|path| read_key(&path, strict));
    key.map_err(|kind| SecretError::new(format!("credential {name}"), kind))
}

/// Returns the path of a credential.
#[expect(clippy::disallowed_methods, reason = "systemd passes the folder in a variable")]
pub(super) fn credential_path(name: &str) -> Result<PathBuf, SecretErrorKind> {
    if name.contains('/') || name == ".." || name == "." || name.is_empty() {
        return Err(SecretErrorKind::CredentialName);
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(SecretErrorKind::NoCredentialsDirectory)?;
    Ok(Path::new(&folder).join(name))
}

fn read_key(path: &Path, strict: bool) -> Result<ApiKey, SecretErrorKind> {
    open(path).and_then(|file| key_of(file, strict))
}

fn open(path: &Path) -> Result<File, SecretErrorKind> {
    crate::util::regular_file::open(path)
        .map_err(unreadable)?
        .ok_or(SecretErrorKind::NotAFile)
}

fn key_of(file: File, strict: bool) -> Result<ApiKey, SecretErrorKind> {
    if strict && let Some(mode) = open_to_every_user(&file.metadata().map_err(unreadable)?) {
        return Err(SecretErrorKind::OpenToEveryUser(mode));
    }
    let mut bytes = Vec::with_capacity(MAX_FILE_BYTES);
    let limit = u64::try_from(MAX_FILE_BYTES).expect("a small constant");
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    ApiKey::from_file(bytes)
}

/// Returns the mode of a file that every user of the machine may read or write, or `None`. Group
/// access is allowed, because a service often gets a file from another user that way. Always `None`
/// on systems without Unix modes.
pub(crate) fn open_to_every_user(file: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.permissions().mode();
        (mode & 0o006 != 0).then_some(mode & 0o7777)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}

fn unreadable(error: Error) -> SecretErrorKind {
    match error.kind() {
        ErrorKind::NotFound => SecretErrorKind::NotFound,
        _ => SecretErrorKind::Unreadable(error.into()),
    }
}
