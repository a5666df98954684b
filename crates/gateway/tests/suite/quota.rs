//! Quotas of tenants and callers: what is accepted, and the answers beyond.

use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message as _;
use serde_json::{Value, json};
use tracer_registry::config::SpoolMode;
use tracer_registry_gateway::RefusalKind;
use tracer_registry_spool::test::TestStore;

use crate::answers::RpcStatus;
use crate::limits::Raw;
use crate::requests::EXPORT;
use crate::support::{
    ACME, GLOBEX, Reply, SHARED, SPLIT, Service, attribute, body, framed, gzip, resources, spans, until,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

fn quota_of(tenant: &str, limits: &str) -> String {
    format!("[tenants.{tenant}.quota]\n{limits}\n")
}

/// Returns what a tenant has used of its only limit, one of bytes.
fn used_bytes(service: &Service, tenant: &str) -> u64 {
    let selector: tracer_registry::Selector = format!("tenant:{tenant}").parse().unwrap();
    let status = service.gateway().registry().tracer_status(selector);
    let [quota] = &status.unwrap().unwrap().quota[..] else {
        panic!("one limit");
    };
    assert_eq!(quota.setting, "bytes_per_day");
    quota.used
}

fn post_json(service: &Service, path: &str, body: &Value) -> Reply {
    let request = service.request(path, ACME).header("content-type", "application/json");
    service.client.send(request.body(body.to_string().into()).unwrap())
}

/// Returns the seconds to wait of a refusal over HTTP.
fn refused(reply: &Reply) -> i64 {
    assert_eq!(reply.status, 429, "{reply:?}");
    let seconds = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
    seconds
}

/// Returns the seconds to wait of a refusal over gRPC.
fn refused_grpc(reply: &Reply) -> i64 {
    assert_eq!((reply.status, reply.grpc_status()), (200, 8), "{reply:?}");
    let details = STANDARD_NO_PAD.decode(reply.header("grpc-status-details-bin").unwrap());
    let status = RpcStatus::decode(&details.unwrap()[..]).unwrap();
    assert_eq!((status.code, status.details.len()), (8, 1));
    let detail = &status.details[0];
    assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let retry = RetryInfo::decode(&detail.value[..]).unwrap();
    retry.delay.unwrap().seconds
}

#[test]
fn a_request_beyond_the_quota_is_refused_in_each_format_with_the_time_to_wait() {
    // One request, and the next after 500 s.
    let quota = quota_of(
        "acme",
        "requests_per_second = 1\nspans_per_second = 1\nspans_burst = 500",
    );
    let service = Service::with("", &quota);
    let large = body(&[""; 500]);
    assert_eq!(service.post(ACME, &[], large.clone()).status, 200);
    let one = body(&["one"]);
    // The span fits after a second, and what has the burst after all of it.
    let near = |seconds: i64, expected: i64| assert!((expected - 20..=expected).contains(&seconds), "{seconds}");
    let reply = service.post(ACME, &[], one.clone());
    assert_eq!(refused(&reply), 1);
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
    let status = RpcStatus::decode(reply.body.clone()).unwrap();
    assert_eq!(status.code, 8);
    assert_eq!(
        status.message,
        "more than the quota of the tenant allows; retry after 1 s"
    );
    near(refused(&service.post(ACME, &[], large.clone())), 500);
    near(
        refused_grpc(&service.call(EXPORT, ACME, &[], framed(false, &large))),
        500,
    );
    let span = json!({"traceId": TRACE, "spanId": "b7ad6b7169203331", "name": "JSON"});
    let spans = vec![span; 400];
    let reply = post_json(
        &service,
        "/v1/traces",
        &json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}),
    );
    near(refused(&reply), 400);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["code"], 8);
    // Not the other tenant.
    assert_eq!(service.post(GLOBEX, &[], large).status, 200);
    let status = service.status();
    assert_eq!(status.requests.refused, [(RefusalKind::Quota, 4)].into());
    let callers = service.gateway().callers();
    let refused = |name: &str| {
        let caller = callers.iter().find(|caller| caller.caller == name);
        caller.unwrap().refused.clone()
    };
    assert_eq!(refused("acme-backend"), [("quota", 4)].into());
    assert!(refused("globex-backend").is_empty());
    // Refused requests are in no ledger, as all that is refused.
    service.flush();
    assert_eq!(service.spans("acme").len(), 500);
}

#[test]
fn a_request_to_the_session_api_counts_as_a_request() {
    let service = Service::with_defaults("backend = 'honeyhive'", &quota_of("acme", "bytes_per_day = \"1KB\""));
    let start = |bytes: usize| json!({"session": {"session_name": "n".repeat(bytes)}});
    let reply = post_json(&service, "/session/start", &start(700));
    assert_eq!(reply.status, 200);
    let reply = post_json(&service, "/session/start", &start(700));
    refused(&reply);
    let message: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(message["message"], message["detail"]);
    assert_eq!(post_json(&service, "/session/start", &start(10)).status, 200);
}

#[test]
fn a_client_far_beyond_its_quota_gets_what_it_allows_and_the_others_lose_nothing() {
    const RATE: u128 = 2000;
    const SPANS: usize = 100;
    let service = Service::with("", &quota_of("acme", "spans_per_second = 2000"));
    let message = body(&["of acme"; SPANS]);
    let begin = Instant::now();
    let others = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let of_globex = body(&["of globex"]);
            let mut sent = 0;
            while begin.elapsed() < Duration::from_secs(3) {
                let reply = service.post(GLOBEX, &[], of_globex.clone());
                assert_eq!(reply.status, 200, "{reply:?}");
                sent += 1;
            }
            sent
        });
        let (mut accepted, mut asked) = (0, 0);
        // The latest moment at which the first request was charged, and the earliest of the last.
        let mut first = None;
        let mut last = begin;
        while begin.elapsed() < Duration::from_secs(3) {
            last = Instant::now();
            let reply = service.post(ACME, &[], message.clone());
            first.get_or_insert_with(Instant::now);
            asked += 1;
            match reply.status {
                200 => accepted += 1,
                _ => assert_eq!(refused(&reply), 1),
            }
        }
        let got = (accepted * SPANS) as u128;
        let allowed = |time: Duration| RATE + RATE * time.as_millis() / 1000;
        let most = allowed(begin.elapsed());
        let minimum = allowed(last.duration_since(first.expect("one request")));
        assert!(got <= most, "{got} of {most}");
        // To a hundredth, and the part of a request that did not fit.
        assert!(
            got + SPANS as u128 >= minimum * 99 / 100,
            "{got} of {minimum}, {asked} asked"
        );
        assert!((asked * SPANS) as u128 > 2 * most, "{asked} are too few to tell");
        (accepted * SPANS, other.join().unwrap())
    });
    service.flush();
    assert_eq!((service.spans("acme").len(), service.spans("globex").len()), others);
}

#[test]
fn a_refusal_by_one_tenant_charges_none_of_a_split_request() {
    let quotas = quota_of("acme", "spans_per_day = 2") + &quota_of("globex", "spans_per_day = 1");
    let service = Service::with("", &quotas);
    let split = |of_acme: &[&str], of_globex: &[&str]| {
        let blocks = resources(&[
            (&[("tenant.id", "acme")], of_acme),
            (&[("tenant.id", "globex")], of_globex),
        ]);
        service.post(SPLIT, &[], blocks.encode_to_vec())
    };
    for _ in 0..3 {
        refused(&split(&["a", "b"], &["c", "d"]));
    }
    assert_eq!(split(&["a", "b"], &["c"]).status, 200);
    refused(&service.post(ACME, &[], body(&["e"])));
    refused(&service.post(GLOBEX, &[], body(&["f"])));
}

#[test]
fn a_request_that_is_refused_later_gets_its_quota_back() {
    let store = std::sync::Arc::new(TestStore::new());
    let quotas = quota_of("acme", "spans_per_day = 2") + &quota_of("globex", "spans_per_day = 5");
    let service = Service::on_store(SpoolMode::Through, &store, "backend = 'otlp'", &quotas);
    store.fill_owner("acme", true);
    for _ in 0..3 {
        assert_eq!(service.post(ACME, &[], body(&["a", "b"])).status, 503);
    }
    store.fill_owner("acme", false);
    assert_eq!(service.post(ACME, &[], body(&["a", "b"])).status, 200);
    refused(&service.post(ACME, &[], body(&["c"])));
}

#[test]
fn the_rate_of_a_caller_refuses_before_a_body_is_read() {
    let callers = "[gateway.callers.shared-api.quota]\nrequests_per_second = 1\nrequests_burst = 2";
    let service = Service::with("", callers);
    let tenant = |tenant| [("x-tenant", tenant)];
    let begin = Instant::now();
    assert_eq!(service.post(SHARED, &tenant("acme"), body(&["a"])).status, 200);
    // It counts whatever becomes of it.
    assert_eq!(service.post(SHARED, &tenant("globex"), b"\xff".to_vec()).status, 400);
    let mut raw = Raw::connect(service.http());
    raw.write(format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {SHARED}\r\nx-tenant: acme\r\n\
         content-type: application/x-protobuf\r\ncontent-length: 1000\r\n\r\n"
    ));
    let head = raw.read_head();
    assert!(begin.elapsed() < Duration::from_secs(1), "too slow to tell");
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    // Other callers of the tenants are not affected, and this one is served again.
    assert_eq!(service.post(ACME, &[], body(&["b"])).status, 200);
    until(|| service.post(SHARED, &tenant("acme"), body(&["c"])).status == 200);
}

#[test]
fn the_data_of_a_caller_counts_over_all_its_tenants() {
    let callers = "[gateway.callers.shared-api.quota]\nspans_per_day = 5\nbytes_per_month = \"1GiB\"";
    let service = Service::with("", &(quota_of("globex", "spans_per_day = 1") + callers));
    let post = |tenant, names: &[&str]| service.post(SHARED, &[("x-tenant", tenant)], body(names));
    assert_eq!(post("acme", &["a", "b", "c"]).status, 200);
    // Refused by the tenant, so the caller is not charged.
    let reply = post("globex", &["d", "e"]);
    refused(&reply);
    assert!(RpcStatus::decode(reply.body).unwrap().message.contains("of the tenant"));
    assert_eq!(post("globex", &["f"]).status, 200);
    let reply = post("acme", &["g", "h"]);
    refused(&reply);
    assert!(RpcStatus::decode(reply.body).unwrap().message.contains("of the caller"));
    assert_eq!(post("acme", &["i"]).status, 200);
    assert_eq!(service.post(ACME, &[], body(&["j", "k"])).status, 200);
}

#[test]
fn a_reload_that_changes_a_quota_applies_to_the_next_request_and_keeps_what_was_used() {
    let service = Service::with("", &quota_of("acme", "spans_per_day = 2"));
    let reload = |limits: &str| {
        service.write_config("", &quota_of("acme", limits));
        service.gateway().registry().reload().unwrap();
    };
    let post = |names: &[&str]| service.post(ACME, &[], body(names));
    assert_eq!(post(&["a", "b"]).status, 200);
    refused(&post(&["c"]));
    reload("spans_per_day = 3");
    assert_eq!(post(&["c"]).status, 200);
    refused(&post(&["d"]));
    reload("spans_per_day = 1");
    refused(&post(&["d"]));
    reload("");
    assert_eq!(post(&["d"; 100]).status, 200);
}

#[test]
fn the_status_of_a_tenant_has_what_is_used_of_each_limit() {
    let service = Service::with(
        "",
        &quota_of(
            "acme",
            "spans_per_day = 10\nbytes_per_month = \"1KB\"\nrequests_per_second = 5",
        ),
    );
    let message = body(&["a", "b", "c"]);
    let bytes = message.len() as u64;
    assert_eq!(service.post(ACME, &[], message).status, 200);
    let status = service
        .gateway()
        .registry()
        .tracer_status("tenant:acme".parse::<tracer_registry::Selector>().unwrap());
    let quota = status.unwrap().unwrap().quota;
    let used = |setting: &str| {
        let of_setting = quota.iter().find(|quota| quota.setting == setting).unwrap();
        (of_setting.used, of_setting.limit)
    };
    assert_eq!(
        (used("spans_per_day"), used("bytes_per_month")),
        ((3, 10), (bytes, 1000))
    );
    let (requests, burst) = used("requests_burst");
    assert!(requests <= 1 && burst == 5, "{requests}");
    assert_eq!(quota.len(), 3);
}

#[test]
fn a_caller_keeps_what_it_has_used_over_a_reload() {
    let quota = |spans: u32| format!("[gateway.callers.shared-api.quota]\nspans_per_day = {spans}");
    let service = Service::with("", &quota(2));
    let post = |names: &[&str]| service.post(SHARED, &[("x-tenant", "acme")], body(names));
    assert_eq!(post(&["a", "b"]).status, 200);
    service.write_config("", &quota(3));
    service.gateway().registry().reload().unwrap();
    refused(&post(&["c", "d"]));
    assert_eq!(post(&["c"]).status, 200);
    refused(&post(&["d"]));
}

#[test]
fn a_quota_of_a_caller_that_is_invalid_is_a_fault() {
    for (limits, expected) in [
        (
            "spans_per_second = 0",
            "gateway.callers.shared-api.quota.spans_per_second",
        ),
        ("spans_per_hour = 1", "gateway.callers.shared-api.quota.spans_per_hour"),
    ] {
        let callers = format!("[gateway.callers.shared-api.quota]\n{limits}");
        let error = Service::prepare("", &callers).start_again().err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_bytes_of_a_quota_are_those_that_arrived_inflated_and_in_protobuf() {
    let mut request = spans(&["JSON"]);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.attributes = vec![attribute("text", &"x".repeat(10_000))];
    let message = request.encode_to_vec();
    // Redaction removes most of each request. The caller may send as much as five of them.
    let tables = quota_of("acme", "bytes_per_day = \"1GiB\"")
        + &format!(
            "[tenants.acme.redact.rules.text]\nattributes = [\"text\"]\naction = \"drop\"\n\
             [gateway.callers.acme-backend.quota]\nbytes_per_day = {}",
            5 * message.len()
        );
    let service = Service::with("", &tables);
    let used = |tenant: &str| used_bytes(&service, tenant);
    let post = |encoding: &str, body: Vec<u8>| {
        let headers = [("content-encoding", encoding)];
        let headers = if encoding.is_empty() { &[][..] } else { &headers[..] };
        assert_eq!(service.post(ACME, headers, body).status, 200, "{encoding}");
    };
    let json = json!({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [{
        "traceId": "07".repeat(16), "spanId": "09".repeat(8), "name": "JSON", "kind": 1,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000500000000",
        "attributes": [{"key": "text", "value": {"stringValue": "x".repeat(10_000)}}],
    }]}]}]});
    let formats: [(&str, &dyn Fn()); 5] = [
        ("protobuf", &|| post("", message.clone())),
        ("gzip", &|| post("gzip", gzip(&message))),
        ("zstd", &|| post("zstd", zstd::bulk::compress(&message, 1).unwrap())),
        ("gRPC", &|| {
            let reply = service.call(EXPORT, ACME, &[], framed(false, &message));
            assert_eq!(reply.grpc_status(), 0);
        }),
        ("JSON", &|| {
            assert_eq!(post_json(&service, "/v1/traces", &json).status, 200);
        }),
    ];
    for ((format, send), number) in formats.into_iter().zip(1..) {
        send();
        let expected = number * message.len() as u64;
        assert_eq!(used("acme"), expected, "{format}");
    }
    let refusal = service.post(ACME, &[], body(&["n"]));
    refused(&refusal);
    let message = RpcStatus::decode(refusal.body).unwrap().message;
    assert!(message.contains("of the caller"), "{message}");
    service.flush();
    let project = service.collector.project("acme").unwrap();
    assert!(project.spans().iter().all(|span| span.attributes.is_empty()));
}

#[test]
fn a_request_with_one_byte_more_than_the_quota_is_refused_however_it_is_compressed() {
    let message = body(&["n"; 100]);
    for (limit, status) in [(message.len(), 200), (message.len() - 1, 429)] {
        let service = Service::with("", &quota_of("acme", &format!("bytes_per_day = {limit}")));
        let packed = gzip(&message);
        assert!(packed.len() < limit / 4);
        let reply = service.post(ACME, &[("content-encoding", "gzip")], packed);
        assert_eq!(reply.status, status, "{limit}");
        assert_eq!(
            service.post(ACME, &[], body(&["n"])).status,
            if status == 200 { 429 } else { 200 }
        );
    }
}

#[test]
fn a_split_request_counts_for_each_tenant_with_its_part_alone() {
    let quotas = quota_of("acme", "bytes_per_day = \"1MiB\"") + &quota_of("globex", "bytes_per_day = \"1MiB\"");
    let service = Service::with("", &quotas);
    let block = |tenant, names: &[&str]| resources(&[(&[("tenant.id", tenant)], names)]);
    let (of_acme, of_globex) = (block("acme", &["a"; 50]), block("globex", &["b"]));
    let whole = [of_acme.encode_to_vec(), of_globex.encode_to_vec()];
    assert_eq!(service.post(SPLIT, &[], whole.concat()).status, 200);
    for (tenant, part) in ["acme", "globex"].into_iter().zip(&whole) {
        assert_eq!(used_bytes(&service, tenant), part.len() as u64, "{tenant}");
    }
}
