//! How a file looks from outside.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::SystemTime;

/// Differs if another file is at the path, or the file was written. Follows links. `None` if there is no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Option<Seen>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, number on it, and when anything about it changed.
    identity: [i128; 4],
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| Seen {
            bytes: found.len(),
            modified: found.modified().ok(),
            identity: identity(&found),
        }))
    }
}

#[cfg(unix)]
fn identity(found: &Metadata) -> [i128; 4] {
    use std::os::unix::fs::MetadataExt;

    let (device, number) = (i128::from(found.dev()), i128::from(found.ino()));
    [device, number, found.ctime().into(), found.ctime_nsec().into()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i128; 4] {
    [0; 4]
}
