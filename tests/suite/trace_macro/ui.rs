//! Compiler errors for wrong uses, and their positions. The test calls the compiler for each file
//! with the library that it is linked with. A separate project, as `trybuild` creates, would
//! compile each dependency a second time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Returns the errors of a file, one per line. The compiler's own wording is left out, because it
/// changes between releases.
fn errors(file: &Path, library: &Path, edition: &str) -> String {
    let output = compiled(file, library, edition);
    let errors = output.lines().filter(|line| line.contains(": error"));
    errors.flat_map(|line| [without_compiler_wording(line), "\n"]).collect()
}

/// Returns all compiler output for a file.
fn compiled(file: &Path, library: &Path, edition: &str) -> String {
    let dependencies = library.parent().expect("the library has a folder");
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

/// Cuts a line before the compiler's own wording. The macro's errors have no code, except that of a
/// trait that is not implemented.
fn without_compiler_wording(line: &str) -> &str {
    let is_ours = |code: &str| code == "E0277" && line.contains(" cannot be a `");
    match line.split_once(": error[").and_then(|(_, rest)| rest.split_once(']')) {
        Some((code, wording)) if !is_ours(code) => line.strip_suffix(wording).unwrap_or(line),
        _ => line,
    }
}

/// Returns the libraries beside this test, newest first.
fn libraries() -> Vec<PathBuf> {
    let this = std::env::current_exe().expect("a test has a path");
    let beside = fs::read_dir(this.parent().expect("a test has a folder")).expect("a readable folder");
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
    let relative = paths.map(|path| {
        path.strip_prefix(env!("CARGO_MANIFEST_DIR"))
            .expect("below the manifest")
            .to_owned()
    });
    relative
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// Returns the newest library that has the macro; older builds without the feature may exist.
fn library(valid: &Path) -> PathBuf {
    let all = libraries();
    let fits = all.iter().find(|library| compiled(valid, library, "2024").is_empty());
    fits.cloned().unwrap_or_else(|| {
        let newest = all.first().expect("this test is linked with a library");
        panic!("{}", compiled(valid, newest, "2024"))
    })
}

#[test]
fn wrong_uses_have_errors_at_their_position_and_valid_uses_have_no_warnings() {
    let valid = files("tests/ui/good", "rs");
    let library = library(&valid[0]);
    for file in &valid {
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
        assert!(found == expected, "{} has\n{found}expected\n{expected}", file.display());
    }
}
