//! Reads the sources of the workspace as modules with names, for tests that check their structure.

mod mentions;
pub(crate) mod modules;
pub(crate) mod names;

use std::fs;
use std::path::{Path, PathBuf};

/// The `src` folder of each crate of the workspace, relative to the repository root.
pub(crate) fn source_folders() -> Vec<PathBuf> {
    let root = root();
    let mut folders = vec![PathBuf::from("src")];
    for entry in fs::read_dir(root.join("crates")).into_iter().flatten() {
        let name = entry.expect("a readable entry").file_name();
        folders.push(Path::new("crates").join(name).join("src"));
    }
    folders.retain(|folder| root.join(folder).exists());
    folders
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
