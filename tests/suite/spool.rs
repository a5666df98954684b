//! Data on disk, with real files and a real receiver.

pub(crate) mod canary;
mod fairness;
#[cfg(unix)]
mod fork;
mod overflow;
#[cfg(feature = "gateway")]
mod parts;
mod purge;
mod quota;
mod reload;
#[cfg(feature = "metrics")]
mod reports;
mod restart;
#[cfg(feature = "gateway")]
mod sessions;
mod shutdown;

use std::fmt::Display;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{Export, Retry, Spool, SpoolMode};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::SelectorKind;
use tracer_registry::status::{LedgerSnapshot, TracerStatus};
use tracer_registry::{RegistryBuilder, TracerRegistry};
use tracer_registry_collector::LocalCollector;

use crate::support::{self, collector, quick, wait_for};

/// A folder on disk and a collector, for registries one after another.
pub(crate) struct Disk {
    folder: TempDir,
    mode: SpoolMode,
    tenants: Vec<&'static str>,
    pub(crate) fingerprinter: Fingerprinter,
    pub(crate) collector: LocalCollector,
}

impl Disk {
    /// Each tenant has a project of the same name.
    pub(crate) fn new(mode: SpoolMode, tenants: &[&'static str]) -> Self {
        let fingerprinter = Fingerprinter::new();
        Self {
            folder: TempDir::new().expect("a folder"),
            mode,
            tenants: tenants.to_vec(),
            collector: collector(tenants, &fingerprinter).start().expect("a free port"),
            fingerprinter,
        }
    }

    pub(crate) fn settings(&self) -> Spool {
        Spool {
            mode: Some(self.mode),
            path: Some(self.folder.path().join("spool")),
            max_bytes: Some(64 << 20),
            ..Spool::default()
        }
    }

    /// Starts a registry that uses the folder. Only one may run at a time.
    pub(crate) fn start(&self) -> TracerRegistry {
        self.start_with(|builder| builder)
    }

    pub(crate) fn start_with(&self, adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> TracerRegistry {
        let builder = support::registry(&self.collector.url(), &self.tenants, &self.fingerprinter);
        let builder = builder.export(impatient()).spool(self.settings());
        adapt(builder).build().expect("valid")
    }

    /// Returns the names of the received spans of a tenant, in order of arrival.
    pub(crate) fn names(&self, tenant: &str) -> Vec<String> {
        let project = self.collector.project(tenant).expect("a tenant");
        project.spans().iter().map(|span| span.name.clone()).collect()
    }

    /// Waits until exactly these spans of a tenant have arrived, in this order.
    pub(crate) fn wait_for_names(&self, tenant: &str, expected: &[String]) {
        let names = wait_for(
            "all spans",
            || self.names(tenant),
            |names| names.len() >= expected.len(),
        );
        assert_eq!(names, expected, "each once, in order");
    }
}

/// Retries in memory for a moment only.
pub(crate) fn impatient() -> Export {
    Export {
        timeout: Some(Duration::from_secs(1)),
        retry: Retry {
            max_elapsed: Some(Duration::from_millis(200)),
            ..quick().retry
        },
        ..quick()
    }
}

/// Returns `count` names that tell the order.
pub(crate) fn names(prefix: impl Display, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:04}")).collect()
}

/// Ends a span of each name, and drops the tracer's handle.
pub(crate) fn end_spans(registry: &TracerRegistry, tenant: &str, names: &[String]) {
    let tracer = registry.tenant(tenant).expect("configured");
    for name in names {
        tracer.start_span(name.clone()).end();
    }
}

/// Returns the status of a tenant, which adds up.
pub(crate) fn status(registry: &TracerRegistry, tenant: &str) -> Option<TracerStatus> {
    let is_tenant = |status: &TracerStatus| {
        let name = status.selector.get(SelectorKind::Tenant);
        name.is_some_and(|name| **name == *tenant)
    };
    let found = registry.status().tracers.into_iter().find(is_tenant)?;
    assert_adds_up(&found.spans);
    assert_adds_up(&found.session_events);
    Some(found)
}

pub(crate) fn assert_adds_up(ledger: &LedgerSnapshot) {
    let sum = ledger.delivered + ledger.queued + ledger.in_flight + ledger.spooled + ledger.lost();
    assert_eq!(ledger.accepted, sum, "{ledger:?}");
    assert!(ledger.recovered <= ledger.accepted, "{ledger:?}");
}

/// Waits until a tenant's spans are as `holds` wants.
pub(crate) fn wait_for_ledger(
    registry: &TracerRegistry,
    tenant: &str,
    holds: impl Fn(&LedgerSnapshot) -> bool,
) -> LedgerSnapshot {
    let ledger = || status(registry, tenant).map(|status| status.spans).unwrap_or_default();
    wait_for("the ledger", ledger, holds)
}

/// Waits until this many spans of a tenant are on disk only.
pub(crate) fn wait_until_spooled(registry: &TracerRegistry, tenant: &str, count: usize) -> LedgerSnapshot {
    wait_for_ledger(registry, tenant, |ledger| ledger.spooled == count as u64)
}

/// Waits until all that a tenant accepted was delivered, and nothing was lost.
pub(crate) fn wait_until_delivered(registry: &TracerRegistry, tenant: &str) -> LedgerSnapshot {
    let is_over = |ledger: &LedgerSnapshot| ledger.accepted > 0 && ledger.delivered + ledger.lost() == ledger.accepted;
    let ledger = wait_for_ledger(registry, tenant, is_over);
    assert_eq!((ledger.lost(), ledger.spooled), (0, 0), "{ledger:?}");
    ledger
}
