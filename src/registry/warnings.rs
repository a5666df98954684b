//! What a check warns of: bindings that work, and could be safer.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::config::ResolvedBinding;
use crate::printable::printable_path;
use crate::secret::{KeySource, open_to_every_user};

/// Something about a binding that works and could be safer. Nothing is logged about it at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckWarning {
    /// Every user of the machine may read or write a file with a key: that of the binding, the proxy's credentials, or the private key of a
    /// client certificate. Its group does not count.
    OpenKeyFile {
        /// The file, as the configuration names it.
        file: PathBuf,
        /// Its mode, that of the file at the end of a link.
        mode: u32,
    },
}

/// The warnings about the files of a binding. None on systems without modes of files.
pub(super) fn of(binding: &ResolvedBinding) -> Vec<CheckWarning> {
    let credentials = binding.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref());
    let sources = [Some(&binding.api_key), credentials].into_iter().flatten();
    let files = sources.filter_map(KeySource::path).chain(binding.tls.key.clone());
    let open = files.filter_map(|file| {
        let mode = open_to_every_user(&file.metadata().ok()?)?;
        Some(CheckWarning::OpenKeyFile { file, mode })
    });
    open.collect()
}

impl fmt::Display for CheckWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenKeyFile { file, mode } => {
                write!(
                    f,
                    "key file {} is open to every user (mode {mode:04o}); close it with chmod o-rw",
                    printable_path(file)
                )
            }
        }
    }
}

impl Serialize for CheckWarning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
