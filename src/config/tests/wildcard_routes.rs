//! Routes with `tenant = "*"`.

use serde_json::json;

use super::{Folder, problems, resolve, toml, try_resolve};
use crate::config::ResolveError;
use crate::secret::KeySource;
use crate::selector::Slug;

const SEARCHES: &str = "[[routes]]\nwhen = { tenant = '*', feature = 'search' }\napi_key = { file = '/search/{tenant}' }\n\
                        source = 'search of {tenant}'\nmetadata = { who = '{tenant}', where = '{feature}' }\n";
const ACME: &str = "[[routes]]\nwhen = { tenant = 'acme', feature = 'search' }\napi_key = { file = '/own' }\nmetadata = { own = true }\n";
const TENANTS: &str =
    "[tenants.acme]\napi_key = { file = '/acme' }\n[tenants.globex]\napi_key = { file = '/globex' }\n";

fn file(path: &str) -> KeySource {
    KeySource::File(path.into())
}

#[test]
fn the_route_is_filled_in_for_each_tenant() {
    let config = toml(&format!("{TENANTS}{SEARCHES}")).expect("valid");
    for tenant in ["acme", "globex"] {
        let search = resolve(&config, &format!("tenant:{tenant},feature:search"));
        assert_eq!(search.api_key, file(&format!("/search/{tenant}")));
        assert_eq!(search.source.as_deref(), Some(&*format!("search of {tenant}")));
        assert_eq!(json!(*search.metadata), json!({ "who": tenant, "where": "search" }));
        assert_eq!(
            resolve(&config, &format!("tenant:{tenant}")).api_key,
            file(&format!("/{tenant}"))
        );
    }
}

#[test]
fn an_exact_route_overlays_it_in_any_order() {
    for text in [
        format!("{TENANTS}{SEARCHES}{ACME}"),
        format!("{TENANTS}{ACME}{SEARCHES}"),
    ] {
        let config = toml(&text).expect("valid");
        let acme = resolve(&config, "tenant:acme,feature:search");
        assert_eq!(acme.api_key, file("/own"));
        assert_eq!(
            acme.source.as_deref(),
            Some("search of acme"),
            "unset fields are inherited"
        );
        assert_eq!(
            json!(*acme.metadata),
            json!({ "who": "acme", "where": "search", "own": true })
        );
        assert_eq!(
            resolve(&config, "tenant:globex,feature:search").api_key,
            file("/search/globex")
        );
    }
}

#[test]
fn the_wildcard_counts_as_a_part_of_the_route() {
    let route = |when: &str, key: &str| format!("[[routes]]\nwhen = {{ {when} }}\napi_key = {{ file = '{key}' }}\n");
    let all = [
        route(
            "tenant = '*', feature = 'search', environment = 'prod'",
            "/three/{tenant}",
        ),
        route("tenant = '*', feature = 'search'", "/two/{tenant}"),
        route("feature = 'search', environment = 'prod'", "/shared"),
        route("tenant = '*', environment = 'prod'", "/prod/{tenant}"),
    ];
    let config = toml(&format!("{TENANTS}[environments.prod]\n{}", all.concat())).expect("valid");
    for (selector, key) in [
        ("tenant:acme,feature:search,environment:prod", "/three/acme"),
        ("tenant:acme,feature:search", "/two/acme"),
        ("feature:search,environment:prod", "/shared"),
        ("tenant:acme,environment:prod", "/prod/acme"),
    ] {
        assert_eq!(resolve(&config, selector).api_key, file(key), "{selector}");
    }
    assert!(matches!(
        try_resolve(&config, "environment:prod"),
        Err(ResolveError::NoKey)
    ));
}

#[test]
fn it_makes_no_unknown_tenant_or_feature_known() {
    let config = toml(&format!("{TENANTS}{SEARCHES}")).expect("valid");
    for selector in [
        "tenant:initech,feature:search",
        "tenant:initech",
        "feature:search",
        "tenant:acme,feature:other",
    ] {
        let error = try_resolve(&config, selector).expect_err("unknown");
        assert!(matches!(error, ResolveError::Unknown { .. }), "{selector}: {error}");
    }
    let any = toml(&format!(
        "[tenants.'*']\napi_key = {{ file = '/any/{{tenant}}' }}\n{SEARCHES}"
    ))
    .expect("valid");
    assert_eq!(
        resolve(&any, "tenant:initech,feature:search").api_key,
        file("/search/initech")
    );
}

#[test]
fn it_applies_to_a_tenant_with_a_file() {
    let base = format!("tenants_dir = 'tenants'\n[tenants.'*']\napi_key = {{ file = '/any/{{tenant}}' }}\n{SEARCHES}");
    let folder = Folder::new(&[
        ("default.toml", &base),
        ("tenants/filed.toml", "metadata = { plan = 'large' }"),
    ]);
    let config = folder.load(&[]).expect("valid");
    let tenant = Slug::new("filed").expect("a name");
    let given = config.tenant_file(&tenant).expect("readable").expect("there");
    let selector = "tenant:filed,feature:search".parse().expect("a selector");
    let search = config.resolve_with(&selector, Some(&given)).expect("resolves");
    assert_eq!(search.api_key, file("/search/filed"));
    assert_eq!(
        json!(*search.metadata),
        json!({ "plan": "large", "who": "filed", "where": "search" })
    );
}

#[test]
fn it_yields_selectors_of_tenants_with_a_table() {
    let config = toml(&format!(
        "{TENANTS}[tenants.'*']\napi_key = {{ file = '/any' }}\n{SEARCHES}{ACME}"
    ))
    .expect("valid");
    let mut selectors: Vec<String> = config.selectors().iter().map(ToString::to_string).collect();
    selectors.sort_unstable();
    let expected = [
        "feature:search,tenant:acme",
        "feature:search,tenant:globex",
        "tenant:acme",
        "tenant:globex",
    ];
    assert_eq!(selectors, expected);
    let wildcards = config.wildcard_keys();
    let shown: Vec<(&str, KeySource)> = wildcards
        .iter()
        .map(|(selector, key)| (selector.as_str(), key.clone().expect("a key")))
        .collect();
    assert_eq!(
        shown,
        [
            ("tenant:*", file("/any")),
            ("feature:search,tenant:*", file("/search/{tenant}"))
        ]
    );
    assert!(
        toml(SEARCHES).expect("valid").wildcard_keys().is_empty(),
        "no wildcard table"
    );
}

#[test]
fn it_requires_another_part_and_applies_to_tenants_only() {
    for (when, why) in [
        ("tenant = '*'", "use [tenants.\"*\"] for settings of every tenant"),
        ("feature = '*', tenant = 'acme'", "contains '*'"),
        ("environment = '*', tenant = '*'", "contains '*'"),
        ("tenant = '**', feature = 'search'", "contains '*'"),
        ("tenant = 'a*', feature = 'search'", "contains '*'"),
    ] {
        let problems = problems(&format!("[[routes]]\nwhen = {{ {when} }}\napi_key = {{ env = 'K' }}"));
        assert!(problems.len() == 1 && problems[0].contains(why), "{when}: {problems:?}");
    }
    let twice = problems(&format!("{SEARCHES}{SEARCHES}"));
    assert_eq!(twice, ["routes[1].when: duplicate of routes[0]"]);
    let default = problems("[routing]\ndefault = { tenant = '*', feature = 'search' }");
    assert!(default.len() == 1 && default[0].contains("contains '*'"), "{default:?}");
}

#[test]
fn a_layer_overlays_the_same_route_of_a_lower_layer() {
    let folder = Folder::new(&[
        ("default.toml", &format!("{TENANTS}{SEARCHES}")),
        (
            "local.toml",
            "[[routes]]\nwhen = { feature = 'search', tenant = '*' }\nsource = 'local'",
        ),
    ]);
    let config = folder.load(&[]).expect("valid");
    let search = resolve(&config, "tenant:acme,feature:search");
    assert_eq!(
        (search.source.as_deref(), search.api_key),
        (Some("local"), file("/search/acme"))
    );
}
