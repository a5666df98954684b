//! `also`: valid and invalid targets, and how layers replace them.

use super::{problems, resolve, toml};

const BINDINGS: &str = "[environments.operations]\napi_key = { env = \"OPS\" }\nalso = []\n\
                        [environments.bare]\n[environments.second]\napi_key = { env = \"KEY\" }\nalso = ['environment:operations']\n\
                        [features.search]\nalso = []\n[tenants.acme]\napi_key = { env = \"KEY\" }\n";

fn with(also: &str) -> String {
    format!("{BINDINGS}[tenants.globex]\napi_key = {{ env = 'KEY' }}\nalso = {also}\n")
}

#[test]
fn any_configured_parts_without_copies_of_their_own_are_valid() {
    for target in [
        "environment:operations",
        "environment:operations,tenant:acme",
        "tenant:acme",
        // The tenant may have a file, or be known to the program.
        "tenant:elsewhere",
        "environment:bare,tenant:elsewhere",
    ] {
        let config = toml(&with(&format!("['{target}']"))).expect(target);
        let also = resolve(&config, "tenant:globex").also;
        assert_eq!(also.iter().map(ToString::to_string).collect::<Vec<_>>(), [target]);
        assert!(resolve(&config, "tenant:acme").also.is_empty());
    }
}

#[test]
fn a_target_that_gets_no_copies_is_a_problem() {
    let chain = "its own spans are copied, and copies are not copied again; set also = [] in its table";
    for (also, message) in [
        (
            "['environment:operation']",
            "environment \"operation\" is not configured; did you mean operations?".to_owned(),
        ),
        (
            "['feature:find,tenant:elsewhere']",
            "feature \"find\" is not configured".to_owned(),
        ),
        (
            "['environment:bare']",
            "environment:bare: no api_key is configured, and the key of another selector is never used".to_owned(),
        ),
        ("['environment:second']", format!("environment:second: {chain}")),
        ("['tenant:globex']", format!("tenant:globex: {chain}")),
        (
            "['environment:operations', 'tenant:acme', 'environment:operations']",
            "environment:operations is listed twice".to_owned(),
        ),
    ] {
        assert_eq!(problems(&with(also)), [format!("tenants.globex.also: {message}")]);
    }
    for also in ["['environment:../x']", "'environment:operations'", "[1]", "['']"] {
        let found = problems(&with(also));
        assert!(
            found.len() == 1 && found[0].starts_with("tenants.globex.also: "),
            "{found:?}"
        );
    }
}

#[test]
fn each_table_of_a_circle_is_a_problem() {
    let circle = "[environments.a]\napi_key = { env = 'A' }\nalso = ['environment:b']\n\
                  [environments.b]\napi_key = { env = 'B' }\nalso = ['environment:a']\n";
    let found = problems(circle);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("environments.a.also: environment:b: its own spans are copied"));
    assert!(found[1].starts_with("environments.b.also: environment:a: its own spans are copied"));
}

#[test]
fn a_target_of_the_defaults_must_clear_them_and_other_tables_may() {
    let defaults = "[defaults]\napi_key = { env = 'KEY' }\nalso = ['environment:operations']\n";
    let own = "[environments.operations]\napi_key = { env = 'OPS' }\n";
    let found = problems(&format!("{defaults}{own}"));
    assert!(
        found.len() == 1 && found[0].starts_with("defaults.also: environment:operations: its own spans are copied"),
        "{found:?}"
    );
    let cleared = format!(
        "{defaults}{own}also = []\n[environments.live]\n[tenants.acme]\n[tenants.quiet]\nalso = []\n\
         [tenants.other]\nalso = ['tenant:quiet']\n[[routes]]\nwhen = {{ tenant = 'acme', environment = 'live' }}\nalso = []\n"
    );
    let config = toml(&cleared).expect("valid");
    for (selector, expected) in [
        ("environment:operations", vec![]),
        ("environment:live", vec!["environment:operations"]),
        ("tenant:acme", vec!["environment:operations"]),
        ("environment:live,tenant:acme", vec![]),
        ("tenant:quiet", vec![]),
        ("tenant:other", vec!["tenant:quiet"]),
    ] {
        let also = resolve(&config, selector).also;
        assert_eq!(
            also.iter().map(ToString::to_string).collect::<Vec<_>>(),
            expected,
            "{selector}"
        );
    }
}
