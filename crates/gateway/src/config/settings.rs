//! The settings of the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use tracer_registry::Selector;
use tracer_registry::config::{Config, ConfigError, ExportMode, Protocol};
use tracer_registry::gateway::{GatewayProblems, GatewayTable, key_file};
use tracer_registry::selector::{SelectorBuilder, Slug};

use super::admin::AdminSettings;
use super::caller::{CallerSettings, slug};
use super::folder;
use super::stream::{StreamRole, StreamSettings};
use super::telemetry::{LogSettings, TelemetrySettings};

/// Number of token files above which their folders are watched instead of each file.
const MAX_WATCHED_FILES: usize = 1_000;
/// Maximum of `metrics.max_tracers` if the gateway reads its own metrics, which keep all series in
/// memory.
const MAX_METRIC_TRACERS: usize = 10_000;
/// Maximum of any timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The table `[gateway]` with every default filled in. Contains no token.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address for OTLP/HTTP, or `None` if off. Default: `127.0.0.1:4318`.
    pub http: Option<SocketAddr>,
    /// Address for OTLP/gRPC, or `None` if off. Default: `127.0.0.1:4317`.
    pub grpc: Option<SocketAddr>,
    /// Callers by name, from the configuration and from `callers_dir`.
    pub callers: BTreeMap<Slug, Arc<CallerSettings>>,
    /// Folder with a file for each caller, `acme.toml` for `[gateway.callers.acme]`. Default: none.
    pub callers_dir: Option<PathBuf>,
    /// Selector of every request, without credentials. Only on loopback addresses and without
    /// callers. Default: none.
    pub open: Option<Selector>,
    /// Whether an address that is not loopback may be served without TLS. Default: false.
    pub insecure: bool,
    /// Certificate of both listeners. Default: none, and connections are not encrypted.
    pub tls: Option<Tls>,
    /// Proxies that may name the client in `Forwarded` and `X-Forwarded-For`. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// What happens to metrics and logs. Default: [`OtherSignals::Refuse`].
    pub other_signals: OtherSignals,
    /// Maximum size of a request in bytes, on the wire and inflated. Default: 20 MiB.
    pub max_request: usize,
    /// Maximum memory of all requests that are being received, in bytes. A caller with several
    /// requests gets at most as much as it leaves free. Default: 256 MiB.
    pub memory: usize,
    /// Maximum number of connections of both listeners. Default: 10,000.
    pub max_connections: usize,
    /// Maximum time to receive the headers of a request. Default: 5 s.
    pub header_timeout: Duration,
    /// How far a body may be behind `body_min_rate`, and its longest pause. Default: 5 s.
    pub body_grace: Duration,
    /// Minimum rate of a body in bytes per second. Default: 1 KiB.
    pub body_min_rate: usize,
    /// Time after which an idle connection is closed. Default: 2 min.
    pub idle_timeout: Duration,
    /// Maximum number of concurrent streams of an HTTP/2 connection. Default: 100.
    pub http2_max_streams: u32,
    /// Maximum time of a shutdown, for requests and for queued data together. Default: 25 s.
    pub shutdown_timeout: Duration,
    /// The admin listener. Default: none.
    pub admin: Option<AdminSettings>,
    /// The stream that all replicas of the gateway share. Default: none.
    pub stream: Option<StreamSettings>,
    /// Where the gateway's own metrics are sent. Default: nowhere.
    pub telemetry: Option<TelemetrySettings>,
    /// The log.
    pub log: LogSettings,
}

/// Certificates of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// PEM file with the authorities of client certificates. If set, a client needs a certificate
    /// in addition to its credential. Default: none.
    pub client_ca: Option<PathBuf>,
}

/// What happens to metrics and logs that arrive at the same endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherSignals {
    /// Answered with 404 or `UNIMPLEMENTED`, and counted.
    #[default]
    Refuse,
    /// Answered as accepted, discarded and counted.
    Discard,
}

impl Settings {
    /// Returns the names of the settings that differ.
    pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
        macro_rules! differing {
            ($($field:ident),*) => {{
                // Names every field.
                let Self { $($field),* } = self;
                let all = [$((concat!("gateway.", stringify!($field)), *$field != other.$field)),*];
                all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
            }};
        }
        differing!(
            http,
            grpc,
            callers,
            callers_dir,
            open,
            insecure,
            tls,
            trusted_proxies,
            other_signals,
            max_request,
            memory,
            max_connections,
            header_timeout,
            body_grace,
            body_min_rate,
            idle_timeout,
            http2_max_streams,
            shutdown_timeout,
            admin,
            stream,
            telemetry,
            log
        )
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: Some(SocketAddr::from(([127, 0, 0, 1], 4318))),
            grpc: Some(SocketAddr::from(([127, 0, 0, 1], 4317))),
            callers: BTreeMap::new(),
            callers_dir: None,
            open: None,
            insecure: false,
            tls: None,
            trusted_proxies: Vec::new(),
            other_signals: OtherSignals::default(),
            max_request: 20 << 20,
            memory: 256 << 20,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(5),
            body_grace: Duration::from_secs(5),
            body_min_rate: 1 << 10,
            idle_timeout: Duration::from_secs(120),
            http2_max_streams: 100,
            shutdown_timeout: Duration::from_secs(25),
            admin: None,
            stream: None,
            telemetry: None,
            log: LogSettings::default(),
        }
    }
}

/// The table as it is read, layer by layer.
#[derive(Default)]
struct Written {
    settings: Settings,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    has_tls: bool,
    open: Option<SelectorBuilder>,
}

impl Settings {
    /// Reads the table, and the files of `callers_dir`. Reads no token.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of every layer and file.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let mut problems = GatewayProblems::new(config);
        let mut written = Written::default();
        config.read_gateway(&mut problems, |table| written.read(table));
        let settings = written.finish(&mut problems);
        settings.check(config, &mut problems);
        problems.into_result().map(|()| settings)
    }

    /// Returns the files and folders whose changes may change the gateway: those of callers, their
    /// tokens and certificates.
    pub fn watched(&self) -> BTreeSet<PathBuf> {
        let admin = self.admin.iter();
        let admin = admin.flat_map(|admin| admin.tokens.iter().chain(&admin.metrics_tokens));
        let sources = self.callers.values().flat_map(|caller| &caller.tokens).chain(admin);
        let mut tokens: BTreeSet<PathBuf> = sources.filter_map(key_file).collect();
        if tokens.len() > MAX_WATCHED_FILES {
            tokens = tokens
                .iter()
                .filter_map(|file| file.parent())
                .map(ToOwned::to_owned)
                .collect();
        }
        let tls = self
            .tls
            .iter()
            .flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
        tokens.extend(tls.flatten().chain(&self.callers_dir).cloned());
        tokens
    }

    /// Returns a warning for each tenant or pattern of a caller that matches none of these tenants.
    pub fn unused_tenants(&self, tenants: &[Slug]) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, caller) in &self.callers {
            let path = folder::path_of(name);
            warnings.extend(
                caller
                    .tenant
                    .unused(tenants)
                    .into_iter()
                    .map(|unused| format!("{path}.tenant: {unused:?} matches no configured tenant")),
            );
        }
        warnings
    }

    /// Checks settings of which some are those of a running gateway: its listeners stay where they
    /// are until the next start, so that they still need what makes them safe.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem.
    pub(crate) fn check_running(&self, config: &Config) -> Result<(), ConfigError> {
        let mut problems = GatewayProblems::new(config);
        self.check_listeners(&mut problems);
        problems.into_result()
    }

    /// Whether this replica takes requests, as all do but one that only sends.
    pub(crate) fn takes_requests(&self) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| stream.role != StreamRole::Send)
    }

    fn listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let listeners = [("gateway.http", self.http), ("gateway.grpc", self.grpc)];
        listeners
            .into_iter()
            .filter_map(|(field, address)| Some((field, address?)))
    }

    fn check(&self, config: &Config, problems: &mut GatewayProblems) {
        self.check_listeners(problems);
        self.check_limits(problems);
        if let Some(telemetry) = &self.telemetry {
            telemetry.check(self.insecure, problems);
        }
        if let Some(stream) = &self.stream {
            stream.check(problems);
        }
        let reads_metrics = self.admin.is_some() || self.telemetry.is_some();
        if reads_metrics && config.metrics().max_tracers > MAX_METRIC_TRACERS {
            let rule = format!("must be at most {MAX_METRIC_TRACERS} with gateway.admin or gateway.telemetry");
            problems.add("metrics.max_tracers", rule);
        }
        for (name, caller) in &self.callers {
            if let Some((field, rule)) = caller.problem() {
                problems.add(format!("{}.{field}", folder::path_of(name)), rule);
            }
        }
        let has_callers = !self.callers.is_empty() || self.callers_dir.is_some();
        match &self.open {
            Some(_) if has_callers => problems.add("gateway.open", "cannot be set together with callers"),
            None if !has_callers && self.takes_requests() => problems.add(
                "gateway.callers",
                "no caller; add a table [gateway.callers.<name>], callers_dir, or open = { tenant = \"..\" }",
            ),
            _ => {}
        }
        if config.export().protocol == Protocol::HttpJson {
            let rule = "the gateway cannot send JSON; use \"http/protobuf\" or \"grpc\"";
            problems.add("export.protocol", rule);
        }
        if config.export().mode == ExportMode::Inline {
            problems.add("export.mode", "the gateway cannot send inline; use \"background\"");
        }
    }

    fn check_listeners(&self, problems: &mut GatewayProblems) {
        if self.http.is_none() && self.grpc.is_none() && self.takes_requests() {
            problems.add("gateway", "both http and grpc are off, so that nothing is received");
        }
        if self.http.is_some_and(|http| http.port() != 0) && self.http == self.grpc {
            problems.add(
                "gateway.grpc",
                "the address of gateway.http; each listener needs its own",
            );
        }
        for (field, address) in self
            .listeners()
            .filter(|(_, address)| !address.ip().to_canonical().is_loopback())
        {
            if self.open.is_some() {
                problems.add(field, "must be a loopback address, because gateway.open is set");
            } else if self.tls.is_none() && !self.insecure {
                let rule = format!(
                    "{address} is not a loopback address; set gateway.tls, or gateway.insecure = true if a proxy ends TLS"
                );
                problems.add(field, rule);
            }
        }
        if let Some(admin) = &self.admin {
            admin.check(self.listeners(), self.tls.is_some(), problems);
        }
    }

    fn check_limits(&self, problems: &mut GatewayProblems) {
        let counts = [
            ("max_request", self.max_request),
            ("max_connections", self.max_connections),
            ("body_min_rate", self.body_min_rate),
            (
                "http2_max_streams",
                usize::try_from(self.http2_max_streams).unwrap_or(usize::MAX),
            ),
        ];
        for (field, _) in counts.into_iter().filter(|(_, count)| *count == 0) {
            problems.add(format!("gateway.{field}"), "must be at least 1");
        }
        let times = [
            ("header_timeout", self.header_timeout),
            ("body_grace", self.body_grace),
            ("idle_timeout", self.idle_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
        ];
        for (field, time) in times {
            if time.is_zero() {
                problems.add(format!("gateway.{field}"), "must be more than zero");
            } else if time > MAX_TIMEOUT {
                problems.add(format!("gateway.{field}"), "must be at most a day");
            }
        }
        if self.memory < self.max_request.saturating_mul(2) {
            let rule = "must be at least twice gateway.max_request, because a compressed request is held in both forms";
            problems.add("gateway.memory", rule);
        }
    }
}

impl Written {
    fn read(&mut self, table: &mut GatewayTable<'_, '_>) {
        let settings = &mut self.settings;
        listener(&mut settings.http, table, "http");
        listener(&mut settings.grpc, table, "grpc");
        table.tables("callers", |name, table| read_caller(&mut settings.callers, name, table));
        settings.callers_dir = table.path("callers_dir").or_else(|| settings.callers_dir.take());
        set(&mut settings.insecure, table.flag("insecure"));
        if table.has("trusted_proxies") {
            settings.trusted_proxies = networks(table);
        }
        set(&mut settings.other_signals, table.choose("other_signals"));
        set(&mut settings.max_request, table.size("max_request"));
        set(&mut settings.memory, table.size("memory"));
        set(&mut settings.max_connections, table.count("max_connections"));
        set(&mut settings.header_timeout, table.duration("header_timeout"));
        set(&mut settings.body_grace, table.duration("body_grace"));
        set(&mut settings.body_min_rate, table.size("body_min_rate"));
        set(&mut settings.idle_timeout, table.duration("idle_timeout"));
        set(
            &mut settings.http2_max_streams,
            table.take("http2_max_streams", "a non-negative integer"),
        );
        set(&mut settings.shutdown_timeout, table.duration("shutdown_timeout"));
        if let Some(open) = table.table("open", read_open) {
            self.open = Some(open);
        }
        let tls = table.table("tls", |table| {
            self.certificate = table.path("certificate").or_else(|| self.certificate.take());
            self.key = table.path("key").or_else(|| self.key.take());
            self.client_ca = table.path("client_ca").or_else(|| self.client_ca.take());
        });
        self.has_tls |= tls.is_some();
        table.table("admin", |table| {
            settings.admin.get_or_insert_default().read(table);
        });
        table.table("stream", |table| {
            settings.stream.get_or_insert_default().read(table);
        });
        table.table("telemetry", |table| {
            settings.telemetry.get_or_insert_default().read(table);
        });
        table.table("log", |table| settings.log.read(table));
    }

    fn finish(self, problems: &mut GatewayProblems) -> Settings {
        let mut settings = self.settings;
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => {
                let client_ca = self.client_ca;
                settings.tls = Some(Tls {
                    certificate,
                    key,
                    client_ca,
                });
            }
            _ if self.has_tls => problems.add("gateway.tls", "certificate and key are both needed"),
            _ => {}
        }
        if let Some(open) = self.open {
            match Selector::try_from(open) {
                Ok(selector) => settings.open = Some(selector),
                Err(error) => problems.add("gateway.open", error.to_string()),
            }
        }
        if let Some(folder) = settings.callers_dir.clone() {
            folder::read(&folder, &mut settings.callers, problems);
        }
        // Many insertions leave half of each node unused.
        settings.callers = std::mem::take(&mut settings.callers).into_iter().collect();
        settings
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// Takes an address, or `false`.
fn listener(setting: &mut Option<SocketAddr>, table: &mut GatewayTable<'_, '_>, field: &'static str) {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Listener {
        Address(SocketAddr),
        Switch(bool),
    }
    let expected = "an address such as \"127.0.0.1:4318\", or false";
    match table.take(field, expected) {
        Some(Listener::Address(address)) => *setting = Some(address),
        Some(Listener::Switch(false)) => *setting = None,
        Some(Listener::Switch(true)) => table.problem(field, format!("expected {expected}")),
        None => {}
    }
}

fn networks(table: &mut GatewayTable<'_, '_>) -> Vec<IpNet> {
    let field = "trusted_proxies";
    let expected = "a list of networks such as \"10.0.0.0/8\"";
    let written: Vec<String> = table.take(field, expected).unwrap_or_default();
    let mut networks = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        match text.parse().or_else(|_| address()) {
            Ok(network) => networks.push(network),
            Err(_) => table.problem(field, format!("entry {index} is not a network such as \"10.0.0.0/8\"")),
        }
    }
    networks
}

fn read_open(table: &mut GatewayTable<'_, '_>) -> SelectorBuilder {
    let mut open = SelectorBuilder::default();
    if let Some(tenant) = slug(table, "tenant") {
        open = open.tenant(&tenant);
    }
    if let Some(environment) = slug(table, "environment") {
        open = open.environment(&environment);
    }
    if let Some(feature) = slug(table, "feature") {
        open = open.feature(&feature);
    }
    open
}

fn read_caller(callers: &mut BTreeMap<Slug, Arc<CallerSettings>>, written: &str, table: &mut GatewayTable<'_, '_>) {
    let name = if table.is_of_variables() {
        declared(callers, written)
    } else {
        Slug::new(written).map_err(|error| error.to_string())
    };
    match name {
        Ok(name) => Arc::make_mut(callers.entry(name).or_default()).read(table),
        Err(message) => {
            table.table_problem(message);
            // Read all the same, so that its fields are not reported as unknown.
            CallerSettings::default().read(table);
        }
    }
}

/// Returns the caller that a variable means, whose name has `_` for `-` and `.`.
fn declared(callers: &BTreeMap<Slug, Arc<CallerSettings>>, written: &str) -> Result<Slug, String> {
    let same = |(written, name): (u8, u8)| written == name || written == b'_' && matches!(name, b'-' | b'.');
    let is_meant = |name: &&Slug| written.len() == name.len() && written.bytes().zip(name.bytes()).all(same);
    let meant: Vec<&Slug> = callers.keys().filter(is_meant).collect();
    match *meant.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(
            "no file declares it; a variable can only change a table [gateway.callers.*] of a file, \
                   with `_` for `-` and `.`"
                .to_owned(),
        ),
        _ => Err("ambiguous: it matches several callers".to_owned()),
    }
}
