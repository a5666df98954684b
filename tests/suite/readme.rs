//! The README names a test for each promise, and a page one for each case: the tests they name are there.

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

/// Names of tests in the last column of the table with this head.
fn named_in(text: &str, head: &str) -> Vec<String> {
    let (_, table) = text.split_once(head).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

#[test]
fn every_test_that_the_readme_and_the_pages_name_is_there() {
    let mut named = named_in(include_str!("../../README.md"), "| promise | test |");
    named.extend(named_in(
        include_str!("../../docs/isolation.md"),
        "| # | situation | what holds | test |",
    ));
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        let (module, test) = name.split_once("::").expect("a test is named with its module");
        assert!(
            source_of(module).contains(&format!("fn {test}()")),
            "there is no test {name}"
        );
    }
}
