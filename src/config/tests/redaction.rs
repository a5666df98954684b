//! Rules of redaction in the layers of a selector.

use std::fs;

use super::{Folder, problems, resolve, toml, try_resolve};
use crate::config::{Pattern, RedactAction, ResolveError, ResolvedBinding};
use crate::secret::KeySource;
use crate::selector::{Selector, Slug};

const DEFAULTS: &str = "[defaults]\napi_key = { env = 'K' }\n\
    [defaults.redact]\nkey = { env = 'HASHES' }\nnames = true\n\
    rules.mail = { patterns = ['email'], action = 'hash' }\n";

/// Returns the names of the rules, lowest layer first.
fn names(binding: &ResolvedBinding) -> Vec<&str> {
    binding.redact.rules.iter().map(|(name, _)| &**name).collect()
}

#[test]
fn rules_of_all_layers_add_up_and_none_replaces_one_of_its_name() {
    let config = toml(&format!(
        "{DEFAULTS}[environments.e.redact.rules]\nkeys = {{ attributes = ['*.key'] }}\n\
         [tenants.t.redact.rules]\nmail = {{ regex = ['MAIL-[0-9]+'], action = 'drop' }}\n\
         [tenants.own.redact]\nkey = {{ env = 'OWN' }}\nnames = false"
    ))
    .expect("valid");
    let both = resolve(&config, "environment:e,tenant:t");
    assert_eq!(names(&both), ["mail", "keys", "mail"]);
    let [(_, first), _, (_, last)] = &both.redact.rules[..] else {
        panic!("three rules")
    };
    assert_eq!(first.patterns.as_deref(), Some(&[Pattern::Email][..]));
    assert_eq!(
        (first.action, last.action),
        (Some(RedactAction::Hash), Some(RedactAction::Drop))
    );
    assert_eq!(
        (both.redact.key, both.redact.names),
        (Some(KeySource::env("HASHES")), true)
    );
    let own = resolve(&config, "tenant:own");
    assert_eq!((names(&own), own.redact.names), (vec!["mail"], false));
    assert_eq!(own.redact.key, Some(KeySource::env("OWN")));
}

#[test]
fn rules_that_hash_need_a_key() {
    let text = DEFAULTS.replace("key = { env = 'HASHES' }", "");
    let config = toml(&format!(
        "{text}[tenants.t]\n[tenants.own.redact]\nkey = {{ env = 'OWN' }}"
    ))
    .expect("valid");
    assert_eq!(
        try_resolve(&config, "tenant:t").err(),
        Some(ResolveError::NoHashKey("mail".to_owned()))
    );
    assert_eq!(resolve(&config, "tenant:own").redact.key, Some(KeySource::env("OWN")));
}

#[test]
fn another_rule_makes_another_binding() {
    let digest = |rules: &str| {
        let config = toml(&format!("{DEFAULTS}[tenants.t.redact]\n{rules}")).expect("valid");
        resolve(&config, "tenant:t").digest()
    };
    assert_eq!(digest(""), digest(""));
    for rules in [
        "names = false",
        "key = { env = 'OTHER' }",
        "rules.a = { attributes = ['a'] }",
        "rules.a = { attributes = ['b'] }",
        "rules.b = { attributes = ['a'] }",
        "rules.a = { regex = ['a'] }",
        "rules.a = { attributes = ['a'], action = 'drop' }",
    ] {
        assert_ne!(digest(rules), digest(""), "{rules}");
        assert_ne!(digest(rules), digest("rules.c = { attributes = ['c'] }"), "{rules}");
    }
}

/// Resolves acme with a file of its own.
fn with_file(text: &str) -> Result<ResolvedBinding, ResolveError> {
    let folder = Folder::new(&[
        (
            "default.toml",
            &format!(
                "tenants_dir = 'tenants.d'\n{DEFAULTS}[tenants.'*']\n\
                 [untrusted]\nkeys = ['env:OF_{{tenant}}']\nendpoints = ['https://*.vendor.example']"
            ),
        ),
        ("tenants.d/acme.toml", text),
    ]);
    assert!(fs::exists(folder.path("tenants.d/acme.toml")).expect("readable"));
    let config = folder.load(&[]).expect("valid");
    let name = Slug::new("acme").expect("a name");
    let file = config.tenant_file(&name).expect("valid").expect("a file");
    config.resolve_with(&"tenant:acme".parse::<Selector>().expect("a selector"), Some(&file))
}

#[test]
fn a_tenants_file_only_adds() {
    let acme =
        with_file("[redact.rules]\nmail = { attributes = ['mail'] }\nown = { patterns = ['ip'] }").expect("allowed");
    assert_eq!(names(&acme), ["mail", "mail", "own"]);
    assert_eq!(
        (acme.redact.key, acme.redact.names),
        (Some(KeySource::env("HASHES")), true)
    );
    assert!(with_file("redact.names = true").is_ok());
    for (text, problem) in [
        (
            "redact.key = { env = 'OF_ACME' }",
            "tenants.acme.redact.key: an untrusted layer must not set this",
        ),
        (
            "redact.names = false",
            "tenants.acme.redact.names: an untrusted layer may only add",
        ),
    ] {
        let error = with_file(text).expect_err(text).to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn an_endpoint_of_a_tenants_file_discards_no_rule() {
    let acme = with_file(
        "endpoint = 'https://a.vendor.example'\napi_key = { env = 'OF_ACME' }\nredact.rules.own = { attributes = ['own'] }",
    )
    .expect("allowed");
    assert_eq!(acme.api_key, KeySource::env("OF_ACME"));
    assert_eq!(names(&acme), ["mail", "own"]);
    assert_eq!(
        (acme.redact.key, acme.redact.names),
        (Some(KeySource::env("HASHES")), true)
    );
}

#[test]
fn each_problem_of_a_rule_names_its_setting_and_shows_no_expression() {
    let many = |count: usize, list: &str| format!("[defaults.redact.rules.a]\n{list} = [{}]", "'a', ".repeat(count));
    let rules =
        |count: usize| (0..count).map(|index| format!("[defaults.redact.rules.r{index}]\nattributes = ['a']\n"));
    for (text, expected) in [
        (
            "[defaults.redact.rules.a]".to_owned(),
            ".a: a rule needs attributes, patterns or regex",
        ),
        (
            "[defaults.redact.rules.a]\nattributes = []\npatterns = []\naction = 'drop'".to_owned(),
            ".a: a rule needs attributes, patterns or regex",
        ),
        (
            "[defaults.redact.rules.a]\nattributes = ['a', '']".to_owned(),
            ".a.attributes[1]: the key of an attribute must have 1 to 256 bytes",
        ),
        (
            format!("[defaults.redact.rules.a]\nattributes = ['{}']", "a".repeat(257)),
            ".a.attributes[0]: the key of an attribute must have 1 to 256 bytes",
        ),
        (
            "[defaults.redact.rules.a]\nregex = ['a', 'hh_canary(']".to_owned(),
            ".a.regex[1]: not a regular expression of the crate regex: unclosed group",
        ),
        (
            "[defaults.redact.rules.a]\nregex = [\"hh_canary\\nerror: hh_canary[\"]".to_owned(),
            ".a.regex[0]: not a regular expression of the crate regex: unclosed character class",
        ),
        (
            "[defaults.redact.rules.a]\nregex = ['(?=hh_canary)']".to_owned(),
            ".a.regex[0]: not a regular expression of the crate regex: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            "[defaults.redact.rules.a]\nregex = ['(hh_canary{1000}){1000}']".to_owned(),
            ".a.regex[0]: a regular expression that compiles to more than 524288 bytes",
        ),
        (
            format!(
                "[defaults.redact.rules.a]\nregex = ['{}a{}']",
                "(".repeat(100),
                ")".repeat(100)
            ),
            ".a.regex[0]: not a regular expression of the crate regex: exceed the maximum number of nested parentheses/brackets (64)",
        ),
        (
            format!("[defaults.redact.rules.a]\nregex = ['{}']", "a".repeat(4097)),
            ".a.regex[0]: a regular expression must have 1 to 4096 bytes",
        ),
        (
            "[defaults.redact.rules.a]\nregex = ['']".to_owned(),
            ".a.regex[0]: a regular expression must have 1 to 4096 bytes",
        ),
        (
            format!("[defaults.redact.rules.{}]\nattributes = ['a']", "a".repeat(65)),
            ": the name of a rule must have 1 to 64 bytes",
        ),
        (
            many(257, "attributes"),
            ": 257 attributes, more than the 256 of a table",
        ),
        (
            many(33, "regex"),
            ": 33 regular expressions, more than the 32 of a table",
        ),
        (rules(65).collect(), ": 65 rules, more than the 64 of a table"),
    ] {
        assert_eq!(
            problems(&text),
            [format!("defaults.redact.rules{expected}")],
            "{text:.80}"
        );
    }
    for text in [many(256, "attributes"), many(32, "regex"), rules(64).collect()] {
        assert!(toml(&text).is_ok(), "{text:.80}");
    }
}
