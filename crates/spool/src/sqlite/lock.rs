use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use super::files::{Folder, FolderError, LOCK};

const POLL: Duration = Duration::from_millis(50);

/// The right to use a folder. Ends with the value.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

pub(crate) enum LockError {
    /// Another registry holds it: its process, if the file names it.
    Held(Option<u32>),
    Folder(FolderError),
}

impl Lock {
    /// Locks the folder. Tries again for `wait`.
    pub(crate) fn acquire(folder: &Folder, wait: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + wait;
        folder.check_file(LOCK).map_err(LockError::Folder)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = folder
            .open_file(LOCK, &mut options)
            .map_err(|e| LockError::Folder(e.into()))?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(process(&mut file))),
                Err(TryLockError::Error(error)) => return Err(LockError::Folder(error.into())),
            }
        }
        // For messages alone, so a full disk does not matter.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

fn process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind()
        .and_then(|()| io::Read::by_ref(file).take(20).read_to_string(&mut text))
        .ok()?;
    text.trim().parse().ok()
}
