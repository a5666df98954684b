//! Metrics of a gateway, as a scraper reads them: they equal its status, to the last span.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use prost::Message as _;
use tracer_registry::Selector;
use tracer_registry::status::{DropReason, LedgerSnapshot};
use tracer_registry_collector::Fault;

use crate::admin::{TABLE, bearer};
use crate::support::{ACME, GLOBEX, SCRAPER, SHARED, Service, body, resources, until};

/// Values of a scrape by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) values: BTreeMap<(String, BTreeMap<String, String>), f64>,
    /// Names of metric families.
    pub(crate) families: BTreeSet<String>,
}

impl Samples {
    /// Reads Prometheus text. Its label values have no escapes here.
    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# ") {
                if let Some(family) = head.strip_prefix("TYPE ") {
                    let (name, _) = family.split_once(' ').unwrap();
                    assert!(samples.families.insert(name.to_owned()), "{name} is there twice");
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let labels = labels.split_terminator(',').map(|label| {
                let (key, value) = label.split_once('=').unwrap();
                (key.to_owned(), value.trim_matches('"').to_owned())
            });
            let key = (name.to_owned(), labels.collect());
            let before = samples.values.insert(key, value.parse().unwrap());
            assert_eq!(before, None, "{line} is there twice");
        }
        samples
    }

    /// Returns the sum of a metric over the series that `of` accepts.
    fn sum(&self, name: &str, of: impl Fn(&BTreeMap<String, String>) -> bool) -> u64 {
        let all = self.values.iter();
        let of_metric = all.filter(|((of_metric, labels), _)| of_metric == name && of(labels));
        let sum: f64 = of_metric.map(|(_, value)| value).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are small"
        )]
        let sum = sum as u64;
        sum
    }

    fn all(&self, name: &str) -> u64 {
        self.sum(name, |_| true)
    }

    fn with_error(&self, name: &str, error: &str) -> u64 {
        self.sum(name, |labels| labels.get("error_type").is_some_and(|is| is == error))
    }

    fn without_error(&self, name: &str) -> u64 {
        self.sum(name, |labels| !labels.contains_key("error_type"))
    }
}

/// Reads the metrics with the token of the scraper.
pub(crate) fn scrape(service: &Service) -> Samples {
    let reply = service.ask("GET", "/metrics", &[("authorization", &bearer(SCRAPER))], "");
    assert_eq!(reply.status, 200);
    Samples::parse(std::str::from_utf8(&reply.body).unwrap())
}

const STARTED: &str = "otel_sdk_span_started_total";
const QUEUED: &str = "otel_sdk_processor_span_queue_size";
const PROCESSED: &str = "otel_sdk_processor_span_processed_total";
const IN_FLIGHT: &str = "otel_sdk_exporter_span_inflight";
const EXPORTED: &str = "otel_sdk_exporter_span_exported_total";

/// Asserts that the sums of a scrape equal a ledger, by heading and reason.
fn assert_equal(samples: &Samples, spans: &LedgerSnapshot) {
    let accepted = samples.all(PROCESSED) + samples.all(QUEUED);
    assert_eq!(accepted, spans.accepted);
    assert_eq!(samples.all(STARTED), spans.accepted);
    assert_eq!(samples.all(QUEUED), spans.queued);
    assert_eq!(samples.all(IN_FLIGHT), spans.in_flight);
    assert_eq!(samples.without_error(EXPORTED), spans.delivered);
    for reason in DropReason::ALL {
        let name = serde_json::to_value(reason).unwrap();
        let name = name.as_str().unwrap();
        let dropped = samples.with_error(EXPORTED, name) + samples.with_error(PROCESSED, name);
        let expected = spans.dropped.get(&reason).copied().unwrap_or_default();
        assert_eq!(dropped, expected, "{name}");
    }
}

fn add(sum: &mut LedgerSnapshot, ledger: &LedgerSnapshot) {
    sum.accepted += ledger.accepted;
    sum.delivered += ledger.delivered;
    sum.queued += ledger.queued;
    sum.in_flight += ledger.in_flight;
    for (reason, count) in &ledger.dropped {
        *sum.dropped.entry(*reason).or_default() += count;
    }
}

const TENANTS: usize = 10_000;
/// Tenants of one request.
const SPLIT_IN: usize = 50;

/// Starts a gateway for ten thousand tenants. The receiver refuses the requests of each hundredth.
fn start_many(max_tracers: usize) -> Service {
    let tables = format!(
        r#"
        [tenants."*"]
        [gateway.callers.many]
        token = {{ file = "tokens/many" }}
        tenant = {{ resource = "tenant.id", allow = ["t-*"] }}
        [metrics]
        max_tracers = {max_tracers}
        [pool]
        max_tracers = 20_000
        idle_timeout = "200ms"
        [export]
        scheduled_delay = "5ms"
        [export.retry]
        max_elapsed = "0s"
        "#
    );
    let service = Service::prepare(TABLE, &tables);
    service.collector.fault(Fault::status(400).only("key-of-the-hundredth"));
    fs::write(service.path("tokens/many"), "token-of-the-many").unwrap();
    for number in 0..TENANTS {
        let key = if number % 100 == 0 {
            "key-of-the-hundredth"
        } else {
            "backend-key-of-acme"
        };
        fs::write(service.path(&format!("keys/t-{number}")), key).unwrap();
    }
    service.start_again().unwrap()
}

/// Sends two spans for each tenant of a range, again and again until the gateway takes them.
fn send_for(service: &Service, tenants: std::ops::Range<usize>) {
    for start in tenants.clone().step_by(SPLIT_IN) {
        let names: Vec<String> = (start..(start + SPLIT_IN).min(tenants.end))
            .map(|number| format!("t-{number}"))
            .collect();
        let attributes: Vec<[(&str, &str); 1]> = names.iter().map(|name| [("tenant.id", name.as_str())]).collect();
        let blocks: Vec<_> = attributes
            .iter()
            .map(|of| (of.as_slice(), ["one", "two"].as_slice()))
            .collect();
        let request = resources(&blocks).encode_to_vec();
        until(|| {
            let reply = service.post("token-of-the-many", &[], request.clone());
            assert!([200, 503].contains(&reply.status), "{reply:?}");
            reply.status == 200
        });
    }
}

/// Sends from four clients, and reads meanwhile. Each reading adds up in itself.
fn load(service: &Service) {
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let share = TENANTS / 4;
                threads.spawn(move || send_for(service, client * share..(client + 1) * share))
            })
            .collect();
        let reader = threads.spawn(|| {
            let mut scrapes = 0;
            while !done.load(Ordering::SeqCst) || scrapes < 3 {
                let samples = scrape(service);
                let settled = samples.all(EXPORTED) + samples.all(IN_FLIGHT);
                assert_eq!(settled, samples.without_error(PROCESSED));
                assert_eq!(samples.all(STARTED), samples.all(PROCESSED) + samples.all(QUEUED));
                scrapes += 1;
            }
        });
        let clients: Vec<_> = clients.into_iter().map(ScopedJoinHandle::join).collect();
        // Before a panic of a client goes on, which waits for the reader.
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        for client in clients {
            client.unwrap();
        }
    });
}

fn sums_equal_the_status(max_tracers: usize) {
    let service = start_many(max_tracers);
    load(&service);
    let registry = service.gateway().registry();
    drop(registry.force_flush(crate::support::LONG));
    until(|| registry.status_without_tracers().evicted_totals.names > 5_000);
    // Evicted tenants come back.
    send_for(&service, 0..1_000);
    drop(registry.force_flush(crate::support::LONG));
    let status = registry.status();
    let mut spans = status.evicted_totals.spans.clone();
    for tracer in &status.tracers {
        add(&mut spans, &tracer.spans);
    }
    let samples = scrape(&service);
    assert_equal(&samples, &spans);
    let sent = 2 * (TENANTS as u64 + 1_000);
    assert_eq!((spans.accepted, spans.queued + spans.in_flight), (sent, 0));
    assert_eq!(spans.dropped, BTreeMap::from([(DropReason::Refused, sent / 100)]));
    assert_eq!(samples.all("tracer_registry_gateway_span_accepted_total"), sent);
    let named: BTreeSet<&String> = samples
        .values
        .keys()
        .filter_map(|(_, labels)| labels.get("otel_component_name"))
        .collect();
    assert!(named.len() <= max_tracers, "{}", named.len());
    assert!(
        samples
            .values
            .keys()
            .any(|(_, labels)| labels.contains_key("otel_metric_overflow"))
    );
}

#[test]
fn sums_of_ten_thousand_tenants_in_one_series_equal_the_status() {
    sums_equal_the_status(0);
}

#[test]
fn sums_of_ten_thousand_tenants_in_a_hundred_series_equal_the_status() {
    sums_equal_the_status(100);
}

#[test]
fn sums_of_ten_thousand_tenants_in_a_thousand_series_equal_the_status() {
    sums_equal_the_status(1_000);
}

/// Brings a gateway into a state in which each of its instruments has a value.
pub(crate) fn troubled() -> Service {
    let tables = r#"
        [tenants.closed]
        endpoint = "http://127.0.0.1:9"
        api_key = { file = "keys/acme" }
        resource = { password = "secret" }
        redact.rules.keys.attributes = ["password"]
        [gateway.callers.closed]
        token = { file = "tokens/path" }
        tenant = "closed"
        [export]
        scheduled_delay = "5ms"
        [export.retry]
        initial_backoff = "5ms"
        max_backoff = "10ms"
        [spool]
        mode = "overflow"
        path = "spool"
        max_bytes = "64MiB"
    "#;
    // One caller has the token of another otherwise.
    let tables = tables.replace("tokens/path", "tokens/closed");
    let service = Service::prepare(TABLE, &tables);
    fs::write(service.path("tokens/closed"), "token-of-the-closed").unwrap();
    let service = service.start_again().unwrap();
    service
        .collector
        .fault(Fault::reject_key().only("backend-key-of-globex"));
    for token in [ACME, GLOBEX, "token-of-the-closed"] {
        assert_eq!(service.post(token, &[], body(&["span"])).status, 200);
    }
    assert_eq!(service.post("unknown", &[], body(&["span"])).status, 401);
    assert_eq!(service.post(SHARED, &[], body(&["span"])).status, 400);
    until(|| {
        let endpoints = service.gateway().registry().endpoints();
        let is_open = |endpoint: &str| endpoints.iter().any(|it| it.endpoint == endpoint && it.failing > 0);
        is_open("http://127.0.0.1:9") && is_open(&service.collector.url())
    });
    let registry = service.gateway().registry();
    registry.pause(Selector::tenant("acme")).unwrap();
    until(|| scrape(&service).families.contains("tracer_registry_endpoint_failing"));
    service
}

/// Returns the names of metrics in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let starts = ["otel_sdk_", "tracer_registry_", "http_server_"];
    words
        .filter(|word| starts.iter().any(|start| word.starts_with(start)))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_documented_name_is_scraped_and_no_other() {
    let service = troubled();
    let mut scraped = scrape(&service).families;
    assert!(scraped.remove("target_info"));
    let page = include_str!("../../../../docs/metrics.md");
    let (_, table) = page.split_once("\n## Names in Prometheus\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(documented, scraped);
    // A rule may use the parts of a histogram.
    let of_rules = names_in(include_str!("../../../../docs/operations/alerts.yaml")).into_iter();
    let unknown: Vec<String> = of_rules
        .filter(|name| {
            let parts = ["_bucket", "_count", "_sum"]
                .iter()
                .filter_map(|part| name.strip_suffix(part));
            !scraped.contains(name) && !parts.into_iter().any(|family| scraped.contains(family))
        })
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn the_gateways_own_numbers_equal_its_status() {
    let service = troubled();
    let (samples, status) = (scrape(&service), service.status());
    let requests = status.requests;
    let prefix = "tracer_registry_gateway";
    assert_eq!(
        samples.all(&format!("{prefix}_span_accepted_total")),
        requests.spans_accepted
    );
    let refused: u64 = requests.refused.values().sum();
    assert_eq!(
        (samples.all(&format!("{prefix}_request_refused_total")), refused),
        (2, 2)
    );
    assert_eq!(
        samples.with_error(&format!("{prefix}_request_refused_total"), "unauthenticated"),
        1
    );
    assert_eq!(
        samples.all(&format!("{prefix}_memory_limit_bytes")),
        status.memory.limit as u64
    );
    assert_eq!(samples.all(&format!("{prefix}_ready")), 1);
    assert_eq!(
        samples.all(&format!("{prefix}_connection_accepted_total")),
        status.connections.accepted
    );
    for caller in service.gateway().callers() {
        let of = |labels: &BTreeMap<String, String>| labels.get("caller") == Some(&caller.caller);
        assert_eq!(
            samples.sum(&format!("{prefix}_caller_requests_total"), of),
            caller.requests
        );
        assert_eq!(samples.sum(&format!("{prefix}_caller_spans_total"), of), caller.spans);
        let refused: u64 = caller.refused.values().sum();
        assert_eq!(samples.sum(&format!("{prefix}_caller_refused_total"), of), refused);
    }
    let duration = |status: &str| {
        let is_one = |labels: &BTreeMap<String, String>| {
            labels["http_route"] == "/v1/traces"
                && labels["http_request_method"] == "POST"
                && labels["http_response_status_code"] == status
        };
        samples.sum("http_server_request_duration_seconds_count", is_one)
    };
    assert_eq!([duration("200"), duration("400"), duration("401")], [3, 1, 1]);
    let failing = |error: &str| samples.with_error("tracer_registry_tracer_failing", error);
    assert_eq!(failing("key_refused"), 1);
    assert_eq!(samples.all("tracer_registry_tracer_paused"), 1);
}

#[test]
fn text_of_clients_is_in_no_label() {
    let service = Service::start(TABLE);
    for path in [
        "/v1/canary",
        "/t/canary/v1/traces",
        "/t/canary%22/v1/traces",
        "/canary/v1/events/canary",
    ] {
        let request = service.request(path, "canary-token").body(bytes::Bytes::new()).unwrap();
        assert!(service.client.send(request).status >= 400);
        let address = service.http();
        let request = http::Request::builder()
            .method("CANARY")
            .uri(format!("http://{address}{path}"));
        assert!(service.client.send(request.body(bytes::Bytes::new()).unwrap()).status >= 400);
    }
    let reply = service.ask("GET", "/metrics", &[("authorization", &bearer(SCRAPER))], "");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(
        text.contains("_OTHER") && text.contains("/t/{tenant}/v1/traces"),
        "{text}"
    );
    assert!(!text.to_lowercase().contains("canary"), "{text}");
}

#[test]
fn the_format_follows_the_header_of_the_scraper() {
    let service = Service::start(TABLE);
    let ask = |accept: &str| {
        let headers = [("authorization", &*bearer(SCRAPER)), ("accept", accept)];
        service.ask("GET", "/metrics", &headers, "")
    };
    let text = ask("text/plain");
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(!text.body.ends_with(b"# EOF\n"));
    let open = ask("application/openmetrics-text; version=1.0.0");
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(content_type));
    assert!(open.body.ends_with(b"# EOF\n"));
}
