//! Key rotation of live tracers: the receiver refuses the old key, the source has a new one, and no
//! data is lost.

mod command_lifetime;
mod files;
mod full_queue;
mod hanging_sources;
mod invalid_files;
mod on_request;
mod refusal_status;
mod refusals;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tempfile::TempDir;
use tracer_registry::config::{Binding, Export, Retry};
use tracer_registry::secret::SecretError;
use tracer_registry::status::KeyStatus;
use tracer_registry::{KeySource, RegistryBuilder};
use tracer_registry_collector::{Fault, FaultId};

use crate::support::{World, key_of, quick, wait_for};

/// Retry delays longer than any test, so a recovery within a test is not a retry.
fn endless_backoff() -> Export {
    Export {
        retry: Retry {
            initial_backoff: Some(Duration::from_secs(3600)),
            max_backoff: Some(Duration::from_secs(3600)),
            max_elapsed: Some(Duration::from_secs(24 * 3600)),
            ..Retry::default()
        },
        ..quick()
    }
}

/// A custom secret source named `vault`, which counts its reads.
#[derive(Clone, Default)]
struct Vault {
    secrets: Arc<Mutex<BTreeMap<String, String>>>,
    reads: Arc<AtomicU64>,
}

impl Vault {
    /// Sets the secret of a name. A text that starts with `!` makes the source return the rest as
    /// an error; `panic` makes it panic.
    fn put(&self, name: &str, secret: &str) {
        let mut secrets = self.secrets.lock().expect("not poisoned");
        secrets.insert(name.to_owned(), secret.to_owned());
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    fn fetch(&self, name: &str) -> Result<SecretString, SecretError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let secret = self.secrets.lock().expect("not poisoned").get(name).cloned();
        let secret = secret.ok_or_else(|| SecretError::refused("no such secret"))?;
        assert_ne!(secret, "panic");
        match secret.strip_prefix('!') {
            Some(fault) => Err(SecretError::refused(fault)),
            None => Ok(SecretString::from(secret)),
        }
    }

    /// Creates tenants with these names, which read the secret of the same name. Each secret is the
    /// tenant's first key.
    fn world(&self, tenants: &[&str], export: Export) -> World {
        World::with(&[], |mut builder| {
            let vault = self.clone();
            builder = builder
                .export(export)
                .secret_source("vault", move |name: &str| vault.fetch(name));
            tenants.iter().fold(builder, |builder, tenant| {
                self.put(tenant, &key_of(tenant));
                builder.tenant(*tenant, Binding::new().api_key(KeySource::provider("vault", *tenant)))
            })
        })
        .with_projects(tenants)
    }
}

impl World {
    /// Names the collector's project of each tenant by its first key and by that of [`next_key`].
    fn with_projects(self, tenants: &[&str]) -> Self {
        for tenant in tenants {
            self.collector.name_project(tenant, &key_of(tenant));
            self.collector.name_project(tenant, &next_key(tenant));
        }
        self
    }

    fn revoke(&self, key: &str) -> FaultId {
        self.collector.fault(Fault::reject_key().only(key))
    }

    fn key(&self, tenant: &str) -> KeyStatus {
        self.status(tenant).key.expect("it has a tracer")
    }

    /// Waits until the tenant uses this key.
    fn wait_for_key(&self, tenant: &str, key: &str) {
        let wanted = crate::support::fingerprint(&self.collector, key);
        wait_for("the key", || self.key(tenant), |now| now.fingerprint == wanted);
        assert_eq!(self.tenant(tenant).fingerprint(), wanted);
    }

    fn wait_for_spans(&self, tenant: &str, spans: usize) {
        wait_for(
            "spans",
            || (self.project(tenant).spans().len(), self.status(tenant)),
            |(arrived, _)| *arrived == spans,
        );
    }

    /// Asserts that every span and session event arrived.
    fn assert_nothing_lost(&self, tenant: &str) {
        let status = wait_for(
            "the ledger",
            || self.status(tenant),
            |status| status.spans.pending() == 0 && status.session_events.pending() == 0,
        );
        assert_eq!(
            (status.spans.lost(), status.session_events.lost()),
            (0, 0),
            "{status:#?}"
        );
        let arrived = self.project(tenant).spans().len();
        assert_eq!(status.spans.delivered, arrived as u64, "{status:#?}");
    }
}

/// Returns the second key of a tenant.
fn next_key(tenant: &str) -> String {
    key_of(&format!("{tenant}_next"))
}

/// A folder with one key file per tenant.
struct Keys {
    folder: TempDir,
    world: World,
}

impl Keys {
    fn new(tenants: &[&str], export: Export) -> Self {
        Self::with(tenants, |builder| builder.export(export))
    }

    fn with(tenants: &[&str], adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> Self {
        let folder = TempDir::new().expect("a folder");
        let world = World::with(&[], |builder| {
            tenants.iter().fold(adapt(builder), |builder, tenant| {
                let file = folder.path().join(tenant);
                fs::write(&file, key_of(tenant)).expect("written");
                builder.tenant(*tenant, Binding::new().api_key(KeySource::file(file)))
            })
        });
        Self {
            folder,
            world: world.with_projects(tenants),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// Replaces a key file atomically.
    fn replace(&self, name: &str, text: &str) {
        fs::rename(self.write("new", text), self.path(name)).expect("renamed");
    }
}
