//! TOML, YAML and JSON, and what their parsers do with odd files.

use serde_json::json;

use super::{Folder, listed, parse, resolve};
use crate::config::ConfigFault;
use crate::config::read::parse::Written;

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
fn the_same_configuration_in_three_formats_is_the_same() {
    let load = |name: &str, text: &str| {
        let config = Folder::new(&[(name, text)]).load(&[]).expect(name);
        (
            resolve(&config, "feature:search,tenant:acme"),
            resolve(&config, "tenant:other"),
            config.export().clone(),
        )
    };
    let known = |text: &str, feature: &str| format!("{text}\n{feature}");
    let toml = load("default.toml", &known(TOML, "[features.search]"));
    assert_eq!(load("default.yaml", &known(YAML, "features: { search: {} }")), toml);
    assert_eq!(load("default.yml", &known(YAML, "features: { search: {} }")), toml);
    let json = JSON.replacen('{', r#"{ "features": { "search": {} },"#, 1);
    assert_eq!(load("default.json", &json), toml);
}

#[test]
fn a_byte_order_mark_and_an_empty_file_are_no_faults() {
    for (written, text) in [
        (Written::Toml, ""),
        (Written::Toml, "# only a comment\n"),
        (Written::Yaml, ""),
        (Written::Yaml, "# only a comment\n"),
        (Written::Json, "{}"),
        (Written::Toml, "\u{feff}"),
        (Written::Yaml, "\u{feff}{}"),
        (Written::Json, "\u{feff} {}\r\n"),
    ] {
        assert_eq!(parse(text, written), Ok(json!({})), "{written:?} {text:?}");
    }
    assert_eq!(
        parse("", Written::Json),
        Err("line 1, column 0: EOF while parsing a value".to_owned())
    );
}

#[test]
fn a_quoted_key_with_dots_or_brackets_is_one_key() {
    let key = "tenants.acme[99999999999]";
    for (written, text) in [
        (Written::Toml, format!("'{key}' = 1")),
        (Written::Yaml, format!("'{key}': 1")),
        (Written::Json, format!("{{\"{key}\": 1}}")),
    ] {
        assert_eq!(parse(&text, written), Ok(json!({ key: 1 })), "{written:?}");
    }
    // A dotted key of TOML that is not quoted is a path, as in any other TOML.
    assert_eq!(
        parse("tenants.acme.source = 'x'", Written::Toml),
        Ok(json!({"tenants": {"acme": {"source": "x"}}}))
    );
}

#[test]
fn names_are_never_folded_to_lower_case() {
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
        let keys: Vec<&str> = error.faults().iter().map(ConfigFault::key).collect();
        assert_eq!(keys, ["Tenants", "tenants.\"a.b\".Metadata", "tenants.ACME"], "{error}");
    }
}

#[test]
fn a_number_as_a_name_is_that_name() {
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
fn two_entries_of_one_name_are_refused_in_every_format() {
    for (written, text) in [
        (Written::Toml, "[tenants.a]\n[tenants.a]"),
        (Written::Yaml, "tenants:\n  a: {}\n  a: {}"),
        (Written::Json, r#"{"tenants": {"a": {}, "a": {}}}"#),
    ] {
        let message = parse(text, written).expect_err("doubled");
        assert!(
            message.contains("duplicate") && message.starts_with("line "),
            "{written:?}: {message}"
        );
    }
}

#[test]
fn nothing_stands_for_no_value_in_no_format() {
    for (name, text) in [
        ("default.yaml", "defaults: { source: null }\ntenants: { acme: }"),
        (
            "default.json",
            r#"{"defaults": {"source": null}, "tenants": {"acme": null}}"#,
        ),
    ] {
        let error = Folder::new(&[(name, text)]).load(&[]).expect_err("null");
        let expected = [
            "defaults.source: a text is expected, found nothing",
            "tenants.acme: a table is expected, found nothing",
        ];
        assert_eq!(listed(&error), expected);
    }
}

#[test]
fn a_file_nested_without_end_is_refused_and_does_not_use_up_the_stack() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let indented: String = (0..2_000).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    for (written, text) in [
        (Written::Json, deep("[", "]")),
        (Written::Json, deep("{\"a\":", "}")),
        (Written::Toml, format!("a = {}", deep("[", "]"))),
        (Written::Toml, format!("{} = 1", vec!["a"; 200_000].join("."))),
        (Written::Toml, format!("[{}]", vec!["a"; 200_000].join("."))),
        (Written::Yaml, deep("[", "]")),
        (Written::Yaml, deep("{a: ", "}")),
        (Written::Yaml, "- ".repeat(200_000)),
        (Written::Yaml, "? ".repeat(200_000)),
        (Written::Yaml, indented),
    ] {
        assert!(parse(&text, written).is_err(), "{written:?}");
    }
}

#[test]
fn a_parser_says_where_and_what_and_never_a_word_of_the_file() {
    let key = "hh_canary-4711";
    for (written, text, place) in [
        (
            Written::Toml,
            format!("[tenants.acme]\napi_key = {key}\n"),
            "line 2, column 11: ",
        ),
        (
            Written::Toml,
            format!("[tenants.acme]\napi_key {key}\n"),
            "line 2, column ",
        ),
        (
            Written::Toml,
            format!("[tenants.acme]\napi_key = \"{key}\n"),
            "line 2, column ",
        ),
        (Written::Toml, format!("a = \"{key}\\q\""), "line 1, column "),
        (Written::Toml, format!("{key} = 1\n{key} = 2"), "line 2, column 1: "),
        (Written::Toml, format!("[{key}]\n[{key}]"), "line 2, column "),
        (
            Written::Yaml,
            format!("tenants:\n  acme:\n api_key: {key}\n"),
            "line 3, column ",
        ),
        (Written::Yaml, format!("api_key: \"{key}"), "line "),
        (Written::Yaml, format!("api_key: *{key}"), "line 1, column "),
        (Written::Yaml, format!("'{key} x': 1\n'{key} x': 2"), "line 2, column "),
        (Written::Yaml, format!("{{ [{key}]: 1 }}"), ""),
        (Written::Yaml, format!("api_key: !!float {key}"), ""),
        (Written::Yaml, format!("%{key}\n---\na: 1"), ""),
        (Written::Yaml, key.to_owned(), ""),
        (Written::Yaml, format!("- {key}"), ""),
        (Written::Yaml, format!("a: 1\n---\nb: {key}"), ""),
        (
            Written::Json,
            format!("{{\n\"api_key\": {key}}}"),
            "line 2, column 12: ",
        ),
        (
            Written::Json,
            format!("{{\"api_key\": \"{key}\", }}"),
            "line 1, column ",
        ),
        (Written::Json, format!("{{\"api_key\": \"{key}\n\"}}"), "line "),
        (
            Written::Json,
            format!("{{\"{key}\": 1, \"{key}\": 1}}"),
            "line 1, column ",
        ),
        (Written::Json, format!("\"{key}\" x"), "line 1, column "),
    ] {
        match parse(&text, written) {
            Ok(value) => assert!(place.is_empty(), "{written:?} {text:?} is {value}"),
            Err(message) => {
                assert!(message.starts_with(place), "{written:?} {text:?}: {message}");
                assert!(
                    !message.contains("canary") && !message.contains("4711"),
                    "{written:?} {text:?}: {message}"
                );
                assert!(!message.contains('\n') && !message.ends_with(": "), "{message:?}");
            }
        }
    }
}

#[test]
fn a_root_that_is_no_table_is_a_fault() {
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
fn numbers_that_no_field_can_hold_are_faults() {
    for text in ["a = 99999999999999999999", "a = 1e999"] {
        assert!(parse(text, Written::Toml).is_err(), "{text}");
    }
    let said = super::faults("[defaults.sampling]\nratio = nan\n[export]\nmax_queue_size = -1");
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn numbers_of_toml_that_json_lacks_are_texts() {
    let expected = json!({ "nan": "NaN", "more": "Infinity", "less": "-Infinity" });
    assert_eq!(parse("nan = nan\nmore = inf\nless = -inf", Written::Toml), Ok(expected));
}
