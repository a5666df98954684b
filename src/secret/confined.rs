//! Files that a layer may name which is not the operator's: which ones, and that no link leads elsewhere.
//!
//! A path is compared as it is written, part by part, and again as the opened file has it, with links followed. Folders whose names begin with
//! `..` are left out of the second comparison: Kubernetes mounts a secret `acme` as a link to `..data/acme`, and `..data` is a link to a folder
//! `..2026_11_29`. So a link may lead to another file that is allowed, and to no other one.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::SecretErrorKind;
use super::wildcard::fits;

/// How often a file is opened again that was replaced before it could be looked at.
const ATTEMPTS: usize = 5;

/// Which files may be named: everything below `root` whose parts fit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FilePattern {
    root: PathBuf,
    below: Vec<String>,
}

/// A file that an untrusted layer of the configuration names, as far as `untrusted.keys` allows it. Where links lead is checked each time
/// it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfinedFile {
    path: PathBuf,
    within: FilePattern,
}

impl FilePattern {
    /// `root` is the operator's own: links in it are followed. In a part of `below`, `*` is as in a [`KeyPattern`](super::KeyPattern).
    pub(crate) fn new(root: PathBuf, below: Vec<String>) -> Self {
        Self { root, below }
    }

    pub(super) fn map(&self, other: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let below = self.below.iter().map(|part| other(part)).collect::<Option<_>>()?;
        Some(Self::new(self.root.clone(), below))
    }

    pub(super) fn admit(&self, path: &Path) -> Option<ConfinedFile> {
        let rest: Vec<Component<'_>> = path.strip_prefix(&self.root).ok()?.components().collect();
        self.fits_below(&rest).then(|| ConfinedFile {
            path: path.to_owned(),
            within: self.clone(),
        })
    }

    fn fits_below(&self, rest: &[Component<'_>]) -> bool {
        let fits_part = |(part, pattern): (&Component<'_>, &String)| match part {
            Component::Normal(name) => name.to_str().is_some_and(|name| fits(pattern, name)),
            _ => false,
        };
        rest.len() == self.below.len() && rest.iter().zip(&self.below).all(fits_part)
    }

    /// Whether a path without links is one of these.
    fn has_real(&self, real: &Path) -> io::Result<bool> {
        let root = fs::canonicalize(&self.root)?;
        let Ok(rest) = real.strip_prefix(root) else {
            return Ok(false);
        };
        let is_version = |part: &Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b"..");
        let rest: Vec<Component<'_>> = rest.components().filter(|part| !is_version(part)).collect();
        Ok(self.fits_below(&rest))
    }
}

impl ConfinedFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file by `open`.
    pub(super) fn open(&self, open: impl Fn(&Path) -> Result<File, SecretErrorKind>) -> Result<File, SecretErrorKind> {
        let unreadable = |error: io::Error| SecretErrorKind::Unreadable(error.into());
        for _ in 0..ATTEMPTS {
            let file = open(&self.path)?;
            let real = real_path(&file, &self.path).map_err(unreadable)?;
            if self.within.has_real(&real).map_err(unreadable)? {
                return Ok(file);
            }
            // One that was replaced in the meantime has no path any more.
            if !is_gone(&file).map_err(unreadable)? {
                return Err(SecretErrorKind::LeadsElsewhere);
            }
        }
        Err(SecretErrorKind::NotFound)
    }
}

/// Where an opened file is. Asked of the file itself: by its path, another one may be found a moment later.
#[cfg(target_os = "linux")]
fn real_path(file: &File, _: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;

    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn real_path(_: &File, path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

#[cfg(unix)]
fn is_gone(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    Ok(file.metadata()?.nlink() == 0)
}

#[cfg(not(unix))]
fn is_gone(_: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::secret::{KeySource, SecretSources};

    /// A folder with the files `acme` and `globex`, and one outside of it; a pattern for `acme` alone.
    fn secrets() -> (TempDir, FilePattern) {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("tenants")).expect("made");
        for (name, key) in [
            ("tenants/acme", "of_acme"),
            ("tenants/globex", "of_globex"),
            ("other", "of_other"),
        ] {
            fs::write(folder.path().join(name), key).expect("written");
        }
        let pattern = FilePattern::new(folder.path().join("tenants"), vec!["acme".to_owned()]);
        (folder, pattern)
    }

    fn read(file: &ConfinedFile) -> Result<(), SecretErrorKind> {
        let source = KeySource::Confined(file.clone());
        let read = source.read(&SecretSources::default());
        read.map(drop).map_err(|error| error.fault().clone())
    }

    #[test]
    fn a_path_is_compared_part_by_part_and_never_upwards() {
        let pattern = FilePattern::new("/run/secrets".into(), vec!["acme".into(), "*.key".into()]);
        for (path, is_allowed) in [
            ("/run/secrets/acme/a.key", true),
            ("/run/secrets/acme//./a.key", true),
            ("/run/secrets/acme/a.txt", false),
            ("/run/secrets/acme/x/a.key", false),
            ("/run/secrets/acme.key", false),
            ("/run/secrets/globex/a.key", false),
            ("/run/secrets/globex/../acme/a.key", false),
            ("/run/secrets/acme/../a.key", false),
            ("/run/../run/secrets/acme/a.key", false),
            ("run/secrets/acme/a.key", false),
        ] {
            assert_eq!(pattern.admit(Path::new(path)).is_some(), is_allowed, "{path}");
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_refused_each_time_the_file_is_read() {
        let (folder, pattern) = secrets();
        let acme = folder.path().join("tenants/acme");
        let file = pattern.admit(&acme).expect("allowed");
        assert_eq!(read(&file), Ok(()));
        for target in ["globex", "../other", "/etc/hostname"] {
            fs::remove_file(&acme).expect("there");
            symlink(target, &acme).expect("linked");
            assert_eq!(read(&file), Err(SecretErrorKind::LeadsElsewhere), "{target}");
        }
    }

    #[test]
    fn a_folder_that_is_a_link_leads_nowhere_else_and_what_the_operator_linked_is_followed() {
        let (folder, _) = secrets();
        fs::create_dir(folder.path().join("tenants/real")).expect("made");
        fs::write(folder.path().join("tenants/real/key"), "of_real").expect("written");
        symlink("real", folder.path().join("tenants/mine")).expect("linked");
        symlink("tenants", folder.path().join("linked")).expect("linked");
        let pattern = |name: &str| FilePattern::new(folder.path().join("linked"), vec![name.into(), "key".into()]);
        let read = |name: &str| {
            let path = folder.path().join("linked").join(name).join("key");
            read(&pattern(name).admit(&path).expect("allowed"))
        };
        assert_eq!(read("mine"), Err(SecretErrorKind::LeadsElsewhere));
        assert_eq!(read("real"), Ok(()));
    }

    #[test]
    fn a_mounted_secret_is_read_through_its_links_and_through_every_swap_of_them() {
        let (folder, pattern) = secrets();
        let tenants = folder.path().join("tenants");
        fs::remove_file(tenants.join("acme")).expect("there");
        symlink("..data/acme", tenants.join("acme")).expect("linked");
        let file = pattern.admit(&tenants.join("acme")).expect("allowed");
        for version in ["..2026_1", "..2026_2"] {
            fs::create_dir(tenants.join(version)).expect("made");
            fs::write(tenants.join(version).join("acme"), version).expect("written");
            symlink(version, tenants.join("..data_tmp")).expect("linked");
            fs::rename(tenants.join("..data_tmp"), tenants.join("..data")).expect("swapped");
            assert_eq!(read(&file), Ok(()), "{version}");
        }
        fs::create_dir(folder.path().join("..outside")).expect("made");
        fs::write(folder.path().join("..outside/acme"), "of_other").expect("written");
        symlink("../..outside", tenants.join("..data_tmp")).expect("linked");
        fs::rename(tenants.join("..data_tmp"), tenants.join("..data")).expect("swapped");
        assert_eq!(read(&file), Err(SecretErrorKind::LeadsElsewhere));
    }

    #[test]
    fn a_file_that_is_replaced_all_the_time_is_read() {
        let (folder, pattern) = secrets();
        let acme = folder.path().join("tenants/acme");
        let file = pattern.admit(&acme).expect("allowed");
        let opened = std::cell::Cell::new(0);
        let replaced = file.open(|path| {
            let opened_now = File::open(path).expect("there");
            if opened.replace(opened.get() + 1) == 0 {
                fs::write(folder.path().join("new"), "newer").expect("written");
                fs::rename(folder.path().join("new"), &acme).expect("replaced");
            }
            Ok(opened_now)
        });
        assert!(replaced.is_ok() && opened.get() == 2, "{replaced:?}");
    }
}
