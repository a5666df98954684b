//! The folder of a spool and its files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub(crate) const DATABASE: &str = "spool.db";
pub(crate) const WAL: &str = "spool.db-wal";
const SHM: &str = "spool.db-shm";
pub(crate) const LOCK: &str = "spool.lock";
pub(crate) const SPARE: &str = "spool.spare";
const PROBE: &str = "spool.probe";

/// A folder that this user owns and others cannot enter.
pub(crate) struct Folder {
    path: PathBuf,
}

#[derive(Debug)]
pub(crate) enum FolderError {
    Rule { path: PathBuf, rule: &'static str },
    Io(io::Error),
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Folder {
    /// Creates or checks the folder. Its parent may be a symbolic link, the folder itself not.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, FolderError> {
        let broken = |rule| FolderError::Rule {
            path: path.to_owned(),
            rule,
        };
        let name = path
            .file_name()
            .ok_or_else(|| broken("must end with the name of a folder"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = parent.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => broken("must be in a folder that exists"),
            io::ErrorKind::PermissionDenied => broken("must be in a folder that this user may enter"),
            _ => error.into(),
        })?;
        let folder = Self {
            path: parent.join(name),
        };
        let found = match fs::symlink_metadata(&folder.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                folder.create(&parent).map_err(|error| match error.kind() {
                    io::ErrorKind::PermissionDenied => broken("must exist, or its parent be writable for this user"),
                    _ => error.into(),
                })?;
                fs::symlink_metadata(&folder.path)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(broken("must exist")),
            Err(error) => return Err(error.into()),
        };
        if !found.is_dir() {
            return Err(broken("must be a folder, and no symbolic link"));
        }
        check(&folder.path, &found, 0o700)?;
        Ok(folder)
    }

    fn create(&self, parent: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path)?;
        sync(&self.path)?;
        sync(parent)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Checks a file, if it exists. Does not open it: that would end SQLite's locks.
    pub(crate) fn check_file(&self, name: &str) -> Result<bool, FolderError> {
        let path = self.file(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
            Ok(found) if !found.is_file() => Err(FolderError::Rule {
                path,
                rule: "must be a regular file, and no symbolic link",
            }),
            Ok(found) => check(&path, &found, 0o600).map(|()| true),
        }
    }

    pub(crate) fn open_file(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        open(&self.file(name), options)
    }

    /// Checks all files, and creates the database if it is missing.
    pub(crate) fn prepare(&self) -> Result<(), FolderError> {
        for name in [WAL, SHM, SPARE] {
            self.check_file(name)?;
        }
        if !self.check_file(DATABASE)? {
            self.adopt_wal()?;
            self.open_file(DATABASE, OpenOptions::new().write(true).create_new(true))?
                .sync_all()?;
            sync(&self.path)?;
        }
        Ok(())
    }

    /// Renames the database. Returns the new path.
    pub(crate) fn set_aside(&self, why: &str, between: impl FnOnce()) -> io::Result<PathBuf> {
        let mut at = now_ms();
        let aside = loop {
            let aside = self.file(&format!("{DATABASE}.{why}-{at}"));
            if !aside.try_exists()? {
                break aside;
            }
            at += 1;
        };
        fs::rename(self.file(DATABASE), &aside)?;
        between();
        self.move_wal(&aside)?;
        sync(&self.path)?;
        Ok(aside)
    }

    /// Completes a `set_aside` that a crash interrupted: SQLite would delete the log.
    fn adopt_wal(&self) -> io::Result<()> {
        if !self.file(WAL).try_exists()? {
            return Ok(());
        }
        let newest = self.set_aside_files()?.into_iter().max_by_key(|path| {
            let name = path.to_string_lossy();
            name.rsplit('-').next().and_then(|at| at.parse::<u64>().ok())
        });
        match newest {
            Some(aside) => self.move_wal(&aside),
            None => Ok(()),
        }
    }

    fn move_wal(&self, aside: &Path) -> io::Result<()> {
        let mut wal = aside.as_os_str().to_owned();
        wal.push("-wal");
        ignore_missing(fs::rename(self.file(WAL), wal))?;
        ignore_missing(fs::remove_file(self.file(SHM)))
    }

    /// The databases that were set aside, without their logs.
    pub(crate) fn set_aside_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("spool.db.") && !name.ends_with("-wal") && !name.ends_with("-shm") {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    /// The size of the database and its log.
    pub(crate) fn bytes(&self) -> u64 {
        [DATABASE, WAL]
            .iter()
            .filter_map(|name| fs::metadata(self.file(name)).ok())
            .map(|file| file.len())
            .sum()
    }

    /// Whether a write failed because there is no space, or because a file is at the limit of
    /// file sizes. SQLite reports both as an I/O error.
    pub(crate) fn is_full(&self) -> bool {
        let end = |name| fs::metadata(self.file(name)).map_or(0, |file| file.len());
        let end = end(WAL).max(end(DATABASE));
        let attempt = || {
            ignore_missing(fs::remove_file(self.file(PROBE)))?;
            let mut file = self.open_file(PROBE, OpenOptions::new().write(true).create_new(true))?;
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&vec![1; 64 << 10])
        };
        let result: io::Result<()> = attempt();
        let _ = fs::remove_file(self.file(PROBE));
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        result.is_err_and(|error| full.contains(&error.kind()))
    }

    /// Makes the spare file, which takes space that is freed when the disk is full.
    pub(crate) fn allocate_spare(&self, bytes: u64) -> io::Result<()> {
        if fs::metadata(self.file(SPARE)).is_ok_and(|file| file.len() == bytes) {
            return Ok(());
        }
        self.free_spare()?;
        let file = self.open_file(SPARE, OpenOptions::new().write(true).create_new(true))?;
        let allocated = allocate(file, bytes);
        if allocated.is_err() {
            self.free_spare()?;
        }
        allocated
    }

    pub(crate) fn free_spare(&self) -> io::Result<()> {
        ignore_missing(fs::remove_file(self.file(SPARE)))
    }
}

/// Creates a file for this user alone.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    open(path, OpenOptions::new().write(true).create_new(true))?.sync_all()
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("a flag of open");
        options.mode(0o600).custom_flags(flags);
    }
    options.open(path)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg_attr(
    not(unix),
    expect(clippy::unnecessary_wraps, unused_variables, reason = "no modes there")
)]
fn check(path: &Path, found: &fs::Metadata, owner_mode: u32) -> Result<(), FolderError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let broken = |rule| {
            Err(FolderError::Rule {
                path: path.to_owned(),
                rule,
            })
        };
        if found.uid() != rustix::process::geteuid().as_raw() {
            return broken("must belong to the user of this process");
        }
        if found.mode() & 0o077 != 0 {
            return broken("must not be accessible to other users");
        }
        if found.mode() & owner_mode != owner_mode {
            return broken("must be readable and writable for its user");
        }
        if found.is_file() && found.nlink() != 1 {
            return broken("must not have a second name (hard link)");
        }
    }
    Ok(())
}

/// Makes renames and new files in a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn allocate(mut file: File, bytes: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        other => return Ok(other?),
    }
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    file.sync_all()
}

/// The time in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
