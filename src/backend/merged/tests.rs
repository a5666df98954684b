use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A possible behaviour of the receiver, which is not documented.
#[derive(Clone, Copy, Debug)]
struct ReceiverRules {
    tables: Nested,
    lists: Nested,
    null: Null,
}

#[derive(Clone, Copy, Debug)]
enum Nested {
    Replaced,
    Merged,
}

#[derive(Clone, Copy, Debug)]
enum Null {
    Stored,
    Ignored,
    Deletes,
}

impl ReceiverRules {
    fn all() -> impl Iterator<Item = Self> {
        let nested = [Nested::Replaced, Nested::Merged];
        let with_null = move |null| {
            nested
                .into_iter()
                .flat_map(move |tables| nested.map(|lists| Self { tables, lists, null }))
        };
        [Null::Stored, Null::Ignored, Null::Deletes]
            .into_iter()
            .flat_map(with_null)
    }

    fn apply(self, state: &mut Map<String, Value>, delta: &Map<String, Value>) {
        for (name, value) in delta {
            if !MERGED_PARTS.contains(&&**name) {
                let replaced = Self {
                    tables: Nested::Replaced,
                    ..self
                };
                replaced.set(state, name, value);
            } else if let (Value::Object(entries), Value::Object(keys)) =
                (state.entry(name).or_insert_with(|| json!({})), value)
            {
                keys.iter().for_each(|(key, value)| self.set(entries, key, value));
            }
        }
    }

    fn set(self, into: &mut Map<String, Value>, key: &str, value: &Value) {
        match (value, into.get_mut(key), self) {
            (
                Value::Null,
                _,
                Self {
                    null: Null::Ignored, ..
                },
            ) => {}
            (
                Value::Null,
                _,
                Self {
                    null: Null::Deletes, ..
                },
            ) => drop(into.remove(key)),
            (
                Value::Object(new),
                Some(Value::Object(old)),
                Self {
                    tables: Nested::Merged, ..
                },
            ) => new.iter().for_each(|(key, value)| self.set(old, key, value)),
            (
                Value::Array(new),
                Some(Value::Array(old)),
                Self {
                    lists: Nested::Merged, ..
                },
            ) => old.extend(new.iter().cloned()),
            _ => drop(into.insert(key.to_owned(), value.clone())),
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        1 => Just(Value::Null),
        4 => (0..4).prop_map(Value::from),
        2 => "[xy]".prop_map(Value::from),
    ];
    plain.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3).prop_map(Value::from_iter),
        ]
    })
}

fn table() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", value(), 0..3).prop_map(Value::from_iter)
}

/// Generates an enrichment, or the receiver's state of a session.
fn delta() -> impl Strategy<Value = Map<String, Value>> {
    let merged = prop::collection::btree_map(prop::sample::select(&MERGED_PARTS[..3]), table(), 0..3);
    let duration = prop::option::weighted(0.3, (0..9).prop_map(Value::from));
    let outputs = prop::option::weighted(0.3, table());
    (merged, duration, outputs).prop_map(|(merged, duration, outputs)| {
        let parts = merged.into_iter().map(|(name, part)| (name.to_owned(), part));
        let duration = duration.map(|duration| ("duration".to_owned(), duration));
        let outputs = outputs.map(|outputs| ("outputs".to_owned(), outputs));
        parts.chain(duration).chain(outputs).collect()
    })
}

fn body(merged: &MergedEnrichment<'_>) -> Map<String, Value> {
    match serde_json::to_value(merged).expect("it is JSON") {
        Value::Object(body) => body,
        other => panic!("{other}"),
    }
}

fn merge(deltas: &[Value]) -> (usize, Value) {
    let merged = MergedEnrichment::of(deltas.iter().map(|delta| delta.as_object().expect("a table")));
    (merged.count(), body(&merged).into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn merged_and_separate_requests_lead_to_the_same_state(
        state in delta(),
        deltas in prop::collection::vec(delta(), 1..6),
    ) {
        let merged = MergedEnrichment::of(&deltas);
        prop_assert!(merged.count() > 0);
        for rules in ReceiverRules::all() {
            let (mut separate, mut merged_state) = (state.clone(), state.clone());
            deltas[..merged.count()].iter().for_each(|delta| rules.apply(&mut separate, delta));
            rules.apply(&mut merged_state, &body(&merged));
            prop_assert_eq!(&separate, &merged_state, "{:?}", rules);
        }
    }
}

#[test]
fn different_ids_and_unknown_parts_are_not_merged() {
    let delta = |id: &str, part: &str, value: i32| match json!({ "event_id": id, part: value }) {
        Value::Object(delta) => delta,
        other => panic!("{other}"),
    };
    let count = |deltas: [Map<String, Value>; 2]| MergedEnrichment::of(&deltas).count();
    assert_eq!(count([delta("a", "duration", 1), delta("a", "duration", 2)]), 2);
    assert_eq!(count([delta("a", "duration", 1), delta("b", "duration", 2)]), 1);
    assert_eq!(count([delta("a", "new_part", 1), delta("a", "new_part", 2)]), 1);
    assert_eq!(count([delta("a", "new_part", 1), delta("a", "duration", 2)]), 2);
}

#[test]
fn enrichments_of_different_keys_are_merged() {
    let (count, body) = merge(&[
        json!({"event_id": "s", "metadata": {"a": 1, "t": {"x": 1}, "n": null}}),
        json!({"event_id": "s", "metadata": {"b": [2]}, "feedback": {"a": 3}}),
        json!({"event_id": "s", "config": {"t": {"y": 2}}}),
    ]);
    assert_eq!(count, 3);
    let whole = json!({
        "event_id": "s",
        "metadata": {"a": 1, "t": {"x": 1}, "n": null, "b": [2]},
        "feedback": {"a": 3},
        "config": {"t": {"y": 2}},
    });
    assert_eq!(body, whole);
}

#[test]
fn later_scalars_win_and_outputs_and_duration_are_replaced() {
    let (count, body) = merge(&[
        json!({"metrics": {"a": 1, "b": {"x": 1}}, "outputs": {"one": 1}, "duration": 1.0}),
        json!({"metrics": {"a": 2, "b": "text"}, "outputs": {"two": {}}, "duration": 2.0}),
    ]);
    assert_eq!(count, 2);
    assert_eq!(
        body,
        json!({"metrics": {"a": 2, "b": "text"}, "outputs": {"two": {}}, "duration": 2.0})
    );
}

#[test]
fn enrichments_with_observable_order_are_not_merged() {
    for (earlier, later) in [
        (json!({"x": 1}), json!({"y": 2})),
        // The receiver may hold a table there, which the first enrichment would have replaced.
        (json!(1), json!({"y": 2})),
        (json!([1]), json!([2])),
        (json!("text"), json!([2])),
        (json!(null), json!(1)),
        (json!(1), json!(null)),
    ] {
        let deltas = [earlier, later].map(|value| json!({"metadata": {"a": value, "b": 1}}));
        let (count, body) = merge(&deltas);
        assert_eq!((count, body), (1, deltas[0].clone()));
    }
}

#[test]
fn a_merged_request_is_bounded_in_count_and_bytes() {
    let many: Vec<Value> = (0..100).map(|n| json!({"metadata": {"last": n}})).collect();
    assert_eq!(merge(&many).0, MergedEnrichment::MAX_COUNT);
    let large: Vec<Value> = (0..9)
        .map(|n| json!({"metadata": {format!("{n}"): "x".repeat(100_000)}}))
        .collect();
    assert_eq!(merge(&large).0, 2);
    let huge = json!({"metadata": {"a": "x".repeat(2 * MAX_BYTES)}});
    assert_eq!(
        merge(&[huge, json!({"metadata": {"b": 1}})]).0,
        1,
        "the first enrichment is always taken"
    );
}

#[test]
fn the_size_estimate_is_close() {
    let body = json!({"metadata": {"a": ["text", true, null, {"deep": ["x".repeat(1000)]}]}, "event_id": "s"});
    let exact = body.to_string().len();
    let estimate = bytes_of(&body);
    assert!((exact..exact + 20).contains(&estimate), "{exact} {estimate}");
}
