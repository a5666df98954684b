//! Which tables and settings files have, so that it is seen what a file that was written again has no more.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use serde_json::Value;

use crate::config::fault::Layer;

const HASHES: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// The tables and settings of some files, each as a hash of the layer and of where it is written. What settings say is not in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape(Option<Arc<[u64]>>);

/// Collects the tables and settings of one file after another.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Vec<u64>);

impl Shapes {
    pub(crate) fn note(&mut self, layer: Layer, file: &Value) {
        let start = HASHES.hash_one(layer as u8);
        self.note_table(start, file);
        if let Some(Value::Array(routes)) = file.get("routes") {
            for route in routes {
                // By what it is for: its place is another one if a route before it is gone.
                let when = route.get("when").map(Value::to_string);
                let at = HASHES.hash_one((start, "routes", when));
                self.0.push(at);
                self.note_table(at, route);
            }
        }
    }

    /// Lists other than routes are values.
    fn note_table(&mut self, at: u64, table: &Value) {
        for (name, value) in table.as_object().into_iter().flatten() {
            let at = HASHES.hash_one((at, name));
            self.0.push(at);
            self.note_table(at, value);
        }
    }

    pub(crate) fn finish(mut self) -> Shape {
        self.0.sort_unstable();
        self.0.dedup();
        Shape((!self.0.is_empty()).then(|| self.0.into()))
    }
}

impl Shape {
    /// Those of a single file.
    pub(crate) fn of(file: &Value) -> Self {
        let mut shapes = Shapes::default();
        shapes.note(Layer::Default, file);
        shapes.finish()
    }

    /// Whether there is a table or a setting that `newer` has no more.
    #[cfg(feature = "watch")]
    pub(crate) fn loses(&self, newer: &Self) -> bool {
        let newer = newer.0.as_deref().unwrap_or_default();
        let mut these = self.0.as_deref().unwrap_or_default().iter();
        these.any(|it| newer.binary_search(it).is_err())
    }
}

#[cfg(all(test, feature = "watch"))]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(file: &Value) -> Shape {
        Shape::of(file)
    }

    #[test]
    fn a_table_or_a_setting_less_is_seen_wherever_it_is_and_nothing_else() {
        let whole = json!({
            "defaults": { "endpoint": "http://a", "metadata": { "a": { "b": 1 } } },
            "tenants": { "acme": { "source": "x", "api_key": { "env": "A" } }, "empty": {} },
            "routes": [{ "when": { "tenant": "a" }, "source": "x" }, { "when": { "tenant": "b" } }],
            "untrusted": { "keys": ["a", "b"] },
        });
        assert!(!shape(&whole).loses(&shape(&whole)));
        for pointer in [
            "/defaults",
            "/defaults/endpoint",
            "/defaults/metadata/a/b",
            "/tenants",
            "/tenants/acme",
            "/tenants/empty",
            "/tenants/acme/source",
            "/tenants/acme/api_key",
            "/routes",
            "/routes/0/source",
            "/untrusted",
        ] {
            let mut less = whole.clone();
            let (table, name) = pointer.rsplit_once('/').expect("a path");
            let table = less.pointer_mut(table).and_then(Value::as_object_mut);
            table.expect("a table").remove(name).expect("there");
            assert!(shape(&whole).loses(&shape(&less)), "{pointer}");
            assert!(!shape(&less).loses(&shape(&whole)), "{pointer}");
        }
        // Another value, and another order of routes, take nothing away; a route less does.
        let mut other = whole.clone();
        other["defaults"]["endpoint"] = "http://b".into();
        other["tenants"]["new"] = json!({});
        other["routes"].as_array_mut().expect("a list").reverse();
        assert!(!shape(&whole).loses(&shape(&other)));
        other["routes"].as_array_mut().expect("a list").pop();
        assert!(shape(&whole).loses(&shape(&other)));
        assert!(shape(&whole).loses(&shape(&json!({}))));
    }

    #[test]
    fn what_another_layer_still_says_is_missed_in_this_one() {
        let file = json!({ "tenants": { "acme": {} } });
        let of = |layers: &[Layer]| {
            let mut shapes = Shapes::default();
            for layer in layers {
                shapes.note(*layer, &file);
            }
            shapes.finish()
        };
        assert!(of(&[Layer::Default, Layer::Local]).loses(&of(&[Layer::Default])));
        assert!(!of(&[Layer::Default]).loses(&of(&[Layer::Default, Layer::Local])));
    }
}
