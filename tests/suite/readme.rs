//! The README names a test for each promise: the tests it names are there.

use std::fs;
use std::path::Path;

/// The source of a module of this suite, with the files of its own modules.
fn source_of(module: &str) -> String {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let mut source = fs::read_to_string(suite.join(format!("{module}.rs"))).expect("a module of the suite");
    for file in fs::read_dir(suite.join(module)).into_iter().flatten() {
        source += &fs::read_to_string(file.expect("the folder can be read").path()).expect("a source file");
    }
    source
}

#[test]
fn every_test_that_the_readme_names_is_there() {
    let readme = include_str!("../../README.md");
    let (_, table) = readme
        .split_once("| promise | test |")
        .expect("the README has the table");
    let cells = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(2));
    let named: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let (module, test) = name.split_once("::").expect("a test is named with its module");
        assert!(
            source_of(module).contains(&format!("fn {test}()")),
            "there is no test {name}"
        );
    }
}
