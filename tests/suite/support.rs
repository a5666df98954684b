//! A registry and a collector that know each other, for the other tests.

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

/// Longer than anything here takes; reached only where something is broken.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Less than anything here takes that waits in vain, and more than a call that does not wait takes on a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(15);

pub(crate) struct World {
    /// First, so that it is dropped while the collector is there.
    pub(crate) registry: TracerRegistry,
    pub(crate) collector: LocalCollector,
}

/// The key that a name has in these tests.
pub(crate) fn key_of(name: &str) -> String {
    format!("hh_key_of_{name}_canary")
}

/// Ways in which a receiver may repeat a text: as it is, encoded, escaped, with other capitals, divided, in part.
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

/// Looks through everything that was shown for eight characters of a key in a row, whatever separates them.
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

/// A secret source that knows every name.
pub(crate) fn keys() -> impl Fn(&str) -> Result<SecretString, SecretError> + Send + Sync + 'static {
    |name: &str| Ok(SecretString::from(key_of(name)))
}

/// A binding whose key is that of `name`.
pub(crate) fn binding(name: &str) -> Binding {
    Binding::new().api_key(KeySource::provider("test", name))
}

/// Sends soon, and repeats soon.
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

/// Sends soon, and repeats nothing.
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

/// The registry's fingerprint of a key, by a collector that was given the registry's function.
pub(crate) fn fingerprint(collector: &LocalCollector, key: &str) -> Fingerprint {
    let shown = collector.fingerprint(key).to_string();
    serde_json::from_value(shown.into()).expect("12 hexadecimal digits")
}

impl World {
    /// Tenants, each with a project of its own name.
    pub(crate) fn new(tenants: &[&str]) -> Self {
        Self::with(tenants, |builder| builder)
    }

    pub(crate) fn with(tenants: &[&str], adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> Self {
        let fingerprinter = Fingerprinter::new();
        let collector = collector(tenants, &fingerprinter).start().expect("a free port");
        let registry = adapt(registry(&collector.url(), tenants, &fingerprinter))
            .build()
            .expect("a valid configuration");
        Self { registry, collector }
    }

    /// Sends everything, and expects that all of it arrives.
    pub(crate) fn flush(&self) {
        let report = self.registry.force_flush(LONG);
        assert!(report.is_complete(), "{report:#?}");
    }

    pub(crate) fn project(&self, name: &str) -> Project {
        self.collector.project(name).expect("named when the collector was made")
    }

    /// Looks through every byte received under the key of `tenant` for something that is another's.
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

/// Waits until something holds, and says what was seen last where it does not.
pub(crate) fn wait_for<T: Debug>(what: &str, mut seen: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let now = seen();
        if holds(&now) {
            return now;
        }
        assert!(begun.elapsed() < LONG, "{what}: last seen {now:#?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

impl World {
    pub(crate) fn tenant(&self, name: &str) -> TracerHandle {
        self.registry.tenant(name).expect("configured")
    }

    pub(crate) fn status(&self, tenant: &str) -> TracerStatus {
        let status = self.registry.status();
        let of_tenant = |status: &&TracerStatus| {
            status
                .selector
                .get(SelectorKind::Tenant)
                .is_some_and(|name| **name == *tenant)
        };
        let found = status.tracers.iter().find(of_tenant);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{tenant} was not looked up: {status:#?}"))
    }

    /// What arrived of a tenant, by name, in order of arrival.
    pub(crate) fn names(&self, tenant: &str) -> Vec<String> {
        self.project(tenant)
            .spans()
            .iter()
            .map(|span| span.name.clone())
            .collect()
    }
}

/// A server that answers each request with the next text of a script, and then closes the connection. Gives its URL; the
/// requests as they came are got by joining.
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
    reader.into_inner().write_all(answer.as_bytes()).expect("it listens");
    head
}
