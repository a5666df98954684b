//! Keys that become others while their tracers stay: the receiver refuses the old one, the source has a new one, and nothing is lost.

mod alarms;
mod bad_input;
mod files;
mod full_queue;
mod hanging;
mod lifetime;
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

/// Waits before repetitions that no test waits for: what heals before that does not heal by repetition.
fn eternal_pauses() -> Export {
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

/// A secret manager of the program's own, called `vault`: what it says, and how often it was asked.
#[derive(Clone, Default)]
struct Vault {
    secrets: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<AtomicU64>,
}

impl Vault {
    /// What it gives for a name; a text that begins with `!` is an error that says the rest, `panic` is one.
    fn put(&self, name: &str, secret: &str) {
        let mut secrets = self.secrets.lock().expect("not poisoned");
        secrets.insert(name.to_owned(), secret.to_owned());
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn fetch(&self, name: &str) -> Result<SecretString, SecretError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let secret = self.secrets.lock().expect("not poisoned").get(name).cloned();
        let secret = secret.ok_or_else(|| SecretError::refused("no such secret"))?;
        assert_ne!(secret, "panic");
        match secret.strip_prefix('!') {
            Some(fault) => Err(SecretError::refused(fault)),
            None => Ok(SecretString::from(secret)),
        }
    }

    /// Tenants of these names, whose secrets are called the same, and who have their first keys.
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
        .naming(tenants)
    }
}

impl World {
    /// The collector knows the first key of these tenants, and one more: that of [`next`].
    fn naming(self, tenants: &[&str]) -> Self {
        for tenant in tenants {
            self.collector.name_project(tenant, &key_of(tenant));
            self.collector.name_project(tenant, &next(tenant));
        }
        self
    }

    fn revoke(&self, key: &str) -> FaultId {
        self.collector.fault(Fault::reject_key().only(key))
    }

    fn key(&self, tenant: &str) -> KeyStatus {
        self.status(tenant).key.expect("it has a tracer")
    }

    /// Waits until a tenant sends with that key.
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

    /// Everything arrived, under this key last.
    fn assert_nothing_lost(&self, tenant: &str) {
        let status = wait_for(
            "the books",
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

/// The key that a tenant has after its first.
fn next(tenant: &str) -> String {
    key_of(&format!("{tenant}_next"))
}

/// A folder with a file for the key of each tenant.
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
            world: world.naming(tenants),
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

    /// As secrets are replaced by who knows how: there is never half of one.
    fn replace(&self, name: &str, text: &str) {
        fs::rename(self.write("new", text), self.path(name)).expect("renamed");
    }
}
