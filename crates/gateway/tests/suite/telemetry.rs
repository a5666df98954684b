//! Metrics of a gateway over OTLP, as a receiver reads them.
#![expect(clippy::disallowed_methods, reason = "a variable marks the child process")]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message as _;

use crate::admin::TABLE;
use crate::metrics::scrape;
use crate::support::{ACME, LONG, SCRAPER, Service, body, until};

/// Marks the process that a test starts.
const CHILD: &str = "TELEMETRY_TEST_CHILD";

/// A request: head in lower case, and body.
type Request = (String, ExportMetricsServiceRequest);

/// Starts a receiver that accepts everything. Returns its URL and the requests.
fn receiver() -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/metrics", listener.local_addr().unwrap());
    let (sent, requests) = channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let sent = sent.clone();
            thread::spawn(move || {
                let mut reader = BufReader::new(connection.unwrap());
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or_default() == 0 {
                            return;
                        }
                    }
                    let head = head.to_lowercase();
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "))
                        .unwrap();
                    let mut body = vec![0; length.parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    let mut inflated = Vec::new();
                    flate2::read::GzDecoder::new(body.as_slice())
                        .read_to_end(&mut inflated)
                        .unwrap();
                    let request = ExportMetricsServiceRequest::decode(inflated.as_slice()).unwrap();
                    reader
                        .get_mut()
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .unwrap();
                    if sent.send((head, request)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, requests)
}

fn table(url: &str) -> String {
    format!(
        "{TABLE}\ntelemetry = {{ endpoint = \"{url}\", interval = \"1s\", \
         token = {{ file = \"tokens/metrics\" }}, headers = {{ x-scope = \"operators\" }} }}"
    )
}

fn text(attribute: &KeyValue) -> (String, String) {
    let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()).unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other => panic!("{other:?}"),
    };
    (attribute.key.replace('.', "_"), value)
}

/// Returns the sums of a request, with the names of Prometheus.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn sums(request: &ExportMetricsServiceRequest) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    let mut sums = BTreeMap::new();
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        let Some(Data::Sum(sum)) = &metric.data else { continue };
        let mut name = metric.name.replace('.', "_");
        if metric.unit == "By" {
            name.push_str("_bytes");
        }
        if sum.is_monotonic {
            name.push_str("_total");
        }
        for point in &sum.data_points {
            let Some(number_data_point::Value::AsInt(value)) = point.value else {
                panic!("{point:?}")
            };
            let labels = point.attributes.iter().map(text).collect();
            sums.insert((name.clone(), labels), value as f64);
        }
    }
    sums
}

#[test]
fn the_receiver_gets_the_values_of_a_scrape_with_the_token_and_headers() {
    let (url, requests) = receiver();
    let service = Service::start(&table(&url));
    assert_eq!(service.post(ACME, &[], body(&["one", "two"])).status, 200);
    assert_eq!(service.post("unknown", &[], body(&["span"])).status, 401);
    service.flush();
    let scraped = scrape(&service);
    let mut expected: BTreeMap<_, _> = scraped.values.into_iter().collect();
    expected
        .retain(|(name, labels), _| name != "target_info" && !name.contains("duration") && !labels.contains_key("le"));
    let (mut head, mut request) = requests.recv_timeout(LONG).unwrap();
    // The first ones may be from before the flush.
    while sums(&request) != expected {
        (head, request) = requests
            .recv_timeout(LONG)
            .unwrap_or_else(|_| panic!("{:#?}\n{expected:#?}", sums(&request)));
    }
    assert!(head.starts_with("post /v1/metrics http/1.1\r\n"), "{head}");
    for line in [
        &format!("authorization: bearer {SCRAPER}\r\n"),
        "x-scope: operators\r\n",
        "content-type: application/x-protobuf\r\n",
        "content-encoding: gzip\r\n",
    ] {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let resource: BTreeMap<String, String> = resource.attributes.iter().map(text).collect();
    assert_eq!(resource["service_name"], "tracer-registry-gateway");
    assert_eq!(resource.len(), 3, "{resource:?}");
}

#[test]
fn the_last_values_are_sent_at_the_shutdown() {
    let (url, requests) = receiver();
    let mut service = Service::start(&table(&url).replace("\"1s\"", "\"1h\""));
    assert_eq!(service.post(ACME, &[], body(&["one", "two", "three"])).status, 200);
    service.take_gateway().shutdown(LONG);
    let (_, request) = requests.recv_timeout(LONG).unwrap();
    let delivered = sums(&request).into_iter().find(|((name, labels), _)| {
        name == "otel_sdk_exporter_span_exported_total" && labels.contains_key("otel_component_name")
    });
    assert_eq!(delivered.map(|(_, value)| value), Some(3.0));
}

/// Runs a test of this file in a process of its own, with variables of OpenTelemetry. Returns
/// whether this is that process.
fn is_child(test: &str) -> bool {
    if env::var_os(CHILD).is_some() {
        return true;
    }
    let ended = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("telemetry::{test}"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .env("OTEL_SERVICE_NAME", "other")
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,other=1")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-other=1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .env("OTEL_SDK_DISABLED", "true")
        .env("OTEL_METRICS_EXPORTER", "none")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success(),
        "{output}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(output.contains("1 passed"), "{output}");
    false
}

#[test]
fn variables_of_opentelemetry_change_nothing() {
    if !is_child("variables_of_opentelemetry_change_nothing") {
        return;
    }
    let (url, requests) = receiver();
    let _service = Service::start(&table(&url));
    let (head, request) = requests.recv_timeout(LONG).unwrap();
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let resource: BTreeMap<String, String> = resource.attributes.iter().map(text).collect();
    assert_eq!(
        (resource["service_name"].as_str(), resource.len()),
        ("tracer-registry-gateway", 3)
    );
    assert!(!head.contains("x-other"), "{head}");
}

/// Text that a subscriber wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_receiver_that_is_gone_costs_one_line_and_its_return_another() {
    if !is_child("a_receiver_that_is_gone_costs_one_line_and_its_return_another") {
        return;
    }
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let lines = || {
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("telemetry"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    // A port that refuses connections until the receiver is there.
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let _service = Service::start(&table(&format!("http://{address}/v1/metrics")));
    until(|| !lines().is_empty());
    thread::sleep(Duration::from_secs(3));
    let failed = lines();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(
        failed[0].contains("telemetry cannot be sent") && failed[0].contains("refused"),
        "{failed:#?}"
    );
    assert!(!failed[0].contains(SCRAPER), "{failed:#?}");
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while connection.read(&mut buffer).unwrap_or_default() > 0 {
                    drop(connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
                }
            });
        }
    });
    until(|| lines().len() > 1);
    assert!(lines()[1].contains("telemetry is sent again"), "{:#?}", lines());
}
