//! The folder with a file for each caller.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracer_registry::gateway::GatewayProblems;
use tracer_registry::selector::Slug;
use tracer_registry::text::printable;

use super::caller::CallerSettings;

/// Maximum number of files, so that a wrong folder is refused before it is read.
const MAX_FILES: usize = 200_000;
/// Maximum size of a file.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Extensions of configuration files. Other files are ignored, and hidden ones.
const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// Adds the callers of a folder to those of the configuration.
pub(super) fn read(folder: &Path, callers: &mut BTreeMap<Slug, Arc<CallerSettings>>, problems: &mut GatewayProblems) {
    let field = "gateway.callers_dir";
    let files = match files(folder) {
        Ok(files) if files.len() > MAX_FILES => {
            return problems.add(field, format!("more than {MAX_FILES} files"));
        }
        Ok(files) => files,
        Err(error) => {
            let (shown, error) = (folder.display().to_string(), error.kind());
            return problems.add(field, format!("{} cannot be read: {error}", printable(&shown)));
        }
    };
    let mut before: Option<PathBuf> = None;
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = match Slug::new(&stem) {
            Ok(name) => name,
            Err(error) => {
                problems.add(field, error.to_string());
                continue;
            }
        };
        let path = path_of(&name);
        let same = before
            .replace(file.clone())
            .filter(|before| before.file_stem() == file.file_stem());
        if let Some(same) = same {
            let others = [&same, &file].map(|file| file.display().to_string());
            problems.add(path, format!("{} conflicts with {}", others[0], others[1]));
            continue;
        }
        let mut caller = CallerSettings::default();
        problems.read_file(&file, path.clone(), MAX_FILE_BYTES, |table| caller.read(table));
        if callers.insert(name, Arc::new(caller)).is_some() {
            let message = format!("also in {}; remove one of them", file.display());
            problems.add(path, message);
        }
    }
}

/// Returns the path of a caller's table.
pub(crate) fn path_of(name: &Slug) -> String {
    // TOML quotes a key with a dot.
    if name.contains('.') {
        format!("gateway.callers.\"{name}\"")
    } else {
        format!("gateway.callers.{name}")
    }
}

/// Returns the files in alphabetical order, at most one more than allowed.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_known = file
            .extension()
            .is_some_and(|known| EXTENSIONS.iter().any(|extension| known == *extension));
        if is_known && !is_hidden {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            break;
        }
    }
    files.sort_unstable();
    Ok(files)
}
