//! Fuzz targets: an OTLP request in protobuf, and everything that becomes of it.

use std::collections::HashMap;
#[cfg(feature = "redact")]
use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use opentelemetry::KeyValue;
use prost::Message as _;

use super::check::MAX_EMPTY_BLOCKS;
#[cfg(feature = "redact")]
use super::redact::model::redact;
use super::reference::{Leaf, Request, decoded, edit, leaves, resource_text, spans_of, unknown_fields};
use super::{Payload, wire};
use crate::backend::{AttributeNames, Edits};
#[cfg(feature = "redact")]
use crate::config::{Pattern, RedactAction, RedactRule, ResolvedRedact};
#[cfg(feature = "redact")]
use crate::policy::redaction::Redaction;
#[cfg(feature = "redact")]
use crate::selector::Selector;

const TENANT: &str = "tenant.id";
/// Longest error: a path of eight names, and a rule.
const MAX_ERROR_BYTES: usize = 400;

/// What bindings of several kinds change.
static EDITS: LazyLock<[Edits; 3]> = LazyLock::new(|| {
    let own = |keys: &[&'static str]| {
        keys.iter()
            .map(|key| KeyValue::new(*key, format!("own {key}")))
            .collect()
    };
    let forced = Edits {
        resource: own(&["wandb.project", "service.name"]),
        span_attributes: own(&["a", "wandb.project"]),
        forced_keys: vec!["wandb.project"],
        forced_on_resource: vec!["model_id"],
        event_type: Some(&AttributeNames::HONEYHIVE),
        session_id: Some("session"),
    };
    let fixed = Edits {
        resource: own(&[TENANT]),
        span_attributes: own(&["b", "session"]),
        ..Edits::default()
    };
    let removed = Edits {
        forced_keys: vec!["model_id", "wandb.project"],
        ..Edits::default()
    };
    [forced, fixed, removed]
});

/// Checks a request, and cuts, splits and edits it. Returns whether it is accepted.
///
/// # Panics
/// Panics if any result differs from what `prost` decodes.
pub fn payload(data: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(data);
    let payload = match Payload::check(bytes.clone()) {
        Ok(payload) => payload.with_gzip(Bytes::from_static(b"gzip")),
        Err(error) => {
            let error = error.to_string();
            assert!(
                error.len() < MAX_ERROR_BYTES && !error.contains(char::is_control),
                "{error}"
            );
            return false;
        }
    };
    let request = decoded(data);
    let (all, others) = leaves(data);
    assert_eq!(payload.spans(), spans_of(&request).count());
    assert_eq!(payload.spans(), count(&all));
    for (index, span) in spans_of(&request).enumerate() {
        let shown = payload.describe(index).expect("a span");
        assert_eq!(
            (shown.name, &shown.trace_id.to_bytes()[..]),
            (&*span.name, &*span.trace_id)
        );
        assert_eq!(shown.span_id.to_bytes()[..], *span.span_id);
    }
    assert_eq!(payload.describe(payload.spans()), None);
    // A part may have more blocks without spans for its spans than the whole.
    let may_be_refused = all.len() > MAX_EMPTY_BLOCKS;
    let part_is_valid = |part: &Payload| {
        if !may_be_refused {
            let again = Payload::check(part.bytes().clone()).expect("a part of a valid request");
            assert_eq!(again.spans(), part.spans());
        }
    };
    retained(&payload, &all, &others, part_is_valid);
    cut(&payload, &all, &others, part_is_valid);
    split(&payload, &request, all.len(), part_is_valid);
    for edits in EDITS.iter() {
        spliced(&payload, &request, edits, may_be_refused);
    }
    true
}

fn count(leaves: &[Leaf<'_>]) -> usize {
    leaves.iter().filter(|leaf| leaf.span.is_some()).count()
}

/// Keeps the spans of traces whose id is even, as sampling does.
fn retained(payload: &Payload, all: &[Leaf<'_>], others: &[&[u8]], is_valid: impl Fn(&Payload)) {
    let is_even = |trace_id: &[u8]| trace_id.last().is_some_and(|last| last % 2 == 0);
    let kept = payload.clone().retain(|trace_id, _| is_even(&trace_id));
    is_valid(&kept);
    let (of_kept, others_of_kept) = leaves(kept.bytes());
    let expected = all.iter().filter(|leaf| {
        leaf.span.is_none_or(|span| {
            let header = wire::fields(span, 0..span.len()).next().expect("a span");
            let span = wire::fields(span, header.value).find(|field| field.number == 1);
            is_even(&leaf.span.expect("a span")[span.expect("a trace id").value])
        })
    });
    assert!(of_kept.iter().eq(expected));
    assert_eq!(others_of_kept, others);
    assert_eq!(count(&of_kept), kept.spans());
    let is_unchanged = kept.spans() == payload.spans();
    assert_eq!(
        (kept.gzip().is_some(), kept.bytes() == payload.bytes()),
        (is_unchanged, is_unchanged)
    );
}

/// Cuts the request into requests of one, two and three spans.
fn cut(payload: &Payload, all: &[Leaf<'_>], others: &[&[u8]], is_valid: impl Fn(&Payload)) {
    for max in 1..4 {
        let pieces = payload.clone().pieces(max);
        assert_eq!(pieces.len(), payload.spans().div_ceil(max).max(1));
        let mut found = Vec::new();
        for piece in &pieces {
            is_valid(piece);
            assert!(piece.spans() <= max);
            let (of_piece, others_of_piece) = leaves(piece.bytes());
            assert_eq!(others_of_piece, others);
            found.extend(of_piece);
        }
        assert!(found == all);
    }
}

fn split(payload: &Payload, request: &Request, leaf_count: usize, is_valid: impl Fn(&Payload)) {
    let values: Result<Vec<_>, ()> = request
        .resource_spans
        .iter()
        .map(|block| resource_text(block, TENANT))
        .collect();
    let parts = match payload.clone().split_by_resource(TENANT) {
        Ok(parts) => parts,
        Err(error) => {
            let error = error.to_string();
            let is_ambiguous = values.is_err() && error.ends_with("more than one value of \"tenant.id\"");
            assert!(is_ambiguous || error.contains("at most 1024 values") || error.contains("cannot be assigned"));
            return;
        }
    };
    let values = values.expect("each resource has one value");
    let mut blocks: HashMap<&Option<String>, usize> = HashMap::new();
    for value in &values {
        *blocks.entry(value).or_default() += 1;
    }
    // A request of unknown fields alone is a part without a value.
    assert!(parts.len() == blocks.len() || blocks.is_empty() && parts.len() < 2);
    for (value, part) in &parts {
        is_valid(part);
        let part = decoded(part.bytes());
        assert_eq!(
            part.resource_spans.len(),
            blocks.get(value).copied().unwrap_or_default()
        );
        assert!(
            part.resource_spans
                .iter()
                .all(|block| resource_text(block, TENANT).as_ref() == Ok(value))
        );
    }
    assert_eq!(
        parts.iter().map(|(_, part)| part.spans()).sum::<usize>(),
        payload.spans()
    );
    assert_eq!(
        parts
            .iter()
            .map(|(_, part)| leaves(part.bytes()).0.len())
            .sum::<usize>(),
        leaf_count
    );
}

fn spliced(payload: &Payload, request: &Request, edits: &Edits, may_be_refused: bool) {
    let mut expected = request.clone();
    edit(&mut expected, edits);
    let mut spliced = payload.clone();
    spliced.splice(edits);
    let found = decoded(spliced.bytes());
    // NaN differs from itself, so encodings are compared.
    assert!(found.encode_to_vec() == expected.encode_to_vec());
    assert!(spliced.gzip().is_none() || spliced.bytes() == payload.bytes());
    assert_eq!(unknown_fields(spliced.bytes()), unknown_fields(payload.bytes()));
    if !may_be_refused {
        let again = Payload::check(spliced.bytes().clone()).expect("an edited request is valid");
        assert_eq!(again.spans(), payload.spans());
    }
    for block in &found.resource_spans {
        for own in &edits.resource {
            let attributes = block.resource.iter().flat_map(|resource| &resource.attributes);
            let values: Vec<_> = attributes
                .filter(|attribute| attribute.key == own.key.as_str())
                .collect();
            assert!(!values.is_empty());
            let is_forced = edits.forced_keys.contains(&own.key.as_str());
            assert!(!is_forced || values.len() == 1, "a forced attribute occurs once");
        }
    }
}

/// Rules of each kind: those that replace, drop and hash.
#[cfg(feature = "redact")]
static REDACTIONS: LazyLock<[Arc<Redaction>; 3]> = LazyLock::new(|| {
    [RedactAction::Replace, RedactAction::Drop, RedactAction::Hash].map(|action| {
        let patterns = [
            Pattern::Email,
            Pattern::Phone,
            Pattern::Card,
            Pattern::Iban,
            Pattern::Ip,
            Pattern::Jwt,
            Pattern::ApiKey,
        ];
        let keys = RedactRule::new().attribute("a").attribute("*.b").attribute("*secret*");
        let patterns = patterns.into_iter().fold(RedactRule::new(), RedactRule::pattern);
        let rules = [keys, patterns.regex("s[e3]cret")].map(|rule| ("rule".to_owned(), rule.action(action)));
        let rules = ResolvedRedact {
            names: true,
            rules: rules.into(),
            ..ResolvedRedact::default()
        };
        let selector = Selector::tenant("fuzzing").try_into().expect("a tenant");
        Redaction::new(&selector, &rules, Vec::new()).expect("rules")
    })
});

/// Checks a request and applies rules of redaction. Returns whether it is accepted.
///
/// # Panics
/// Panics if the result is invalid, lost a span, or differs from what `prost` decodes.
#[cfg(feature = "redact")]
pub fn redact_payload(data: &[u8]) -> bool {
    let Ok(payload) = Payload::check(Bytes::copy_from_slice(data)) else {
        return false;
    };
    let request = decoded(data);
    // Without the fields that prost does not know.
    let known = Payload::check(request.encode_to_vec().into()).expect("a request that was accepted");
    for redaction in REDACTIONS.iter() {
        let mut redacted = payload.clone();
        redacted.redact(redaction);
        let again = Payload::check(redacted.bytes().clone()).expect("a redacted request is valid");
        assert_eq!(again.spans(), payload.spans());
        let found = decoded(redacted.bytes());
        let ids = |request: &Request| {
            let ids =
                spans_of(request).map(|span| (span.trace_id.clone(), span.span_id.clone(), span.start_time_unix_nano));
            ids.collect::<Vec<_>>()
        };
        assert_eq!(ids(&found), ids(&request));
        assert_eq!(unknown_fields(redacted.bytes()), unknown_fields(payload.bytes()));

        let mut expected = request.clone();
        redact(&mut expected, redaction);
        let mut redacted = known.clone();
        redacted.redact(redaction);
        assert!(decoded(redacted.bytes()).encode_to_vec() == expected.encode_to_vec());
    }
    true
}
