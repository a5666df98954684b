//! Tokens of the admin listener.

use super::reading::{hex, problems};
use super::*;

const GATEWAY: &str = "
    [gateway.admin]
    token = [{ file = 'admin' }, { file = 'next' }]
    metrics_token = { file = 'metrics' }
    [gateway.callers.acme]
    token = { file = 'acme' }
    tenant = 'acme'";
const FILES: [(&str, &str); 4] = [
    ("admin", "token-of-the-admin"),
    ("next", "next-token-of-the-admin\n"),
    ("metrics", "token-of-the-scraper"),
    ("acme", "token-of-acme-0001"),
];

fn role(world: &World, headers: &[(&str, &str)]) -> Result<Role, Refusal> {
    world.callers.role(&map(headers))
}

#[test]
fn a_bearer_token_has_the_role_of_its_setting() {
    let world = World::new(GATEWAY, &FILES);
    for (value, expected) in [
        ("Bearer token-of-the-admin", Role::Admin),
        ("bearer  next-token-of-the-admin ", Role::Admin),
        ("BEARER token-of-the-scraper", Role::Metrics),
    ] {
        assert_eq!(role(&world, &[("authorization", value)]), Ok(expected), "{value}");
    }
}

#[test]
fn every_other_credential_is_refused_alike() {
    let world = World::new(GATEWAY, &FILES);
    let bearer = "Bearer token-of-the-admin";
    for headers in [
        &[][..],
        &[("authorization", "token-of-the-admin")],
        // The pair `token-of-the-admin:`, as browsers send it.
        &[("authorization", "Basic dG9rZW4tb2YtdGhlLWFkbWluOg==")],
        &[("authorization", "Basic token-of-the-admin")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer token-of-the-admi")],
        &[("authorization", "Bearer token-of-the-admin2")],
        &[("authorization", "Bearer token-of-acme-0001")],
        &[("authorization", "Bearer\ttoken-of-the-admin")],
        &[("authorization", bearer), ("authorization", bearer)],
        &[("x-api-key", "token-of-the-admin")],
        &[("api-key", "token-of-the-admin")],
        &[("cookie", "authorization=Bearer token-of-the-admin")],
    ] {
        assert_eq!(role(&world, headers), Err(Refusal::Unauthorized), "{headers:?}");
    }
    // And a token of the admin listener is no caller's.
    let identified = world.identified(&[("authorization", bearer)]);
    assert_eq!(identified, Err(Refusal::Unauthorized));
}

#[test]
fn without_the_table_no_token_has_a_role() {
    let gateway = "[gateway.callers.acme]\ntoken = { file = 'acme' }\ntenant = 'acme'";
    let world = World::new(gateway, &FILES);
    for token in ["token-of-the-admin", "token-of-acme-0001", ""] {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        assert_eq!(role(&world, &headers), Err(Refusal::Unauthorized));
    }
}

#[test]
fn a_token_has_one_purpose_and_at_least_16_bytes() {
    let with = |admin: &str, metrics: &str| {
        let files = [("admin", admin), ("metrics", metrics), ("acme", "token-of-acme-0001")];
        let gateway = GATEWAY.replace("[{ file = 'admin' }, { file = 'next' }]", "{ file = 'admin' }");
        problems(&gateway, &files)
    };
    assert_eq!(
        with("token-of-acme-0001", "token-of-the-scraper"),
        ["gateway.admin.token: also the token of the caller acme"]
    );
    assert_eq!(
        with("token-of-the-admin", "token-of-acme-0001"),
        ["gateway.admin.metrics_token: also the token of the caller acme"]
    );
    assert_eq!(
        with("token-of-the-admin", "token-of-the-admin"),
        ["gateway.admin.metrics_token: also a token of gateway.admin.token"]
    );
    assert_eq!(
        with("fifteen-bytes-..", "fifteen-bytes.."),
        ["gateway.admin.metrics_token: file metrics: shorter than 16 bytes"]
    );
    let digest = hex("token-of-the-admin");
    let gateway = format!("{GATEWAY}\n[gateway.callers.other]\ntoken_sha256 = '{digest}'\ntenant = 'a'");
    assert_eq!(
        problems(&gateway, &FILES),
        ["gateway.admin.token[0]: also the token of the caller other"]
    );
}

#[test]
fn a_reload_revokes_tokens_that_are_no_longer_listed() {
    let world = World::new(GATEWAY, &FILES);
    let gateway = GATEWAY.replace("[{ file = 'admin' }, { file = 'next' }]", "{ file = 'next' }");
    world.folder.write("gateway.toml", &gateway);
    let reloaded = read(&world.folder, Some(&world.callers)).expect("valid");
    assert!(reloaded.has_other_admins(&world.callers));
    let role = |token: &str| reloaded.role(&map(&[("authorization", &format!("Bearer {token}"))]));
    assert_eq!(role("token-of-the-admin"), Err(Refusal::Unauthorized));
    assert_eq!(role("next-token-of-the-admin"), Ok(Role::Admin));
    let again = read(&world.folder, Some(&reloaded)).expect("valid");
    assert!(!again.has_other_admins(&reloaded));
}
