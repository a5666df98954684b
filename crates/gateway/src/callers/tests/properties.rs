//! Properties of patterns, paths and credentials, on generated input.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use tracer_registry::selector::Slug;

use super::*;
use crate::config::Allow;

/// The callers of all cases.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let caller = |name: &str, tenant: &str| {
            format!("[gateway.callers.{name}]\ntoken = {{ file = '{name}' }}\ntenant = {tenant}\n")
        };
        let text = caller("fixed", "'acme'")
            + &caller("header", "{ header = 'x-tenant', allow = ['acme', 'team-*'] }")
            + &caller("path", "{ path = true, allow = ['acme', 'team-*'] }")
            + &caller("resource", "{ resource = 'tenant.id', allow = ['acme', 'team-*'] }");
        let tokens = ["fixed", "header", "path", "resource"].map(|name| (name, format!("token-of-{name}-1")));
        World::new(&text, &tokens.each_ref().map(|(name, token)| (*name, token.as_str())))
    })
}

/// Returns whether a pattern matches, by trying every split.
fn matches_slowly(pattern: &str, text: &str) -> bool {
    match pattern.split_at_checked(1) {
        None => text.is_empty(),
        Some(("*", rest)) => (0..=text.len()).any(|at| matches_slowly(rest, &text[at..])),
        Some((first, rest)) => text.strip_prefix(first).is_some_and(|text| matches_slowly(rest, text)),
    }
}

fn is_allowed(tenant: &str) -> bool {
    tenant == "acme" || tenant.len() > 5 && tenant.starts_with("team-") && Slug::new(tenant).is_ok()
}

/// Text near the names that are allowed.
fn near() -> impl Strategy<Value = String> {
    prop_oneof![
        "(acme|team-[a-z0-9._-]{0,4}|globex|[a-z%./ ]{0,8}|\\PC{0,6})",
        "(%[0-9a-fA-F]{2}|[acmet-]|/|\\.|%){0,12}",
    ]
}

proptest! {
    #[test]
    fn a_pattern_permits_what_every_split_would(pattern in "[ab*.-]{0,7}", name in "[ab]([ab.-]{0,5}[ab])?") {
        prop_assume!(pattern.contains('*') && !pattern.contains(".."));
        let Ok(slug) = Slug::new(&name) else { return Ok(()) };
        let allow = Allow::new(std::slice::from_ref(&pattern)).map_err(|(_, rule)| TestCaseError::fail(rule))?;
        prop_assert_eq!(allow.permits(&slug), matches_slowly(&pattern, &name), "{} {}", pattern, name);
    }

    #[test]
    fn whatever_a_request_claims_a_caller_reaches_only_what_it_may(
        caller in prop_oneof![Just("fixed"), Just("header"), Just("path"), Just("resource")],
        in_path in proptest::option::of(near()),
        in_headers in proptest::collection::vec(near(), 0..3),
        in_resource in proptest::option::of(near()),
    ) {
        let caller = world().callers.get(caller).expect("configured");
        let path = in_path.as_ref().map_or(String::new(), |name| format!("/t/{name}"));
        let mut headers = HeaderMap::new();
        for value in &in_headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append("x-tenant", value);
            }
        }
        let selector = match caller.target(tenant_in_path(&path), &headers) {
            Ok(Target::Selector(selector)) => selector,
            Ok(Target::Resources(resources)) => match resources.selector(in_resource.as_deref()) {
                Ok(selector) => selector,
                Err(_) => return Ok(()),
            },
            Err(_) => return Ok(()),
        };
        let tenant = selector.get(tracer_registry::selector::SelectorKind::Tenant).expect("a tenant");
        prop_assert!(is_allowed(tenant), "{} reached {}", caller.name(), tenant);
        match caller.name().as_str() {
            "fixed" => prop_assert_eq!(tenant.as_str(), "acme"),
            "header" => prop_assert_eq!(vec![tenant.to_string()], in_headers),
            "resource" => prop_assert_eq!(Some(tenant.to_string()), in_resource),
            _ => {}
        }
        // A path that names a tenant names this one.
        if let Some(name) = in_path {
            let decoded = percent_encoding::percent_decode_str(&name).decode_utf8().expect("a slug");
            prop_assert_eq!(decoded.as_ref(), tenant.as_str());
        }
    }

    #[test]
    fn any_other_credential_is_refused(
        name in prop_oneof![Just("authorization"), Just("x-api-key"), Just("api-key"), Just("x-honeycomb-team")],
        scheme in prop_oneof![Just(""), Just("Bearer "), Just("Basic "), Just("Digest ")],
        text in "\\PC{0,40}",
        encoded in any::<bool>(),
    ) {
        let text = if encoded { STANDARD.encode(&text) } else { text };
        prop_assume!(!text.contains("token-of-"));
        if let Ok(value) = HeaderValue::from_str(&format!("{scheme}{text}")) {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
            prop_assert_eq!(world().callers.identify(&headers).map(drop), Err(Refusal::Unauthorized));
        }
    }
}
