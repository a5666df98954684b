//! Redaction of what clients send: each rule in each field of each format, up to the bytes that the
//! receiver gets and those on disk.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use http::Method;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use serde_json::{Value, json};
use tracer_registry::config::SpoolMode;
use tracer_registry_collector::Fault;
use tracer_registry_spool::test::TestStore;

use crate::requests::EXPORT;
use crate::support::{ACME, GLOBEX, Reply, Service, framed, gzip, spans, until};

/// Rules of acme. Globex has none.
const RULES: &str = r#"
[tenants.acme.redact]
names = true
[tenants.acme.redact.rules.keys]
attributes = ["password", "*.password"]
[tenants.acme.redact.rules.patterns]
patterns = ["email", "phone", "card", "iban", "ip", "jwt", "api_key"]
[tenants.acme.redact.rules.cases]
regex = ['CASE-\d{6}', '7777\d{6}']
"#;

/// Rules that a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Key,
    Email,
    Phone,
    Card,
    Iban,
    Ip,
    Jwt,
    ApiKey,
    Regex,
}

const PATTERNS: [Rule; 7] = [
    Rule::Email,
    Rule::Phone,
    Rule::Card,
    Rule::Iban,
    Rule::Ip,
    Rule::Jwt,
    Rule::ApiKey,
];

/// Where a secret is: the rows of the table in the documentation.
const FIELDS: [&str; 13] = [
    "attribute of a resource",
    "attribute of a scope",
    "attribute of a span",
    "attribute of an event",
    "attribute of a link",
    "element of a list",
    "entry of a map",
    "bytes",
    "number",
    "member of JSON in a text",
    "message of a status",
    "name of a span",
    "name of an event",
];

/// Fields of requests to the session API.
const SESSION_FIELDS: [&str; 2] = ["session data", "member of JSON in session data"];

/// How a request is sent: the columns of the table.
const FORMATS: [&str; 5] = ["protobuf", "gzip", "zstd", "JSON", "gRPC"];

/// Secrets, each with its field and the rule that it is for.
#[derive(Default)]
struct Secrets(Vec<(&'static str, Rule, String)>);

impl Secrets {
    /// Returns a secret that occurs nowhere else.
    fn plant(&mut self, field: &'static str, rule: Rule) -> String {
        let number = 1000 + self.0.len() as u64;
        let secret = match (field, rule) {
            ("number", Rule::Key) => format!("55{number}55{number}"),
            ("number", Rule::Regex) => format!("7777{number:06}"),
            (_, Rule::Key) => format!("plain-secret-{number}"),
            (_, Rule::Email) => format!("user{number}@secret.example"),
            (_, Rule::Phone) => format!("+49 30 1234 {number}"),
            (_, Rule::Card) => with_luhn(&format!("41111111{number}111")),
            (_, Rule::Iban) => iban(&format!("37040044053201{number}")),
            (_, Rule::Ip) => format!("10.{}.{}.77", number / 256, number % 256),
            (_, Rule::Jwt) => {
                format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2VjcmV0LXNpZ25hdHVyZS0w{number}")
            }
            (_, Rule::ApiKey) => format!("ghp_16C7e42F292c6912E7710c838347Ae17{number}"),
            (_, Rule::Regex) => format!("CASE-{number:06}"),
        };
        self.0.push((field, rule, secret.clone()));
        secret
    }

    /// Returns a text around a secret.
    fn text(&mut self, field: &'static str, rule: Rule) -> String {
        format!("before {} after", self.plant(field, rule))
    }
}

/// Appends the check digit of a card number.
fn with_luhn(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(digit - b'0');
            match index % 2 {
                0 if digit > 4 => 2 * digit - 9,
                0 => 2 * digit,
                _ => digit,
            }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// Returns the German account number with its checksum.
fn iban(account: &str) -> String {
    let rest = format!("{account}131400")
        .bytes()
        .fold(0, |rest, digit| (rest * 10 + u64::from(digit - b'0')) % 97);
    format!("DE{:02}{account}", 98 - rest)
}

fn keyed(key: &str, kind: Kind) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(kind) }),
        ..KeyValue::default()
    }
}

/// Returns attributes that no rule finds by their own key.
fn renamed(mut attributes: Vec<KeyValue>, key: &str) -> Vec<KeyValue> {
    for attribute in &mut attributes {
        key.clone_into(&mut attribute.key);
    }
    attributes
}

/// Returns a request with a secret for each rule in each field.
fn request(secrets: &mut Secrets) -> ExportTraceServiceRequest {
    let all = || std::iter::once(Rule::Key).chain(PATTERNS).chain([Rule::Regex]);
    let key = |rule: Rule| {
        if rule == Rule::Key {
            "user.password".to_owned()
        } else {
            format!("{rule:?}")
        }
    };
    let mut attributes = |field: &'static str, kind: fn(String, &str) -> Kind| -> Vec<KeyValue> {
        all()
            .map(|rule| keyed(&key(rule), kind(secrets.text(field, rule), &key(rule))))
            .collect()
    };
    let string: fn(String, &str) -> Kind = |text, _| Kind::StringValue(text);
    let of_resource = attributes("attribute of a resource", string);
    let of_scope = attributes("attribute of a scope", string);
    let of_event = attributes("attribute of an event", string);
    let of_link = attributes("attribute of a link", string);
    let mut of_span = attributes("attribute of a span", string);
    of_span.extend(attributes("element of a list", |text, _| {
        let values = [Kind::StringValue("first".to_owned()), Kind::StringValue(text)];
        Kind::ArrayValue(ArrayValue {
            values: values.map(|kind| AnyValue { value: Some(kind) }).into(),
        })
    }));
    let in_map = attributes("entry of a map", |text, key| {
        let values = vec![
            keyed("first", Kind::BoolValue(true)),
            keyed(key, Kind::StringValue(text)),
        ];
        Kind::KvlistValue(KeyValueList { values })
    });
    of_span.extend(renamed(in_map, "map"));
    of_span.extend(attributes("bytes", |text, _| Kind::BytesValue(text.into_bytes())));
    let in_json = attributes("member of JSON in a text", |text, key| {
        Kind::StringValue(json!({"first": 1, "inner": [{ key: text }]}).to_string())
    });
    of_span.extend(renamed(in_json, "json"));
    for rule in [Rule::Key, Rule::Card, Rule::Regex] {
        let number = secrets.plant("number", rule).parse().unwrap();
        of_span.push(keyed(&key(rule), Kind::IntValue(number)));
    }
    let texts = || PATTERNS.into_iter().chain([Rule::Regex]);
    let span = |name: String, message: String| Span {
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        name,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_500_000_000,
        status: Some(Status { message, code: 2 }),
        ..Span::default()
    };
    let mut spans: Vec<Span> = texts()
        .map(|rule| Span {
            events: vec![Event {
                name: secrets.text("name of an event", rule),
                ..Event::default()
            }],
            ..span(
                secrets.text("name of a span", rule),
                secrets.text("message of a status", rule),
            )
        })
        .collect();
    spans.push(Span {
        attributes: of_span,
        events: vec![Event {
            attributes: of_event,
            ..Event::default()
        }],
        links: vec![Link {
            attributes: of_link,
            ..Link::default()
        }],
        ..span("plain".to_owned(), String::new())
    });
    let scope = InstrumentationScope {
        name: "scope".to_owned(),
        attributes: of_scope,
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: of_resource,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn send(service: &Service, token: &str, format: &str, request: &ExportTraceServiceRequest) {
    let body = request.encode_to_vec();
    let reply = match format {
        "protobuf" => service.post(token, &[], body),
        "gzip" => service.post(token, &[("content-encoding", "gzip")], gzip(&body)),
        "zstd" => {
            let body = zstd::encode_all(&body[..], 1).unwrap();
            service.post(token, &[("content-encoding", "zstd")], body)
        }
        "JSON" => post_json(
            service,
            token,
            Method::POST,
            "/v1/traces",
            &serde_json::to_value(request).unwrap(),
        ),
        _ => {
            let reply = service.call(EXPORT, token, &[], framed(false, &body));
            assert_eq!(reply.grpc_status(), 0, "{reply:?}");
            return;
        }
    };
    assert_eq!(reply.status, 200, "{format}: {reply:?}");
}

fn post_json(service: &Service, token: &str, method: Method, path: &str, body: &Value) -> Reply {
    let mut request = service.request(path, token).header("content-type", "application/json");
    request = request.method(method);
    service.client.send(request.body(body.to_string().into()).unwrap())
}

/// What arrived or is on disk: its bytes, and requests also as they decode.
#[derive(Default)]
struct Seen(String);

impl Seen {
    fn add(&mut self, body: &[u8]) {
        self.0.push_str(&String::from_utf8_lossy(body));
        if let Ok(request) = ExportTraceServiceRequest::decode(body) {
            write!(self.0, "{request:?}").unwrap();
        }
    }

    /// What the receiver got.
    fn of_receiver(service: &Service) -> Self {
        let mut seen = Self::default();
        assert_eq!(service.collector.dropped_requests(), 0);
        for request in service.collector.requests() {
            seen.add(&request.body);
        }
        seen
    }

    /// What is on disk.
    fn of_store(store: &TestStore) -> Self {
        let mut seen = Self::default();
        for row in store.all() {
            let mut body = Vec::new();
            match row.format & 0b111 {
                0 => body.extend_from_slice(&row.body),
                1 => body = zstd::decode_all(&row.body[..]).unwrap(),
                _ => {
                    GzDecoder::new(&row.body[..]).read_to_end(&mut body).unwrap();
                }
            }
            seen.add(&body);
        }
        seen
    }

    /// Returns the cell of each field: a letter for each kind of rule that left none of its secrets.
    fn cells(&self, secrets: &Secrets, fields: &[&'static str]) -> Vec<String> {
        let of_field = |field: &&'static str| {
            let letters = [('K', &[Rule::Key][..]), ('P', &PATTERNS), ('R', &[Rule::Regex])];
            let covered = letters.into_iter().filter(|(_, rules)| {
                let of_rules = |(at, rule, _): &&(&str, Rule, String)| at == field && rules.contains(rule);
                let mut planted = secrets.0.iter().filter(of_rules).peekable();
                planted.peek().is_some() && planted.all(|(_, _, secret)| !self.0.contains(secret))
            });
            covered
                .map(|(letter, _)| letter.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        fields.iter().map(of_field).collect()
    }
}

/// Returns a column of the table in the documentation, by field.
fn documented(column: &str) -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policies.md");
    let page = std::fs::read_to_string(page).unwrap();
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let (_, table) = page.split_once("\n| field |").expect("the table of fields");
    let mut rows = table.lines();
    let head = cells(rows.next().unwrap());
    let at = 1 + head
        .iter()
        .position(|name| name == column)
        .unwrap_or_else(|| panic!("no column {column}"));
    let rows = rows.skip(1).take_while(|row| row.starts_with('|')).map(cells);
    rows.map(|row| (row[0].clone(), row[at].clone())).collect()
}

fn assert_documented(column: &str, fields: &[&'static str], found: &[String]) {
    let documented = documented(column);
    for (field, found) in fields.iter().zip(found) {
        assert_eq!(documented.get(*field), Some(found), "{field}, {column}");
    }
    for (field, cell) in documented {
        assert!(
            cell == "-" || fields.contains(&&*field),
            "{field}, {column}: {cell} is not tried"
        );
    }
}

/// Asserts that each secret is seen: that it would be noticed if a rule missed it.
fn assert_all(seen: &Seen, secrets: &Secrets) {
    for (field, rule, secret) in &secrets.0 {
        assert!(seen.0.contains(secret), "{rule:?} in {field}");
    }
}

#[test]
fn each_rule_covers_each_field_in_each_format() {
    let service = Service::with("", RULES);
    for format in FORMATS {
        let mut secrets = Secrets::default();
        let request = request(&mut secrets);
        let arrived = |token: &str| {
            service.collector.clear();
            send(&service, token, format, &request);
            service.flush();
            Seen::of_receiver(&service)
        };
        assert_all(&arrived(GLOBEX), &secrets);
        assert_documented(format, &FIELDS, &arrived(ACME).cells(&secrets, &FIELDS));
        let project = service.collector.project("acme").unwrap();
        let spans = project.spans();
        assert_eq!(
            spans.len(),
            request.resource_spans[0].scope_spans[0].spans.len(),
            "{format}"
        );
    }
}

const SESSION: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const EVENT: &str = "0af76519-16cd-43dd-8448-eb211c80319c";
const PARTS: [&str; 7] = [
    "inputs",
    "outputs",
    "metadata",
    "user_properties",
    "feedback",
    "metrics",
    "config",
];

/// Returns requests to the session API with a secret for each rule in each field.
fn session_requests(secrets: &mut Secrets) -> Vec<(Method, &'static str, Value)> {
    let texts = || PATTERNS.into_iter().chain([Rule::Regex]);
    let data = |secrets: &mut Secrets| {
        let mut fields = serde_json::Map::new();
        let rules = || std::iter::once(Rule::Key).chain(texts()).zip(PARTS.into_iter().cycle());
        for (rule, part) in rules() {
            let key = if rule == Rule::Key {
                "user.password".to_owned()
            } else {
                format!("{rule:?}")
            };
            let text = secrets.text("session data", rule);
            let inner = json!({ &key: secrets.text("member of JSON in session data", rule) }).to_string();
            let part = fields.entry(part).or_insert_with(|| json!({}));
            part[&key] = json!([text]);
            part[format!("json{rule:?}")] = inner.into();
        }
        fields
    };
    let mut requests = Vec::new();
    let mut start = data(secrets);
    start.insert("session_id".to_owned(), SESSION.into());
    start.insert("start_time".to_owned(), 4_111_111_111_111_111_u64.into());
    requests.push((Method::POST, "/session/start", json!({ "session": start })));
    for rule in texts() {
        let mut event = data(secrets);
        event.insert("session_id".to_owned(), SESSION.into());
        event.insert("event_name".to_owned(), secrets.text("session data", rule).into());
        event.insert("error".to_owned(), secrets.text("session data", rule).into());
        requests.push((Method::POST, "/events", json!({ "event": event })));
    }
    let mut event = data(secrets);
    event.insert("event_id".to_owned(), EVENT.into());
    requests.push((Method::POST, "/v1/events", event.into()));
    let mut enrichment = data(secrets);
    enrichment.insert("event_id".to_owned(), SESSION.into());
    requests.push((Method::PUT, "/events", enrichment.into()));
    requests
}

fn send_session(service: &Service, token: &str, requests: &[(Method, &'static str, Value)]) {
    for (method, path, body) in requests {
        let reply = post_json(service, token, method.clone(), path, body);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[test]
fn each_rule_covers_each_field_of_the_session_api() {
    for backend in ["backend = 'honeyhive'", "backend = 'otlp'"] {
        let service = Service::with_defaults(backend, RULES);
        let mut secrets = Secrets::default();
        let requests = session_requests(&mut secrets);
        send_session(&service, GLOBEX, &requests);
        service.flush();
        assert_all(&Seen::of_receiver(&service), &secrets);
        service.collector.clear();
        send_session(&service, ACME, &requests);
        service.flush();
        let seen = Seen::of_receiver(&service);
        assert_documented("session API", &SESSION_FIELDS, &seen.cells(&secrets, &SESSION_FIELDS));
        // Ids and times stay, whatever they look like.
        if backend.contains("honeyhive") {
            for kept in [SESSION, EVENT, "4111111111111111"] {
                assert!(seen.0.contains(kept), "{kept}");
            }
        }
    }
}

#[test]
fn what_is_on_disk_is_redacted_and_not_redacted_again() {
    const HASHES: &str = r#"
[tenants.acme.redact.rules.hashes]
attributes = ["hashed"]
action = "hash"
"#;
    let rules = RULES.replace("names = true", "names = true\nkey = { file = 'keys/acme' }") + HASHES;
    let mut secrets = Secrets::default();
    let mut request = request(&mut secrets);
    let hashed = keyed("hashed", Kind::StringValue("equal".to_owned()));
    request.resource_spans[0]
        .resource
        .as_mut()
        .unwrap()
        .attributes
        .push(hashed);
    let mut requests = session_requests(&mut secrets);
    requests[0].2["session"]["metadata"]["hashed"] = "equal".into();
    let direct = Service::with_defaults("backend = 'honeyhive'", &rules);
    let all = |service: &Service, token: &str| {
        for format in FORMATS {
            send(service, token, format, &request);
        }
        send_session(service, token, &requests);
    };
    all(&direct, ACME);
    direct.flush();
    let hash = |service: &Service| {
        let project = service.collector.project("acme").unwrap();
        let spans = project.spans();
        let hash = spans[0].resource.attributes["hashed"].clone();
        assert!(spans.iter().all(|span| span.resource.attributes["hashed"] == hash));
        let session = project.session(SESSION).unwrap();
        assert_eq!(session.metadata["hashed"], hash);
        hash
    };
    let expected = hash(&direct);

    let store = Arc::new(TestStore::new());
    let spooled = Service::on_store(SpoolMode::Through, &store, "backend = 'honeyhive'", &rules);
    spooled.collector.fault(Fault::status(503));
    all(&spooled, GLOBEX);
    assert_all(&Seen::of_store(&store), &secrets);
    let store = Arc::new(TestStore::new());
    let spooled = Service::on_store(SpoolMode::Through, &store, "backend = 'honeyhive'", &rules);
    spooled.collector.fault(Fault::status(503));
    all(&spooled, ACME);
    let on_disk = Seen::of_store(&store);
    assert_documented("protobuf", &FIELDS, &on_disk.cells(&secrets, &FIELDS));
    assert_documented(
        "session API",
        &SESSION_FIELDS,
        &on_disk.cells(&secrets, &SESSION_FIELDS),
    );
    spooled.collector.clear_faults();
    spooled.flush();
    until(|| store.all().is_empty());
    assert_eq!(hash(&spooled), expected);
    assert_documented("gzip", &FIELDS, &Seen::of_receiver(&spooled).cells(&secrets, &FIELDS));
}

#[test]
fn large_requests_are_redacted_too() {
    let service = Service::with_defaults("backend = 'honeyhive'", RULES);
    let check = |sent: &str| {
        service.flush();
        let seen = Seen::of_receiver(&service);
        assert!(!seen.0.contains("secret.example"), "{sent}");
        assert!(seen.0.contains("1499 [redacted]"), "{sent}");
        service.collector.clear();
    };
    let text = |index: usize| format!("{} {index} user@secret.example", "x".repeat(90));
    let attribute = |index: usize| keyed(&format!("key {index}"), Kind::StringValue(text(index)));
    let mut request = request(&mut Secrets::default());
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.attributes.extend((0..1500).map(attribute));
    for format in FORMATS {
        send(&service, ACME, format, &request);
        check(format);
    }
    let texts: Vec<Value> = (0..1500).map(|index| text(index).into()).collect();
    let session = json!({"session_id": SESSION, "inputs": {"texts": texts}});
    send_session(
        &service,
        ACME,
        &[(Method::POST, "/session/start", json!({ "session": session }))],
    );
    check("session API");
}

#[test]
fn a_request_of_which_redaction_changes_too_much_is_refused_and_not_sent_again() {
    let rules = "[tenants.acme.redact.rules.digits]\nregex = [\"[0-9]\"]\n[tenants.acme.quota]\nspans_per_day = 2";
    let service = Service::with("", rules);
    let digit = AnyValue {
        value: Some(Kind::IntValue(7)),
    };
    let list = |count: usize| {
        let mut request = spans(&["span"]);
        let values = vec![digit.clone(); count];
        request.resource_spans[0].scope_spans[0].spans[0].attributes = vec![KeyValue {
            key: "list".to_owned(),
            value: Some(AnyValue {
                value: Some(Kind::ArrayValue(ArrayValue { values })),
            }),
            ..KeyValue::default()
        }];
        request.encode_to_vec()
    };
    for _ in 0..2 {
        let reply = service.post(ACME, &[], list(600_000));
        assert_eq!(reply.status, 413, "{reply:?}");
        assert!(
            String::from_utf8_lossy(&reply.body).contains("change too many values"),
            "{reply:?}"
        );
    }
    let reply = service.call(EXPORT, ACME, &[], framed(false, &list(600_000)));
    assert_eq!(reply.grpc_status(), 8);
    // It counts in no quota, and others are served.
    assert_eq!(service.post(ACME, &[], list(1000)).status, 200);
    assert_eq!(service.post(GLOBEX, &[], list(600_000)).status, 200);
    assert_eq!(service.post(ACME, &[], list(1)).status, 200);
    service.flush();
    assert_eq!((service.spans("acme").len(), service.spans("globex").len()), (2, 1));
}
