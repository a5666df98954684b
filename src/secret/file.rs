//! Keys out of files: mounted secrets and systemd's credentials.

use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::key::{ApiKey, BYTE_ORDER_MARK};
use super::rules::MAX_KEY_BYTES;
use super::{ConfinedFile, SecretError, SecretErrorKind};
use crate::util::printable::printable_path;

/// One mark at the start and one line end more than a key may have, and one byte more than that to see that it is too large.
const MAX_FILE_BYTES: usize = BYTE_ORDER_MARK.len() + MAX_KEY_BYTES + 3;

pub(super) fn read(path: &Path, strict: bool) -> Result<ApiKey, SecretError> {
    read_key(path, strict).map_err(|fault| SecretError::new(format!("file {}", printable_path(path)), fault))
}

/// A file of an untrusted layer: not where a link leads out of what is allowed.
pub(super) fn read_confined(file: &ConfinedFile, strict: bool) -> Result<ApiKey, SecretError> {
    let key = file.open(open).and_then(|file| key_of(file, strict));
    key.map_err(|fault| SecretError::new(format!("file {}", printable_path(file.path())), fault))
}

/// A credential that systemd passed to the service (systemd.exec(5), "Credentials").
pub(super) fn read_credential(name: &str, strict: bool) -> Result<ApiKey, SecretError> {
    let key = credential(name).and_then(|path| read_key(&path, strict));
    key.map_err(|fault| SecretError::new(format!("credential {name}"), fault))
}

/// Where a credential is.
#[expect(clippy::disallowed_methods, reason = "systemd names the folder in a variable")]
pub(super) fn credential(name: &str) -> Result<PathBuf, SecretErrorKind> {
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

/// The mode of a file that every user of the machine may read or write. Its group does not count: that is how a service gets a file that
/// another user wrote. None also where files have no such mode.
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
