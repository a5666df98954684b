//! How large and how deep a file may be, in every format, and with the aliases of YAML written out.

use std::fs;

use serde_json::{Map, Value, json};

use super::{Folder, parse, toml};
use crate::config::read::parse::{self as bounded, MAX_DEPTH, Written};
use crate::config::{Binding, ConfigError};
use crate::selector::Slug;

const TOO_DEEP: &str = "nested deeper than 64 levels";

/// Texts with so many tables and lists one in the other, each written in another way.
fn nested(levels: usize) -> Vec<(Written, String)> {
    let inner = levels - 1;
    let repeated = |open: &str, core: &str, close: &str| open.repeat(inner) + core + &close.repeat(inner);
    let indented = (0..levels).map(|level| format!("{}a:\n", " ".repeat(level)));
    let chain = (1..levels).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1));
    vec![
        (Written::Json, format!("{{\"a\": {}}}", repeated("[", "1", "]"))),
        (Written::Json, repeated("{\"a\": ", "{}", "}")),
        (Written::Toml, format!("a = {}", repeated("[", "1", "]"))),
        (Written::Toml, format!("a = {}", repeated("{ a = ", "1", " }"))),
        (Written::Toml, format!("{} = 1", vec!["a"; levels].join("."))),
        (Written::Toml, format!("[{}]\nb = 1", vec!["a"; inner].join("."))),
        (Written::Yaml, format!("a: {}", repeated("[", "1", "]"))),
        (Written::Yaml, repeated("{a: ", "{}", "}")),
        (Written::Yaml, format!("a:\n {}x", "- ".repeat(inner))),
        (Written::Yaml, indented.collect()),
        // One level in the text, and in each line one more than in the one before.
        (Written::Yaml, format!("a0: &a0 1\n{}", chain.collect::<String>())),
    ]
}

#[test]
fn a_file_of_any_format_may_have_sixty_four_levels_and_no_more() {
    for (written, text) in nested(MAX_DEPTH) {
        assert!(parse(&text, written).is_ok(), "{written:?} {text}");
    }
    for levels in [MAX_DEPTH + 1, MAX_DEPTH + 10, 100, 200, 500] {
        for (written, text) in nested(levels) {
            assert_eq!(parse(&text, written), Err(TOO_DEEP.to_owned()), "{written:?} {text}");
        }
    }
}

#[test]
fn json_from_a_program_has_the_same_bound() {
    let around = |inner| Value::Object(Map::from_iter([("metadata".to_owned(), inner)]));
    let nested = |levels| (1..levels).fold(json!({}), |inner, _| around(inner));
    let faults = |levels| Binding::from_json(nested(levels)).err();
    assert_eq!(faults(MAX_DEPTH), None);
    for levels in [MAX_DEPTH + 1, 50_000] {
        let message = faults(levels).expect("too deep").to_string();
        assert_eq!(message, format!("a binding: binding: {TOO_DEEP}"));
    }
}

/// Each line stands for ten times the one before.
fn bomb(lines: usize) -> String {
    let line = |at: usize| format!("a{at}: &a{at} [{}]\n", vec![format!("*a{}", at - 1); 10].join(","));
    "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned() + &(1..lines).map(line).collect::<String>()
}

#[test]
fn aliases_count_as_what_they_stand_for() {
    let message = "larger than 16 MiB with its aliases written out";
    // Twelve lines stand for a trillion values.
    for lines in [8, 12] {
        assert_eq!(parse(&bomb(lines), Written::Yaml), Err(message.to_owned()));
    }
    let small = parse(&bomb(3), Written::Yaml).expect("a thousand values");
    assert_eq!(small["a2"][9][9][9], "x");
    // A long text that many aliases stand for.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(","));
    assert_eq!(parse(&long, Written::Yaml), Err(message.to_owned()));
    // As a key, where a key may be no list but is built before that is known.
    let key = format!("{}? *a5\n: 1\n? [*a5, *a5]\n: *a5\n", bomb(6));
    assert_eq!(
        bounded::parse(&key, Written::Yaml, 1 << 20),
        Err("larger than 1 MiB with its aliases written out".to_owned())
    );
}

#[test]
fn the_bound_on_bytes_is_met_to_the_byte() {
    // The text, what the anchor marks, and what each of two aliases stands for: five bytes and one for the value.
    let text = "a: &a 12345\nb: [*a, *a]";
    let whole = text.len() as u64 + 3 * 6;
    assert!(bounded::parse(text, Written::Yaml, whole).is_ok());
    assert!(bounded::parse(text, Written::Yaml, whole - 1).is_err());
    // Without an anchor a text is as long as it is.
    let plain = "{a, b: [c, d, \"\\L\\L\\L\\L\\L\\L\\L\\L\"]}";
    assert!(bounded::parse(plain, Written::Yaml, plain.len() as u64).is_ok());
}

#[test]
fn what_is_marked_again_and_again_counts_each_time() {
    // Sixty anchors around one list: each of them is copied as a whole.
    let levels = (0..60).map(|level| format!("&a{level} [")).collect::<Vec<_>>().concat();
    let text = format!("a: {levels}{}{}", "x,".repeat(10_000), "]".repeat(60));
    assert!(bounded::parse(&text, Written::Yaml, 1 << 20).is_err());
    assert!(bounded::parse(&text, Written::Yaml, 2 << 20).is_ok());
}

#[test]
fn a_tag_whose_prefix_is_long_is_not_written_out_for_each_value() {
    let text = |prefix: usize| {
        format!(
            "%TAG !a! {}\n---\nb: [{}]\n",
            "x".repeat(prefix),
            vec!["!a!c d"; 100].join(", ")
        )
    };
    assert!(parse(&text(200), Written::Yaml).is_ok());
    let refused = parse(&text(10_000), Written::Yaml).expect_err("a long tag");
    assert!(refused.starts_with("a tag is longer"), "{refused}");
}

#[test]
fn an_alias_within_what_it_stands_for_is_no_loop() {
    assert_eq!(
        parse("a: &a [1, *a]", Written::Yaml),
        Ok(json!({ "a": [1, Value::Null] }))
    );
}

fn file_of(folder: &Folder, tenant: &str) -> Result<(), ConfigError> {
    let config = folder.load(&[]).expect("valid");
    let name = Slug::new(tenant).expect("a name");
    config.tenant_file(&name).map(drop)
}

#[test]
fn a_tenants_file_may_have_256_kib_and_the_operators_16_mib() {
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
        refused.ends_with(": larger than 256 KiB with its aliases written out"),
        "{refused}"
    );
    let operators = |bytes: usize| toml(&("#".to_owned() + &" ".repeat(bytes - 1)));
    assert!(operators(16 << 20).is_ok());
    let refused = operators((16 << 20) + 1).expect_err("too large").to_string();
    assert!(refused.ends_with(": larger than 16 MiB"), "{refused}");
}

#[test]
fn an_error_of_what_a_tenant_wrote_tells_fifty_faults_and_how_many_more_there_are() {
    let fields: Value = (0..70)
        .map(|at| (format!("x{at}"), json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let error = Binding::from_json(fields).expect_err("seventy faults");
    assert_eq!(error.faults().len(), 51);
    assert_eq!(error.faults()[50].message(), "20 more faults");
    // The operator is told all of them.
    let text = (0..70).map(|at| format!("x{at} = 1\n")).collect::<Vec<_>>().concat();
    assert_eq!(toml(&text).expect_err("seventy faults").faults().len(), 70);
}
