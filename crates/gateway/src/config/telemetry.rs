//! The tables `[gateway.telemetry]` and `[gateway.log]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use tracer_registry::KeySource;
use tracer_registry::gateway::{GatewayProblems, GatewayTable, is_permitted_header, url_problem};

const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The table `[gateway.telemetry]` with every default filled in. Contains no token.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetrySettings {
    /// URL that takes the gateway's own metrics by OTLP/HTTP.
    pub endpoint: Uri,
    /// Source of the token for `Authorization: Bearer`. Default: none.
    pub token: Option<KeySource>,
    /// Further headers of each request. Default: none.
    pub headers: HeaderMap,
    /// Time between two requests. Default: 60 s.
    pub interval: Duration,
    /// Whether an endpoint is written, valid or not.
    has_endpoint: bool,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            endpoint: Uri::default(),
            token: None,
            headers: HeaderMap::new(),
            interval: Duration::from_secs(60),
            has_endpoint: false,
        }
    }
}

impl TelemetrySettings {
    /// Reads the fields of a layer over those of the layers below.
    pub(super) fn read(&mut self, table: &mut GatewayTable<'_, '_>) {
        self.has_endpoint |= table.has("endpoint");
        let expected = "a URL such as \"https://collector.example:4318/v1/metrics\"";
        if let Some(text) = table.take::<String>("endpoint", expected) {
            match (url_problem(&text), text.parse()) {
                (None, Ok(endpoint)) => self.endpoint = endpoint,
                (Some(problem), _) => table.problem("endpoint", problem),
                (None, Err(_)) => table.problem("endpoint", format!("expected {expected}")),
            }
        }
        if let Some(tokens) = table.key_sources("token") {
            if tokens.len() > 1 {
                table.problem("token", "expected one key source, because a request carries one token");
            }
            self.token = tokens.into_iter().next();
        }
        if let Some(headers) = read_headers(table) {
            self.headers = headers;
        }
        if let Some(interval) = table.duration("interval") {
            self.interval = interval;
        }
    }

    pub(super) fn check(&self, is_insecure: bool, problems: &mut GatewayProblems) {
        if !self.has_endpoint {
            problems.add("gateway.telemetry.endpoint", "missing");
        } else if self.endpoint.scheme_str() == Some("http") && !is_insecure && !is_loopback(&self.endpoint) {
            let rule = "http:// is only allowed to a loopback address; use https://, or set gateway.insecure = true";
            problems.add("gateway.telemetry.endpoint", rule);
        }
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&self.interval) {
            problems.add("gateway.telemetry.interval", "must be from 1 s to 1 h");
        }
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn read_headers(table: &mut GatewayTable<'_, '_>) -> Option<HeaderMap> {
    let field = "headers";
    let written: BTreeMap<String, String> = table.take(field, "a table of texts")?;
    let mut headers = HeaderMap::new();
    for (name, value) in &written {
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::from_str(value).ok());
        match header.filter(|_| is_permitted_header(name, value)) {
            Some((name, value)) => drop(headers.insert(name, value)),
            None => table.problem(field, "an entry cannot be set, or carries a key; set keys with token"),
        }
    }
    Some(headers)
}

/// The table `[gateway.log]` with every default filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line is written. Default: [`LogFormat::Text`].
    pub format: LogFormat,
    /// Lowest level that is written. Default: [`LogLevel::Info`].
    pub level: LogLevel,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// Lowest level of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Warnings and errors.
    Warn,
    /// Also changes of state.
    #[default]
    Info,
    /// Also details.
    Debug,
}

impl LogSettings {
    pub(super) fn read(&mut self, table: &mut GatewayTable<'_, '_>) {
        if let Some(format) = table.choose("format") {
            self.format = format;
        }
        if let Some(level) = table.choose("level") {
            self.level = level;
        }
    }
}
