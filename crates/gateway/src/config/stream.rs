//! The table `[gateway.stream]`.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use tracer_registry::KeySource;
use tracer_registry::gateway::{GatewayProblems, GatewayTable};

/// Most partitions. Each has two streams and a consumer.
const MAX_PARTITIONS: usize = 1024;
/// Most copies that JetStream keeps of a message.
const MAX_REPLICAS: usize = 5;
/// Smallest part of `max_bytes` and `max_parked_bytes` for one partition.
const MIN_PARTITION_BYTES: usize = 1 << 20;

/// The table `[gateway.stream]` with every default filled in. Contains no credential.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// Addresses of the NATS servers: `nats://host:4222` or `tls://host:4222`.
    pub servers: Vec<String>,
    /// How to log in. Default: not at all.
    pub credentials: StreamCredentials,
    /// Certificates. Default: those of the platform, if an address begins with `tls://`.
    pub tls: StreamTls,
    /// First part of the names of streams, subjects and buckets. Default: `tr`.
    pub prefix: String,
    /// Copies of each message: 1, 3 or 5. Default: 3.
    pub replicas: usize,
    /// Number of partitions of tenants. Fixed when the streams are created. Default: 32.
    pub partitions: u16,
    /// Addresses of the monitoring of all servers: `http://host:8222`. Default: none, which needs
    /// `accept_weaker_durability`.
    pub monitor: Vec<String>,
    /// Starts although the servers may lose acknowledged data. Default: false.
    pub accept_weaker_durability: bool,
    /// What this replica does. Default: [`StreamRole::Both`].
    pub role: StreamRole,
    /// Bytes of data that waits to be sent, of all tenants. Default: 16 GiB.
    pub max_bytes: usize,
    /// Bytes of data that waits for failing receivers, of all tenants. Default: 64 GiB.
    pub max_parked_bytes: usize,
    /// Messages that one selector may have waiting, for spans and session events each. Default:
    /// 100,000.
    pub max_messages_per_selector: usize,
    /// How long a request waits until the servers have stored its data. Default: 2 s.
    pub publish_timeout: Duration,
    /// Memory of data that this replica holds to send it. Default: 64 MiB.
    pub window: usize,
}

/// How to log in to the NATS servers. Contains no credential.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StreamCredentials {
    /// Not at all.
    #[default]
    None,
    /// With a token.
    Token(KeySource),
    /// With a name and a password.
    Password(String, KeySource),
    /// With the seed of an nkey.
    Nkey(KeySource),
    /// With a credentials file: a JSON Web Token and the seed of an nkey.
    File(PathBuf),
}

/// Certificates for connections to the NATS servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamTls {
    /// PEM file with authorities to trust, instead of the platform's.
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate of this client.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of this client.
    pub key: Option<PathBuf>,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamRole {
    /// Takes requests, and sends.
    #[default]
    Both,
    /// Takes requests only.
    Ingest,
    /// Sends only. It needs no listener and no caller.
    Send,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            credentials: StreamCredentials::None,
            tls: StreamTls::default(),
            prefix: "tr".to_owned(),
            replicas: 3,
            partitions: 32,
            monitor: Vec::new(),
            accept_weaker_durability: false,
            role: StreamRole::Both,
            max_bytes: 16 << 30,
            max_parked_bytes: 64 << 30,
            max_messages_per_selector: 100_000,
            publish_timeout: Duration::from_secs(2),
            window: 64 << 20,
        }
    }
}

impl StreamSettings {
    /// Reads the fields of a layer over those of the layers below.
    pub(super) fn read(&mut self, table: &mut GatewayTable<'_, '_>) {
        let expected = "a list of addresses such as \"nats://nats-0:4222\"";
        if let Some(servers) = addresses(table, "servers", expected, &["nats", "tls"]) {
            self.servers = servers;
        }
        let expected = "a list of addresses such as \"http://nats-0:8222\"";
        if let Some(monitor) = addresses(table, "monitor", expected, &["http"]) {
            self.monitor = monitor;
        }
        if let Some(Some(credentials)) = table.table("credentials", read_credentials) {
            self.credentials = credentials;
        }
        let tls = &mut self.tls;
        table.table("tls", |table| {
            tls.ca = table.path("ca").or_else(|| tls.ca.take());
            tls.certificate = table.path("certificate").or_else(|| tls.certificate.take());
            tls.key = table.path("key").or_else(|| tls.key.take());
        });
        let is_prefix = |text: &str| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=32).contains(&text.len()) && text.bytes().all(is_name)
        };
        let prefix = |text: &str| is_prefix(text).then(|| text.to_owned());
        let expected = "1 to 32 letters, digits and \"-\"";
        set(&mut self.prefix, table.parse("prefix", expected, prefix));
        set(&mut self.replicas, table.count("replicas"));
        if let Some(partitions) = table.count("partitions") {
            match u16::try_from(partitions)
                .ok()
                .filter(|_| (1..=MAX_PARTITIONS).contains(&partitions))
            {
                Some(partitions) => self.partitions = partitions,
                None => table.problem("partitions", format!("must be from 1 to {MAX_PARTITIONS}")),
            }
        }
        set(
            &mut self.accept_weaker_durability,
            table.flag("accept_weaker_durability"),
        );
        set(&mut self.role, table.choose("role"));
        set(&mut self.max_bytes, table.size("max_bytes"));
        set(&mut self.max_parked_bytes, table.size("max_parked_bytes"));
        set(
            &mut self.max_messages_per_selector,
            table.count("max_messages_per_selector"),
        );
        set(&mut self.publish_timeout, table.duration("publish_timeout"));
        set(&mut self.window, table.size("window"));
    }

    pub(super) fn check(&self, problems: &mut GatewayProblems) {
        let mut add = |field: &str, rule: String| problems.add(format!("gateway.stream.{field}"), rule);
        if cfg!(not(feature = "jetstream")) {
            add(
                "servers",
                "this program was built without the feature \"jetstream\"".to_owned(),
            );
        }
        if self.servers.is_empty() {
            add("servers", "missing; name at least one server".to_owned());
        }
        if self.replicas.is_multiple_of(2) || self.replicas > MAX_REPLICAS {
            add("replicas", "must be 1, 3 or 5".to_owned());
        }
        if self.monitor.is_empty() && !self.accept_weaker_durability {
            let rule = "missing; without it sync_interval of the servers cannot be seen: name the monitoring of \
                        each server, or set accept_weaker_durability = true";
            add("monitor", rule.to_owned());
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            add("tls", "certificate and key are both needed".to_owned());
        }
        let least = MIN_PARTITION_BYTES * usize::from(self.partitions);
        for (field, bytes) in [
            ("max_bytes", self.max_bytes),
            ("max_parked_bytes", self.max_parked_bytes),
        ] {
            if bytes < least {
                add(
                    field,
                    format!("must be at least {}MiB, 1MiB for each partition", least >> 20),
                );
            }
        }
        if self.max_messages_per_selector == 0 {
            add("max_messages_per_selector", "must be at least 1".to_owned());
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.publish_timeout) {
            add("publish_timeout", "must be from 100ms to 1m".to_owned());
        }
        if self.window < 1 << 20 {
            add("window", "must be at least 1MiB".to_owned());
        }
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// Takes addresses with one of the schemes, a host and a port, and nothing else: no name or password.
fn addresses(
    table: &mut GatewayTable<'_, '_>,
    field: &'static str,
    expected: &str,
    schemes: &[&str],
) -> Option<Vec<String>> {
    let written: Vec<String> = table.take(field, expected)?;
    let is_address = |text: &str| {
        let Ok(address) = text.parse::<Uri>() else { return false };
        let has_scheme = address.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
        let authority = address.authority().map_or("", |authority| authority.as_str());
        has_scheme && address.port_u16().is_some() && !authority.contains('@') && text.ends_with(authority)
    };
    for (index, _) in written.iter().enumerate().filter(|(_, text)| !is_address(text)) {
        // Not the text, which may have a password.
        let scheme = schemes.join(" or ");
        table.problem(
            field,
            format!("entry {index} is not {scheme}://host:port; set a password with credentials"),
        );
    }
    Some(written)
}

fn read_credentials(table: &mut GatewayTable<'_, '_>) -> Option<StreamCredentials> {
    let user: Option<String> = table.take("user", "a name");
    let file = table.path("file");
    let mut source = |field: &'static str| {
        let mut sources = table.key_sources(field)?;
        if sources.len() != 1 {
            table.problem(field, "expected one key source");
        }
        sources.pop()
    };
    let (token, password, nkey) = (source("token"), source("password"), source("nkey"));
    match (user, password, token, nkey, file) {
        (Some(user), Some(password), None, None, None) => Some(StreamCredentials::Password(user, password)),
        (None, None, Some(token), None, None) => Some(StreamCredentials::Token(token)),
        (None, None, None, Some(nkey), None) => Some(StreamCredentials::Nkey(nkey)),
        (None, None, None, None, Some(file)) => Some(StreamCredentials::File(file)),
        _ => {
            table.table_problem("expected one of: token; user and password; nkey; file");
            None
        }
    }
}
