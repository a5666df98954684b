//! Records which tables and settings files define, to detect what a rewritten file no longer has.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use serde_json::Value;

use crate::config::problem::Layer;

const HASHER: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// Tables and settings that files define, as hashes of layer and path. Values are not included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DefinedPaths(Option<Arc<[u64]>>);

/// Collects the tables and settings of several files.
#[derive(Debug, Default)]
pub(crate) struct DefinedPathsBuilder(Vec<u64>);

impl DefinedPathsBuilder {
    pub(crate) fn add_file(&mut self, layer: Layer, file: &Value) {
        let start = HASHER.hash_one(layer as u8);
        self.add_table(start, file);
        if let Some(Value::Array(routes)) = file.get("routes") {
            for route in routes {
                // Identified by `when`, because the index changes if an earlier route is removed.
                let when = route.get("when").map(Value::to_string);
                let at = HASHER.hash_one((start, "routes", when));
                self.0.push(at);
                self.add_table(at, route);
            }
        }
    }

    /// Treats lists other than routes as values.
    fn add_table(&mut self, at: u64, table: &Value) {
        for (name, value) in table.as_object().into_iter().flatten() {
            let at = HASHER.hash_one((at, name));
            self.0.push(at);
            self.add_table(at, value);
        }
    }

    pub(crate) fn finish(mut self) -> DefinedPaths {
        self.0.sort_unstable();
        self.0.dedup();
        DefinedPaths((!self.0.is_empty()).then(|| self.0.into()))
    }
}

impl DefinedPaths {
    /// Returns the paths of a single file.
    pub(crate) fn of(file: &Value) -> Self {
        let mut paths = DefinedPathsBuilder::default();
        paths.add_file(Layer::Default, file);
        paths.finish()
    }

    /// Returns whether `newer` lacks a table or setting of this one.
    #[cfg(feature = "watch")]
    pub(crate) fn any_removed_in(&self, newer: &Self) -> bool {
        let newer = newer.0.as_deref().unwrap_or_default();
        let mut paths = self.0.as_deref().unwrap_or_default().iter();
        paths.any(|path| newer.binary_search(path).is_err())
    }
}

#[cfg(all(test, feature = "watch"))]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(file: &Value) -> DefinedPaths {
        DefinedPaths::of(file)
    }

    #[test]
    fn a_removed_table_or_setting_is_detected_at_any_path() {
        let whole = json!({
            "defaults": { "endpoint": "http://a", "metadata": { "a": { "b": 1 } } },
            "tenants": { "acme": { "source": "x", "api_key": { "env": "A" } }, "empty": {} },
            "routes": [{ "when": { "tenant": "a" }, "source": "x" }, { "when": { "tenant": "b" } }],
            "untrusted": { "keys": ["a", "b"] },
        });
        assert!(!paths(&whole).any_removed_in(&paths(&whole)));
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
            assert!(paths(&whole).any_removed_in(&paths(&less)), "{pointer}");
            assert!(!paths(&less).any_removed_in(&paths(&whole)), "{pointer}");
        }
        // A changed value and reordered routes remove nothing. A removed route does.
        let mut other = whole.clone();
        other["defaults"]["endpoint"] = "http://b".into();
        other["tenants"]["new"] = json!({});
        other["routes"].as_array_mut().expect("a list").reverse();
        assert!(!paths(&whole).any_removed_in(&paths(&other)));
        other["routes"].as_array_mut().expect("a list").pop();
        assert!(paths(&whole).any_removed_in(&paths(&other)));
        assert!(paths(&whole).any_removed_in(&paths(&json!({}))));
    }

    #[test]
    fn a_path_removed_from_one_layer_is_detected_if_another_layer_still_has_it() {
        let file = json!({ "tenants": { "acme": {} } });
        let of = |layers: &[Layer]| {
            let mut paths = DefinedPathsBuilder::default();
            for layer in layers {
                paths.add_file(*layer, &file);
            }
            paths.finish()
        };
        assert!(of(&[Layer::Default, Layer::Local]).any_removed_in(&of(&[Layer::Default])));
        assert!(!of(&[Layer::Default]).any_removed_in(&of(&[Layer::Default, Layer::Local])));
    }
}
