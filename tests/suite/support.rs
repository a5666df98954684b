//! A registry and a collector that are connected, and other helpers for all tests.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;
use tracer_registry::config::{BackendName, Binding, Export, Retry};
use tracer_registry::secret::{Fingerprint, Fingerprinter, SecretError};
use tracer_registry::selector::SelectorKind;
use tracer_registry::status::TracerStatus;
use tracer_registry::{KeySource, RegistryBuilder, TracerHandle, TracerRegistry};
use tracer_registry_collector::{CollectorBuilder, LocalCollector, Project};

/// Timeout that no test reaches unless something is broken.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Shorter than any wait that should time out, and longer than a non-blocking call takes on a busy
/// machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(15);

pub(crate) struct World {
    /// The first field, so it is dropped before the collector.
    pub(crate) registry: TracerRegistry,
    pub(crate) collector: LocalCollector,
}

/// Returns the test key of a name.
pub(crate) fn key_of(name: &str) -> String {
    format!("hh_key_of_{name}_canary")
}

/// Returns forms in which a receiver may echo a text: encoded, escaped, in capitals, divided, in
/// part.
pub(crate) fn spellings(text: &str) -> Vec<String> {
    let each = |spell: fn(char) -> String| text.chars().map(spell).collect::<String>();
    vec![
        text.to_owned(),
        BASE64.encode(text),
        BASE64.encode(format!("x{text}")),
        each(|c| format!("\\u{:04x}", u32::from(c))),
        each(|c| format!("%{:02X}", u32::from(c))),
        each(|c| format!("%25{:02x}", u32::from(c))),
        each(|c| format!("&#{};", u32::from(c))),
        each(|c| format!("&#x{:X};", u32::from(c))),
        each(|c| format!("{:02x}", u32::from(c))),
        each(|c| format!("{c}\u{200b} ")),
        each(|c| format!("<b>{c}</b>")),
        text.to_uppercase(),
        text.replace('_', "&lowbar;"),
        format!("{}***", &text[..text.len() - 4]),
    ]
}

/// Asserts that the output contains no eight consecutive characters of the key, ignoring
/// separators.
pub(crate) fn assert_shows_nothing_of(key: &str, shown: &str) {
    let letters = |text: &str| {
        text.to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect::<String>()
    };
    let visible = letters(shown);
    for spelling in spellings(key) {
        let spelling = letters(&spelling);
        for start in 0..spelling.len().saturating_sub(7) {
            let run = &spelling[start..start + 8];
            assert!(!visible.contains(run), "{run} of {key} is in {shown}");
        }
    }
}

/// A secret source that has a key for every name.
pub(crate) fn keys() -> impl Fn(&str) -> Result<SecretString, SecretError> + Send + Sync + 'static {
    |name: &str| Ok(SecretString::from(key_of(name)))
}

/// Returns a binding with the test key of `name`.
pub(crate) fn binding(name: &str) -> Binding {
    Binding::new().api_key(KeySource::provider("test", name))
}

/// Exports and retries after a few milliseconds.
pub(crate) fn quick() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_millis(5)),
        timeout: Some(Duration::from_secs(20)),
        retry: Retry {
            initial_backoff: Some(Duration::from_millis(5)),
            max_backoff: Some(Duration::from_millis(20)),
            max_elapsed: Some(Duration::from_secs(30)),
            ..Retry::default()
        },
        ..Export::default()
    }
}

/// Exports after a few milliseconds, without retries.
pub(crate) fn once() -> Export {
    let mut export = quick();
    export.retry.max_elapsed = Some(Duration::ZERO);
    export
}

pub(crate) fn collector(tenants: &[&str], fingerprinter: &Fingerprinter) -> CollectorBuilder {
    let fingerprinter = fingerprinter.clone();
    let fingerprints = move |key: &[u8]| fingerprinter.fingerprint(key).into();
    let builder = LocalCollector::builder()
        .fingerprints(fingerprints)
        .record_requests(64 << 20);
    tenants
        .iter()
        .fold(builder, |builder, tenant| builder.project(*tenant, key_of(tenant)))
}

pub(crate) fn registry(url: &str, tenants: &[&str], fingerprinter: &Fingerprinter) -> RegistryBuilder {
    let builder = TracerRegistry::builder()
        .fingerprinter(fingerprinter.clone())
        .secret_source("test", keys())
        .defaults(
            Binding::new()
                .backend(BackendName::Honeyhive)
                .endpoint(url)
                .source("test"),
        )
        .export(quick());
    tenants
        .iter()
        .fold(builder, |builder, tenant| builder.tenant(*tenant, binding(tenant)))
}

/// Returns the registry's fingerprint of a key. The collector was built with the same fingerprint
/// function.
pub(crate) fn fingerprint(collector: &LocalCollector, key: &str) -> Fingerprint {
    let shown = collector.fingerprint(key).to_string();
    serde_json::from_value(shown.into()).expect("12 hexadecimal digits")
}

impl World {
    /// Creates a world with these tenants, each with a project of the same name.
    pub(crate) fn new(tenants: &[&str]) -> Self {
        Self::with(tenants, |builder| builder)
    }

    pub(crate) fn with(tenants: &[&str], adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> Self {
        Self::with_url(tenants, |builder, _| adapt(builder))
    }

    /// Like [`with`](Self::with). `adapt` also gets the URL of the collector.
    pub(crate) fn with_url(tenants: &[&str], adapt: impl FnOnce(RegistryBuilder, &str) -> RegistryBuilder) -> Self {
        let fingerprinter = Fingerprinter::new();
        let collector = collector(tenants, &fingerprinter).start().expect("a free port");
        let url = collector.url();
        let registry = adapt(registry(&url, tenants, &fingerprinter), &url)
            .build()
            .expect("a valid configuration");
        Self { registry, collector }
    }

    /// Exports everything and asserts that all of it was delivered.
    pub(crate) fn flush(&self) {
        let report = self.registry.force_flush(LONG);
        assert!(report.is_complete(), "{report:#?}");
    }

    pub(crate) fn project(&self, name: &str) -> Project {
        self.collector
            .project(name)
            .expect("named when the collector was built")
    }

    /// Asserts that no request under the key of `tenant` contains `foreign`.
    pub(crate) fn assert_no_trace_of(&self, foreign: &str, tenant: &str) {
        for request in self
            .collector
            .requests()
            .iter()
            .filter(|request| request.project.as_deref() == Some(tenant))
        {
            let headers = request
                .headers
                .iter()
                .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
            for bytes in headers.chain([request.path.as_bytes(), &request.body]) {
                let found = bytes.windows(foreign.len()).any(|window| window == foreign.as_bytes());
                assert!(!found, "{foreign:?} was sent under the key of {tenant}");
            }
        }
    }

    pub(crate) fn span(&self, tenant: &str, name: &str) -> Arc<tracer_registry_collector::Span> {
        let project = self.project(tenant);
        let found = project.spans().iter().find(|span| span.name == name).cloned();
        found.unwrap_or_else(|| panic!("{tenant} has no span {name}: {}", project.tree()))
    }
}

/// Polls until the value satisfies `holds` and returns it. After [`LONG`], panics with the last
/// value.
pub(crate) fn wait_for<T: Debug>(what: &str, mut poll: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let value = poll();
        if holds(&value) {
            return value;
        }
        assert!(start.elapsed() < LONG, "{what}: last value {value:#?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

impl World {
    pub(crate) fn tenant(&self, name: &str) -> TracerHandle {
        self.registry.tenant(name).expect("configured")
    }

    pub(crate) fn status(&self, tenant: &str) -> TracerStatus {
        let status = self.registry.status();
        let is_tenant = |status: &&TracerStatus| {
            status
                .selector
                .get(SelectorKind::Tenant)
                .is_some_and(|name| **name == *tenant)
        };
        let found = status.tracers.iter().find(is_tenant);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{tenant} was not looked up: {status:#?}"))
    }

    /// Returns the names of the received spans of a tenant, in order of arrival.
    pub(crate) fn names(&self, tenant: &str) -> Vec<String> {
        self.project(tenant)
            .spans()
            .iter()
            .map(|span| span.name.clone())
            .collect()
    }
}

/// Starts a server that answers each request with the next response and closes the connection.
/// Returns its URL and a thread whose result is the heads of the requests.
pub(crate) fn scripted(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || answers.iter().map(|answer| serve(&listener, answer)).collect());
    (url, server)
}

fn serve(listener: &TcpListener, answer: &str) -> String {
    let (stream, _) = listener.accept().expect("a connection");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a head") > 0, "{head:?}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).expect("a body");
    reader
        .into_inner()
        .write_all(answer.as_bytes())
        .expect("the client reads");
    head
}
