//! Each kind of rule in each field of the program's data, in each encoding, as docs/policies.md says.

use std::collections::BTreeMap;

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use serde_json::{Value as Json, json};
use tracer_registry::config::{BackendName, Binding, Export, Pattern, Protocol, Redact, RedactRule};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{Enrichment, TracerHandle};

use crate::support::{World, binding, collector, quick, registry};

/// Kind of a rule, the key of the value, and the value.
type Secret = (char, &'static str, &'static str);

const SECRETS: [Secret; 9] = [
    ('K', "password", "hunter2 and more"),
    ('P', "note", "jane.doe@example.com"),
    ('P', "note", "+49 30 1234567"),
    ('P', "note", "4111 1111 1111 1111"),
    ('P', "note", "DE89 3704 0044 0532 0130 00"),
    ('P', "note", "192.168.17.23"),
    (
        'P',
        "note",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ),
    ('P', "note", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ('R', "note", "CASE-123456"),
];

const NUMBERS: [Secret; 3] = [
    ('K', "password", "814234"),
    ('P', "note", "4111111111111111"),
    ('R', "note", "7777123456"),
];

/// The fields of the table, and whether a rule on keys may apply to them.
const FIELDS: [(&str, bool); 13] = [
    ("attribute of a resource", true),
    ("attribute of a scope", true),
    ("attribute of a span", true),
    ("attribute of an event", true),
    ("attribute of a link", true),
    ("element of a list", true),
    ("number", true),
    ("member of JSON in a text", true),
    ("message of a status", false),
    ("name of a span", false),
    ("name of an event", false),
    ("session data", true),
    ("member of JSON in session data", true),
];

fn rules() -> Redact {
    let patterns = [
        Pattern::Email,
        Pattern::Phone,
        Pattern::Card,
        Pattern::Iban,
        Pattern::Ip,
        Pattern::Jwt,
        Pattern::ApiKey,
    ];
    Redact::new()
        .names(true)
        .rule("keys", RedactRule::new().attribute("password").attribute("*.password"))
        .rule(
            "patterns",
            patterns.into_iter().fold(RedactRule::new(), RedactRule::pattern),
        )
        .rule("cases", RedactRule::new().regex(r"CASE-\d{6}").regex(r"7777\d{6}"))
}

fn secrets_of(field: &str) -> &'static [Secret] {
    if field == "number" { &NUMBERS } else { &SECRETS }
}

/// Ends a span or enriches a session with a secret in a field. Its name starts with `id`.
fn plant(tracer: &TracerHandle, id: &str, field: &str, (_, key, secret): Secret) {
    let text = || vec![KeyValue::new(key, secret)];
    let context = SpanContext::new(
        TraceId::from(7),
        SpanId::from(7),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let in_json = json!({"list": [{key: secret}]});
    let mut scope = InstrumentationScope::builder("lib");
    let mut builder = SpanBuilder::from_name(id.to_owned());
    let mut event = (String::new(), Vec::new());
    let mut status = String::new();
    match field {
        "attribute of a resource" => {}
        "attribute of a scope" => scope = scope.with_attributes(text()),
        "attribute of a span" => builder.attributes = Some(text()),
        "attribute of an event" => event.1 = text(),
        "attribute of a link" => builder.links = Some(vec![Link::new(context, text(), 0)]),
        "element of a list" => {
            let list = Value::Array(Array::String(vec!["plain".into(), secret.into()]));
            builder.attributes = Some(vec![KeyValue::new(key, list)]);
        }
        "number" => {
            let number: i64 = secret.parse().expect("a number");
            builder.attributes = Some(vec![KeyValue::new(key, number)]);
        }
        "member of JSON in a text" => {
            builder.attributes = Some(vec![KeyValue::new("message", in_json.to_string())]);
        }
        "message of a status" => status = format!("because of {secret} here"),
        "name of a span" => builder.name = format!("{id} {secret}").into(),
        "name of an event" => event.0 = format!("event {secret}"),
        "session data" | "member of JSON in session data" => {
            let session = tracer.session(id.to_owned());
            let enrichment = Enrichment::new();
            let enrichment = if field == "session data" {
                enrichment.metadata(key, secret)
            } else {
                enrichment.outputs(json!({"message": in_json.to_string()}))
            };
            return session.start().enrich(enrichment);
        }
        field => panic!("unknown field {field}"),
    }
    let mut span = tracer.tracer_with_scope(scope.build()).build(builder);
    span.add_event(event.0, event.1);
    span.set_status(Status::error(status));
    span.end();
}

/// Returns what arrived under the name that starts with `id`.
fn arrived(world: &World, tenant: &str, id: &str, field: &str) -> Json {
    let project = world.project(tenant);
    if field.ends_with("session data") {
        let session = project
            .sessions()
            .iter()
            .find(|session| session.name.as_deref() == Some(id));
        return json!([session.expect("started").metadata, session.expect("started").outputs]);
    }
    let is_it = |name: &str| name == id || name.strip_prefix(id).is_some_and(|rest| rest.starts_with(' '));
    let span = project.spans().iter().find(|span| is_it(&span.name));
    let mut span = json!(**span.unwrap_or_else(|| panic!("no span {id:?}")));
    if field != "attribute of a resource" {
        span["resource"].take();
    }
    span
}

fn assert_as_documented(protocol: Protocol, backend: BackendName, has_sessions: bool) {
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a", "b"], &fingerprinter).start().expect("a free port");
    let url = collector.url();
    let of = |tenant: &str| -> Binding {
        let start = binding(tenant).backend(backend).endpoint(&url);
        SECRETS
            .iter()
            .enumerate()
            .fold(start, |binding, (number, (_, key, secret))| {
                binding.resource(format!("r{number}.{key}"), *secret)
            })
    };
    let export = Export {
        protocol: Some(protocol),
        ..quick()
    };
    let builder = registry(&url, &["a", "b"], &fingerprinter)
        .tenant("a", of("a").redact(rules()))
        .tenant("b", of("b"))
        .export(export);
    let world = World {
        registry: builder.build().expect("valid"),
        collector,
    };
    let fields = FIELDS
        .iter()
        .filter(|(field, _)| has_sessions || !field.ends_with("session data"));
    let planted: Vec<(String, &str, Secret)> = fields
        .flat_map(|(field, has_keys)| secrets_of(field).iter().map(move |secret| (*field, *has_keys, *secret)))
        .filter(|(_, has_keys, (kind, ..))| *has_keys || *kind != 'K')
        .enumerate()
        .map(|(number, (field, _, secret))| (format!("n{number}"), field, secret))
        .collect();
    for tenant in ["a", "b"] {
        let tracer = world.tenant(tenant);
        for (id, field, secret) in &planted {
            plant(&tracer, id, field, *secret);
        }
    }
    world.flush();
    let mut found: BTreeMap<&str, Vec<char>> = BTreeMap::new();
    for (id, field, (kind, _, secret)) in &planted {
        let shows = |tenant| arrived(&world, tenant, id, field).to_string().contains(secret);
        assert!(shows("b"), "{secret} in {field} does not arrive without rules");
        assert!(!shows("a"), "{secret} arrives in {field}");
        let kinds = found.entry(field).or_default();
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    let found: BTreeMap<&str, String> = found
        .into_iter()
        .map(|(field, kinds)| (field, kinds.iter().map(char::to_string).collect::<Vec<_>>().join(" ")))
        .collect();
    for (field, cell) in documented() {
        let is_tried = has_sessions || !field.ends_with("session data");
        let expected = found.get(&*field).cloned().unwrap_or_else(|| "-".to_owned());
        assert!(!is_tried || cell == expected, "{field}: {cell} and not {expected}");
    }
}

/// Returns the column `program` of the table of fields.
fn documented() -> Vec<(String, String)> {
    let page = include_str!("../../../docs/policies.md");
    let (_, table) = page.split_once("\n| field |").expect("the table of fields");
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()));
    cells
        .map(|mut cells| {
            let field = cells.next().expect("a field");
            (field, cells.next_back().expect("the last column"))
        })
        .collect()
}

#[test]
fn each_kind_of_rule_applies_to_each_documented_field_as_protobuf() {
    assert_as_documented(Protocol::HttpProtobuf, BackendName::Honeyhive, true);
}

#[test]
fn each_kind_of_rule_applies_to_each_documented_field_as_json() {
    assert_as_documented(Protocol::HttpJson, BackendName::Honeyhive, true);
}

#[cfg(feature = "grpc")]
#[test]
fn each_kind_of_rule_applies_to_each_documented_field_over_grpc() {
    assert_as_documented(Protocol::Grpc, BackendName::Otlp, false);
}
