//! `routing.default`: valid and invalid values.

use super::{Folder, problems, toml};

const BINDINGS: &str = "[environments.production]\napi_key = { env = \"KEY\" }\n[environments.bare]\n[features.search]\n\
                        [tenants.acme]\napi_key = { env = \"KEY\" }\n";

fn with(default: &str) -> String {
    format!("{BINDINGS}[routing]\ndefault = {default}\n")
}

#[test]
fn any_configured_parts_are_valid() {
    for (default, selector) in [
        ("{ environment = \"production\" }", "environment:production"),
        (
            "{ environment = \"production\", feature = \"search\" }",
            "environment:production,feature:search",
        ),
        ("{ tenant = \"acme\" }", "tenant:acme"),
        // The tenant may have a file, or be known to the program.
        ("{ tenant = \"globex\" }", "tenant:globex"),
        (
            "{ environment = \"bare\", tenant = \"globex\" }",
            "environment:bare,tenant:globex",
        ),
    ] {
        let config = toml(&with(default)).expect(default);
        assert_eq!(config.routing_default().expect("a default").to_string(), selector);
    }
    assert_eq!(toml(BINDINGS).expect("valid").routing_default(), None);
}

#[test]
fn a_default_that_no_look_up_would_find_is_a_problem() {
    for (default, message) in [
        (
            "{ environment = \"produktion\" }",
            "environment \"produktion\" is not configured; did you mean production?",
        ),
        (
            "{ feature = \"find\", tenant = \"globex\" }",
            "feature \"find\" is not configured",
        ),
        (
            "{ environment = \"bare\" }",
            "environment:bare: no api_key is configured, and the key of another selector is never used",
        ),
        ("{}", "a selector needs a tenant, an environment or a feature"),
    ] {
        assert_eq!(problems(&with(default)), [format!("routing.default: {message}")]);
    }
    let found = problems(&with("{ tenant = \"ACME\" }"));
    assert!(
        found.len() == 1 && found[0].starts_with("routing.default: tenant: "),
        "{found:?}"
    );
    let found = problems(&with("{ tenants = \"acme\", tenant = 1 }\nother = 1"));
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn invalid_settings_of_the_default_are_problems_of_their_own_tables() {
    for (setting, place) in [
        ("proxy = { url = 'http://proxy:31$28' }", "tenants.acme.proxy.url"),
        ("endpoint = 'no URL'", "tenants.acme.endpoint"),
        ("headers = { 'a b' = 'c' }", "tenants.acme.headers"),
    ] {
        let acme = format!("[tenants.acme]\napi_key = {{ env = 'KEY' }}\n{setting}\n");
        let found = problems(&format!("{acme}[routing]\ndefault = {{ tenant = 'acme' }}\n"));
        assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    }
}

#[test]
fn a_later_layer_replaces_the_default_as_a_whole() {
    let folder = Folder::new(&[
        (
            "default.toml",
            &with("{ environment = \"production\", feature = \"search\" }"),
        ),
        ("local.toml", "[routing]\ndefault = { tenant = \"acme\" }\n"),
    ]);
    let of = |variables: &[(&str, &str)]| {
        let config = folder.load(variables).expect("valid");
        config.routing_default().expect("a default").to_string()
    };
    assert_eq!(of(&[]), "tenant:acme");
    let variable = ("TRACER_REGISTRY__ROUTING__DEFAULT__ENVIRONMENT", "production");
    assert_eq!(of(&[variable]), "environment:production");
}
