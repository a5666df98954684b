//! The stream that all replicas share: its options from the settings, and its store for the
//! registry.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use tracer_registry::config::{Binding, Config, ConfigError, SpoolMode};
use tracer_registry::gateway::GatewayProblems;
use tracer_registry::secret::{ApiKey, SecretSources};
use tracer_registry::selector::{SelectorKind, Slug};
use tracer_registry::source::{BindingCacheOptions, SourceError};
use tracer_registry::{BuildError, KeySource, RegistryBuilder, Selector};
use tracer_registry_spool::{Event, Options, Recovery, SqliteStore, Store};
use tracer_registry_stream::{
    BindingsError, Credentials, Limits, Local, Role, SharedBindings, StreamOptions, StreamStore, Tls,
};

use crate::cluster::Cluster;
use crate::config::{Settings, StreamCredentials, StreamRole, StreamSettings};

/// The bindings are in memory, so each look-up may ask again after a second.
const BINDING_CACHE: BindingCacheOptions = BindingCacheOptions {
    ttl: Duration::from_secs(1),
    negative_ttl: Duration::from_secs(1),
    max_entries: 100_000,
};

/// Largest credentials file.
const MAX_CREDENTIALS: u64 = 64 << 10;

/// A function that a store reports to.
type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// Gives the registry the stream of the configuration as its store, if there is one. `[spool]` then
/// belongs to the stream: data waits there while the servers are away.
pub(crate) fn add(
    registry: RegistryBuilder,
    config: &Config,
    cluster: &Arc<Cluster>,
) -> Result<RegistryBuilder, ConfigError> {
    let Some(settings) = Settings::read(config)?.stream else {
        return Ok(registry);
    };
    let report: Report = Arc::new(|_| ());
    let mut options = options(config, &settings, report)?;
    options.hooks = cluster.hooks();
    let (config, cluster) = (config.clone(), Arc::clone(cluster));
    let shared = Arc::<OnceLock<Arc<SharedBindings>>>::default();
    let bindings = Arc::clone(&shared);
    let open = move |report| -> Result<Arc<dyn Store>, BuildError> {
        options.local = local(&config, &report).map_err(|error| BuildError::Spool(error.to_string()))?;
        options.report = report;
        let store = StreamStore::open(options);
        let store = store.map_err(|error| BuildError::Spool(format!("gateway.stream: {error}")))?;
        let _ = bindings.set(store.bindings());
        cluster.set_store(Arc::clone(&store));
        Ok(store)
    };
    Ok(registry
        .store(SpoolMode::Through, open)
        .binding_cache(BINDING_CACHE)
        .binding_source(move |tenant: &Slug| binding(shared.get(), tenant)))
}

/// Returns the shared binding of a tenant, which is untrusted.
fn binding(shared: Option<&Arc<SharedBindings>>, tenant: &Slug) -> Result<Option<Binding>, SourceError> {
    let json = match shared.map(|shared| shared.get(tenant.as_str())) {
        Some(Ok(json)) => json,
        Some(Err(error)) => return Err(SourceError::new(error.to_string())),
        None => return Err(SourceError::new(BindingsError::NotRead.to_string())),
    };
    let Some(json) = json else { return Ok(None) };
    let value = serde_json::from_slice::<Value>(&json);
    let value = value.map_err(|error| SourceError::new(format!("the shared binding is no JSON: {error}")))?;
    let binding = Binding::from_json(value);
    binding
        .map(Some)
        .map_err(|error| SourceError::new(format!("the shared binding: {error}")))
}

/// Returns the options of the configuration's stream. Reads its credentials.
///
/// # Errors
/// [`ConfigError`] if the configuration is not valid, has no stream, or the credentials cannot be
/// read.
pub fn stream_options(config: &Config) -> Result<StreamOptions, ConfigError> {
    match Settings::read(config)?.stream {
        Some(settings) => options(config, &settings, Arc::new(|_| ())),
        None => Err(problem(config, "gateway.stream", "missing")),
    }
}

fn options(config: &Config, settings: &StreamSettings, report: Report) -> Result<StreamOptions, ConfigError> {
    let as_u64 = |bytes: usize| bytes as u64;
    Ok(StreamOptions {
        credentials: credentials(config, &settings.credentials)?,
        tls: Tls {
            ca: settings.tls.ca.clone(),
            certificate: settings.tls.certificate.clone(),
            key: settings.tls.key.clone(),
        },
        prefix: settings.prefix.clone(),
        replicas: settings.replicas,
        partitions: settings.partitions,
        monitor: settings.monitor.clone(),
        accept_weaker_durability: settings.accept_weaker_durability,
        role: match settings.role {
            StreamRole::Both => Role::Both,
            StreamRole::Ingest => Role::Ingest,
            StreamRole::Send => Role::Send,
        },
        limits: Limits {
            max_bytes: as_u64(settings.max_bytes),
            max_parked_bytes: as_u64(settings.max_parked_bytes),
            max_messages_per_selector: i64::try_from(settings.max_messages_per_selector).unwrap_or(i64::MAX),
            max_age: config.spool().max_age,
            publish_timeout: settings.publish_timeout,
            window_bytes: settings.window,
        },
        ..StreamOptions::new(settings.servers.clone(), covers, report)
    })
}

fn credentials(config: &Config, credentials: &StreamCredentials) -> Result<Credentials, ConfigError> {
    let read = |field: &str, source: &KeySource| {
        let key = config.read_key(source, &SecretSources::default());
        key.map(ApiKey::into_secret).map_err(|error| {
            problem(
                config,
                &format!("gateway.stream.credentials.{field}"),
                &error.to_string(),
            )
        })
    };
    Ok(match credentials {
        StreamCredentials::None => Credentials::None,
        StreamCredentials::Token(token) => Credentials::Token(read("token", token)?),
        StreamCredentials::Password(user, password) => Credentials::Password(user.clone(), read("password", password)?),
        StreamCredentials::Nkey(nkey) => Credentials::Nkey(read("nkey", nkey)?),
        StreamCredentials::File(file) => Credentials::File(read_file(file).map_err(|error| {
            let why = format!("cannot read {}: {error}", file.display());
            problem(config, "gateway.stream.credentials.file", &why)
        })?),
    })
}

fn read_file(path: &Path) -> std::io::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(MAX_CREDENTIALS).read_to_string(&mut text)?;
    Ok(SecretString::from(text.as_str()))
}

fn problem(config: &Config, key: &str, rule: &str) -> ConfigError {
    let mut problems = GatewayProblems::new(config);
    problems.add(key, rule);
    problems.into_result().expect_err("there is a problem")
}

/// Opens the files of `[spool]`, unless its mode is off.
fn local(config: &Config, registry: &Report) -> Result<Option<Local>, tracer_registry_spool::OpenError> {
    let settings = config.spool();
    if settings.mode == SpoolMode::Off {
        return Ok(None);
    }
    // The first event has what the files hold, and comes before `open` returns.
    let held = Arc::<Mutex<Option<Recovery>>>::default();
    let first = Arc::clone(&held);
    let registry = Arc::clone(registry);
    let report = move |event: Event| match event {
        Event::Opened(recovery) => {
            first
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(recovery);
        }
        Event::SetAside { file, why } => {
            tracing::error!(file = %file.display(), "a file of the spool was set aside, and a new one begun: {why}");
        }
        // Its ledger has given it to the stream: it comes back, and is dropped.
        Event::Lost { why, depth } => {
            registry(Event::Arrived(vec![depth.clone()]));
            registry(Event::Lost { why, depth });
        }
        // The stream shows the health of the store as a part of its own.
        _ => {}
    };
    let as_u64 = |bytes: usize| bytes as u64;
    // Both are required if the mode is not off.
    let folder = settings.path.clone().unwrap_or_default();
    let max_bytes = settings.max_bytes.map_or(0, as_u64);
    let mut options = Options::new(folder, max_bytes, covers, Arc::new(report));
    options.owner_max_bytes = settings.tenant_max_bytes.map(as_u64);
    options.max_age = settings.max_age;
    options.wait_for_lock = settings.wait_for_lock;
    let store = SqliteStore::open(options)?;
    let held = held.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(held.map(|held| Local { store, held, owner_of }))
}

/// Returns whether what was erased covers a queue. Both are texts of selectors.
fn covers(erased: &str, queue: &str) -> bool {
    let of = |text: &str| text.parse::<Selector>();
    matches!((of(erased), of(queue)), (Ok(erased), Ok(queue)) if queue.contains(&erased))
}

/// Returns the owner of a queue: its tenant, or the selector if it has none.
fn owner_of(queue: &str) -> Arc<str> {
    let selector = queue.parse::<Selector>().ok();
    let tenant = selector
        .as_ref()
        .and_then(|selector| selector.get(SelectorKind::Tenant));
    tenant.map_or(queue, |tenant| tenant.as_str()).into()
}
