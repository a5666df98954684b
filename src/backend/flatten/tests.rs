use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What a table becomes, as sorted texts, and the count.
fn flat(table: &Json) -> (Vec<String>, u64) {
    let mut attributes = Vec::new();
    let cut = flatten("p.", table, &mut attributes);
    let mut shown: Vec<String> = attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
    shown.sort();
    (shown, cut)
}

/// The JSON text of a value that is one attribute, and the count.
fn text(value: &Json) -> (String, u64) {
    let mut attributes = Vec::new();
    let mut flattened = Flattened::new(&mut attributes);
    flattened.json("messages", value);
    let cut = flattened.cut;
    let [attribute] = attributes.as_slice() else {
        panic!("one attribute: {attributes:?}")
    };
    (attribute.value.to_string(), cut)
}

/// A one in so many lists.
fn nested(depth: usize) -> Json {
    (0..depth).fold(json!(1), |inner, _| Json::Array(vec![inner]))
}

#[test]
fn nested_values_become_dotted_keys_and_nulls_are_left_out() {
    let table = json!({"n": {"deep": [7, "x"]}, "none": null, "ok": true, "f": 1.5, "empty": {}, "a.": {"b": 1}});
    assert_eq!(
        flat(&table),
        (
            ["p.a..b=1", "p.f=1.5", "p.n.deep.0=7", "p.n.deep.1=x", "p.ok=true"]
                .map(str::to_owned)
                .into(),
            0
        )
    );
}

#[test]
fn what_is_too_deep_is_left_out_and_counted_value_by_value() {
    let (shown, cut) = flat(&json!({"in": nested(15)}));
    assert_eq!((shown.len(), cut), (1, 0));
    let (shown, cut) = flat(&json!({"in": nested(16), "beside": 1, "two": [nested(15), nested(15)]}));
    assert_eq!((shown, cut), (vec!["p.beside=1".to_owned()], 3));
}

#[test]
fn what_is_too_many_is_left_out_and_counted_value_by_value() {
    let (shown, cut) = flat(&json!({"list": (0..200).collect::<Vec<_>>(), "tail": {"a": [1, null], "b": 2}}));
    assert_eq!((shown.len(), cut), (128, 74));
}

#[test]
fn a_text_that_is_too_long_ends_with_a_whole_character_and_a_long_name_is_left_out() {
    let long = "é".repeat(MAX_TEXT_BYTES);
    let (shown, cut) = flat(&json!({"t": format!("x{long}"), "n".repeat(MAX_NAME_BYTES): 1}));
    assert_eq!(cut, 2);
    let [text] = shown.as_slice() else { panic!("{cut}") };
    assert_eq!(text.len(), "p.t=".len() + MAX_TEXT_BYTES - 1);
    assert!(text.ends_with('é'));
    let exact = "x".repeat(MAX_TEXT_BYTES);
    assert_eq!(flat(&json!({ "t": exact })).1, 0);
}

#[test]
fn a_number_that_is_a_fraction_by_convention_is_one_however_it_was_written() {
    let mut attributes = Vec::new();
    let mut flattened = Flattened::new(&mut attributes);
    flattened.double("t", &json!(1));
    flattened.double("u", &json!("high"));
    assert_eq!(
        attributes,
        [KeyValue::new("t", 1.0), KeyValue::new("u", "high".to_owned())]
    );
}

#[test]
fn a_list_of_texts_is_one_attribute_and_any_other_list_is_not() {
    let mut attributes = Vec::new();
    let mut flattened = Flattened::new(&mut attributes);
    flattened.texts("stop", &json!(["a", "b"]));
    flattened.texts("other", &json!(["a", 1]));
    flattened.texts("many", &json!(vec!["x"; MAX_VALUES + 2]));
    assert_eq!(flattened.cut, 2);
    let shown: Vec<String> = attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
    assert_eq!(shown[..3], ["stop=[\"a\",\"b\"]", "other.0=a", "other.1=1"]);
}

#[test]
fn what_does_not_fit_into_json_text_is_left_out_and_the_text_stays_json() {
    let message = |n: usize| json!({"role": "user", "n": n, "content": "é".repeat(1 << 14)});
    let messages = Json::Array((0..12).map(message).collect());
    let (shown, cut) = text(&messages);
    let parsed: Json = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(parsed[0], messages[0]);
    let kept = parsed.as_array().expect("a list").len();
    assert!((7..=8).contains(&kept), "{kept}");
    assert!(cut >= (12 - 8) * 3, "{cut}");
    assert!(shown.len() < MAX_JSON_BYTES * 2, "{}", shown.len());
    assert_eq!(
        text(&json!([{"role": "user", "none": null}])),
        (r#"[{"none":null,"role":"user"}]"#.to_owned(), 0)
    );
    assert_eq!(text(&json!("[]")), ("[]".to_owned(), 0));
    assert_eq!(text(&json!({"in": nested(16), "a": 1})).1, 1);
    let empties = Json::Array(vec![json!([]); MAX_JSON_BYTES]);
    assert!(text(&empties).0.len() < MAX_JSON_BYTES);
}

#[test]
fn a_value_nested_a_hundred_thousand_deep_is_walked_and_dropped() {
    let mut attributes = Vec::new();
    let value = Json::Object(Map::from_iter([("in".to_owned(), nested(100_000))]));
    assert_eq!(flatten("p.", &value, &mut attributes), 1);
    let mut flattened = Flattened::new(&mut attributes);
    flattened.json("messages", &value);
    assert_eq!(flattened.cut, 1);
    crate::util::json_depth::drop_iteratively(value);
}

/// Any JSON, now and then deeper, longer or larger than the bounds.
fn any_json() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "\\PC{0,8}".prop_map(Json::from),
        (MAX_TEXT_BYTES - 4..MAX_TEXT_BYTES + 4).prop_map(|length| Json::from("€".repeat(length / 3 + 1))),
    ];
    let inner = scalar.prop_recursive(6, 400, 90, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..90).prop_map(Json::from),
            btree_map("[a-z.é]{0,4}", inner.clone(), 0..9).prop_map(|map| Json::Object(map.into_iter().collect())),
            (inner, 8..14_usize).prop_map(|(inner, depth)| (0..depth).fold(inner, |inner, _| json!([inner]))),
        ]
    });
    btree_map("[a-z.é]{0,4}", inner, 0..6).prop_map(|map| Json::Object(map.into_iter().collect()))
}

/// All values of a table with their names and depths, by the definition.
fn all<'a>(name: &str, value: &'a Json, depth: usize, found: &mut Vec<(String, &'a Json, usize)>) {
    match value {
        Json::Null => {}
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                all(&format!("{name}.{index}"), item, depth + 1, found);
            }
        }
        Json::Object(entries) => {
            for (key, value) in entries {
                all(&format!("{name}.{key}"), value, depth + 1, found);
            }
        }
        scalar => found.push((name.to_owned(), scalar, depth)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_value_within_the_bounds_is_there_once_and_every_other_is_counted(table in any_json()) {
        let mut attributes = Vec::new();
        let cut = flatten("p.", &table, &mut attributes);
        let mut values = Vec::new();
        all("p", &table, 0, &mut values);
        let within: Vec<_> = values.iter().filter(|(_, _, depth)| *depth <= MAX_DEPTH).take(MAX_VALUES).collect();
        prop_assert_eq!(attributes.len(), within.len());
        let mut shortened = 0;
        for (attribute, (name, value, _)) in attributes.iter().zip(&within) {
            prop_assert_eq!(attribute.key.as_str(), name);
            let Value::String(kept) = &attribute.value else {
                prop_assert_eq!(Some(attribute.value.clone()), to_otel(value));
                continue;
            };
            let given = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            prop_assert!(kept.as_str().len() <= MAX_TEXT_BYTES && given.starts_with(kept.as_str()));
            prop_assert!(kept.as_str() == given || kept.as_str().len() > MAX_TEXT_BYTES - 4);
            shortened += u64::from(kept.as_str() != given);
        }
        prop_assert_eq!(cut, (values.len() - within.len()) as u64 + shortened);
    }

    #[test]
    fn json_text_is_json_and_within_the_bounds(value in any_json()) {
        let mut cut = 0;
        let mut budget = MAX_JSON_BYTES;
        let pruned = prune(&value, MAX_DEPTH, &mut budget, &mut cut).expect("room for the table itself");
        prop_assert!(serde_json::from_str::<Json>(&pruned.to_string()).is_ok());
        prop_assert!(pruned == value || cut > 0 || values_in(&pruned) == values_in(&value));
        prop_assert!(values_in(&pruned) + cut >= values_in(&value));
    }
}
