//! Keys out of files: mounted secrets and systemd's credentials.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::key::{ApiKey, MAX_KEY_BYTES};
use super::{ConfinedFile, SecretError, SecretFault};

pub(super) fn read(path: &Path) -> Result<ApiKey, SecretError> {
    read_key(path).map_err(|fault| SecretError::new(format!("file {}", path.display()), fault))
}

/// A file of an untrusted layer: not where a link leads out of what is allowed.
pub(super) fn read_confined(file: &ConfinedFile) -> Result<ApiKey, SecretError> {
    let key = file.open(open).and_then(key_of);
    key.map_err(|fault| SecretError::new(format!("file {}", file.path().display()), fault))
}

/// A credential that systemd passed to the service (systemd.exec(5), "Credentials").
pub(super) fn read_credential(name: &str) -> Result<ApiKey, SecretError> {
    let key = credential(name).and_then(|path| read_key(&path));
    key.map_err(|fault| SecretError::new(format!("credential {name}"), fault))
}

#[expect(clippy::disallowed_methods, reason = "systemd names the folder in a variable")]
/// Where a credential is.
pub(super) fn credential(name: &str) -> Result<PathBuf, SecretFault> {
    if name.contains('/') || name == ".." || name == "." || name.is_empty() {
        return Err(SecretFault::CredentialName);
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(SecretFault::NoCredentialsDirectory)?;
    Ok(Path::new(&folder).join(name))
}

fn read_key(path: &Path) -> Result<ApiKey, SecretFault> {
    open(path).and_then(key_of)
}

fn open(path: &Path) -> Result<File, SecretFault> {
    // Asked before opening: opening a pipe without a writer would wait for ever.
    let kind = fs::metadata(path).map_err(|error| fault_of(error.kind()))?;
    if !kind.is_file() {
        return Err(SecretFault::NotAFile);
    }
    File::open(path).map_err(|error| fault_of(error.kind()))
}

fn key_of(file: File) -> Result<ApiKey, SecretFault> {
    let mut bytes = Vec::with_capacity(MAX_KEY_BYTES + 3);
    // One line end more than a key may have, and one byte more than that to see that it is too large.
    let limit = u64::try_from(MAX_KEY_BYTES + 3).expect("a small constant");
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| fault_of(error.kind()))?;
    ApiKey::from_output(bytes)
}

fn fault_of(kind: ErrorKind) -> SecretFault {
    match kind {
        ErrorKind::NotFound => SecretFault::NotFound,
        other => SecretFault::Unreadable(other),
    }
}
