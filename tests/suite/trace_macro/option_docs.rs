//! The documentation lists each option of `#[trace]`.

/// Returns the names of all options, from the macro's error for an unknown option, which `ui`
/// checks.
fn options() -> Vec<&'static str> {
    let errors = include_str!("../../ui/options.stderr");
    let (_, names) = errors.split_once(": expected one of ").expect("an unknown option");
    names.lines().next().expect("one line").split(", ").collect()
}

/// Returns the names in the first column of the table of options.
fn documented(page: &str) -> Vec<&str> {
    let lines = page.lines().map(|line| line.trim_start_matches("/// "));
    let rows = lines
        .skip_while(|line| !line.starts_with("| option |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)?.split([' ', '(']).next())
        .collect()
}

#[test]
fn each_option_has_a_row_in_the_tables_of_options() {
    let options = options();
    assert!(options.len() > 10, "{options:?}");
    for page in [
        include_str!("../../../docs/trace.md"),
        include_str!("../../../crates/macros/src/lib.rs"),
    ] {
        assert_eq!(documented(page), options);
    }
}
