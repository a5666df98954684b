//! Spans with secrets in any field, spelling and type of value: no byte of a secret is sent or
//! stored, and everything else arrives unchanged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use tracer_registry::config::{BackendName, Binding, Export, Pattern, Protocol, Redact, RedactRule, SpoolMode};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{Enrichment, TracerHandle};
use tracer_registry_collector::{Fault, Span};
use tracer_registry_spool::Kind;

use super::REDACTED;
use crate::spool::canary::{bodies, file_with};
use crate::spool::{Disk, wait_for_ledger};
use crate::support::{World, binding, collector, key_of, quick, registry};

const EMAIL: &str = "jane.doe@example.com";
const CARD: i64 = 4_111_111_111_111_111;
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
const PASSWORD: &str = "correct-horse-battery-staple";
/// The key of passwords.
const KEY: &str = "user.password";

/// Each secret in its spellings.
const SPELLINGS: [&str; 7] = [
    EMAIL,
    "jane.doe%40example.com",
    "Jane.Doe+tag@mail.example.co.uk",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111111111111111",
    JWT,
];

/// Parts of secrets that must be nowhere, as bytes.
fn needles() -> Vec<Vec<u8>> {
    let texts = [
        "jane.doe",
        "Jane.Doe",
        "4111 1111",
        "4111-1111",
        "41111111111",
        "eyJhbGci",
        "dozjgNryP4J3jVmNHl0w5N",
        PASSWORD,
    ];
    let mut varint = Vec::new();
    let mut left = CARD.cast_unsigned();
    while left > 0 {
        varint.push(u8::try_from(left & 0x7f).expect("seven bits") | if left > 0x7f { 0x80 } else { 0 });
        left >>= 7;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let double = (CARD as f64).to_le_bytes().to_vec();
    let texts = texts.map(|text| text.as_bytes().to_vec());
    texts.into_iter().chain([varint, double]).collect()
}

fn rules() -> Redact {
    let patterns = [Pattern::Email, Pattern::Card, Pattern::Jwt];
    let patterns = patterns.into_iter().fold(RedactRule::new(), RedactRule::pattern);
    Redact::new()
        .names(true)
        .rule("passwords", RedactRule::new().attribute("*.password"))
        .rule("patterns", patterns)
}

/// A text without a secret, or with one, and what must arrive.
fn text() -> impl Strategy<Value = (String, String)> {
    let plain = "[a-z ]{0,12}".prop_map(|text| (text.clone(), text));
    let secret = ("[a-z]{1,6}", select(&SPELLINGS), "[a-z]{1,6}").prop_map(|(before, secret, after)| {
        (
            format!("{before} {secret} {after}"),
            format!("{before} {REDACTED} {after}"),
        )
    });
    prop_oneof![plain, secret]
}

/// A text with JSON, as in messages of LLMs.
fn json_text() -> impl Strategy<Value = (String, String)> {
    (text(), any::<bool>()).prop_map(|((sent, expected), has_password)| {
        let of = |content: String, password: &str| {
            let mut message = json!([{"role": "user", "content": content, "n": 7}]);
            if has_password {
                message[0]["user.password"] = password.into();
            }
            message.to_string()
        };
        (of(sent, PASSWORD), of(expected, REDACTED))
    })
}

/// A value of any type, and what must arrive.
fn value() -> impl Strategy<Value = (Value, Json)> {
    let of_text = |(sent, expected): (String, String)| (Value::from(sent), Json::from(expected));
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let card = CARD as f64;
    prop_oneof![
        text().prop_map(of_text),
        json_text().prop_map(of_text),
        (0..1000_i64).prop_map(|number| (number.into(), number.into())),
        any::<bool>().prop_map(|value| (value.into(), value.into())),
        Just((0.5.into(), json!(0.5))),
        Just((CARD.into(), REDACTED.into())),
        Just((card.into(), REDACTED.into())),
        vec(text(), 0..4).prop_map(|texts| {
            let (sent, expected): (Vec<String>, Vec<String>) = texts.into_iter().unzip();
            let sent = sent.into_iter().map(StringValue::from).collect();
            (Value::Array(Array::String(sent)), expected.into())
        }),
        Just((Value::Array(Array::I64(vec![1, 2])), json!([1, 2]))),
        Just((Value::Array(Array::I64(vec![7, CARD])), json!(["7", REDACTED]))),
        Just((Value::Array(Array::F64(vec![card, 0.5])), json!([REDACTED, "0.5"]))),
    ]
}

/// Attributes with unique keys, and what must arrive of each.
type Attributes = BTreeMap<&'static str, (Value, Json)>;

fn attributes() -> impl Strategy<Value = Attributes> {
    let entry = prop_oneof![
        4 => (select(&["a", "b.c", "gen_ai.input.messages", "d"]), value()),
        1 => value().prop_map(|(sent, _)| (KEY, (sent, REDACTED.into()))),
        1 => Just((KEY, (Value::from(PASSWORD), REDACTED.into()))),
    ];
    vec(entry, 0..5).prop_map(|entries| entries.into_iter().collect())
}

fn sent(attributes: &Attributes) -> Vec<KeyValue> {
    let entries = attributes.iter();
    entries
        .map(|(key, (value, _))| KeyValue::new(*key, value.clone()))
        .collect()
}

/// A span with secrets.
#[derive(Clone, Debug)]
struct Planted {
    name: (String, String),
    attributes: Attributes,
    event: (String, String),
    of_event: Attributes,
    of_link: Attributes,
    of_scope: Attributes,
    status: (String, String),
    session: (String, String),
}

prop_compose! {
    fn planted()(
        name in text(), event in text(), status in text(), session in text(),
        attributes in attributes(), of_event in attributes(), of_link in attributes(), of_scope in attributes(),
    ) -> Planted {
        Planted { name, attributes, event, of_event, of_link, of_scope, status, session }
    }
}

impl Planted {
    /// Ends the span in a session of its own. `number` is in its name.
    fn end(&self, tracer: &TracerHandle, number: usize) {
        let (session_text, _) = &self.session;
        let session = tracer
            .session(format!("session {session_text}"))
            .metadata("note", session_text.clone())
            .metadata(KEY, PASSWORD)
            .input("card", CARD)
            .start();
        session.enrich(Enrichment::new().outputs(json!({"list": [session_text, {KEY: [PASSWORD]}]})));
        let _inside = session.enter();
        let context = SpanContext::new(
            TraceId::from(7),
            SpanId::from(7),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let scope = InstrumentationScope::builder("lib").with_attributes(sent(&self.of_scope));
        let mut builder = SpanBuilder::from_name(format!("{number}: {}", self.name.0));
        builder.attributes = Some(sent(&self.attributes));
        builder.links = Some(vec![Link::new(context, sent(&self.of_link), 0)]);
        let mut span = tracer.tracer_with_scope(scope.build()).build(builder);
        span.add_event(self.event.0.clone(), sent(&self.of_event));
        span.set_status(Status::error(self.status.0.clone()));
        span.end();
    }

    fn assert_arrived(&self, number: usize, spans: &[std::sync::Arc<Span>]) {
        let name = format!("{number}: {}", self.name.1);
        let found = spans.iter().find(|span| span.name == name);
        let span = found.unwrap_or_else(|| panic!("no span {name:?}: {spans:#?}"));
        let assert_equal = |expected: &Attributes, arrived: Json| {
            for (key, (_, expected)) in expected {
                assert_eq!(arrived[key], *expected, "{key} of {self:#?}");
            }
        };
        assert_equal(&self.attributes, json!(span.attributes));
        assert_equal(&self.of_event, json!(span.events[0].attributes));
        assert_equal(&self.of_link, json!(span.links[0].attributes));
        assert_equal(&self.of_scope, json!(span.scope.attributes));
        assert_eq!(span.events[0].name, self.event.1);
        assert_eq!(span.status.message, self.status.1);
        assert_eq!(span.dropped_attributes, 0);
    }
}

/// Returns a part of a secret that is in these bytes.
fn found_in(bytes: &[u8]) -> Option<String> {
    let found = needles()
        .into_iter()
        .find(|needle| bytes.windows(needle.len()).any(|window| window == &needle[..]));
    found.map(|needle| String::from_utf8_lossy(&needle).into_owned())
}

fn binding_of(backend: BackendName, url: &str) -> Binding {
    binding("a")
        .backend(backend)
        .endpoint(url)
        .metadata("owner", format!("ask {EMAIL}"))
        .resource("service.owner", EMAIL)
        .redact(rules())
}

fn assert_nothing_of_a_secret_is_received(protocol: Protocol, backend: BackendName) {
    let export = Export {
        protocol: Some(protocol),
        ..quick()
    };
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a"], &fingerprinter).start().expect("a free port");
    let url = collector.url();
    let builder = registry(&url, &["a"], &fingerprinter).tenant("a", binding_of(backend, &url));
    let world = World {
        registry: builder.export(export).build().expect("valid"),
        collector,
    };
    let tracer = world.tenant("a");
    let number = AtomicUsize::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    let run = runner.run(&vec(planted(), 1..8), |spans| {
        world.collector.clear();
        let first = number.fetch_add(spans.len(), Ordering::Relaxed);
        for (number, span) in (first..).zip(&spans) {
            span.end(&tracer, number);
        }
        world.flush();
        let requests = world.collector.requests();
        assert!(!requests.is_empty());
        for request in requests {
            assert_eq!(found_in(&request.body), None, "{} {}", request.method, request.path);
        }
        let project = world.project("a");
        for (number, span) in (first..).zip(&spans) {
            span.assert_arrived(number, project.spans());
        }
        for session in project.sessions() {
            assert_eq!(session.metadata[KEY], REDACTED);
            assert_eq!(session.inputs["card"], REDACTED);
        }
        Ok(())
    });
    run.expect("nothing of a secret is received");
    let redaction = world.status("a").redaction;
    assert!(
        redaction.rules["passwords"] > 0 && redaction.rules["patterns"] > 0,
        "{redaction:?}"
    );
    assert_eq!((redaction.unreadable, redaction.redactors), (0, 0), "{redaction:?}");
}

#[test]
fn no_byte_of_a_secret_is_sent_as_protobuf() {
    assert_nothing_of_a_secret_is_received(Protocol::HttpProtobuf, BackendName::Honeyhive);
}

#[test]
fn no_byte_of_a_secret_is_sent_as_json() {
    assert_nothing_of_a_secret_is_received(Protocol::HttpJson, BackendName::Honeyhive);
}

#[test]
fn no_byte_of_a_secret_is_sent_to_a_backend_without_a_session_api() {
    assert_nothing_of_a_secret_is_received(Protocol::HttpProtobuf, BackendName::Langfuse);
}

#[cfg(feature = "grpc")]
#[test]
fn no_byte_of_a_secret_is_sent_over_grpc() {
    assert_nothing_of_a_secret_is_received(Protocol::Grpc, BackendName::Otlp);
}

#[cfg(feature = "spool")]
#[test]
fn no_byte_of_a_secret_is_on_disk_and_what_is_there_arrives_unchanged() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(3));
    let run = runner.run(
        &(
            vec(planted(), 1..12),
            select(&[SpoolMode::Through, SpoolMode::Overflow]),
        ),
        |(spans, mode)| {
            let disk = Disk::new(mode, &["a"]);
            let folder = disk.settings().path.expect("set");
            let url = disk.collector.url();
            let binding = || binding_of(BackendName::Honeyhive, &url);
            let start = || disk.start_with(|builder| builder.tenant("a", binding()));
            let assert_nothing_in_files = || {
                for needle in needles() {
                    assert_eq!(file_with(&needle, &folder), None, "{needle:?}");
                }
            };
            let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
            let first = start();
            let tracer = first.tenant("a").expect("configured");
            spans
                .iter()
                .enumerate()
                .for_each(|(number, span)| span.end(&tracer, number));
            wait_for_ledger(&first, "a", |ledger| ledger.spooled == spans.len() as u64);
            assert_nothing_in_files();
            drop(tracer);
            assert!(first.shutdown(std::time::Duration::from_secs(20)).is_complete());
            drop(first);
            assert_nothing_in_files();
            for kind in [Kind::Spans, Kind::SessionEvents] {
                let bodies = bodies(&folder, kind);
                assert!(!bodies.is_empty());
                assert_eq!(found_in(&bodies), None, "{kind:?}");
            }
            disk.collector.clear_fault(fault);
            let second = start();
            wait_for_ledger(&second, "a", |ledger| {
                ledger.accepted > 0 && ledger.delivered == ledger.accepted
            });
            let project = disk.collector.project("a").expect("a tenant");
            for (number, span) in spans.iter().enumerate() {
                span.assert_arrived(number, project.spans());
            }
            for request in disk.collector.requests() {
                assert_eq!(found_in(&request.body), None, "{} {}", request.method, request.path);
            }
            Ok(())
        },
    );
    run.expect("nothing of a secret is stored");
}
