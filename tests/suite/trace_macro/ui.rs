//! What the compiler says of wrong uses, and where it points.

#[test]
fn wrong_uses_are_told_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
