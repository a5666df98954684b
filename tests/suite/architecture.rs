//! The modules' one direction: a module names only modules above it in this list.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ones that know nothing to the ones that know most. `collector` is last because it is nobody's, and knows `util` and `secret` only.
const ORDER: [&str; 17] = [
    "util",
    "faults",
    "watch",
    "selector",
    "secret",
    "config",
    "ledger",
    "backend",
    "context",
    "export",
    "span",
    "tracer",
    "session",
    "scope",
    "propagation",
    "registry",
    "integrations",
];

#[test]
fn a_module_names_only_modules_above_it() {
    let mut wrong = Vec::new();
    for file in rust_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let inside = file
            .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
            .expect("a file of src");
        let module = inside.iter().next().and_then(|part| part.to_str()).expect("a name");
        let module = module.trim_end_matches(".rs");
        let text = fs::read_to_string(&file).expect("a readable file");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for named in code.split("crate::").skip(1) {
            let named: String = named
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if named.is_empty() || named == module || allowed(module, &named) {
                continue;
            }
            wrong.push(format!("{}: crate::{named}", inside.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn allowed(module: &str, named: &str) -> bool {
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    match module {
        // The binary and the library's root name everything; the command line only itself, and the library by its public name.
        "lib" | "main" => true,
        "cli" => named == "cli",
        "collector" => ["util", "secret"].contains(&named),
        // As a user has it: what the root exports, and the public modules.
        "testing" => ["collector", "config", "tower"].contains(&named),
        _ => match (place(module), place(named)) {
            (Some(module), Some(named)) => named < module,
            _ => false,
        },
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
