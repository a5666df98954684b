//! Limits on size and depth of files in every format, and of expanded YAML aliases.

use std::fs;

use serde_json::{Map, Value, json};

use super::{Folder, parse, toml};
use crate::config::read::parse::{self as bounded, MAX_DEPTH, Syntax};
use crate::config::{Binding, ConfigError};
use crate::selector::Slug;

const TOO_DEEP: &str = "nested deeper than 64 levels";

/// Returns texts with this nesting depth, each in a different notation.
fn nested(levels: usize) -> Vec<(Syntax, String)> {
    let inner = levels - 1;
    let repeated = |open: &str, core: &str, close: &str| open.repeat(inner) + core + &close.repeat(inner);
    let indented = (0..levels).map(|level| format!("{}a:\n", " ".repeat(level)));
    let chain = (1..levels).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1));
    vec![
        (Syntax::Json, format!("{{\"a\": {}}}", repeated("[", "1", "]"))),
        (Syntax::Json, repeated("{\"a\": ", "{}", "}")),
        (Syntax::Toml, format!("a = {}", repeated("[", "1", "]"))),
        (Syntax::Toml, format!("a = {}", repeated("{ a = ", "1", " }"))),
        (Syntax::Toml, format!("{} = 1", vec!["a"; levels].join("."))),
        (Syntax::Toml, format!("[{}]\nb = 1", vec!["a"; inner].join("."))),
        (Syntax::Yaml, format!("a: {}", repeated("[", "1", "]"))),
        (Syntax::Yaml, repeated("{a: ", "{}", "}")),
        (Syntax::Yaml, format!("a:\n {}x", "- ".repeat(inner))),
        (Syntax::Yaml, indented.collect()),
        // One level in the text; each line refers to the previous one and adds a level.
        (Syntax::Yaml, format!("a0: &a0 1\n{}", chain.collect::<String>())),
    ]
}

#[test]
fn a_file_of_any_format_may_have_at_most_64_levels() {
    for (syntax, text) in nested(MAX_DEPTH) {
        assert!(parse(&text, syntax).is_ok(), "{syntax:?} {text}");
    }
    for levels in [MAX_DEPTH + 1, MAX_DEPTH + 10, 100, 200, 500] {
        for (syntax, text) in nested(levels) {
            assert_eq!(parse(&text, syntax), Err(TOO_DEEP.to_owned()), "{syntax:?} {text}");
        }
    }
}

#[test]
fn json_from_a_program_has_the_same_depth_limit() {
    let around = |inner| Value::Object(Map::from_iter([("metadata".to_owned(), inner)]));
    let nested = |levels| (1..levels).fold(json!({}), |inner, _| around(inner));
    let problems = |levels| Binding::from_json(nested(levels)).err();
    assert_eq!(problems(MAX_DEPTH), None);
    for levels in [MAX_DEPTH + 1, 50_000] {
        let message = problems(levels).expect("too deep").to_string();
        assert_eq!(message, format!("a binding: binding: {TOO_DEEP}"));
    }
}

/// Returns lines that each expand to ten times the previous one.
fn bomb(lines: usize) -> String {
    let line = |at: usize| format!("a{at}: &a{at} [{}]\n", vec![format!("*a{}", at - 1); 10].join(","));
    "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned() + &(1..lines).map(line).collect::<String>()
}

#[test]
fn aliases_count_with_their_expanded_size() {
    let message = "larger than 16 MiB after expanding aliases";
    // Twelve lines expand to a trillion values.
    for lines in [8, 12] {
        assert_eq!(parse(&bomb(lines), Syntax::Yaml), Err(message.to_owned()));
    }
    let small = parse(&bomb(3), Syntax::Yaml).expect("a thousand values");
    assert_eq!(small["a2"][9][9][9], "x");
    // Many aliases of a long string.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(","));
    assert_eq!(parse(&long, Syntax::Yaml), Err(message.to_owned()));
    // As a key, which must not be a list but is built before that is checked.
    let key = format!("{}? *a5\n: 1\n? [*a5, *a5]\n: *a5\n", bomb(6));
    assert_eq!(
        bounded::parse(&key, Syntax::Yaml, 1 << 20),
        Err("larger than 1 MiB after expanding aliases".to_owned())
    );
}

#[test]
fn the_size_limit_is_exact() {
    // The text, the anchored value, and the expansion of each of two aliases: five bytes plus one
    // per value.
    let text = "a: &a 12345\nb: [*a, *a]";
    let whole = text.len() as u64 + 3 * 6;
    assert!(bounded::parse(text, Syntax::Yaml, whole).is_ok());
    assert!(bounded::parse(text, Syntax::Yaml, whole - 1).is_err());
    // Without anchors, only the length of the text counts.
    let plain = "{a, b: [c, d, \"\\L\\L\\L\\L\\L\\L\\L\\L\"]}";
    assert!(bounded::parse(plain, Syntax::Yaml, plain.len() as u64).is_ok());
}

#[test]
fn nested_anchors_count_each_time() {
    // Sixty anchors around one list, each copied as a whole.
    let levels = (0..60).map(|level| format!("&a{level} [")).collect::<Vec<_>>().concat();
    let text = format!("a: {levels}{}{}", "x,".repeat(10_000), "]".repeat(60));
    assert!(bounded::parse(&text, Syntax::Yaml, 1 << 20).is_err());
    assert!(bounded::parse(&text, Syntax::Yaml, 2 << 20).is_ok());
}

#[test]
fn a_tag_with_a_long_prefix_is_refused() {
    let text = |prefix: usize| {
        format!(
            "%TAG !a! {}\n---\nb: [{}]\n",
            "x".repeat(prefix),
            vec!["!a!c d"; 100].join(", ")
        )
    };
    assert!(parse(&text(200), Syntax::Yaml).is_ok());
    let refused = parse(&text(10_000), Syntax::Yaml).expect_err("a long tag");
    assert!(refused.starts_with("a tag is too long"), "{refused}");
}

#[test]
fn a_recursive_alias_expands_to_null() {
    assert_eq!(
        parse("a: &a [1, *a]", Syntax::Yaml),
        Ok(json!({ "a": [1, Value::Null] }))
    );
}

fn file_of(folder: &Folder, tenant: &str) -> Result<(), ConfigError> {
    let config = folder.load(&[]).expect("valid");
    let name = Slug::new(tenant).expect("a name");
    config.tenant_file(&name).map(drop)
}

#[test]
fn a_tenants_file_is_limited_to_256_kib_and_the_operators_to_16_mib() {
    let folder = Folder::new(&[("default.toml", "tenants_dir = \"t\"")]);
    fs::create_dir(folder.path("t")).expect("made");
    for (extension, start) in [("toml", "#"), ("yaml", "#"), ("json", "{}")] {
        let file = folder.path(&format!("t/acme.{extension}"));
        let of_bytes = |bytes: usize| start.to_owned() + &" ".repeat(bytes - start.len());
        fs::write(&file, of_bytes(256 << 10)).expect("written");
        assert_eq!(file_of(&folder, "acme"), Ok(()), "{extension}");
        fs::write(&file, of_bytes((256 << 10) + 1)).expect("written");
        let refused = file_of(&folder, "acme").expect_err("too large").to_string();
        assert!(refused.ends_with(": larger than 256 KiB"), "{refused}");
        fs::remove_file(file).expect("removed");
    }
    fs::write(folder.path("t/acme.yaml"), bomb(5)).expect("written");
    let refused = file_of(&folder, "acme").expect_err("too large").to_string();
    assert!(
        refused.ends_with(": larger than 256 KiB after expanding aliases"),
        "{refused}"
    );
    let operators = |bytes: usize| toml(&("#".to_owned() + &" ".repeat(bytes - 1)));
    assert!(operators(16 << 20).is_ok());
    let refused = operators((16 << 20) + 1).expect_err("too large").to_string();
    assert!(refused.ends_with(": larger than 16 MiB"), "{refused}");
}

#[test]
fn an_error_of_a_tenants_input_lists_fifty_problems_and_counts_the_rest() {
    let fields: Value = (0..70)
        .map(|at| (format!("x{at}"), json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let error = Binding::from_json(fields).expect_err("seventy problems");
    assert_eq!(error.problems().len(), 51);
    assert_eq!(error.problems()[50].message(), "20 more errors");
    // The operator's errors list all.
    let text = (0..70).map(|at| format!("x{at} = 1\n")).collect::<Vec<_>>().concat();
    assert_eq!(toml(&text).expect_err("seventy problems").problems().len(), 70);
}
