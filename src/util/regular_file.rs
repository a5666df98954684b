//! Opens files that other processes may replace, without blocking.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a regular file for reading. Returns `None` for any other kind of file; opening a pipe
/// without a writer would block forever.
///
/// Checks the type twice: before opening, because opening a device may have side effects, and
/// after, because the file may have been replaced in between. Opens in non-blocking mode, so a pipe
/// that replaced the file does not block either.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    open_without_waiting(path)
}

fn open_without_waiting(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        options.custom_flags(i32::try_from(flags).expect("flags are small"));
    }
    let file = options.open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_pipe_that_replaced_a_file_does_not_block() {
        let folder = TempDir::new().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there");
        assert!(made.success());
        // As if the first check had still seen a file.
        assert!(open_without_waiting(&pipe).expect("opened").is_none());
        assert!(open(&pipe).expect("checked").is_none());
        let file = folder.path().join("file");
        fs::write(&file, "key").expect("written");
        assert!(open(&file).expect("opened").is_some());
    }
}
