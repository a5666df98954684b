//! Files that untrusted layers may name, and protection against links that lead out of them.
//!
//! A path is matched component by component, first as written and again after the opened file's
//! links are resolved. The second match skips folders that start with `..`: Kubernetes mounts a
//! secret `acme` as a link to `..data/acme`, with `..data` a link to a folder `..2026_11_29`. A
//! link can therefore point only to another allowed file.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::SecretErrorKind;
use super::wildcard::wildcard_matches;

/// Maximum attempts to open a file that is replaced before its path is resolved.
const ATTEMPTS: usize = 5;

/// Allowed files: those below `root` with path components that match `below`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FilePattern {
    root: PathBuf,
    below: Vec<String>,
}

/// A file named by an untrusted layer of the configuration and allowed by `untrusted.keys`. Links
/// are checked at each read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfinedFile {
    path: PathBuf,
    within: FilePattern,
}

impl FilePattern {
    /// Links in `root` are followed, because the operator wrote it. In a component of `below`, `*`
    /// is a wildcard as in a [`KeyPattern`](super::KeyPattern).
    pub(crate) fn new(root: PathBuf, below: Vec<String>) -> Self {
        Self { root, below }
    }

    pub(super) fn map(&self, replace: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let below = self.below.iter().map(|part| replace(part)).collect::<Option<_>>()?;
        Some(Self::new(self.root.clone(), below))
    }

    pub(super) fn admit(&self, path: &Path) -> Option<ConfinedFile> {
        let rest: Vec<Component<'_>> = path.strip_prefix(&self.root).ok()?.components().collect();
        self.matches_below(&rest).then(|| ConfinedFile {
            path: path.to_owned(),
            within: self.clone(),
        })
    }

    fn matches_below(&self, rest: &[Component<'_>]) -> bool {
        let matches_component = |(part, pattern): (&Component<'_>, &String)| match part {
            Component::Normal(name) => name.to_str().is_some_and(|name| wildcard_matches(pattern, name)),
            _ => false,
        };
        rest.len() == self.below.len() && rest.iter().zip(&self.below).all(matches_component)
    }

    /// Returns whether a path without links is allowed.
    fn allows_resolved(&self, real: &Path) -> io::Result<bool> {
        let root = fs::canonicalize(&self.root)?;
        let Ok(rest) = real.strip_prefix(root) else {
            return Ok(false);
        };
        let is_version = |part: &Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b"..");
        let rest: Vec<Component<'_>> = rest.components().filter(|part| !is_version(part)).collect();
        Ok(self.matches_below(&rest))
    }
}

impl ConfinedFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file with `open`, and checks where its links lead.
    pub(super) fn open(&self, open: impl Fn(&Path) -> Result<File, SecretErrorKind>) -> Result<File, SecretErrorKind> {
        let unreadable = |error: io::Error| SecretErrorKind::Unreadable(error.into());
        for _ in 0..ATTEMPTS {
            let file = open(&self.path)?;
            let real = real_path(&file, &self.path).map_err(unreadable)?;
            if self.within.allows_resolved(&real).map_err(unreadable)? {
                return Ok(file);
            }
            // A file that was replaced meanwhile has no path any more.
            if !is_unlinked(&file).map_err(unreadable)? {
                return Err(SecretErrorKind::LinkNotAllowed);
            }
        }
        Err(SecretErrorKind::NotFound)
    }
}

/// Returns the resolved path of an open file. Reads it from the descriptor, because the path may
/// name another file by now.
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
fn is_unlinked(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    Ok(file.metadata()?.nlink() == 0)
}

#[cfg(not(unix))]
fn is_unlinked(_: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::secret::{KeySource, SecretSources};

    /// Returns a folder with the files `acme` and `globex` and one file outside, and a pattern for
    /// `acme` alone.
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
        read.map(drop).map_err(|error| error.kind().clone())
    }

    #[test]
    fn a_path_is_matched_by_component_and_never_upwards() {
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
    fn a_link_to_a_file_that_is_not_allowed_is_refused_at_each_read() {
        let (folder, pattern) = secrets();
        let acme = folder.path().join("tenants/acme");
        let file = pattern.admit(&acme).expect("allowed");
        assert_eq!(read(&file), Ok(()));
        for target in ["globex", "../other", "/etc/hostname"] {
            fs::remove_file(&acme).expect("there");
            symlink(target, &acme).expect("linked");
            assert_eq!(read(&file), Err(SecretErrorKind::LinkNotAllowed), "{target}");
        }
    }

    #[test]
    fn links_below_the_root_are_refused_and_links_in_the_root_are_followed() {
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
        assert_eq!(read("mine"), Err(SecretErrorKind::LinkNotAllowed));
        assert_eq!(read("real"), Ok(()));
    }

    #[test]
    fn a_mounted_secret_is_read_through_its_links_after_each_swap() {
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
        assert_eq!(read(&file), Err(SecretErrorKind::LinkNotAllowed));
    }

    #[test]
    fn a_file_that_is_replaced_while_it_is_opened_is_read() {
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
