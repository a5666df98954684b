//! Opens files that others may replace, without ever waiting for one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a regular file for reading. Returns `None` for anything else: opening a pipe without a writer would wait for ever.
///
/// Checks twice: before it is opened, because opening a device may have an effect, and what was opened, because another file may have come
/// in its place in between. It does not wait for that one either.
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
    fn a_pipe_that_came_in_the_place_of_a_file_is_not_waited_for() {
        let folder = TempDir::new().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there");
        assert!(made.success());
        // As if the look before it had still seen a file.
        assert!(open_without_waiting(&pipe).expect("opened").is_none());
        assert!(open(&pipe).expect("looked at").is_none());
        let file = folder.path().join("file");
        fs::write(&file, "key").expect("written");
        assert!(open(&file).expect("opened").is_some());
    }
}
