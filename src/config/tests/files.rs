//! Missing, unreadable and unsuitable files.

use std::fs;

use super::{Folder, listed, resolve};
#[cfg(feature = "yaml")]
use crate::config::ConfigProblem;

/// Returns the only problem of a folder, with its file.
fn problem_of(folder: &Folder) -> (String, String) {
    let error = folder.load(&[]).expect_err("a problem");
    assert_eq!(error.problems().len(), 1, "{error}");
    (error.problems()[0].file().to_owned(), listed(&error).remove(0))
}

#[test]
fn a_missing_file_and_an_unknown_file_type_are_problems() {
    let folder = Folder::new(&[("settings.ini", "[defaults]")]);
    assert!(problem_of(&folder).1.contains("the folder has no default.toml"));
    for (name, expected) in [
        (
            "settings.ini",
            ": unsupported file type; expected .toml, .yaml, .yml or .json",
        ),
        ("missing.toml", ": no such file or folder"),
        ("missing", ": no such file or folder"),
    ] {
        let error = folder.load_alone(name).expect_err(name);
        assert_eq!(listed(&error), [expected]);
    }
}

#[test]
#[cfg(feature = "yaml")]
fn two_files_for_one_layer_conflict() {
    let folder = Folder::new(&[
        ("default.toml", ""),
        ("default.json", "{}"),
        ("local.yml", ""),
        ("local.yaml", ""),
    ]);
    let whole = folder.load(&[]).expect_err("conflicts");
    let keys: Vec<&str> = whole.problems().iter().map(ConfigProblem::key).collect();
    assert_eq!(keys, ["default.toml", "local.yaml"], "{whole}");
    let by_file = folder.load_alone("default.json").expect_err("conflicts");
    assert_eq!(by_file.problems().len(), 2, "{by_file}");
}

#[test]
fn a_folder_in_place_of_a_file_is_a_problem() {
    let folder = Folder::new(&[("default.toml", "")]);
    fs::create_dir(folder.path("local.toml")).expect("created");
    let (file, problem) = problem_of(&folder);
    assert!(
        file.ends_with("local.toml") && problem == ": not a regular file",
        "{file} {problem}"
    );
}

#[test]
fn a_file_that_is_not_utf8_is_a_problem_with_its_line() {
    let folder = Folder::new(&[]);
    fs::write(
        folder.path("default.toml"),
        b"# one\n# two\nsource = \"\xff hh_canary\"",
    )
    .expect("written");
    assert_eq!(problem_of(&folder).1, ": line 3: not valid UTF-8");
}

#[test]
fn a_file_beyond_the_maximum_size_is_a_problem() {
    let folder = Folder::new(&[]);
    let file = fs::File::create(folder.path("default.toml")).expect("created");
    file.set_len((16 << 20) + 1).expect("sparse");
    assert_eq!(problem_of(&folder).1, ": larger than 16 MiB");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_a_dangling_link_is_a_problem() {
    use std::os::unix::fs::symlink;

    let target = Folder::new(&[("real", "[tenants.acme]\napi_key = { file = 'key' }")]);
    let folder = Folder::new(&[]);
    symlink(target.path("real"), folder.path("default.toml")).expect("linked");
    let config = folder.load(&[]).expect("valid");
    // Relative to the link, which the operator named.
    assert_eq!(
        resolve(&config, "tenant:acme").api_key,
        crate::secret::KeySource::File(folder.path("key"))
    );
    symlink("nowhere", folder.path("local.toml")).expect("linked");
    assert_eq!(problem_of(&folder).1, ": no such file or folder");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_device_is_a_problem_and_does_not_block() {
    let folder = Folder::new(&[("default.toml", "")]);
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path("local.toml"))
        .status();
    assert!(made.expect("mkfifo is there").success());
    assert_eq!(problem_of(&folder).1, ": not a regular file");
    fs::remove_file(folder.path("local.toml")).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", folder.path("local.toml")).expect("linked");
    assert_eq!(problem_of(&folder).1, ": not a regular file");
}

#[test]
fn settings_that_an_unreadable_file_may_contain_are_not_reported_as_missing() {
    let base = "active_environment = { env = 'STAGE' }";
    let folder = Folder::new(&[("default.toml", base), ("eu.toml", "not toml")]);
    let error = folder.load(&[("STAGE", "eu")]).expect_err("a syntax error");
    assert_eq!(error.problems().len(), 1, "{error}");
    assert!(error.problems()[0].file().ends_with("eu.toml"), "{error}");
}
