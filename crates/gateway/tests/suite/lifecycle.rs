//! Reload, shutdown, TLS, and what is logged.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tracer_registry_gateway::AdminClient;
use tracing_subscriber::fmt::MakeWriter;

use crate::admin::{TABLE, bearer};
use crate::limits::Raw;
use crate::requests::EXPORT;
use crate::support::{
    ACME, ADMIN, GLOBEX, KEYS, LONG, PATHS, Reply, SCRAPER, SHARED, SPLIT, Service, body, framed, until,
};

#[test]
fn a_shutdown_finishes_requests_and_loses_nothing() {
    let mut service = Service::start("");
    let message = body(&["late"]);
    assert_eq!(service.post(GLOBEX, &[], body(&["queued"])).status, 200);
    let mut running = Raw::connect(service.http());
    running.write_head(ACME, message.len());
    running.write(&message[..5]);
    let mut idle = Raw::connect(service.http());
    idle.write("GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(idle.read_head().starts_with("HTTP/1.1 200 "));
    until(|| service.status().requests.running == 1);

    let address = service.http();
    let gateway = service.take_gateway();
    let stopping = thread::spawn(move || gateway.shutdown(LONG));
    // The idle connection ends, and no further one is accepted.
    assert!(idle.read_to_end().ends_with("ok\n"));
    until(|| TcpStream::connect(address).is_err());
    assert!(!stopping.is_finished());
    running.write(&message[5..]);
    assert!(running.read_to_end().starts_with("HTTP/1.1 200 "));
    let report = stopping.join().unwrap();
    assert!(report.is_complete() && report.cut_off == 0, "{report:?}");
    assert_eq!(
        (service.spans("acme"), service.spans("globex")),
        (vec!["late".to_owned()], vec!["queued".to_owned()])
    );
}

#[test]
fn a_request_that_does_not_end_is_cut_off_without_a_success() {
    let mut service = Service::start("");
    let mut running = Raw::connect(service.http());
    running.write_head(ACME, 1000);
    until(|| service.status().requests.running == 1);
    let report = service.take_gateway().shutdown(std::time::Duration::from_millis(400));
    assert!(report.is_complete() && report.cut_off == 1, "{report:?}");
    assert_eq!(running.read_to_end(), "");
}

#[test]
fn http_2_clients_are_sent_away_and_their_requests_finish() {
    let mut service = Service::start("");
    assert_eq!(
        service
            .call(EXPORT, ACME, &[], framed(false, &body(&["one"])))
            .grpc_status(),
        0
    );
    let report = service.take_gateway().shutdown(LONG);
    assert!(report.is_complete() && report.cut_off == 0, "{report:?}");
    assert_eq!(service.spans("acme"), ["one"]);
}

#[test]
fn a_shutdown_reports_what_was_lost() {
    let mut service = Service::start("");
    service.collector.fault(tracer_registry_collector::Fault::status(400));
    assert_eq!(service.post(ACME, &[], body(&["refused"])).status, 200);
    let report = service.take_gateway().shutdown(LONG);
    assert!(!report.is_complete(), "{report:?}");
}

#[test]
fn a_reload_changes_callers_as_a_whole_or_not_at_all() {
    let service = Service::start("");
    fs::write(service.path("tokens/acme"), "another-token-of-acme").unwrap();
    service.write_config("other_signals = \"discrad\"", "");
    service.gateway().reload().unwrap_err();
    assert_eq!(service.post(ACME, &[], body(&["old"])).status, 200);
    service.write_config("other_signals = \"discard\"", "");
    service.gateway().reload().unwrap();
    assert_eq!(service.post(ACME, &[], body(&["old"])).status, 401);
    assert_eq!(service.post("another-token-of-acme", &[], body(&["new"])).status, 200);
    let request = service
        .request("/v1/logs", GLOBEX)
        .header("content-type", "application/json");
    assert_eq!(
        service
            .client
            .send(request.body(Bytes::from_static(b"{}")).unwrap())
            .status,
        200
    );
}

#[test]
fn a_stop_does_not_wait_for_a_connection_without_a_request() {
    let mut service = Service::start("");
    let silent = std::net::TcpStream::connect(service.http()).unwrap();
    until(|| service.status().connections.open == 1);
    let began = std::time::Instant::now();
    let report = service.take_gateway().shutdown(LONG);
    assert!(
        began.elapsed() < std::time::Duration::from_secs(3),
        "less than the header timeout"
    );
    assert_eq!(report.cut_off, 0);
    drop(silent);
}

#[test]
fn reloads_under_load_fail_no_request() {
    let service = Service::start("");
    let (stop, sent) = (AtomicBool::new(false), Mutex::new(0));
    thread::scope(|scope| {
        for token in [ACME, GLOBEX] {
            let (service, stop, sent) = (&service, &stop, &sent);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(service.post(token, &[], body(&["span"])).status, 200);
                    *sent.lock().unwrap() += 1;
                }
            });
        }
        for round in 0..20 {
            let before = *sent.lock().unwrap();
            service.write_config(&format!("max_connections = {}", 100 + round), "");
            service.gateway().reload().unwrap();
            until(|| *sent.lock().unwrap() > before);
        }
        stop.store(true, Ordering::SeqCst);
    });
    service.flush();
    let delivered = service.spans("acme").len() + service.spans("globex").len();
    assert_eq!(delivered, *sent.lock().unwrap());
}

/// A certificate authority for tests.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Returns a certificate for localhost, and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Returns the TLS settings of a client that trusts this authority.
    fn client(&self, identity: Option<&(String, String)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.1.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = builder.with_root_certificates(roots);
        let Some((certificate, key)) = identity else {
            return builder.with_no_client_auth();
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        builder
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            .unwrap()
    }
}

/// Posts a span over TLS, with HTTP/2 if ALPN chooses it.
fn post_over_tls(service: &Service, mut tls: ClientConfig, is_http2: bool) -> io::Result<Reply> {
    tls.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let address = service.http();
    service.client.runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
        assert!(stream.get_ref().1.alpn_protocol().is_some());
        let request = Request::post("https://localhost/v1/traces")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {ACME}"))
            .header("content-type", "application/x-protobuf")
            .body(Full::new(Bytes::from(body(&["span"]))))
            .unwrap();
        let response = if is_http2 {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        Ok(Reply::read(response.map_err(io::Error::other)?).await)
    })
}

const TLS: &str = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }";
const MUTUAL_TLS: &str = "tls = { certificate = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }";

fn write_certificate(service: &Service, authority: &Authority) {
    let (certificate, key) = authority.issue();
    fs::write(service.path("cert.pem"), certificate).unwrap();
    fs::write(service.path("key.pem"), key).unwrap();
    fs::write(service.path("ca.pem"), &authority.1).unwrap();
}

#[test]
fn tls_serves_http_1_and_2_and_changed_certificates() {
    let (first, second) = (Authority::new(), Authority::new());
    let service = Service::prepare(TLS, "");
    write_certificate(&service, &first);
    let service = service.start_again().unwrap();
    for is_http2 in [false, true] {
        assert_eq!(
            post_over_tls(&service, first.client(None), is_http2).unwrap().status,
            200
        );
    }
    post_over_tls(&service, second.client(None), false).unwrap_err();
    until(|| service.status().connections.failed_handshake == 1);
    // A certificate without its key changes nothing.
    fs::write(service.path("cert.pem"), second.issue().0).unwrap();
    service.gateway().reload().unwrap_err();
    assert_eq!(post_over_tls(&service, first.client(None), true).unwrap().status, 200);
    write_certificate(&service, &second);
    service.gateway().reload().unwrap();
    assert_eq!(post_over_tls(&service, second.client(None), true).unwrap().status, 200);
    post_over_tls(&service, first.client(None), true).unwrap_err();
    // Plain HTTP is no handshake.
    let mut plain = Raw::connect(service.http());
    plain.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(!plain.read_to_end().contains("ok"));
}

#[test]
fn mutual_tls_needs_a_certificate_of_the_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let service = Service::prepare(MUTUAL_TLS, "");
    write_certificate(&service, &authority);
    let service = service.start_again().unwrap();
    for is_http2 in [false, true] {
        let post = |identity: Option<&(String, String)>| post_over_tls(&service, authority.client(identity), is_http2);
        assert_eq!(post(Some(&authority.issue())).unwrap().status, 200);
        post(None).unwrap_err();
        post(Some(&other.issue())).unwrap_err();
    }
}

#[test]
fn the_client_of_the_admin_listener_shows_its_certificate() {
    let (authority, other) = (Authority::new(), Authority::new());
    let service = Service::prepare(&format!("{TABLE}\n{MUTUAL_TLS}"), "");
    write_certificate(&service, &authority);
    let service = service.start_again().unwrap();
    let (ca, cert, key) = (
        service.path("ca.pem"),
        service.path("mine.pem"),
        service.path("mine.key"),
    );
    let url = format!("https://localhost:{}", service.gateway().admin().unwrap().port());
    let ask = |identity| {
        let token = bearer(ADMIN).parse().unwrap();
        let client = AdminClient::new(&url, token, Some(&ca), identity).unwrap();
        service.client.runtime.block_on(client.get("/api/config"))
    };
    for (issuer, is_accepted) in [(&authority, true), (&other, false)] {
        let (mine, my_key) = issuer.issue();
        fs::write(&cert, mine).unwrap();
        fs::write(&key, my_key).unwrap();
        assert_eq!(
            ask(Some((&cert, &key))).is_ok_and(|answer| answer.status == 200),
            is_accepted
        );
    }
    ask(None).unwrap_err();
    fs::write(&key, "no key").unwrap();
    let token = bearer(ADMIN).parse().unwrap();
    let error = AdminClient::new(&url, token, Some(&ca), Some((&cert, &key)))
        .err()
        .unwrap();
    assert!(error.to_string().contains("mine.key"), "{error}");
}

#[test]
fn a_start_with_faults_reports_them() {
    let service = Service::prepare(TLS, "");
    let error = service.start_again().err().unwrap().to_string();
    assert!(error.contains("gateway.tls.certificate"), "{error}");
    let first = Service::start("");
    let second = Service::prepare("", "");
    let config = fs::read_to_string(second.path("gateway.toml")).unwrap();
    let taken = config.replacen("127.0.0.1:0", &first.http().to_string(), 1);
    fs::write(second.path("gateway.toml"), taken).unwrap();
    let error = second.start_again().err().unwrap().to_string();
    assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
}

/// All log lines of the process.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn neither_log_nor_answer_shows_a_token_or_a_key() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).expect("no other test sets it");
    let table = format!("trusted_proxies = [\"127.0.0.0/8\"]\n{}", crate::admin::TABLE);
    let service = Service::with(
        &table,
        "[export.explain]\nmax_traces = 1000\n[export.dead_letters]\nmax_batches = 4\n\
         [tenants.team-lost]\napi_key = { file = \"keys/missing\" }",
    );
    let wrong = "wrong-token-of-a-client";
    let mut answers = Vec::new();
    for token in [ACME, SHARED, SPLIT, PATHS, wrong] {
        for message in [body(&["span"]), b"\xff".to_vec()] {
            let headers = [("x-forwarded-for", "192.0.2.7"), ("x-tenant", "initech")];
            answers.push(service.post(token, &headers, message.clone()));
            answers.push(service.call(EXPORT, token, &headers, framed(false, &message)));
        }
    }
    service.flush();
    service
        .collector
        .fault(tracer_registry_collector::Fault::reject_key().times(1));
    service.post(ACME, &[], body(&["span"]));
    service.flush();
    for (tenant, status) in [("team-unknown", 403), ("team-lost", 503)] {
        let reply = service.post(SHARED, &[("x-tenant", tenant)], body(&["span"]));
        assert_eq!(reply.status, status, "{reply:?}");
    }
    let admin_answers = crate::admin_hostile::every_answer(&service);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("from 192.0.2.7 refused with 401"), "{log}");
    assert!(
        log.contains("request of caller shared-api from 192.0.2.7 refused with 403"),
        "{log}"
    );
    for line in [
        "caller shared-api may address a tenant that is not configured: ",
        "requests of tenant:team-lost are refused: the key cannot be read: ",
        "request to the admin listener from 127.0.0.1 refused with 403 Forbidden: this token may only read /metrics",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let shown = format!("{log}{answers:?}{admin_answers:?}");
    let secrets = [ACME, GLOBEX, SHARED, SPLIT, PATHS, ADMIN, SCRAPER, wrong]
        .into_iter()
        .chain(KEYS.map(|(_, key)| key));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}
