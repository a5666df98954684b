//! Checks that dependencies in the sources have one direction: modules in layers, and no circle between files.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use graph::Graph;

use crate::sources::{root, source_folders};

/// The layers of the library, lowest first: a module names only modules of its own layer and above it in this list. An entry is a folder
/// or a file (without `.rs`) below `src/`. If several entries match a file, the longest counts.
pub(crate) const LAYERS: &[&str] = &[
    "util",
    "watch",
    "selector",
    "secret",
    "config",
    "ledger",
    "policy",
    "backend",
    "context",
    "export",
    "span",
    "session/state",
    "tracer",
    "session",
    "scope",
    "propagation",
    "registry",
    "ingest",
    "integrations",
];

#[test]
fn no_file_names_items_of_a_file_that_names_its_own() {
    let circles: String = every_crate().values().map(graph::shown).collect();
    assert!(circles.is_empty(), "{circles}");
}

#[test]
fn a_module_names_only_modules_above_it() {
    let mut wrong = Vec::new();
    for (from, named) in &every_crate()[Path::new("src")] {
        for (to, names) in named {
            let root = ["src/lib.rs", "src/main.rs"].contains(&from.to_str().expect("a plain name"));
            if !root && layer(from) < layer(to) {
                wrong.push(format!("{} -> {}: {names:?}", from.display(), to.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The index of a file's entry in `LAYERS`.
fn layer(file: &Path) -> usize {
    let inside = file
        .strip_prefix("src")
        .expect("a file of the library")
        .with_extension("");
    let fits = LAYERS.iter().enumerate().filter(|(_, entry)| inside.starts_with(entry));
    let (place, _) = fits
        .max_by_key(|(_, entry)| entry.len())
        .unwrap_or_else(|| panic!("{} has no place in LAYERS", file.display()));
    place
}

/// The graph of each crate, by its `src` folder.
fn every_crate() -> BTreeMap<PathBuf, Graph> {
    let folders = source_folders().into_iter();
    folders
        .map(|folder| (folder.clone(), graph::of_crate(root(), &folder)))
        .collect()
}

/// Writes a crate with these files and returns its circles.
fn planted(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let tree = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let text = |circle: BTreeSet<PathBuf>| circle.iter().map(|file| file.display().to_string()).collect();
    graph::circles(&graph::of_crate(tree.path(), Path::new("")))
        .into_iter()
        .map(text)
        .collect()
}

#[test]
fn a_circle_is_found_however_its_files_name_the_items() {
    // In each of these ways `inner/deep.rs` names an item of `outer.rs`, which names `Deep` through a re-export.
    for way in [
        "use super::super::outer::Item; fn f(_: Item) {}",
        "fn f(_: crate::outer::Item) {}",
        "use crate::outer; fn f(_: outer::Item) {}",
        "use crate::{outer as other}; fn f() { let _ = other::Item::new(); }",
        "use crate::Item;",
        "use super::*; fn f(_: Again) {}",
        "fn f() { assert!(crate::outer::Item::new() == 1); }",
        "fn f() { use crate::outer::Item; }",
        "struct S { #[serde(with = \"crate::outer::Item\")] s: u8 }",
        "struct Deep2; impl crate::outer::Trait for Deep2 {}",
        "fn f() { crate::outer::shout!(); }",
    ] {
        let circles = planted(&[
            ("lib.rs", "mod outer; mod inner; pub use outer::Item;"),
            (
                "outer.rs",
                "use crate::inner::Deep; pub struct Item(Deep); pub trait Trait {} macro_rules! shout { () => {} } pub(crate) use shout;",
            ),
            (
                "inner/mod.rs",
                "mod deep; pub use deep::Deep; use crate::outer::Item as Again; pub(crate) use crate::outer::shout;",
            ),
            ("inner/deep.rs", &format!("pub struct Deep; {way}")),
        ]);
        assert_eq!(circles, [["inner/deep.rs", "outer.rs"]], "{way}");
    }
}

#[test]
fn test_code_and_comments_make_no_circle() {
    for way in [
        "#[cfg(test)] use crate::outer::Item;",
        "#[cfg(all(test, unix))] fn f(_: crate::outer::Item) {}",
        "#[cfg(test)] mod tests { use crate::outer::Item; }",
        "#[cfg(test)] mod tests;",
        "impl Deep { #[cfg(test)] fn f(_: crate::outer::Item) {} }",
        "/// [`crate::outer::Item`]\nfn f() {}",
        "pub(in crate::inner) fn f(outer: u8) { outer.item() }",
        "use std::outer::Item;",
    ] {
        let circles = planted(&[
            ("lib.rs", "mod outer; mod inner;"),
            ("outer.rs", "pub struct Item(crate::inner::Deep);"),
            ("inner/mod.rs", "mod deep; pub use deep::Deep;"),
            ("inner/deep.rs", &format!("pub struct Deep; {way}")),
            ("inner/deep/tests.rs", "use crate::outer::Item;"),
        ]);
        assert_eq!(circles, [[""; 0]; 0], "{way}");
    }
}
