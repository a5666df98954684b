//! Capture of arguments and results, and its limits.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Serialize, Serializer};
use tracer_registry::trace;
use tracer_registry_collector::Span;

use super::traced;

#[derive(Serialize)]
struct Both {
    text: &'static str,
    list: Vec<Option<f32>>,
    #[serde(rename = "kind")]
    choice: Choice,
    numbers: (u128, i64, char),
    by_number: HashMap<u8, bool>,
}

#[derive(Serialize)]
enum Choice {
    Unit,
    Newtype(i32),
    Tuple(i32, i32),
    Struct { deep: (), text: String },
}

#[derive(Debug)]
struct DebugOnly {
    #[expect(dead_code, reason = "read by Debug")]
    secretless: &'static str,
}

struct Neither;

#[trace(capture = both)]
fn captured(
    both: &Both,
    choices: Vec<Choice>,
    debug: DebugOnly,
    neither: &Neither,
    pair: (Option<DebugOnly>, i32),
) -> Option<Choice> {
    let _ = (both, neither, pair, choices);
    let _ = debug;
    Some(Choice::Struct {
        deep: (),
        text: "out".to_owned(),
    })
}

#[trace]
fn by_default(password: &str) -> Result<String, String> {
    Ok(password.to_owned())
}

#[trace(capture = inputs, skip(password), redact(card), fields(gen_ai.request.model = model.to_uppercase(), "a b" = [1, 2]))]
fn chosen(password: &str, card: &str, model: &str) -> usize {
    password.len() + card.len() + model.len()
}

#[trace(capture = both, skip_all)]
fn skipped(password: &str) -> usize {
    password.len()
}

fn value<'a>(span: &'a Span, name: &str) -> &'a serde_json::Value {
    span.attributes
        .get(name)
        .unwrap_or_else(|| panic!("{name}: {:#?}", span.attributes))
}

#[test]
fn values_are_captured_as_json_or_debug_output_or_the_type_name() {
    let world = traced(|| {
        let both = Both {
            text: "t",
            list: vec![Some(0.5), None, Some(f32::NAN)],
            choice: Choice::Unit,
            numbers: (u128::MAX, -1, 'ß'),
            by_number: HashMap::from([(7, true)]),
        };
        let choices = vec![Choice::Newtype(1), Choice::Tuple(2, 3)];
        captured(&both, choices, DebugOnly { secretless: "d" }, &Neither, (None, 2));
    });
    let span = world.traced("captured");
    for (name, expected) in [
        ("inputs.both.text", serde_json::json!("t")),
        ("inputs.both.list.0", 0.5.into()),
        ("inputs.both.list.2", "NaN".into()),
        ("inputs.both.kind", "Unit".into()),
        ("inputs.both.numbers.0", u128::MAX.to_string().into()),
        ("inputs.both.numbers.1", (-1).into()),
        ("inputs.both.numbers.2", "ß".into()),
        ("inputs.both.by_number.7", true.into()),
        ("inputs.choices.0.Newtype", 1.into()),
        ("inputs.choices.1.Tuple.1", 3.into()),
        ("inputs.debug", r#"DebugOnly { secretless: "d" }"#.into()),
        ("inputs.pair", "(None, 2)".into()),
        ("outputs.Struct.text", "out".into()),
    ] {
        assert_eq!(*value(&span, &format!("honeyhive_{name}")), expected, "{name}");
    }
    assert!(
        value(&span, "honeyhive_inputs.neither")
            .to_string()
            .contains("capture::Neither")
    );
    assert!(
        !span.attributes.contains_key("tracer_registry.cut_values"),
        "{:#?}",
        span.attributes
    );
}

#[test]
fn nothing_is_captured_by_default_and_arguments_can_be_skipped_or_redacted() {
    let world = traced(|| {
        by_default("hunter2").expect("returned unchanged");
        chosen("hunter2", "4111111111111111", "small");
        skipped("hunter2");
    });
    for canary in ["hunter2", "4111111111111111"] {
        world.assert_no_trace_of(canary, "a");
    }
    let chosen = world.traced("chosen");
    assert_eq!(*value(&chosen, "honeyhive_inputs.card"), "[redacted]");
    assert_eq!(*value(&chosen, "honeyhive_inputs.model"), "small");
    assert_eq!(*value(&chosen, "gen_ai.request.model"), "SMALL");
    assert_eq!(*value(&chosen, "a b.1"), 2);
    assert_eq!(world.output("skipped", "result").as_deref(), Some("7"));
}

/// Counts how many of its items are serialized.
struct Endless<'a>(&'a AtomicUsize);

impl Serialize for Endless<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(std::iter::repeat_with(|| self.0.fetch_add(1, Ordering::Relaxed)).take(10_000_000))
    }
}

/// Counts how often its `Debug` implementation writes.
struct Wordy<'a>(&'a AtomicUsize);

impl fmt::Debug for Wordy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..10_000_000).try_for_each(|_| {
            self.0.fetch_add(1, Ordering::Relaxed);
            f.write_str("word ")
        })
    }
}

#[derive(Serialize)]
struct Nested {
    inner: Option<Box<Nested>>,
}

#[derive(Serialize)]
struct Wrapped(Option<Box<Wrapped>>);

#[trace(capture = both)]
fn large(text: &str, bytes: &[u8], nulls: &[()], endless: Endless<'_>, wordy: &Wordy<'_>) -> String {
    let _ = (endless, wordy, nulls);
    text[..bytes.len().min(1 << 20)].to_owned()
}

#[trace(capture = inputs)]
fn texts(texts: &[String]) {}

#[trace(capture = inputs)]
fn deep(nested: &Nested, wrapped: &Wrapped, after: i32) {}

#[test]
fn capturing_ten_megabytes_costs_no_more_than_the_retained_part() {
    let text = "ä".repeat(5 << 20);
    let bytes = vec![7; 10 << 20];
    let (endless, wordy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let many = vec!["x".repeat(40 << 10); 100];
    let allocated = std::cell::Cell::new(0);
    let world = traced(|| {
        let measured = allocation_counter::measure(|| {
            large(&text, &bytes[..0], &[(); 10 << 20], Endless(&endless), &Wordy(&wordy));
        });
        allocated.set(measured.bytes_max);
        large("text", &bytes[..3], &[], Endless(&endless), &Wordy(&wordy));
        texts(&many);
    });
    assert!(allocated.get() < 2 << 20, "{}", allocated.get());
    assert!(endless.load(Ordering::Relaxed) < 1000, "{endless:?}");
    assert!(wordy.load(Ordering::Relaxed) < 4000, "{wordy:?}");
    let project = world.project("a");
    let spans = project.spans();
    let first = &spans[0];
    let retained = value(first, "honeyhive_inputs.text").as_str().expect("a text");
    assert_eq!(retained.len(), 32 << 10);
    assert!(first.attributes["tracer_registry.cut_values"].as_u64() >= Some(1));
    let texts_span = world.traced("texts");
    let sum: usize = texts_span
        .attributes
        .iter()
        .filter(|(name, _)| name.contains("inputs.texts"))
        .map(|(_, text)| text.as_str().map_or(0, str::len))
        .sum();
    assert_eq!(sum, 256 << 10);
}

#[test]
fn values_nested_too_deep_are_cut_and_later_values_are_captured() {
    let nested = (0..100_000).fold(Nested { inner: None }, |inner, _| Nested {
        inner: Some(Box::new(inner)),
    });
    let wrapped = (0..100_000).fold(Wrapped(None), |inner, _| Wrapped(Some(Box::new(inner))));
    let world = traced(|| deep(&nested, &wrapped, 3));
    let span = world.traced("deep");
    assert_eq!(*value(&span, "honeyhive_inputs.after"), 3);
    assert_eq!(*value(&span, "tracer_registry.cut_values"), 2);
    // Dropped recursively, they would overflow the stack of this test.
    std::mem::forget((nested, wrapped));
}

struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("in serialize")
    }
}

impl fmt::Display for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("in display")
    }
}

struct FailsToDebug;

impl fmt::Debug for FailsToDebug {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

#[trace(capture = both, err)]
fn bad(
    refuses: Refuses,
    panics: &Panics,
    debug: FailsToDebug,
    keys: BTreeMap<(i32, i32), i32>,
    after: i32,
) -> Result<Refuses, Panics> {
    let _ = (panics, debug, keys);
    if after == 0 { Ok(refuses) } else { Err(Panics) }
}

#[test]
fn a_value_that_cannot_be_captured_becomes_a_placeholder_and_the_call_is_unaffected() {
    let world = traced(|| {
        let keys = BTreeMap::from([((1, 2), 3)]);
        assert!(bad(Refuses, &Panics, FailsToDebug, keys.clone(), 0).is_ok());
        assert!(bad(Refuses, &Panics, FailsToDebug, keys, 1).is_err());
    });
    let project = world.project("a");
    let spans = project.spans();
    for (name, expected) in [
        ("refuses", "<not serializable>"),
        ("panics", "<panicked>"),
        ("debug", "<not serializable>"),
        ("keys", "<not serializable>"),
    ] {
        assert_eq!(
            *value(&spans[0], &format!("honeyhive_inputs.{name}")),
            expected,
            "{name}"
        );
    }
    assert_eq!(*value(&spans[0], "honeyhive_inputs.after"), 0);
    assert_eq!(*value(&spans[0], "honeyhive_outputs.result"), "<not serializable>");
    assert_eq!(spans[1].status.message, "<panicked>");
}

#[trace(capture = both, fields(counted = seen.fetch_add(1, Ordering::Relaxed)))]
fn once(seen: &AtomicUsize, counts: Counts<'_>) -> usize {
    let _ = counts;
    seen.load(Ordering::Relaxed)
}

struct Counts<'a>(&'a AtomicUsize);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_unit()
    }
}

#[test]
fn values_are_captured_once_and_only_for_recorded_spans() {
    let (fields, values) = (AtomicUsize::new(0), AtomicUsize::new(0));
    assert_eq!(once(&fields, Counts(&values)), 0);
    let unsampled = crate::support::World::with(&[], |builder| {
        let binding = crate::support::binding("a").sampling_ratio(0.0);
        builder.tenant("a", binding)
    });
    {
        let _in_a = unsampled.tenant("a").enter();
        once(&fields, Counts(&values));
    }
    assert_eq!((fields.load(Ordering::Relaxed), values.load(Ordering::Relaxed)), (0, 0));
    let world = traced(|| {
        assert_eq!(once(&fields, Counts(&values)), 1);
    });
    assert_eq!(values.load(Ordering::Relaxed), 1);
    assert_eq!(*value(&world.traced("once"), "counted"), 0);
}
