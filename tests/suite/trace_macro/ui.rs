//! What the compiler says of wrong uses, and where it points.
//!
//! The compiler is called for each file, with the library that this test is linked with: a project of its own, as `trybuild` makes one, would
//! compile every dependency a second time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The errors of a file, one a line. What the compiler says in its own words is left out: those are others with another release.
fn errors(file: &Path, library: &Path, edition: &str) -> String {
    let said = compiled(file, library, edition);
    let errors = said.lines().filter(|line| line.contains(": error"));
    errors.flat_map(|line| [own_words(line), "\n"]).collect()
}

/// All that the compiler says of a file.
fn compiled(file: &Path, library: &Path, edition: &str) -> String {
    let dependencies = library.parent().expect("it lies somewhere");
    let output = Command::new("rustc")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "--error-format=short",
            "--emit=metadata",
            "--out-dir",
            env!("CARGO_TARGET_TMPDIR"),
            "--edition",
            edition,
        ])
        .arg(format!("--extern=tracer_registry={}", library.display()))
        .arg(format!("-Ldependency={}", dependencies.display()))
        .arg(file)
        .output()
        .expect("a compiler");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A line up to where the compiler's own words begin: errors of ours have no code, but for that of a trait that is not implemented.
fn own_words(line: &str) -> &str {
    let is_ours = |code: &str| code == "E0277" && line.contains(" cannot be a `");
    match line.split_once(": error[").and_then(|(_, rest)| rest.split_once(']')) {
        Some((code, words)) if !is_ours(code) => line.strip_suffix(words).unwrap_or(line),
        _ => line,
    }
}

/// The libraries beside this test, the newest one first.
fn libraries() -> Vec<PathBuf> {
    let this = std::env::current_exe().expect("a test has a path");
    let beside = fs::read_dir(this.parent().expect("it lies somewhere")).expect("a readable folder");
    let files = beside.map(|file| file.expect("a readable entry").path());
    let mut libraries: Vec<(SystemTime, PathBuf)> = files
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libtracer_registry-") && path.extension().is_some_and(|extension| extension == "rlib")
        })
        .map(|path| {
            (
                path.metadata()
                    .and_then(|file| file.modified())
                    .expect("a file with a time"),
                path,
            )
        })
        .collect();
    libraries.sort();
    libraries.into_iter().rev().map(|(_, path)| path).collect()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let relative = paths.map(|path| path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("in it").to_owned());
    relative
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// A library that has the attribute: one that was built without it may lie beside this test as well.
fn library(good: &Path) -> PathBuf {
    let all = libraries();
    let fits = all.iter().find(|library| compiled(good, library, "2024").is_empty());
    fits.cloned().unwrap_or_else(|| {
        let newest = all.first().expect("this test is linked with one");
        panic!("{}", compiled(good, newest, "2024"))
    })
}

#[test]
fn wrong_uses_are_told_where_they_are_and_good_ones_give_no_warning() {
    let good = files("tests/ui/good", "rs");
    let library = library(&good[0]);
    for file in &good {
        for edition in ["2021", "2024"] {
            assert_eq!(
                compiled(file, &library, edition),
                "",
                "{}, edition {edition}",
                file.display()
            );
        }
    }
    let wrong = files("tests/ui", "rs");
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    for file in wrong {
        let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(file.with_extension("stderr"));
        let expected = fs::read_to_string(expected).unwrap_or_default();
        let found = errors(&file, &library, "2024");
        assert!(
            found == expected,
            "{} gives\n{found}in place of\n{expected}",
            file.display()
        );
    }
}
