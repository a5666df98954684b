//! TOML, YAML and JSON, including malformed files.

use serde_json::json;

use super::{Folder, listed, parse, resolve};
use crate::config::ConfigProblem;
use crate::config::read::parse::Syntax;

const TOML: &str = r#"
[defaults]
source = "test"
[defaults.sampling]
ratio = 0.25
[tenants."*"]
api_key = { file = "/keys/{tenant}" }
metadata = { plan = "team", seats = 3, nested = { list = [1, 2.5, true, "x"] } }
[[routes]]
when = { tenant = "acme", feature = "search" }
api_key = { exec = ["pass", "acme"], timeout = "3s" }
[export]
timeout = "4s"
max_queue_size = 10
"#;
const YAML: &str = r#"
defaults: &all
  source: test
  sampling: { ratio: 0.25 }
tenants:
  "*":
    api_key: { file: "/keys/{tenant}" }
    metadata: { plan: team, seats: 3, nested: { list: [1, 2.5, true, x] } }
routes:
  - when: { tenant: acme, feature: search }
    api_key: { exec: [pass, acme], timeout: 3s }
export: { timeout: 4s, max_queue_size: 10 }
"#;
const JSON: &str = r#"{
  "defaults": { "source": "test", "sampling": { "ratio": 0.25 } },
  "tenants": { "*": {
    "api_key": { "file": "/keys/{tenant}" },
    "metadata": { "plan": "team", "seats": 3, "nested": { "list": [1, 2.5, true, "x"] } }
  } },
  "routes": [
    { "when": { "tenant": "acme", "feature": "search" }, "api_key": { "exec": ["pass", "acme"], "timeout": "3s" } }
  ],
  "export": { "timeout": "4s", "max_queue_size": 10 }
}"#;

#[test]
fn all_formats_yield_the_same_configuration() {
    let load = |name: &str, text: &str| {
        let config = Folder::new(&[(name, text)]).load(&[]).expect(name);
        (
            resolve(&config, "feature:search,tenant:acme"),
            resolve(&config, "tenant:other"),
            config.export().clone(),
        )
    };
    let with_feature = |text: &str, feature: &str| format!("{text}\n{feature}");
    let toml = load("default.toml", &with_feature(TOML, "[features.search]"));
    assert_eq!(
        load("default.yaml", &with_feature(YAML, "features: { search: {} }")),
        toml
    );
    assert_eq!(
        load("default.yml", &with_feature(YAML, "features: { search: {} }")),
        toml
    );
    let json = JSON.replacen('{', r#"{ "features": { "search": {} },"#, 1);
    assert_eq!(load("default.json", &json), toml);
}

#[test]
fn a_byte_order_mark_and_an_empty_file_are_valid() {
    for (syntax, text) in [
        (Syntax::Toml, ""),
        (Syntax::Toml, "# only a comment\n"),
        (Syntax::Yaml, ""),
        (Syntax::Yaml, "# only a comment\n"),
        (Syntax::Json, "{}"),
        (Syntax::Toml, "\u{feff}"),
        (Syntax::Yaml, "\u{feff}{}"),
        (Syntax::Json, "\u{feff} {}\r\n"),
    ] {
        assert_eq!(parse(text, syntax), Ok(json!({})), "{syntax:?} {text:?}");
    }
    assert_eq!(
        parse("", Syntax::Json),
        Err("line 1, column 0: EOF while parsing a value".to_owned())
    );
}

#[test]
fn a_quoted_key_with_dots_or_brackets_is_one_key() {
    let key = "tenants.acme[99999999999]";
    for (syntax, text) in [
        (Syntax::Toml, format!("'{key}' = 1")),
        (Syntax::Yaml, format!("'{key}': 1")),
        (Syntax::Json, format!("{{\"{key}\": 1}}")),
    ] {
        assert_eq!(parse(&text, syntax), Ok(json!({ key: 1 })), "{syntax:?}");
    }
    // An unquoted dotted key of TOML is a path.
    assert_eq!(
        parse("tenants.acme.source = 'x'", Syntax::Toml),
        Ok(json!({"tenants": {"acme": {"source": "x"}}}))
    );
}

#[test]
fn names_are_case_sensitive() {
    for (name, text) in [
        (
            "default.toml",
            "[tenants.ACME]\n[Tenants.acme]\n[tenants.'a.b'.Metadata]",
        ),
        (
            "default.yaml",
            "tenants: { ACME: {}, a.b: { Metadata: {} } }\nTenants: { acme: {} }",
        ),
        (
            "default.json",
            r#"{"tenants": {"ACME": {}, "a.b": {"Metadata": {}}}, "Tenants": {"acme": {}}}"#,
        ),
    ] {
        let error = Folder::new(&[(name, text)]).load(&[]).expect_err(name);
        let keys: Vec<&str> = error.problems().iter().map(ConfigProblem::key).collect();
        assert_eq!(keys, ["Tenants", "tenants.\"a.b\".Metadata", "tenants.ACME"], "{error}");
    }
}

#[test]
fn a_number_is_a_valid_name() {
    for (name, text) in [
        ("default.toml", "[tenants.42]\napi_key = { env = 'K' }"),
        ("default.yaml", "tenants: { 42: { api_key: { env: K } } }"),
        ("default.json", r#"{"tenants": {"42": {"api_key": {"env": "K"}}}}"#),
    ] {
        let config = Folder::new(&[(name, text)]).load(&[]).expect(name);
        resolve(&config, "tenant:42");
    }
}

#[test]
fn duplicate_keys_are_refused_in_every_format() {
    for (syntax, text) in [
        (Syntax::Toml, "[tenants.a]\n[tenants.a]"),
        (Syntax::Yaml, "tenants:\n  a: {}\n  a: {}"),
        (Syntax::Json, r#"{"tenants": {"a": {}, "a": {}}}"#),
    ] {
        let message = parse(text, syntax).expect_err("doubled");
        assert!(
            message.contains("duplicate") && message.starts_with("line "),
            "{syntax:?}: {message}"
        );
    }
}

#[test]
fn null_is_refused_in_every_format() {
    for (name, text) in [
        ("default.yaml", "defaults: { source: null }\ntenants: { acme: }"),
        (
            "default.json",
            r#"{"defaults": {"source": null}, "tenants": {"acme": null}}"#,
        ),
    ] {
        let error = Folder::new(&[(name, text)]).load(&[]).expect_err("null");
        let expected = [
            "defaults.source: expected a string, found null",
            "tenants.acme: expected a table, found null",
        ];
        assert_eq!(listed(&error), expected);
    }
}

#[test]
fn a_deeply_nested_file_is_refused_without_a_stack_overflow() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let indented: String = (0..2_000).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    for (syntax, text) in [
        (Syntax::Json, deep("[", "]")),
        (Syntax::Json, deep("{\"a\":", "}")),
        (Syntax::Toml, format!("a = {}", deep("[", "]"))),
        (Syntax::Toml, format!("{} = 1", vec!["a"; 200_000].join("."))),
        (Syntax::Toml, format!("[{}]", vec!["a"; 200_000].join("."))),
        (Syntax::Yaml, deep("[", "]")),
        (Syntax::Yaml, deep("{a: ", "}")),
        (Syntax::Yaml, "- ".repeat(200_000)),
        (Syntax::Yaml, "? ".repeat(200_000)),
        (Syntax::Yaml, indented),
    ] {
        assert!(parse(&text, syntax).is_err(), "{syntax:?}");
    }
}

#[test]
fn a_syntax_error_has_its_position_and_no_word_of_the_file() {
    let key = "hh_canary-4711";
    for (syntax, text, place) in [
        (
            Syntax::Toml,
            format!("[tenants.acme]\napi_key = {key}\n"),
            "line 2, column 11: ",
        ),
        (
            Syntax::Toml,
            format!("[tenants.acme]\napi_key {key}\n"),
            "line 2, column ",
        ),
        (
            Syntax::Toml,
            format!("[tenants.acme]\napi_key = \"{key}\n"),
            "line 2, column ",
        ),
        (Syntax::Toml, format!("a = \"{key}\\q\""), "line 1, column "),
        (Syntax::Toml, format!("{key} = 1\n{key} = 2"), "line 2, column 1: "),
        (Syntax::Toml, format!("[{key}]\n[{key}]"), "line 2, column "),
        (
            Syntax::Yaml,
            format!("tenants:\n  acme:\n api_key: {key}\n"),
            "line 3, column ",
        ),
        (Syntax::Yaml, format!("api_key: \"{key}"), "line "),
        (Syntax::Yaml, format!("api_key: *{key}"), "line 1, column "),
        (Syntax::Yaml, format!("'{key} x': 1\n'{key} x': 2"), "line 2, column "),
        (Syntax::Yaml, format!("{{ [{key}]: 1 }}"), ""),
        (Syntax::Yaml, format!("api_key: !!float {key}"), ""),
        (Syntax::Yaml, format!("%{key}\n---\na: 1"), ""),
        (Syntax::Yaml, key.to_owned(), ""),
        (Syntax::Yaml, format!("- {key}"), ""),
        (Syntax::Yaml, format!("a: 1\n---\nb: {key}"), ""),
        (Syntax::Json, format!("{{\n\"api_key\": {key}}}"), "line 2, column 12: "),
        (Syntax::Json, format!("{{\"api_key\": \"{key}\", }}"), "line 1, column "),
        (Syntax::Json, format!("{{\"api_key\": \"{key}\n\"}}"), "line "),
        (
            Syntax::Json,
            format!("{{\"{key}\": 1, \"{key}\": 1}}"),
            "line 1, column ",
        ),
        (Syntax::Json, format!("\"{key}\" x"), "line 1, column "),
    ] {
        match parse(&text, syntax) {
            Ok(value) => assert!(place.is_empty(), "{syntax:?} {text:?} is {value}"),
            Err(message) => {
                assert!(message.starts_with(place), "{syntax:?} {text:?}: {message}");
                assert!(
                    !message.contains("canary") && !message.contains("4711"),
                    "{syntax:?} {text:?}: {message}"
                );
                assert!(!message.contains('\n') && !message.ends_with(": "), "{message:?}");
            }
        }
    }
}

#[test]
fn a_root_that_is_not_a_table_is_a_problem() {
    for (name, text) in [
        ("default.yaml", "hh_canary"),
        ("default.yaml", "- a"),
        ("default.json", "[1]"),
        ("default.json", "\"hh_canary\""),
    ] {
        let error = Folder::new(&[(name, text)]).load(&[]).expect_err(text);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[test]
fn numbers_that_no_field_can_hold_are_problems() {
    for text in ["a = 99999999999999999999", "a = 1e999"] {
        assert!(parse(text, Syntax::Toml).is_err(), "{text}");
    }
    let shown = super::problems("[defaults.sampling]\nratio = nan\n[export]\nmax_queue_size = -1");
    assert_eq!(shown.len(), 2, "{shown:?}");
}

#[test]
fn toml_numbers_that_json_lacks_become_strings() {
    let expected = json!({ "nan": "NaN", "more": "Infinity", "less": "-Infinity" });
    assert_eq!(parse("nan = nan\nmore = inf\nless = -inf", Syntax::Toml), Ok(expected));
}
