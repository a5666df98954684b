//! What a store needs to know.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tracer_registry_spool::{Event, Recovery, Store};

/// Returns whether what was erased covers a queue. Both are texts of selectors.
pub type Covers = fn(&str, &str) -> bool;

/// Returns the owner of a queue, as in `Row::owner`, from the text of its selector.
pub type OwnerOf = fn(&str) -> Arc<str>;

/// Options of [`StreamStore`](crate::StreamStore).
pub struct StreamOptions {
    /// Addresses of the servers: `nats://host:4222` or `tls://host:4222`.
    pub servers: Vec<String>,
    /// How to log in.
    pub credentials: Credentials,
    /// Settings of TLS, which is used if an address begins with `tls://` or a file is set.
    pub tls: Tls,
    /// First part of the names of streams, subjects and buckets. Default `tr`.
    pub prefix: String,
    /// Copies of each message. Default 3.
    pub replicas: usize,
    /// Number of partitions of tenants. Fixed when the streams are created. Default 32.
    pub partitions: u16,
    /// Addresses of the servers' monitoring: `http://host:8222`.
    pub monitor: Vec<String>,
    /// Starts although the servers may lose acknowledged data: fewer replicas than configured, or
    /// servers that do not sync each write, or cannot be asked.
    pub accept_weaker_durability: bool,
    /// What this replica does.
    pub role: Role,
    /// Bounds.
    pub limits: Limits,
    /// Where rows wait while the servers cannot be reached.
    pub local: Option<Local>,
    /// Whether a selector was erased by the purge of another.
    pub covers: Covers,
    /// Receives what the store reports.
    pub report: Arc<dyn Fn(Event) + Send + Sync>,
    /// Functions of the replica that the store calls.
    pub hooks: Hooks,
}

/// Functions of the replica, called on the thread of the store. None may block.
#[derive(Clone)]
pub struct Hooks {
    /// Returns the ledger of the replica, which the ledger of all replicas shows.
    pub ledger: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Receives the number of live replicas that take requests, every two seconds.
    pub live_replicas: Arc<dyn Fn(u32) + Send + Sync>,
    /// Receives the text of a selector: its key must be read again.
    pub nudged: Arc<dyn Fn(&str) + Send + Sync>,
}

/// An open store on the local disk, for one stream alone.
///
/// While the servers do not answer, rows wait in it. What it holds is published later, in order, also
/// if an earlier process appended it.
pub struct Local {
    /// The store. [`StreamStore`](crate::StreamStore) closes it.
    pub store: Arc<dyn Store>,
    /// What the store held when it was opened: the content of its event `Opened`.
    pub held: Recovery,
    /// Returns the owner of a queue.
    pub owner_of: OwnerOf,
}

/// How to log in to the servers.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// With a token.
    Token(SecretString),
    /// With a name and a password.
    Password(String, SecretString),
    /// With the text of a credentials file: a JSON Web Token and the seed of an nkey.
    File(SecretString),
    /// With the seed of an nkey.
    Nkey(SecretString),
}

/// Settings of TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// File with certificates to trust, instead of the platform's.
    pub ca: Option<PathBuf>,
    /// File with the certificate of this client.
    pub certificate: Option<PathBuf>,
    /// File with the private key of this client.
    pub key: Option<PathBuf>,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Takes requests and sends.
    #[default]
    Both,
    /// Takes requests only.
    Ingest,
    /// Sends only.
    Send,
}

/// Bounds of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all hot streams. Each partition gets an equal part. Default 16 GiB.
    pub max_bytes: u64,
    /// Bytes of all parking streams. Each partition gets an equal part. Default 64 GiB.
    pub max_parked_bytes: u64,
    /// Messages of one selector and kind in its hot stream. Default 100,000.
    pub max_messages_per_selector: i64,
    /// Data that waits for longer is dropped. Default 72 h.
    pub max_age: Duration,
    /// How long a publisher waits for the acknowledgement. Default 2 s.
    pub publish_timeout: Duration,
    /// Bytes of messages that this replica holds as a sender. Default 64 MiB.
    pub window_bytes: usize,
}

impl StreamOptions {
    /// Options with defaults.
    pub fn new(servers: Vec<String>, covers: Covers, report: Arc<dyn Fn(Event) + Send + Sync>) -> Self {
        Self {
            servers,
            credentials: Credentials::None,
            tls: Tls::default(),
            prefix: "tr".to_owned(),
            replicas: 3,
            partitions: 32,
            monitor: Vec::new(),
            accept_weaker_durability: false,
            role: Role::Both,
            limits: Limits::default(),
            local: None,
            covers,
            report,
            hooks: Hooks::default(),
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            ledger: Arc::new(|| serde_json::Value::Null),
            live_replicas: Arc::new(|_| {}),
            nudged: Arc::new(|_| {}),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 30,
            max_parked_bytes: 64 << 30,
            max_messages_per_selector: 100_000,
            max_age: Duration::from_secs(72 * 60 * 60),
            publish_timeout: Duration::from_secs(2),
            window_bytes: 64 << 20,
        }
    }
}

impl Role {
    /// Whether the replica takes requests.
    pub fn takes_requests(self) -> bool {
        self != Self::Send
    }

    /// Whether the replica sends.
    pub fn sends(self) -> bool {
        self != Self::Ingest
    }
}

impl Tls {
    /// Whether the connection must use TLS.
    pub(crate) fn is_required(&self, servers: &[String]) -> bool {
        self.ca.is_some() || self.certificate.is_some() || servers.iter().any(|server| server.starts_with("tls://"))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(..)",
            Self::Password(..) => "Password(..)",
            Self::File(_) => "File(..)",
            Self::Nkey(_) => "Nkey(..)",
        })
    }
}
