//! The example in docs/policies.md.

use std::fs;

use opentelemetry::trace::Span as _;

use crate::reload::Files;
use crate::sources::root;

#[test]
fn the_example_of_the_page_about_policies_copies_all_tenants_but_one() {
    let page = fs::read_to_string(root().join("docs/policies.md")).expect("readable");
    let section = page.split("\n## Copies\n").nth(1).expect("a section");
    let example = section
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let example = example
        .expect("an example")
        .replace("{ file = \"/run/secrets/", "{ provider = \"test\", name = \"");
    let files = Files::new(&["acme", "globex", "operations"], &example);
    for tenant in ["acme", "globex"] {
        files.tenant(tenant).start_span(format!("of {tenant}")).end();
    }
    files.world.flush();
    assert_eq!(files.world.names("operations"), ["of acme"]);
    for tenant in ["acme", "globex"] {
        assert_eq!(files.world.names(tenant), [format!("of {tenant}")]);
    }
}
