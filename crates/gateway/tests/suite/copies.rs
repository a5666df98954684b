//! Copies of what clients send for the tracer of the operator.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tracer_registry::Selector;
use tracer_registry::status::{DropReason, LedgerSnapshot};
use tracer_registry_collector::{Project, Span};

use crate::admin::TABLE;
use crate::requests::EXPORT;
use crate::support::{LONG, SHARED, Service, attribute, body, framed, gzip, resources, spans, until};

const MAIL: &str = "alice@example.com";
/// The tenant that is copied. Its project is `acme`.
const TENANT: [(&str, &str); 1] = [("x-tenant", "team-a")];
const OPERATIONS: &str = "environment:operations";

/// Tables of the tenant and of the target, which has the project `globex`, with further lines.
fn tables(more: &str) -> String {
    format!(
        "[tenants.team-a]\napi_key = {{ file = \"keys/acme\" }}\nalso = [\"{OPERATIONS}\"]\n\
         [environments.operations]\napi_key = {{ file = \"keys/globex\" }}\n{more}"
    )
}

/// Returns a request with spans of these names, each with the address.
fn with_mail(names: &[&str]) -> ExportTraceServiceRequest {
    let mut request = spans(names);
    for (number, span) in request.resource_spans[0].scope_spans[0].spans.iter_mut().enumerate() {
        span.span_id = (number as u64 + 1).to_be_bytes().to_vec();
        span.parent_span_id = vec![5; 8];
        span.attributes.push(attribute("note", &format!("mail {MAIL}")));
    }
    request
}

/// Delivers what is queued. Unlike [`Service::flush`], copies may be lost.
fn flush(service: &Service) {
    drop(service.gateway().registry().force_flush(LONG));
}

fn received(service: &Service, project: &str) -> Vec<Span> {
    let project = service.collector.project(project);
    let spans = project.iter().flat_map(Project::spans);
    let mut spans: Vec<Span> = spans.map(|span| Span::clone(span)).collect();
    spans.sort_by_key(|span| (span.span_id.clone(), span.name.clone()));
    spans
}

fn ledger(service: &Service, selector: &str) -> LedgerSnapshot {
    let selector: Selector = selector.parse().unwrap();
    let status = service.gateway().registry().tracer_status(selector);
    let ledger = status.unwrap().unwrap().spans;
    let sum = ledger.delivered + ledger.pending() + ledger.lost();
    assert_eq!(ledger.accepted, sum, "{ledger:?}");
    ledger
}

#[test]
fn what_a_client_sends_in_any_format_reaches_the_project_of_the_target_with_its_ids() {
    let service = Service::with("", &tables(""));
    let message = with_mail(&["one", "two"]).encode_to_vec();
    assert_eq!(service.post(SHARED, &TENANT, message.clone()).status, 200);
    let packed = [TENANT[0], ("content-encoding", "gzip")];
    assert_eq!(service.post(SHARED, &packed, gzip(&message)).status, 200);
    assert_eq!(
        service.call(EXPORT, SHARED, &TENANT, framed(false, &message)).status,
        200
    );
    let span = json!({
        "traceId": "07".repeat(16), "spanId": "00000000000000ff", "parentSpanId": "05".repeat(8), "name": "JSON",
        "attributes": [{"key": "note", "value": {"stringValue": "of JSON"}}],
    });
    let request = service
        .request("/v1/traces", SHARED)
        .header("content-type", "application/json")
        .header("x-tenant", "team-a");
    let json = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    assert_eq!(service.client.send(request.body(json.into()).unwrap()).status, 200);
    flush(&service);
    let [own, copies] = ["acme", "globex"].map(|project| received(&service, project));
    let shown = |spans: &[Span]| {
        let shown = |span: &Span| (span.span_id.clone(), span.name.clone(), span.attributes.clone());
        spans.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(shown(&own), shown(&copies));
    assert_eq!(own.len(), 7);
    for span in own.iter().chain(&copies) {
        let ids = (&*span.trace_id, span.parent_span_id.as_deref());
        assert_eq!(ids, (&*"07".repeat(16), Some(&*"05".repeat(8))));
    }
    for selector in ["tenant:team-a", OPERATIONS] {
        assert_eq!(ledger(&service, selector).delivered, 7, "{selector}");
    }
}

#[test]
fn each_side_has_its_own_redaction() {
    let redact = "[tenants.team-a.redact.rules.secrets]\nattributes = [\"secret\"]\n\
        [environments.operations.redact.rules.mail]\npatterns = [\"email\"]";
    let service = Service::with("", &tables(redact));
    let mut request = with_mail(&["span"]);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.attributes.push(attribute("secret", "hunter2"));
    assert_eq!(service.post(SHARED, &TENANT, request.encode_to_vec()).status, 200);
    flush(&service);
    let values = |project: &str| {
        let span = received(&service, project).remove(0);
        ["note", "secret"].map(|key| span.attributes[key].clone())
    };
    assert_eq!(values("acme"), [json!(format!("mail {MAIL}")), json!("[redacted]")]);
    assert_eq!(values("globex"), [json!("mail [redacted]"), json!("hunter2")]);
}

#[test]
fn each_side_has_its_own_quota() {
    let quotas = "[tenants.team-a.quota]\nspans_per_day = 5\n[environments.operations.quota]\nspans_per_day = 3";
    let service = Service::with("", &tables(quotas));
    let post = |names: &[&str]| service.post(SHARED, &TENANT, body(names)).status;
    // The copy of the second request is beyond the quota of the target, and is refused as a whole.
    assert_eq!((post(&["a", "b"]), post(&["c", "d"])), (200, 200));
    // What the tenant's quota refuses has no copy.
    assert_eq!(post(&["e", "f"]), 429);
    assert_eq!(post(&["g"]), 200);
    flush(&service);
    assert_eq!(service.spans("acme"), ["a", "b", "c", "d", "g"]);
    assert_eq!(service.spans("globex"), ["a", "b", "g"]);
    let target = ledger(&service, OPERATIONS);
    assert_eq!((target.accepted, target.delivered), (5, 3));
    assert_eq!(target.dropped, [(DropReason::Quota, 2)].into());
    assert!(ledger(&service, "tenant:team-a").dropped.is_empty());
}

#[test]
fn a_target_without_a_key_changes_no_answer_and_its_copies_are_counted() {
    let service = Service::prepare("", "");
    let without_key = tables("").replace("keys/globex", "keys/operations");
    service.write_config("", &without_key);
    let service = service.start_again().unwrap();
    let reply = service.post(SHARED, &TENANT, body(&["a", "b"]));
    assert_eq!((reply.status, &reply.body[..]), (200, &b""[..]));
    assert_eq!(service.status().requests.spans_accepted, 2);
    flush(&service);
    assert_eq!(service.spans("acme"), ["a", "b"]);
    let target = ledger(&service, OPERATIONS);
    assert_eq!(
        (target.accepted, target.dropped),
        (2, [(DropReason::NoTracer, 2)].into())
    );
    // It works once its key can be read.
    std::fs::write(service.path("keys/operations"), "backend-key-of-globex").unwrap();
    service.gateway().registry().reload().unwrap();
    let mut sent = 0;
    until(|| {
        assert_eq!(service.post(SHARED, &TENANT, body(&["later"])).status, 200);
        sent += 1;
        flush(&service);
        !service.spans("globex").is_empty()
    });
    let target = ledger(&service, OPERATIONS);
    assert_eq!(
        (target.accepted, target.delivered),
        (2 + sent, service.spans("globex").len() as u64)
    );
}

#[test]
fn a_split_request_is_copied_for_each_tenant_that_has_copies() {
    let callers = "[gateway.callers.teams]\ntoken = { file = \"tokens/teams\" }\n\
        tenant = { resource = \"tenant.id\", allow = [\"acme\", \"team-a\"] }";
    let service = Service::prepare("", "");
    std::fs::write(service.path("tokens/teams"), "token-of-teams").unwrap();
    service.write_config("", &tables(callers));
    let service = service.start_again().unwrap();
    let blocks = resources(&[
        (&[("tenant.id", "team-a")], &["of team-a"]),
        (&[("tenant.id", "acme")], &["of acme"]),
    ]);
    assert_eq!(service.post("token-of-teams", &[], blocks.encode_to_vec()).status, 200);
    flush(&service);
    assert_eq!(service.spans("acme"), ["of acme", "of team-a"]);
    assert_eq!(service.spans("globex"), ["of team-a"]);
}

#[test]
fn a_copied_trace_is_explained_for_both_sides() {
    let more = "[environments.operations.quota]\nspans_per_day = 2\n[export.explain]\nmax_traces = 1000";
    let service = Service::with(TABLE, &tables(more));
    assert_eq!(service.post(SHARED, &TENANT, body(&["a", "b"])).status, 200);
    assert_eq!(service.post(SHARED, &TENANT, body(&["c"])).status, 200);
    flush(&service);
    let (status, page) = service.admin("GET", &format!("/api/explain?trace_id={}", "07".repeat(16)));
    assert_eq!(status, 200);
    let fates = page["selectors"].as_array().unwrap();
    let fate = |selector: &str| {
        let fate = fates.iter().find(|fate| fate["selector"] == selector);
        let fate = fate.unwrap_or_else(|| panic!("{selector} in {page}"));
        (
            fate["caller"].clone(),
            fate["accepted"].clone(),
            fate["delivered"].clone(),
            fate["dropped"].clone(),
        )
    };
    let of = |accepted: u64, delivered: u64, dropped: Value| {
        (json!("shared-api"), json!(accepted), json!(delivered), dropped)
    };
    assert_eq!(fates.len(), 2, "{page}");
    assert_eq!(fate("tenant:team-a"), of(3, 3, json!({})));
    assert_eq!(fate(OPERATIONS), of(3, 2, json!({"quota": 1})));
}
