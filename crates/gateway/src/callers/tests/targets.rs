//! Tenants that a request names by header, path and resource.

use super::*;

/// Returns the selector, or how the request is refused.
fn target(caller: &Caller, path: &str, headers: &[(&str, &str)]) -> Result<String, Refusal> {
    match caller.target(tenant_in_path(prefix(path)), &map(headers))? {
        Target::Selector(selector) => Ok(selector.to_string()),
        Target::Resources(_) => Ok("by resource".to_owned()),
    }
}

/// Returns what stands in front of the last two segments.
fn prefix(path: &str) -> &str {
    path.rsplitn(3, '/').nth(2).unwrap_or_default()
}

const PLAIN: &str = "/v1/traces";

/// Names that look like `acme`, or lead to another tenant.
const LIES: [&str; 22] = [
    "globex",
    "",
    "ACME",
    "Acme",
    "acme ",
    "acme/",
    "acme/globex",
    "../globex",
    "acme/../globex",
    "acme%2F..%2Fglobex",
    "acme%2f",
    "%2e%2e",
    "..",
    ".",
    "%",
    "%zz",
    "acme%00",
    "%2561cme",
    "\u{430}cme",
    "%D0%B0cme",
    "acme,acme",
    "*",
];

#[test]
fn the_tenant_in_a_path_follows_the_segment_t() {
    for (path, tenant) in [
        ("/v1/traces", None),
        ("/otlp/v1/traces", None),
        ("/otlp/tea/v1/traces", None),
        ("/T/acme/v1/traces", None),
        ("/t/acme/v1/traces", Some("acme")),
        ("/t/acme/v1/logs", Some("acme")),
        ("/otlp/t/acme/v1/traces", Some("acme")),
        ("/%74/acme/v1/traces", Some("acme")),
        ("/t/t/v1/traces", Some("t")),
        ("/t//v1/traces", Some("")),
        ("/t/v1/traces", Some("")),
        ("/t/acme/otlp/v1/traces", Some("acme/otlp")),
        ("/t/acme/t/globex/v1/traces", Some("acme/t/globex")),
        ("", None),
        ("/", None),
    ] {
        assert_eq!(tenant_in_path(prefix(path)), tenant, "{path}");
    }
}

#[test]
fn a_caller_with_a_fixed_tenant_reaches_it_alone() {
    let caller = one("tenant = 'acme'\nenvironment = 'e'\nfeature = 'f'");
    let own = Ok("environment:e,feature:f,tenant:acme".to_owned());
    for path in [PLAIN, "/prefix/v1/traces", "/t/acme/v1/traces", "/t/%61cme/v1/traces"] {
        assert_eq!(target(&caller, path, &[("x-tenant", "globex")]), own);
    }
    for lie in LIES {
        let refused = target(&caller, &format!("/t/{lie}/v1/traces"), &[]);
        assert_eq!(refused, Err(Refusal::TenantNotAllowed), "{lie}");
    }
    assert_eq!(caller.counts().refused(Reason::TenantNotAllowed), LIES.len() as u64);
    let caller = one("environment = 'e'");
    assert_eq!(target(&caller, PLAIN, &[]), Ok("environment:e".to_owned()));
    assert_eq!(
        target(&caller, "/t/acme/v1/traces", &[]),
        Err(Refusal::TenantNotAllowed)
    );
}

#[test]
fn a_header_names_one_allowed_tenant() {
    let caller = one("environment = 'e'\ntenant = { header = 'X-Tenant', allow = ['acme', 'team-*'] }");
    for (name, value) in [("x-tenant", "acme"), ("X-TENANT", "team-a.b_c"), ("x-tenant", "team-1")] {
        let expected = format!("environment:e,tenant:{value}");
        assert_eq!(target(&caller, PLAIN, &[(name, value)]), Ok(expected));
    }
    assert_eq!(target(&caller, PLAIN, &[]), Err(Refusal::NoTenant));
    assert_eq!(target(&caller, PLAIN, &[("tenant", "acme")]), Err(Refusal::NoTenant));
    let twice = [("x-tenant", "acme"), ("x-tenant", "acme")];
    assert_eq!(target(&caller, PLAIN, &twice), Err(Refusal::RepeatedTenant));
    let mut invalid = HeaderMap::new();
    invalid.insert("x-tenant", HeaderValue::from_bytes(b"acme\xff").expect("a value"));
    assert_eq!(caller.target(None, &invalid).map(drop), Err(Refusal::InvalidTenant));
    let more = [
        "acme, globex",
        "team-",
        "team-../x",
        "TEAM-a",
        "ateam-a",
        "%61cme",
        "acme\t",
        "\"acme\"",
    ];
    for lie in LIES.into_iter().chain(more) {
        let refused = target(&caller, PLAIN, &[("x-tenant", lie)]);
        assert_eq!(refused, Err(Refusal::TenantNotAllowed), "{lie:?}");
    }
    let snapshot = caller.snapshot();
    let counts = [
        ("invalid_tenant", 1),
        ("no_tenant", 2),
        ("repeated_tenant", 1),
        ("tenant_not_allowed", 30),
    ];
    assert_eq!(snapshot.refused, counts.into());
}

#[test]
fn a_path_that_names_another_tenant_than_the_header_is_refused() {
    let caller = one("tenant = { header = 'x-tenant', allow = ['acme', 'globex'] }");
    let acme = [("x-tenant", "acme")];
    assert_eq!(
        target(&caller, "/t/acme/v1/traces", &acme),
        Ok("tenant:acme".to_owned())
    );
    assert_eq!(
        target(&caller, "/t/globex/v1/traces", &acme),
        Err(Refusal::TenantNotAllowed)
    );
    assert_eq!(
        target(&caller, "/t/initech/v1/traces", &acme),
        Err(Refusal::TenantNotAllowed)
    );
    // The path alone does not replace the header.
    assert_eq!(target(&caller, "/t/acme/v1/traces", &[]), Err(Refusal::NoTenant));
}

#[test]
fn a_path_names_one_allowed_tenant() {
    let caller = one("tenant = { path = true, allow = ['acme', 'team-*'] }");
    for (written, tenant) in [("acme", "acme"), ("team-7", "team-7"), ("%74eam%2D7", "team-7")] {
        let expected = format!("tenant:{tenant}");
        assert_eq!(target(&caller, &format!("/a/t/{written}/v1/traces"), &[]), Ok(expected));
    }
    assert_eq!(target(&caller, PLAIN, &[("x-tenant", "acme")]), Err(Refusal::NoTenant));
    for lie in LIES {
        let refused = target(&caller, &format!("/t/{lie}/v1/traces"), &[]);
        assert_eq!(refused, Err(Refusal::TenantNotAllowed), "{lie}");
    }
}

#[test]
fn each_resource_names_one_allowed_tenant() {
    let caller = one("feature = 'f'\ntenant = { resource = 'tenant.id', allow = ['acme', 'globex'] }");
    let resources = |path: &str| match caller.target(tenant_in_path(prefix(path)), &HeaderMap::new()) {
        Ok(Target::Resources(resources)) => resources,
        other => panic!("{other:?}"),
    };
    let any = resources(PLAIN);
    assert_eq!(any.attribute(), "tenant.id");
    for tenant in ["acme", "globex"] {
        let selector = any.selector(Some(tenant)).expect("allowed");
        assert_eq!(selector.to_string(), format!("feature:f,tenant:{tenant}"));
    }
    assert_eq!(any.selector(None), Err(Refusal::NoTenant));
    for lie in LIES.into_iter().filter(|lie| *lie != "globex") {
        assert_eq!(any.selector(Some(lie)), Err(Refusal::TenantNotAllowed), "{lie}");
    }
    let acme = resources("/t/acme/v1/traces");
    assert!(acme.selector(Some("acme")).is_ok());
    assert_eq!(acme.selector(Some("globex")), Err(Refusal::TenantNotAllowed));
    let refused = caller.target(Some("initech"), &HeaderMap::new());
    assert_eq!(refused.map(drop), Err(Refusal::TenantNotAllowed));
    assert_eq!(caller.counts().refused(Reason::TenantNotAllowed), LIES.len() as u64 + 1);
    assert_eq!(caller.counts().refused(Reason::NoTenant), 1);
}

#[test]
fn each_refusal_has_a_status_and_a_message_without_names() {
    for (refusal, status, message) in [
        (Refusal::Unauthorized, 401, "missing or unknown credential"),
        (Refusal::SeveralCredentials, 400, "more than one credential"),
        (Refusal::NoTenant, 400, "the request names no tenant"),
        (Refusal::RepeatedTenant, 400, "the request names more than one tenant"),
        (Refusal::InvalidTenant, 400, "the tenant is not valid UTF-8"),
        (Refusal::TenantNotAllowed, 403, "the caller may not address this tenant"),
    ] {
        assert_eq!(
            (refusal.status().as_u16(), refusal.to_string().as_str()),
            (status, message)
        );
    }
}
