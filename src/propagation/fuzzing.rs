//! Fuzz target: headers of incoming requests, and those of the requests that follow.

use std::collections::HashMap;
use std::sync::LazyLock;

use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, StringValue};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use secrecy::SecretString;

use super::baggage::{Outgoing, read};
use super::{BAGGAGE, SESSION_ID};
use crate::backend::parse_session_id;
use crate::config::{BackendName, Binding, Export, ExportMode};
use crate::registry::TracerRegistry;
use crate::scope::Scope;
use crate::secret::{KeySource, SecretError};
use crate::tracer::TracerHandle;

const MAX_BYTES: usize = 8192;
const MAX_ENTRIES: usize = 64;

/// A tracer for each combination of what a binding may allow.
static TRACERS: LazyLock<(TracerRegistry, Vec<TracerHandle>)> = LazyLock::new(|| {
    let binding = |trust: bool, session: bool| {
        let binding = Binding::new().backend(BackendName::Otlp).endpoint("http://127.0.0.1:9");
        let binding = binding.api_key(KeySource::provider("fuzzing", "key"));
        binding.trust_remote_parent(trust).propagate_session_id(session)
    };
    let registry = TracerRegistry::builder()
        .export(Export {
            mode: Some(ExportMode::Inline),
            ..Export::default()
        })
        .secret_source("fuzzing", |_: &str| {
            Ok::<_, SecretError>(SecretString::from("a-valid-key"))
        })
        .tenant("none", binding(false, false))
        .tenant("parent", binding(true, false))
        .tenant("session", binding(false, true))
        .tenant("both", binding(true, true))
        .build()
        .expect("a valid configuration");
    let handles = ["none", "parent", "session", "both"].map(|tenant| registry.tenant(tenant).expect("configured"));
    (registry, handles.into())
});

/// Reads headers, one a line, and writes those of a request that follows. Returns whether the
/// headers have an effect on any tracer.
///
/// # Panics
/// Panics if a header has an effect that the binding does not allow, or if written headers are
/// invalid.
pub fn propagation(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let headers: HashMap<String, String> = lines
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    written(&text);
    let mut has_effect = false;
    for tracer in &TRACERS.1 {
        has_effect |= extracted(tracer, &headers);
    }
    has_effect
}

/// Reads headers for a tracer, and writes them again.
fn extracted(tracer: &TracerHandle, headers: &HashMap<String, String>) -> bool {
    let cx = tracer.extract_into(&Context::new(), headers);
    let scope = Scope::from(cx.clone());
    assert_eq!(
        scope.tracer().map(|found| found.selector().clone()),
        Some(tracer.selector().clone())
    );
    let incoming = headers.get(BAGGAGE).map(|header| read(header)).unwrap_or_default();
    let session = scope.session().map(|session| session.id().to_owned());
    let expected = tracer
        .propagates_session_id()
        .then(|| incoming.get(SESSION_ID))
        .flatten();
    let expected = expected
        .and_then(|id| parse_session_id(id.as_str()))
        .map(|id| id.to_string());
    assert_eq!(session, expected);

    let remote = TraceContextPropagator::new().extract_with_context(&Context::new(), headers);
    let parent = cx.span().span_context().clone();
    if parent.is_valid() {
        assert!(tracer.trusts_remote_parent());
        assert_eq!(parent.trace_id(), remote.span().span_context().trace_id());
    }

    let mut outgoing = HashMap::new();
    tracer.inject_from(&cx, &mut outgoing);
    for (name, value) in &outgoing {
        assert!(
            ["traceparent", "tracestate", BAGGAGE].contains(&name.as_str()),
            "{name}"
        );
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value:?}");
    }
    let sent = outgoing
        .get("traceparent")
        .map(|header| header.split('-').nth(1).unwrap_or_default());
    assert!(sent.is_none() || sent == Some(&parent.trace_id().to_string()));
    let baggage = outgoing.get(BAGGAGE).map(String::as_str).unwrap_or_default();
    assert!(baggage.len() <= MAX_BYTES && baggage.split(',').count() <= MAX_ENTRIES);
    // Another reader finds the same entries.
    let found = BaggagePropagator::new().extract_with_context(&Context::new(), &outgoing);
    for (key, (value, metadata)) in found.baggage() {
        assert_eq!(metadata.as_str(), "");
        if key.as_str() == SESSION_ID {
            assert!(tracer.propagates_session_id());
            assert_eq!(Some(value.as_str()), session.as_deref());
        } else {
            // It trims decoded values.
            let expected = incoming.get(key.as_str()).map(|value| value.as_str().trim());
            assert_eq!(Some(value.as_str().trim()), expected, "{key}");
        }
    }
    session.is_some() || parent.is_valid() || !cx.baggage().is_empty()
}

/// Writes entries of any names, values and metadata, one part a line.
fn written(text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut outgoing = Outgoing::default();
    let (mut entries, mut dropped) = (Vec::new(), 0);
    for entry in lines.chunks(3) {
        let [key, value, metadata] = [0, 1, 2].map(|at| entry.get(at).copied().unwrap_or_default());
        outgoing.add(key, value, metadata);
        if outgoing.dropped() > dropped {
            dropped = outgoing.dropped();
        } else {
            entries.push((key, value));
        }
    }
    let header = outgoing.into_header().unwrap_or_default();
    assert!(
        header.len() <= MAX_BYTES && header.bytes().all(|byte| (b'!'..=b'~').contains(&byte)),
        "{header:?}"
    );
    let again = read(&header);
    for (key, value) in &entries {
        // Of entries with the same name, the last one counts.
        let last = entries
            .iter()
            .rfind(|(other, _)| other == key)
            .map_or(*value, |(_, last)| *last);
        assert_eq!(again.get(*key).map(StringValue::as_str), Some(last), "{key}");
    }
}
