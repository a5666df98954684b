//! Property tests over names, configurations and texts.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Folder;
use super::parse;
use crate::config::read::parse::Syntax;
use crate::config::rules::template::fill_source;
use crate::config::settings::binding::Limits;
use crate::config::settings::document::Route;
use crate::config::{Binding, Document};
use crate::secret::KeySource;
use crate::selector::{Selector, SelectorBuilder, SelectorKind, Slug};

/// Generates valid names.
fn name() -> impl Strategy<Value = Slug> {
    "[a-z0-9]([a-z0-9._-]{0,12}[a-z0-9])?".prop_filter_map("two dots", |text| Slug::new(&text).ok())
}

fn selector() -> impl Strategy<Value = Selector> {
    let part = || proptest::option::of(name());
    (part(), part(), part()).prop_filter_map("no part", |(environment, feature, tenant)| {
        let mut builder = SelectorBuilder::default();
        if let Some(name) = &environment {
            builder = builder.environment(name);
        }
        if let Some(name) = &feature {
            builder = builder.feature(name);
        }
        if let Some(name) = &tenant {
            builder = builder.tenant(name);
        }
        Selector::try_from(builder).ok()
    })
}

fn binding() -> impl Strategy<Value = Binding> {
    let maps = || btree_map("[a-c]", 0..3_i32, 0..3);
    let limit = || proptest::option::of(0..3_u32);
    (
        proptest::option::of("[a-c]"),
        proptest::option::of("[a-c]"),
        maps(),
        maps(),
        limit(),
        limit(),
    )
        .prop_map(|(source, key, metadata, resource, events, links)| {
            let mut binding = Binding::new();
            binding.source = source;
            binding.api_key = key.map(KeySource::Env);
            binding
                .metadata
                .extend(metadata.into_iter().map(|(key, value)| (key, value.into())));
            binding
                .resource
                .extend(resource.into_iter().map(|(key, value)| (key, value.into())));
            if events.is_some() || links.is_some() {
                let none = Limits::default();
                binding.limits = Some(Limits { events, links, ..none });
            }
            binding
        })
}

fn document() -> impl Strategy<Value = Document> {
    let bindings = || btree_map("[a-c]", binding().prop_map(Arc::new), 0..3);
    let routes = btree_map("[a-c]", binding(), 0..3);
    (binding(), bindings(), bindings(), routes).prop_map(|(defaults, tenants, features, routes)| Document {
        defaults,
        tenants,
        features,
        routes: routes
            .into_iter()
            .map(|(tenant, binding)| Route::new(&Selector::tenant(&tenant), binding))
            .collect(),
        ..Document::default()
    })
}

/// Known fields, so that random tables pass the first checks.
const FIELDS: [&str; 51] = [
    "active_environment",
    "defaults",
    "environments",
    "features",
    "tenants",
    "routes",
    "export",
    "reload",
    "watch",
    "tenants_dir",
    "pool",
    "idle_timeout",
    "when_full",
    "metrics",
    "max_tracers",
    "when",
    "tenant",
    "feature",
    "api_key",
    "backend",
    "endpoint",
    "auth",
    "headers",
    "source",
    "metadata",
    "resource",
    "sampling",
    "limits",
    "propagation",
    "env",
    "file",
    "credential",
    "exec",
    "timeout",
    "provider",
    "name",
    "header",
    "scheme",
    "ratio",
    "events",
    "retry",
    "protocol",
    "scheduled_delay",
    "max_queue_size",
    "max_queue_bytes",
    "max_backoff",
    "default",
    "trust_remote_parent",
    "session_id",
    "sessions",
    "*",
];

/// Generates JSON that includes known fields and values.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "honeyhive",
            "acme",
            "ACME",
            "{tenant}",
            "{tenant}{feature}",
            "5m",
            "1e400s",
            "99999999999999999999y",
            "http://[::1",
            "https://h",
            "http/json",
            "raw",
            "default",
            "",
            "a\nb",
            "\0",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = || prop_oneof![4 => prop::sample::select(FIELDS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key(), inner, 0..6).prop_map(|entries| Value::Object(Map::from_iter(entries))),
        ]
    })
}

/// Returns the filled-in key source for a tenant, or `None`.
fn filled(template: &KeySource, tenant: &Slug) -> Option<KeySource> {
    fill_source(template, &Selector::of(SelectorKind::Tenant, tenant.clone())).ok()
}

proptest! {
    #[test]
    fn a_selector_survives_a_round_trip(selector in selector()) {
        prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector.clone()));
        prop_assert_eq!(serde_json::to_value(&selector).expect("a string"), json!(selector.to_string()));
    }

    #[test]
    fn parsed_selectors_and_names_display_as_the_original_text(text in "\\PC{0,20}|[a-z:,.]{0,20}|(tenant|feature):[a-zA-Z0-9._-]{1,70}") {
        if let Ok(name) = Slug::new(&text) {
            prop_assert_eq!(name.as_str(), &text);
        }
        if let Ok(selector) = text.parse::<Selector>() {
            let mut pieces: Vec<&str> = text.split(',').collect();
            pieces.sort_unstable();
            prop_assert_eq!(selector.to_string(), pieces.join(","));
        }
    }

    #[test]
    fn every_name_is_a_single_path_component(name in name()) {
        let path = Path::new("/keys").join(name.as_str());
        let components: Vec<Component<'_>> = path.components().collect();
        prop_assert_eq!(components.len(), 3);
        prop_assert_eq!(components[2], Component::Normal(name.as_str().as_ref()));
        prop_assert!(path.starts_with("/keys"));
        prop_assert!(!name.starts_with(['-', '.']));
    }

    #[test]
    fn two_tenants_never_share_a_key_source(one in name(), other in name()) {
        for template in [
            KeySource::Env("HH_{tenant}_KEY".into()),
            KeySource::File("/keys/{tenant}.key".into()),
            KeySource::Credential("hh-{tenant}".into()),
            KeySource::Provider { provider: "p".into(), name: "x{tenant}x".into() },
        ] {
            if let (Some(first), Some(second)) = (filled(&template, &one), filled(&template, &other)) {
                prop_assert_eq!(first == second, one == other);
            }
        }
    }

    #[test]
    fn names_that_differ_in_punctuation_never_share_a_variable(parts in vec("[a-z0-9]{1,3}", 2..4), signs in vec("[-_.]", 3), others in vec("[-_.]", 3)) {
        let join = |signs: &[String]| {
            let mut text = parts[0].clone();
            for (sign, part) in signs.iter().zip(&parts[1..]) {
                text += sign;
                text += part;
            }
            Slug::new(&text).expect("a name")
        };
        let (one, other) = (join(&signs), join(&others));
        let template = KeySource::Env("{tenant}".into());
        if let (Some(first), Some(second)) = (filled(&template, &one), filled(&template, &other)) {
            prop_assert_eq!(first == second, one == other);
        }
    }

    #[test]
    fn overlaying_is_associative(a in document(), b in document(), c in document()) {
        let over = |below: &Document, above: &Document| {
            let mut whole = below.clone();
            whole.overlay(above);
            whole
        };
        prop_assert_eq!(over(&over(&a, &b), &c), over(&a, &over(&b, &c)));
        prop_assert_eq!(over(&a, &Document::default()), a.clone());
        prop_assert_eq!(over(&Document::default(), &a), a.clone());
        prop_assert_eq!(over(&a, &a), a);
    }

    #[test]
    fn random_values_are_a_configuration_or_have_problems(value in any_json(), name in name()) {
        let root = if value.is_object() { value } else { json!({"defaults": value}) };
        if let Ok(config) = Folder::new(&[("alone.json", &root.to_string())]).load_alone("alone.json") {
            for selector in config.selectors() {
                drop(config.resolve(&selector));
            }
            drop(config.resolve(&Selector::of(SelectorKind::Tenant, name)));
            let schema = jsonschema::validator_for(&crate::config::json_schema()).expect("a schema");
            prop_assert!(schema.is_valid(&root), "the reader accepts what the schema refuses: {}", root);
        }
    }

    #[test]
    fn random_variables_are_applied_or_have_problems(variables in btree_map("TRACER_REGISTRY__(TENANTS|DEFAULTS|EXPORT|X)(__[A-Z_*.-]{0,8}){0,3}", "\\PC{0,8}|[0-9.]{1,4}|true", 0..5)) {
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        drop(Folder::new(&[("default.toml", "")]).load(&variables));
    }

    #[test]
    fn random_texts_are_values_or_single_line_errors(text in "\\PC{0,40}|[a-c:\\[\\]{}'\"=.,#&*!|>%@ \n\t-]{0,60}") {
        for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
            if let Err(message) = parse(&text, syntax) {
                prop_assert!(!message.contains('\n'), "{:?}: {:?}", syntax, message);
            }
        }
    }

    #[test]
    fn json_survives_a_round_trip(value in btree_map("[a-c.]{1,3}", any::<i64>(), 0..4)) {
        let value: BTreeMap<String, i64> = value;
        prop_assert_eq!(parse(&json!(value).to_string(), Syntax::Json), Ok(json!(value)));
    }
}
