//! Rules on values.

use proptest::prelude::*;

use super::*;
use crate::config::{Pattern, RedactRule, ResolvedRedact};
use crate::selector::SelectorBuilder;

const MAIL: &str = "alice@example.com";
const CARD: &str = "4111 1111 1111 1111";

fn rule() -> RedactRule {
    RedactRule::new()
}

fn resolved(rules: impl IntoIterator<Item = RedactRule>) -> ResolvedRedact {
    let named = rules.into_iter().enumerate();
    ResolvedRedact {
        rules: named.map(|(index, rule)| (format!("rule{index}"), rule)).collect(),
        ..ResolvedRedact::default()
    }
}

fn acme() -> Selector {
    Selector::try_from(Selector::tenant("acme")).expect("a selector")
}

fn redaction(rules: impl IntoIterator<Item = RedactRule>) -> Arc<Redaction> {
    Redaction::new(&acme(), &resolved(rules), Vec::new()).expect("rules")
}

/// Returns a text after rules, or `None` if it is dropped.
fn after(redaction: &Redaction, key: &str, text: &str) -> Option<String> {
    match redaction.text(key, text) {
        Verdict::Keep => Some(text.to_owned()),
        Verdict::Replace(by) => Some(by),
        Verdict::Drop => None,
    }
}

fn counts(redaction: &Redaction) -> (Vec<u64>, u64) {
    let (rules, unreadable) = redaction.counts();
    (rules.into_iter().map(|(_, count)| count).collect(), unreadable)
}

#[test]
fn a_rule_applies_to_keys_to_texts_or_to_texts_in_keys() {
    let redaction = redaction([
        rule().attribute("*.password"),
        rule().pattern(Pattern::Email),
        rule().attribute("note*").pattern(Pattern::Card).regex("ACME-[0-9]+"),
    ]);
    for (key, text, expected) in [
        ("user.password", "anything", "[redacted]"),
        ("USER.Password", "anything", "[redacted]"),
        ("password", "anything", "anything"),
        ("a", "to alice@example.com!", "to [redacted]!"),
        (
            "a",
            "card 4111 1111 1111 1111, ACME-12",
            "card 4111 1111 1111 1111, ACME-12",
        ),
        (
            "notes",
            "card 4111 1111 1111 1111, ACME-12",
            "card [redacted], [redacted]",
        ),
    ] {
        assert_eq!(after(&redaction, key, text).as_deref(), Some(expected), "{key}: {text}");
    }
    assert_eq!(redaction.whole("user.password"), Some(RedactAction::Replace));
    assert_eq!(redaction.whole("notes"), None);
    assert_eq!(counts(&redaction), (vec![3, 1, 1], 0));
}

#[test]
fn the_order_of_rules_does_not_matter() {
    let hash = |rule: RedactRule| rule.action(RedactAction::Hash);
    let sets = [
        vec![hash(rule().pattern(Pattern::Email)), rule().regex("example")],
        vec![hash(rule().pattern(Pattern::Email)), rule().regex("to")],
        vec![hash(rule().attribute("key")), rule().attribute("k*")],
        vec![
            hash(rule().attribute("key")),
            rule().pattern(Pattern::Email).action(RedactAction::Drop),
        ],
        vec![
            rule().pattern(Pattern::Email),
            rule().regex("^to").action(RedactAction::Drop),
        ],
    ];
    let expected = [
        Some("to [redacted]"),
        Some("[redacted] [hash:95dca96638ca42cb]"),
        Some("[redacted]"),
        None,
        None,
    ];
    for (mut rules, expected) in sets.into_iter().zip(expected) {
        for _ in 0..2 {
            let redaction = redaction(rules.clone());
            assert_eq!(
                after(&redaction, "key", "to alice@example.com").as_deref(),
                expected,
                "{rules:?}"
            );
            assert_eq!(counts(&redaction).0, [1, 1], "each rule that matches counts");
            rules.reverse();
        }
    }
}

#[test]
fn hashes_are_equal_within_a_tenant_and_nowhere_else() {
    let rules = resolved([rule().pattern(Pattern::Email).action(RedactAction::Hash)]);
    let hash = |selector: SelectorBuilder| {
        let selector = Selector::try_from(selector).expect("a selector");
        let redaction = Redaction::new(&selector, &rules, Vec::new()).expect("rules");
        let text = after(&redaction, "a", MAIL).expect("kept");
        assert_eq!(redaction.hash(MAIL.as_bytes()), text);
        text
    };
    let of_acme = hash(Selector::tenant("acme"));
    assert_eq!(of_acme, "[hash:95dca96638ca42cb]");
    assert_eq!(hash(Selector::tenant("acme").feature("search")), of_acme);
    assert_ne!(hash(Selector::tenant("globex")), of_acme);
    assert_ne!(hash(Selector::feature("acme")), of_acme);
    assert_ne!(hash(Selector::feature("acme")), hash(Selector::environment("acme")));
}

#[test]
fn rules_of_two_tables_with_one_name_count_together() {
    let mut resolved = resolved([rule().pattern(Pattern::Email), rule().pattern(Pattern::Card)]);
    resolved.rules[1].0 = "rule0".to_owned();
    let redaction = Redaction::new(&acme(), &resolved, Vec::new()).expect("rules");
    assert_eq!(
        after(&redaction, "a", &format!("{MAIL} {CARD}")).as_deref(),
        Some("[redacted] [redacted]")
    );
    assert_eq!(redaction.counts(), (vec![("rule0", 1)], 0));
}

#[test]
fn texts_are_also_searched_without_escapes() {
    let redaction = redaction([rule()
        .pattern(Pattern::Email)
        .pattern(Pattern::Card)
        .regex("geheim\u{e9}")]);
    for (text, expected) in [
        ("GET /?u=alice%40example.com&x=1", "GET /?u=[redacted]&x=1"),
        (r"say \u0061lice\u0040example.com.", "say [redacted]."),
        (r"\\u0061lice\\u0040example.com", "[redacted]"),
        (r"x\n4111111111111111\n", r"x\n[redacted]\n"),
        ("４１１１ １１１１ １１１１ １１１１", "[redacted]"),
        ("4111\u{a0}1111\u{2011}1111\u{200b}1111", "[redacted]"),
        (r"geheim\u00e9!", "[redacted]!"),
        ("100% of C:\\new", "100% of C:\\new"),
    ] {
        assert_eq!(after(&redaction, "a", text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn json_in_texts_is_read_by_name_and_by_path() {
    let redaction = redaction([
        rule()
            .attribute("password")
            .attribute("prompt.1.*")
            .attribute("*.args.key"),
        rule().attribute("gone").action(RedactAction::Drop),
        rule().pattern(Pattern::Email).pattern(Pattern::Card),
        rule().attribute("safe").regex("[0-9]+"),
    ]);
    for (text, expected) in [
        (r#"{"a": 1.50 , "b":[ ]}"#, r#"{"a": 1.50 , "b":[ ]}"#),
        (
            r#"{"password": "x", "Password":{"a":[1]},"q":1}"#,
            r#"{"password": "[redacted]", "Password":"[redacted]","q":1}"#,
        ),
        (
            r#"{"password": null, "user.password": "x"}"#,
            r#"{"password": "[redacted]", "user.password": "x"}"#,
        ),
        (r#"[{"a":"x"},{"a":"x"}]"#, r#"[{"a":"x"},{"a":"[redacted]"}]"#),
        (r#"{"gone":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":2 , "gone":{"b":["alice@example.com"]}}"#, r#"{"a":2}"#),
        (r#"{"gone":1, "gone":2}"#, "{}"),
        (r#"{ "gone":1, "gone":2, "a":3, "gone":4, "gone":5 }"#, r#"{ "a":3 }"#),
        (
            r#"{"a":{"gone":1},"gone":2,"b":"alice@example.com","gone":3}"#,
            r#"{"a":{},"b":"[redacted]"}"#,
        ),
        (
            r#"["to \u0061lice@example.com\n", "\u00e9"]"#,
            r#"["to [redacted]\n", "\u00e9"]"#,
        ),
        (r#"{"alice@example.com":{"a":"b"}}"#, r#"{"[redacted]":{"a":"b"}}"#),
        (
            r#"{"n":4111111111111111,"m":4.111111111111111e15,"o":4111111111111111.0}"#,
            r#"{"n":"[redacted]","m":"[redacted]","o":"[redacted]"}"#,
        ),
        (r#"{"n":-12.5e3,"m":true}"#, r#"{"n":-12.5e3,"m":true}"#),
        (
            r#"{"safe":{"n":12,"t":["a1"]},"t":"a1"}"#,
            r#"{"safe":{"n":"[redacted]","t":["a[redacted]"]},"t":"a1"}"#,
        ),
        (
            r#"{"args": "{\"key\": \"x\", \"to\": \"alice@example.com\", \"é\": 1}"}"#,
            r#"{"args": "{\"key\": \"[redacted]\", \"to\": \"[redacted]\", \"é\": 1}"}"#,
        ),
        (
            "{\"password\":\"x\"}\n{\"password\":\"y\"} alice@example.com",
            "{\"password\":\"[redacted]\"}\n{\"password\":\"[redacted]\"} [redacted]",
        ),
        (
            r#" "{\"password\": \"x\", \"to\": \"alice@example.com\"}" "#,
            r#" "{\"password\": \"[redacted]\", \"to\": \"[redacted]\"}" "#,
        ),
        (
            r#"["\"{\\\"password\\\":1}\""]"#,
            r#"["\"{\\\"password\\\":\\\"[redacted]\\\"}\""]"#,
        ),
        (r#""a" and "{\"password\": 1}""#, r#""a" and "{\"password\": 1}""#),
        ("\u{feff}{\"password\":\"x\"}", "\u{feff}{\"password\":\"[redacted]\"}"),
        (
            "{\"password\":\"x\"}\u{feff} {\"password\":\"y\"}",
            "{\"password\":\"[redacted]\"}\u{feff} {\"password\":\"[redacted]\"}",
        ),
        (
            r#"{"args": "\ufeff{\"password\":\"x\"}"}"#,
            r#"{"args": "﻿{\"password\":\"[redacted]\"}"}"#,
        ),
        ("[INFO] mail of alice@example.com", "[INFO] mail of [redacted]"),
        (
            "[2026-01-01 10:00] {\"password\":1}",
            "[2026-01-01 10:00] {\"password\":1}",
        ),
        ("{name} is alice@example.com", "{name} is [redacted]"),
        ("{} of {}", "{} of {}"),
    ] {
        assert_eq!(after(&redaction, "prompt", text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(redaction.counts().1, 0);
}

#[test]
fn dropped_elements_of_lists_in_json_are_removed() {
    let redaction = redaction([
        rule().attribute("key.1").action(RedactAction::Drop),
        rule().regex("x").action(RedactAction::Drop),
    ]);
    for (text, expected) in [
        (r#"["x"]"#, "[]"),
        (r#"["x", "x" , 1]"#, "[1]"),
        (r#"[1 , 2, "x", "x",3, "x"]"#, "[1 , 3]"),
        (r#"[ 1, {"a": "x"}, {"a": "x"}, [2, "x"] ]"#, "[ 1, {}, [2] ]"),
        (r#"[["x", ["x"]], "y", ["a", "b"]]"#, r#"[[[]], ["a", "b"]]"#),
        (r#"["x", 2, 3]"#, "[3]"),
    ] {
        assert_eq!(after(&redaction, "key", text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn json_that_cannot_be_read_is_dropped() {
    let deep = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let nested = |levels| (0..levels).fold("x".to_owned(), |text, _| serde_json::json!([text]).to_string());
    let redaction = redaction([rule().attribute("password")]);
    let mut unreadable = 0;
    for (text, is_readable) in [
        (r#"{"a": "cut of"#.to_owned(), false),
        (r#"{"a": 1"#.to_owned(), false),
        (r#"{"a" "b"}"#.to_owned(), false),
        (r#"[1, "a"#.to_owned(), false),
        (r#"["\x"]"#.to_owned(), false),
        ("[[".to_owned(), false),
        ("[1, 2".to_owned(), true),
        (deep(json::MAX_DEPTH), true),
        (deep(json::MAX_DEPTH + 1), false),
        (nested(4), true),
        ("a".repeat(MAX_TEXT + 1), false),
    ] {
        assert_eq!(after(&redaction, "a", &text).is_some(), is_readable, "{text:.40}");
        unreadable += u64::from(!is_readable);
        assert_eq!(counts(&redaction), (vec![0], unreadable), "{text:.40}");
    }
    // The innermost member that cannot be read is removed.
    let expected = r#"{"a":{},"b":[],"c":1}"#;
    assert_eq!(
        after(&redaction, "a", r#"{"a":{"x":"{\"y"},"b":["{\"y"],"c":1}"#).as_deref(),
        Some(expected)
    );
    let too_deep = after(&redaction, "a", &nested(5)).expect("its start is read");
    assert!(!too_deep.contains('x'), "{too_deep}");
    assert_eq!(counts(&redaction), (vec![0], unreadable + 2));
    // A key that no glob can be compared with.
    assert_eq!(after(&redaction, &"k".repeat(5000), "a"), None);
    assert_eq!(counts(&redaction), (vec![0], unreadable + 3));
}

#[test]
fn a_text_with_too_many_matches_is_dropped() {
    let redaction = redaction([rule().pattern(Pattern::Email).attribute("*").action(RedactAction::Hash)]);
    let digits = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    let hashed = super::tests::redaction([rule().attribute("key.*").action(RedactAction::Hash)]);
    for (count, is_readable) in [(1000, true), (300_000, false)] {
        let mails = "a@b.co ".repeat(count);
        assert_eq!(after(&redaction, "key", &mails).is_some(), is_readable, "{count}");
        let mut after_hash = None;
        let text = digits(count);
        let spent = allocation_counter::measure(|| after_hash = after(&hashed, "key", &text));
        assert_eq!(after_hash.is_some(), is_readable, "{count}");
        assert!(spent.bytes_max < 64 << 20, "{}", spent.bytes_max);
    }
    assert_eq!((redaction.counts().1, hashed.counts().1), (1, 1));
}

#[test]
fn members_of_maps_match_by_name_and_by_path() {
    let redaction = redaction([
        rule().attribute("password").attribute("map.list.0"),
        rule().attribute("map").pattern(Pattern::Email),
    ]);
    let mut path = Path::new("map");
    assert_eq!(redaction.text(&path, MAIL), Verdict::Replace(REDACTED.to_owned()));
    path.push("list");
    assert_eq!(
        redaction.text(&path, MAIL),
        Verdict::Replace(REDACTED.to_owned()),
        "also in the members of map"
    );
    path.push_index(0);
    assert_eq!(redaction.whole(&path), Some(RedactAction::Replace));
    path.push("a");
    assert_eq!(
        redaction.text(&path, "x"),
        Verdict::Replace(REDACTED.to_owned()),
        "in a member that matches"
    );
    let mut path = Path::new("other");
    path.push("PASSWORD");
    assert_eq!(redaction.scalar(&path, "1"), Verdict::Replace(REDACTED.to_owned()));
    assert_eq!(
        redaction.whole("other.password"),
        None,
        "the key of an attribute matches as a whole"
    );
    let mut path = Path::new("other");
    path.push("a");
    assert_eq!(redaction.text(&path, MAIL), Verdict::Keep);
    let json = r#"{"password":1}"#;
    assert_eq!(
        redaction.text(&path, json),
        Verdict::Replace(r#"{"password":"[redacted]"}"#.to_owned())
    );
}

#[test]
fn attributes_of_flattened_data_match_by_name_and_by_path() {
    let redaction = redaction([
        rule().attribute("password").attribute("honeyhive_inputs.list"),
        rule().attribute("user").pattern(Pattern::Email),
    ]);
    for (key, text, is_changed) in [
        ("honeyhive_outputs.password", "x", true),
        ("honeyhive_outputs.user.PassWord.0.name", "x", true),
        ("tracer_registry.session.metadata.password", "x", true),
        ("langfuse.observation.metadata.a.password", "x", true),
        ("langfuse.trace.metadata.password", "x", true),
        ("langsmith.metadata.password", "x", true),
        ("honeyhive_inputs.list.0", "x", true),
        ("HoneyHive_Inputs.Password", "x", true),
        ("honeyhive_inputs.user.name", MAIL, true),
        ("honeyhive_inputs.user.name", "x", false),
        ("honeyhive_inputs.users", MAIL, false),
        ("honeyhive_inputs.lists", "x", false),
        ("other.password", "x", false),
    ] {
        let expected = if is_changed { REDACTED } else { text };
        // Twice: what applies to a key is remembered.
        for _ in 0..2 {
            assert_eq!(after(&redaction, key, text).as_deref(), Some(expected), "{key}: {text}");
        }
        let json = serde_json::json!({ "a": text }).to_string();
        let of_json = after(&redaction, key, &json).expect("kept");
        assert_eq!(of_json != json, is_changed, "{key}: {json}");
    }
    // Too many members to compare each with the rules.
    let deep = format!("honeyhive_inputs{}", ".a".repeat(32));
    assert_eq!(after(&redaction, &deep, "x"), None);
    assert_eq!(redaction.counts().1, 1);
}

#[test]
fn status_has_no_key_and_names_match_only_if_configured() {
    let mut resolved = resolved([
        rule().pattern(Pattern::Email),
        rule().attribute("*"),
        rule().attribute("*").regex("a"),
    ]);
    let redaction = |resolved: &_| Redaction::new(&acme(), resolved, Vec::new()).expect("rules");
    assert_eq!(
        redaction(&resolved).text(Place::Status, MAIL),
        Verdict::Replace(REDACTED.to_owned())
    );
    assert_eq!(redaction(&resolved).text(Place::Status, "a"), Verdict::Keep);
    assert_eq!(redaction(&resolved).text(Place::Name, MAIL), Verdict::Keep);
    resolved.names = true;
    assert_eq!(
        redaction(&resolved).text(Place::Name, MAIL),
        Verdict::Replace(REDACTED.to_owned())
    );
}

#[test]
fn bytes_that_are_no_text_are_dropped_if_a_pattern_applies() {
    let patterns = redaction([
        rule().pattern(Pattern::Email),
        rule().attribute("key").action(RedactAction::Hash),
    ]);
    assert_eq!(patterns.bytes("a", b"x"), Verdict::Keep);
    assert_eq!(
        patterns.bytes("a", MAIL.as_bytes()),
        Verdict::Replace(REDACTED.to_owned())
    );
    assert_eq!(patterns.bytes("a", b"\xff"), Verdict::Drop);
    assert_eq!(patterns.bytes("key", b"\xff"), Verdict::Replace(patterns.hash(b"\xff")));
    assert_eq!(counts(&patterns), (vec![1, 1], 1));
    assert_eq!(redaction([rule().attribute("key")]).bytes("a", b"\xff"), Verdict::Keep);
}

#[test]
fn numbers_and_booleans_match_by_their_text() {
    let redaction = redaction([rule().pattern(Pattern::Card), rule().attribute("key")]);
    for (key, shown, is_changed) in [
        ("a", "4111111111111111", true),
        ("a", "4111111111111111.0", true),
        ("a", "4.111111111111111e15", true),
        ("a", "0.4111111111111111", false),
        ("a", "NaN", false),
        ("a", "true", false),
        ("key", "true", true),
    ] {
        assert_eq!(
            redaction.scalar(key, shown) != Verdict::Keep,
            is_changed,
            "{key}: {shown}"
        );
    }
}

/// A hook by a function.
struct Hook<F>(F);

impl<F: Fn(&Value<'_>) -> Decision + Send + Sync + 'static> Redactor for Hook<F> {
    fn redact(&self, value: &Value<'_>) -> Decision {
        (self.0)(value)
    }
}

#[test]
fn hooks_decide_about_what_rules_leave() {
    let first = Hook(|value: &Value<'_>| {
        assert_eq!(value.selector, &acme());
        match (value.place, value.text) {
            (Place::Attribute("map.a"), _) => Decision::Replace("path".to_owned()),
            (_, "to [redacted]") => Decision::Replace("one".to_owned()),
            (_, "drop") => Decision::Drop,
            (_, "panic") => panic!("a fault of the program"),
            _ => Decision::Keep,
        }
    });
    let second = Hook(|value: &Value<'_>| match value.text {
        "one" => Decision::Replace("two".to_owned()),
        "drop" | "panic" => panic!("an earlier hook dropped it"),
        _ => Decision::Keep,
    });
    let rules = resolved([rule().pattern(Pattern::Email)]);
    let redaction = Redaction::new(&acme(), &rules, vec![Arc::new(first), Arc::new(second)]).expect("rules");
    let mut path = Path::new("map");
    path.push("a");
    assert_eq!(redaction.text(&path, "x"), Verdict::Replace("path".to_owned()));
    for (text, expected) in [
        ("to alice@example.com", Verdict::Replace("two".to_owned())),
        ("x", Verdict::Keep),
        ("x alice@example.com", Verdict::Replace("x [redacted]".to_owned())),
        ("drop", Verdict::Drop),
        ("panic", Verdict::Drop),
    ] {
        assert_eq!(redaction.text(Place::Status, text), expected, "{text}");
    }
    assert_eq!(redaction.hook_counts(), (4, 1));
    assert_eq!(redaction.text("a", &"x".repeat(MAX_HOOK_TEXT)), Verdict::Keep);
    assert_eq!(
        redaction.text("a", &"x".repeat(MAX_HOOK_TEXT + 1)),
        Verdict::Drop,
        "too large for hooks"
    );
    assert_eq!(redaction.counts().1, 1);
    let hook = Arc::new(Hook(|_: &Value<'_>| Decision::Drop));
    let hooks_alone = Redaction::new(&acme(), &ResolvedRedact::default(), vec![hook]).expect("a hook");
    assert_eq!(hooks_alone.text(Place::Name, "{\"cut"), Verdict::Drop);
    assert_eq!(hooks_alone.scalar("a", "1"), Verdict::Keep);
    assert_eq!(hooks_alone.counts(), (Vec::new(), 0));
    assert!(Redaction::new(&acme(), &ResolvedRedact::default(), Vec::new()).is_none());
}

#[test]
fn matches_of_regular_expressions_are_bounded_because_each_may_read_the_whole_text() {
    let redaction = redaction([rule().regex("A")]);
    assert_eq!(after(&redaction, "a", &"A".repeat(1 << 20)), None);
    assert_eq!(counts(&redaction).1, 1);
    assert_eq!(after(&redaction, "a", &"A".repeat(100)), Some("[redacted]".repeat(100)));
}

fn any_rules() -> impl Strategy<Value = Vec<RedactRule>> {
    let action = prop_oneof![
        Just(RedactAction::Hash),
        Just(RedactAction::Replace),
        Just(RedactAction::Drop)
    ];
    let kinds = prop_oneof![
        Just(rule().attribute("a")),
        Just(rule().attribute("*.a*")),
        Just(rule().attribute("b").regex("[a-c]{2}")),
        Just(rule().pattern(Pattern::Email)),
        Just(rule().pattern(Pattern::Card).pattern(Pattern::Ip)),
        Just(rule().regex("b+a")),
    ];
    let rule = (kinds, action).prop_map(|(rule, action)| rule.action(action));
    proptest::collection::vec(rule, 1..5)
}

/// A JSON text in which every value may be a secret.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-c@.1é\"\\\\]{0,8}".prop_map(Into::into),
        Just(MAIL.into()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let members = proptest::collection::vec(("[a-c.]{1,3}", inner.clone()), 0..4);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            members.prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            inner.prop_map(|value| value.to_string().into()),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_has_a_verdict_that_does_not_depend_on_the_order_of_rules(
        mut rules in any_rules(),
        text in "[\\[{]?[\\[\\]{}\":,\\\\u0a-c1@. ]{0,40}|\\PC{0,40}",
    ) {
        let verdict = redaction(rules.clone()).text("a.b", &text);
        rules.reverse();
        prop_assert_eq!(redaction(rules).text("a.b", &text), verdict);
    }

    #[test]
    fn json_stays_json_without_secrets(json in any_json(), pretty in any::<bool>()) {
        let json = serde_json::json!({ "c": json });
        let text = if pretty { format!("{json:#}") } else { json.to_string() };
        let redaction = redaction([
            rule().pattern(Pattern::Email),
            rule().attribute("a").action(RedactAction::Drop),
        ]);
        let after = after(&redaction, "key", &text).expect("an object is read");
        prop_assert!(!after.contains(MAIL), "{}", after);
        let read: serde_json::Value = serde_json::from_str(&after).expect("JSON");
        prop_assert!(!has_member(&read, "a"), "{}", after);
        if !text.contains(['a', '@']) {
            prop_assert_eq!(after, text);
        }
    }
}

fn has_member(json: &serde_json::Value, name: &str) -> bool {
    match json {
        serde_json::Value::Object(members) => members
            .iter()
            .any(|(key, value)| key == name || has_member(value, name)),
        serde_json::Value::Array(values) => values.iter().any(|value| has_member(value, name)),
        _ => false,
    }
}

/// Returns the rules of the example in docs/policies.md.
fn documented_rules() -> ResolvedRedact {
    const PAGE: &str = include_str!("../../../docs/policies.md");
    let (_, example) = PAGE.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let file = folder.path().join("example.toml");
    std::fs::write(&file, format!("{example}\n[tenants.acme]")).expect("written");
    let config = crate::config::Config::load(&file).expect("a valid example");
    config.resolve(&acme()).expect("a binding").redact
}

#[test]
fn the_documented_example_does_what_its_table_says() {
    const PAGE: &str = include_str!("../../../docs/policies.md");
    let redaction = Redaction::new(&acme(), &documented_rules(), Vec::new()).expect("rules");
    let (_, table) = PAGE
        .split_once("| attribute | value | leaves as |\n|---|---|---|\n")
        .expect("a table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut seen = 0;
    for row in rows {
        let cells: Vec<_> = row
            .split(" | ")
            .map(|cell| cell.trim_matches([' ', '|', '`']))
            .collect();
        let [key, text, expected] = cells[..] else {
            panic!("{row}")
        };
        let expected = (expected != "nothing").then_some(expected);
        assert_eq!(after(&redaction, key, text).as_deref(), expected, "{row}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

/// Ten rules of each kind, and a span of ten attributes of 60 bytes in which none matches.
fn usual_span() -> (Arc<Redaction>, [(&'static str, &'static str); 10]) {
    let patterns = [
        Pattern::Email,
        Pattern::Phone,
        Pattern::Card,
        Pattern::Ip,
        Pattern::ApiKey,
    ];
    let rules = ["*.password", "http.request.header.*", "gen_ai.prompt*"].map(|glob| rule().attribute(glob));
    let rules = rules.into_iter().chain(patterns.map(|pattern| rule().pattern(pattern)));
    let rules = rules.chain(["ACME-[0-9]{6}", "(?i)internal use only"].map(|regex| rule().regex(regex)));
    let attributes = [
        (
            "http.route",
            "/api/v1/tenants/{tenant}/projects/{project}/sessions/current",
        ),
        (
            "url.full",
            "https://service.example/api/v1/projects/search?sort=name&asc",
        ),
        (
            "session.id",
            "7f3d3f3c-58a6-4b4c-9b39-5f0d8f6f6a11 in region eu-central-1a",
        ),
        (
            "gen_ai.completion",
            "The capital of France is Paris, which is a city on the Seine",
        ),
        (
            "db.query.text",
            "SELECT id, name FROM projects WHERE tenant = $1 ORDER BY name",
        ),
        (
            "user_agent.original",
            "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/126.0",
        ),
        (
            "exception.message",
            "connection to the receiver was reset after 12 of 14 messages",
        ),
        (
            "code.function",
            "tracer_registry::export::send::deliver::Deliver::next_attempt",
        ),
        (
            "started",
            "2026-01-01T12:30:45.123456789Z, finished 12 milliseconds late",
        ),
        (
            "k8s.pod.name",
            "gateway-deployment-7c9d8f6b5-x2x4z on node pool-1-large-00017",
        ),
    ];
    (redaction(rules), attributes)
}

#[test]
fn a_text_without_matches_takes_no_memory() {
    let (redaction, attributes) = usual_span();
    let all = || {
        for (key, text) in attributes {
            assert!((59..=61).contains(&text.len()), "{} bytes: {text}", text.len());
            assert_eq!(redaction.text(key, text), Verdict::Keep, "{key}: {text}");
        }
    };
    // Caches of keys and of regular expressions.
    all();
    assert_eq!(allocation_counter::measure(all).count_total, 0);
}

#[test]
#[ignore = "measures times: cargo test --release -p tracer-registry --all-features --lib -- --ignored --nocapture times_of_rules"]
fn times_of_rules() {
    const ROUNDS: u32 = 100_000;
    let (redaction, attributes) = usual_span();
    let mut best = std::time::Duration::MAX;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        for _ in 0..ROUNDS {
            for (key, text) in attributes {
                assert_eq!(
                    redaction.text(std::hint::black_box(key), std::hint::black_box(text)),
                    Verdict::Keep
                );
            }
        }
        best = best.min(start.elapsed() / ROUNDS);
    }
    println!("a span of ten attributes of 60 bytes with ten rules: {best:?}");
}
