//! File metadata that shows whether a file changed.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::SystemTime;

/// Differs if the path names another file, or the file was written. Follows symbolic links. `None`
/// if the file does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Option<FileState>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and time of the last metadata change in seconds and nanoseconds.
    identity: [i128; 4],
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| FileState {
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
