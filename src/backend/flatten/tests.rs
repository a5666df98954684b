use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Returns a table's attributes as sorted texts, and the number of cut values.
fn flat(table: &Json) -> (Vec<String>, u64) {
    let mut attributes = Vec::new();
    let cut = flatten("p.", table, &mut attributes);
    let mut shown: Vec<String> = attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
    shown.sort();
    (shown, cut)
}

/// Returns the JSON text of a single attribute, and the number of cut values.
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

/// Returns 1 inside nested lists.
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
fn values_that_are_too_deep_are_omitted_and_counted() {
    let (shown, cut) = flat(&json!({"in": nested(15)}));
    assert_eq!((shown.len(), cut), (1, 0));
    let (shown, cut) = flat(&json!({"in": nested(16), "beside": 1, "two": [nested(15), nested(15)]}));
    assert_eq!((shown, cut), (vec!["p.beside=1".to_owned()], 3));
}

#[test]
fn values_beyond_the_maximum_are_omitted_and_counted() {
    let (shown, cut) = flat(&json!({"list": (0..200).collect::<Vec<_>>(), "tail": {"a": [1, null], "b": 2}}));
    assert_eq!((shown.len(), cut), (128, 74));
}

#[test]
fn a_long_string_is_cut_at_a_character_and_a_long_name_is_omitted() {
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
fn a_conventional_float_is_a_float_even_if_written_as_an_integer() {
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
fn only_a_list_of_strings_is_one_attribute() {
    let mut attributes = Vec::new();
    let mut flattened = Flattened::new(&mut attributes);
    flattened.strings("stop", &json!(["a", "b"]));
    flattened.strings("other", &json!(["a", 1]));
    flattened.strings("many", &json!(vec!["x"; MAX_VALUES + 2]));
    assert_eq!(flattened.cut, 2);
    let shown: Vec<String> = attributes.iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
    assert_eq!(shown[..3], ["stop=[\"a\",\"b\"]", "other.0=a", "other.1=1"]);
}

#[test]
fn json_text_beyond_the_limits_is_omitted_and_stays_valid() {
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
fn a_value_nested_a_hundred_thousand_levels_deep_is_flattened_and_dropped() {
    let mut attributes = Vec::new();
    let value = Json::Object(Map::from_iter([("in".to_owned(), nested(100_000))]));
    assert_eq!(flatten("p.", &value, &mut attributes), 1);
    let mut flattened = Flattened::new(&mut attributes);
    flattened.json("messages", &value);
    assert_eq!(flattened.cut, 1);
    crate::util::json_depth::drop_iteratively(value);
}

/// Generates JSON that sometimes exceeds the limits on depth, length or size.
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

/// Collects all values of a table with their names and depths.
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
    fn every_value_within_the_limits_appears_once_and_others_are_counted(table in any_json()) {
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
    fn json_text_is_valid_and_within_the_limits(value in any_json()) {
        let mut cut = 0;
        let mut budget = MAX_JSON_BYTES;
        let pruned = prune(&value, MAX_DEPTH, &mut budget, &mut cut).expect("a budget for the table itself");
        prop_assert!(serde_json::from_str::<Json>(&pruned.to_string()).is_ok());
        prop_assert!(pruned == value || cut > 0 || values_in(&pruned) == values_in(&value));
        prop_assert!(values_in(&pruned) + cut >= values_in(&value));
    }
}
