//! Pages of the admin listener.

use base64::Engine as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tracer_registry_collector::Fault;

use crate::admin::{TABLE, bearer, start};
use crate::support::{ACME, ADMIN, KEYS, LONG, SCRAPER, SHARED, Service, body, until};

#[test]
fn tenants_are_listed_in_pages() {
    let service = start();
    for (token, headers, names) in [
        (ACME, &[][..], &["one", "two"][..]),
        (SHARED, &[("x-tenant", "globex")], &["three"]),
    ] {
        assert_eq!(service.post(token, headers, body(names)).status, 200);
    }
    service.flush();
    let page = service.page("/api/tenants?order=delivered&limit=1");
    let names = |page: &Value| -> Vec<String> {
        let tenants = page["tenants"].as_array().unwrap().iter();
        tenants
            .map(|tenant| tenant["selector"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (names(&page), &page["found"]),
        (vec!["tenant:acme".to_owned()], &2.into())
    );
    assert_eq!(page["tenants"][0]["spans"]["delivered"], 2);
    let next = page["next"].as_str().unwrap();
    let rest = service.page(&format!("/api/tenants?order=delivered&limit=1&after={next}"));
    assert_eq!(
        (names(&rest), &rest["next"]),
        (vec!["tenant:globex".to_owned()], &Value::Null)
    );
    assert_eq!(names(&service.page("/api/tenants?contains=lob")), ["tenant:globex"]);
    assert_eq!(service.page("/api/tenants?only=failing")["found"], 0);

    let one = service.page("/api/tenants/acme");
    assert_eq!(one, service.page("/api/tenants/tenant%3Aacme"));
    assert_eq!(
        (&one["selector"], &one["spans"]["delivered"]),
        (&"tenant:acme".into(), &2.into())
    );
    let (status, answer) = service.admin("GET", "/api/tenants/initech");
    assert_eq!(status, 404, "{answer}");
    let endpoints = service.page("/api/endpoints");
    assert_eq!(
        (&endpoints["found"], &endpoints["endpoints"][0]["tracers"]),
        (&1.into(), &2.into())
    );
    assert_eq!(endpoints["endpoints"][0]["endpoint"], service.collector.url());
}

#[test]
fn callers_are_listed_with_what_they_may_address() {
    let service = start();
    assert_eq!(
        service.post(SHARED, &[("x-tenant", "acme")], body(&["a", "b"])).status,
        200
    );
    assert_eq!(service.post(SHARED, &[], body(&["c"])).status, 400);
    assert_eq!(service.post("token-of-no-caller", &[], body(&["d"])).status, 401);
    let page = service.page("/api/callers");
    assert_eq!((&page["found"], &page["next"]), (&5.into(), &Value::Null));
    assert_eq!(page["unidentified"], json!({"unauthorized": 1}));
    let shared = page["callers"].as_array().unwrap().iter();
    let shared = shared
        .into_iter()
        .find(|caller| caller["caller"] == "shared-api")
        .unwrap();
    assert_eq!(
        *shared,
        json!({
            "caller": "shared-api", "addresses": {"header": "x-tenant", "allow": 3}, "tokens": 1, "requests": 1,
            "spans": 2, "session_requests": 0, "refused": {"no_tenant": 1},
        })
    );
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let page = service.page(&format!("/api/callers?limit=2{after}"));
        let callers = page["callers"].as_array().unwrap();
        names.extend(
            callers
                .iter()
                .map(|caller| caller["caller"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(
        names,
        ["acme-backend", "globex-backend", "path-api", "shared-api", "split-api"]
    );
    let some = service.page("/api/callers?contains=backend&after=acme-backend");
    assert_eq!(
        (&some["found"], &some["callers"][0]["caller"]),
        (&2.into(), &"globex-backend".into())
    );
}

#[test]
fn the_fate_of_a_trace_is_explained() {
    let service = Service::with(TABLE, "[export.explain]\nmax_traces = 1000");
    let trace = "07".repeat(16);
    let explain = |trace: &str| service.admin("GET", &format!("/api/explain?trace_id={trace}"));
    let (status, unseen) = explain(&trace);
    assert_eq!(
        (status, &unseen["seen"], &unseen["selectors"]),
        (200, &false.into(), &json!([]))
    );
    assert_eq!(service.post(ACME, &[], body(&["one", "two"])).status, 200);
    service.flush();
    let (_, seen) = explain(&trace.to_uppercase());
    assert_eq!(
        (&seen["seen"], &seen["trace_id"], &seen["kept"]),
        (&true.into(), &trace.into(), &"10m".into())
    );
    let fate = &seen["selectors"][0];
    assert_eq!(
        (&fate["selector"], &fate["caller"]),
        (&"tenant:acme".into(), &"acme-backend".into())
    );
    assert_eq!((&fate["accepted"], &fate["delivered"]), (&2.into(), &2.into()));
    for trace in [
        "",
        "7",
        &"0".repeat(32),
        &"g".repeat(32),
        &"07".repeat(17),
        &format!("+{}", "7".repeat(31)),
    ] {
        assert_eq!(explain(trace).0, 400, "{trace}");
    }
    assert_eq!(service.admin("GET", "/api/explain").0, 400);
    let (status, answer) = start().admin("GET", &format!("/api/explain?trace_id={}", "1".repeat(32)));
    assert_eq!(status, 409);
    assert_eq!(
        answer["error"]["message"],
        "nothing is kept about traces: export.explain.max_traces is 0"
    );
}

#[test]
fn metrics_are_text_in_the_format_that_the_client_prefers() {
    let service = start();
    assert_eq!(service.post(ACME, &[], body(&["one", "two"])).status, 200);
    service.flush();
    let scrape = |token: &str, accept: &str| {
        let headers = [("authorization", &*bearer(token)), ("accept", accept)];
        let reply = service.ask("GET", "/metrics", &headers, "");
        assert_eq!(reply.status, 200);
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(text.contains("tracer_registry_gateway_span_accepted_total 2"), "{text}");
        (reply.header("content-type").unwrap().to_owned(), text)
    };
    let (content_type, text) = scrape(SCRAPER, "text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!text.contains("# EOF"));
    let (content_type, text) = scrape(ADMIN, "application/openmetrics-text;version=1.0.0,text/plain;q=0.3");
    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(text.ends_with("# EOF\n"));
    let secrets = [ADMIN, SCRAPER, ACME].into_iter().chain(KEYS.map(|(_, key)| key));
    assert!(secrets.into_iter().all(|secret| !text.contains(secret)));
}

#[test]
fn refused_batches_are_shown_with_the_words_of_the_receiver() {
    let service = Service::with(TABLE, "[export.dead_letters]\nmax_batches = 4");
    assert_eq!(service.page("/api/tenants/acme/refused"), json!({"refused": []}));
    service.collector.fault(Fault::status(400).times(1));
    assert_eq!(service.post(ACME, &[], body(&["refused"])).status, 200);
    let report = service.gateway().registry().force_flush(LONG);
    assert!(!report.is_complete(), "{report}");
    let page = service.page("/api/tenants/acme/refused");
    let batch = &page["refused"][0];
    assert_eq!(
        (&batch["spans"], &batch["protocol"]),
        (&1.into(), &"http/protobuf".into())
    );
    let encoded = batch["body"].as_str().unwrap();
    let sent = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let sent = ExportTraceServiceRequest::decode(&*sent).unwrap();
    assert_eq!(sent.resource_spans[0].scope_spans[0].spans[0].name, "refused");
    let without = service.page("/api/tenants/acme/refused?body=false");
    assert_eq!(
        (&without["refused"][0]["spans"], &without["refused"][0]["body"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(service.page("/api/tenants/globex/refused"), json!({"refused": []}));
    assert_eq!(start().admin("GET", "/api/tenants/acme/refused").0, 409);
}

#[test]
fn what_needs_attention_is_listed_and_goes_when_it_is_over() {
    let service = start();
    assert_eq!(service.page("/api/attention"), json!({"attention": []}));
    assert_eq!(service.admin("POST", "/api/tenants/acme/pause").0, 200);
    let page = service.page("/api/attention");
    let item = &page["attention"][0];
    assert_eq!(
        (&item["rule"], &item["severity"], &item["count"]),
        (&"paused".into(), &"notice".into(), &1.into())
    );
    assert_eq!(item["tracers"], json!(["tenant:acme"]));
    assert_eq!(service.admin("POST", "/api/tenants/acme/resume").0, 200);
    assert_eq!(service.page("/api/attention"), json!({"attention": []}));
}

#[test]
fn a_tenant_whose_key_cannot_be_read_needs_attention_and_its_page_has_the_reason() {
    let service = Service::with(TABLE, "[tenants.team-lost]\napi_key = { file = \"keys/missing\" }");
    let post = |tenant| service.post(SHARED, &[("x-tenant", tenant)], body(&["span"])).status;
    assert_eq!((post("team-unknown"), post("team-lost")), (403, 503));
    let page = service.page("/api/attention");
    let item = &page["attention"][0];
    assert_eq!(
        (&item["rule"], &item["severity"], &item["tracers"]),
        (
            &"tracer_not_created".into(),
            &"error".into(),
            &json!(["tenant:team-lost"])
        )
    );
    assert!(item["since"].is_string() && page["attention"][1].is_null(), "{page}");
    let message = |tenant: &str| {
        let (status, answer) = service.admin("GET", &format!("/api/tenants/{tenant}"));
        assert_eq!(status, 404, "{answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    };
    let reason = "no tracer, because the last look-up failed: the key cannot be read: ";
    assert!(message("team-lost").starts_with(reason), "{}", message("team-lost"));
    assert_eq!(message("acme"), "no tracer since the start; the first data creates it");
}

#[test]
fn a_paused_tenant_with_a_full_queue_is_an_error_until_its_data_is_accepted_again() {
    let service = Service::with(TABLE, "[export]\nmax_queue_size = 2");
    assert_eq!(service.admin("POST", "/api/tenants/acme/pause").0, 200);
    let post = || service.post(ACME, &[], body(&["one", "two"])).status;
    assert_eq!((post(), post()), (200, 503));
    let rules = || {
        let page = service.page("/api/attention");
        let items = page["attention"].as_array().unwrap().iter();
        items
            .map(|item| {
                format!(
                    "{} {}",
                    item["rule"].as_str().unwrap(),
                    item["severity"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(rules(), ["queue_full error", "paused notice"]);
    let lost = service.page("/api/tenants/acme")["spans"]["dropped"].clone();
    assert_eq!(lost, json!({}), "refused, not lost");
    assert_eq!(service.admin("POST", "/api/tenants/acme/resume").0, 200);
    until(|| {
        service.flush();
        let status = post();
        service.flush();
        status == 200 && rules().is_empty()
    });
}
