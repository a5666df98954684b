//! Credentials as clients send them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::*;

const ACME: &str = "token-of-acme-0001";
const GLOBEX: &str = "token-of-globex-01";
const PAIR: &str = "user:pass:word-0001";
const CALLERS: &str = "
[gateway.callers.acme]
token  = { file = 'acme' }
tenant = 'acme'
[gateway.callers.globex]
token  = { file = 'globex' }
basic  = 'password'
tenant = 'globex'
[gateway.callers.by-user]
token  = { file = 'by-user' }
basic  = 'user'
tenant = 'u'
[gateway.callers.by-pair]
token  = { file = 'by-pair' }
tenant = 'p'
";

fn world() -> World {
    let tokens = [
        ("acme", ACME),
        ("globex", GLOBEX),
        ("by-user", "token-of-the-user-1"),
        ("by-pair", PAIR),
    ];
    World::new(CALLERS, &tokens)
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn a_token_is_accepted_in_every_header_that_carries_credentials() {
    let world = world();
    for (name, value) in [
        ("authorization", format!("Bearer {ACME}")),
        ("authorization", format!("bearer {ACME}")),
        ("Authorization", format!("BEARER   {ACME}")),
        ("authorization", ACME.to_owned()),
        ("authorization", format!(" {ACME} ")),
        ("x-api-key", ACME.to_owned()),
        ("api-key", ACME.to_owned()),
        ("X-Honeycomb-Team", ACME.to_owned()),
        ("authorization", basic(ACME)),
    ] {
        assert_eq!(
            world.identified(&[(name, &value)]),
            Ok("acme".to_owned()),
            "{name}: {value}"
        );
    }
}

#[test]
fn a_basic_credential_is_the_part_that_its_caller_configures() {
    let world = world();
    for (pair, expected) in [
        (format!("any:{GLOBEX}"), Some("globex")),
        (format!(":{GLOBEX}"), Some("globex")),
        (format!("{GLOBEX}:any"), None),
        (GLOBEX.to_owned(), None),
        ("token-of-the-user-1:".to_owned(), Some("by-user")),
        ("token-of-the-user-1:a:b".to_owned(), Some("by-user")),
        ("any:token-of-the-user-1".to_owned(), None),
        (PAIR.to_owned(), Some("by-pair")),
        (format!("{PAIR}:"), None),
        (format!("{ACME}:"), None),
    ] {
        let expected = expected.map(str::to_owned).ok_or(Refusal::Unauthorized);
        assert_eq!(
            world.identified(&[("authorization", &basic(&pair))]),
            expected,
            "{pair}"
        );
    }
    let unpadded = format!("bAsIc {}", STANDARD_NO_PAD.encode(PAIR));
    assert_eq!(
        world.identified(&[("authorization", &unpadded)]),
        Ok("by-pair".to_owned())
    );
}

#[test]
fn the_user_of_one_caller_with_the_password_of_another_is_two_credentials() {
    let world = world();
    let both = basic(&format!("token-of-the-user-1:{GLOBEX}"));
    assert_eq!(
        world.identified(&[("authorization", &both)]),
        Err(Refusal::SeveralCredentials)
    );
}

#[test]
fn missing_malformed_and_unknown_credentials_have_the_same_answer() {
    let world = world();
    assert_eq!(world.identified(&[]), Err(Refusal::Unauthorized));
    let bearer = format!("Bearer {ACME}");
    let malformed = [
        String::new(),
        " ".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Basic".to_owned(),
        "Basic ?".to_owned(),
        "Basic Og==".to_owned(),
        format!("Token {ACME}"),
        format!("Bearer: {ACME}"),
        format!("Bearer\t{ACME}"),
        format!("{bearer}, {bearer}"),
        format!("{ACME},{ACME}"),
        format!("Bearer {}", &ACME[1..]),
        format!("{bearer}x"),
        format!("Bearer {}", ACME.to_uppercase()),
        format!("Bearer {ACME}\u{e9}"),
        "x".repeat(100_000),
    ];
    for value in &malformed {
        assert_eq!(
            world.identified(&[("authorization", value)]),
            Err(Refusal::Unauthorized),
            "{value:.60}"
        );
    }
    assert_eq!(world.identified(&[("x-api-key", &bearer)]), Err(Refusal::Unauthorized));
    assert_eq!(
        world.identified(&[("proxy-authorization", &bearer)]),
        Err(Refusal::Unauthorized)
    );
    assert_eq!(world.identified(&[("cookie", ACME)]), Err(Refusal::Unauthorized));
    let counted = world.callers.unidentified().refused(Reason::Unauthorized);
    assert_eq!(counted, malformed.len() as u64 + 4);
    assert!(
        world
            .callers
            .snapshot()
            .iter()
            .all(|caller| caller.refused.is_empty() && caller.requests == 0)
    );
}

#[test]
fn several_credentials_are_refused_even_if_they_are_equal_or_empty() {
    let world = world();
    let bearer = format!("Bearer {ACME}");
    for headers in [
        [("authorization", bearer.as_str()), ("authorization", &bearer)],
        [("x-api-key", ACME), ("x-api-key", ACME)],
        [("authorization", &bearer), ("x-api-key", ACME)],
        [("authorization", &bearer), ("api-key", GLOBEX)],
        [("authorization", &bearer), ("x-honeycomb-team", "")],
        [("authorization", "invalid"), ("api-key", "invalid")],
    ] {
        assert_eq!(
            world.identified(&headers),
            Err(Refusal::SeveralCredentials),
            "{headers:?}"
        );
    }
    assert_eq!(world.callers.unidentified().refused(Reason::SeveralCredentials), 6);
}

#[test]
fn an_open_gateway_ignores_credentials() {
    let world = World::new("[gateway]\nopen = { tenant = 'acme' }", &[]);
    for headers in [[].as_slice(), &[("authorization", "a"), ("x-api-key", "b")]] {
        assert_eq!(world.identified(headers), Ok("open".to_owned()));
    }
    let caller = world.callers.identify(&HeaderMap::new()).expect("open");
    let Target::Selector(selector) = caller.target(None, &HeaderMap::new()).expect("allowed") else {
        panic!("one selector");
    };
    assert_eq!(selector.to_string(), "tenant:acme");
    assert!(caller.target(Some("globex"), &HeaderMap::new()).is_err());
}

#[test]
fn nothing_prints_a_token_or_a_hash() {
    let world = world();
    let caller = world.callers.get("acme").expect("configured");
    assert_eq!(format!("{:?} {caller:?}", world.callers), "Callers(4) Caller(\"acme\")");
    let target = caller.target(None, &HeaderMap::new());
    assert_eq!(format!("{target:?}"), "Ok(Selector(tenant:acme))");
    let snapshot = serde_json::to_string(&world.callers.snapshot()).expect("JSON");
    assert!(!snapshot.contains("token"), "{snapshot}");
    assert!(!format!("{:?}", Settings::read(&world.folder.config())).contains(ACME));
}
