//! Starting a registry: the engine, the pool and, if files are watched, the watcher thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(feature = "spool")]
use std::time::Duration;
#[cfg(feature = "watch")]
use std::time::Instant;

use tokio::sync::Notify;

use super::binding_cache::{BindingCache, BindingCacheOptions, SingleFlight, Source};
use super::bindings::Bindings;
use super::copies::CopyTargets;
use super::default_route::DefaultRoute;
use super::error::BuildError;
use super::failed_lookups::FailedLookUps;
use super::handle::{Inner, TracerRegistry};
use super::lookup::SharedProjects;
use super::pool::{Pool, maintain};
#[cfg(feature = "redact")]
use super::redactors::GivenRedactors;
#[cfg(feature = "watch")]
use super::reload::WatchedFiles;
use super::reload::{ReloadExtension, Reloads};
#[cfg(feature = "spool")]
use super::spool::{GivenStore, OpenSpool, OpenedStore};
use super::state::RegistryState;
use super::unrouted::Unrouted;
use crate::backend::DestinationCache;
use crate::config::Config;
#[cfg(feature = "spool")]
use crate::context;
use crate::export::{Accounting, Engine};
#[cfg(feature = "redact")]
use crate::policy::redaction::SharedRules;
use crate::secret::{Fingerprinter, KeyReader, SecretSources};
use crate::util::fork::ForkGuard;

/// How often what was used of quotas is saved.
#[cfg(feature = "spool")]
const SAVE_USAGE: Duration = Duration::from_secs(1);

pub(crate) fn start(
    config: Config,
    source: Option<(Source, BindingCacheOptions)>,
    sources: SecretSources,
    fingerprinter: Fingerprinter,
    extension: ReloadExtension,
    #[cfg(feature = "redact")] redactors: GivenRedactors,
    #[cfg(feature = "spool")] store: GivenStore,
) -> Result<TracerRegistry, BuildError> {
    #[cfg(feature = "redact")]
    let redactors = redactors.check()?;
    let prepared = extension.prepare(&config);
    let commit = prepared.commit?;
    let reader = KeyReader::new(sources, config.has_strict_permissions());
    #[cfg(feature = "spool")]
    let opened = OpenedStore::open(config.spool(), store)?;
    let engine = Engine::start(
        config.export().clone(),
        reader.clone(),
        fingerprinter.clone(),
        #[cfg(feature = "spool")]
        opened.as_ref().map(|opened| Arc::clone(&opened.spool)),
    )?;
    let wake = Arc::new(Notify::new());
    let lines = Arc::clone(engine.lines());
    let pool = Arc::new(Pool::new(
        config.pool(),
        config.export().mode,
        Arc::clone(&wake),
        lines,
        Arc::clone(engine.changes()),
    ));
    let accounting = Arc::new(Accounting::new(Arc::clone(&wake)));
    engine.spawn(maintain(
        Arc::downgrade(&pool),
        Arc::downgrade(&accounting),
        wake,
        pool.period(),
    ));
    let cache = source.map(|(source, options)| BindingCache::new(source, options));
    let state = Arc::new(RegistryState {
        reloads: Reloads::new(config.is_watched(), Arc::clone(engine.changes())),
        extension,
        projects: SharedProjects::default(),
        failed: FailedLookUps::default(),
        copies: CopyTargets::default(),
        erased: Arc::default(),
        quotas: Arc::default(),
        bindings: Bindings::new(config, cache),
        pool,
        closed: AtomicBool::new(false),
        #[cfg(feature = "spool")]
        spool: opened.as_ref().map(|opened| Arc::clone(&opened.spool)),
        fork: ForkGuard::default(),
        #[cfg(feature = "watch")]
        watched: WatchedFiles::default(),
    });
    #[cfg(feature = "spool")]
    let spool = opened.map(|opened| OpenSpool::new(opened, &accounting, &state, engine.changes(), engine.lines()));
    let registry = TracerRegistry(Arc::new_cyclic(|weak| Inner {
        weak: weak.clone(),
        #[cfg(feature = "spool")]
        spool,
        state: Arc::clone(&state),
        reader,
        fingerprinter,
        destinations: DestinationCache::new(engine.settings().protocol),
        #[cfg(feature = "redact")]
        redact_rules: SharedRules::default(),
        unrouted: Unrouted::new(engine.boundary()),
        engine,
        accounting,
        default_route: DefaultRoute::default(),
        #[cfg(feature = "redact")]
        redactors,
        look_ups: SingleFlight::default(),
    }));
    #[cfg(feature = "spool")]
    if let Some(spool) = &registry.0.spool {
        start_spool(&registry, spool);
    }
    #[cfg(feature = "watch")]
    {
        let weak = Arc::downgrade(&state);
        let changed = move |changed: &_| weak.upgrade()?.files_changed(changed, Instant::now());
        let started = state.watched.start(&state.bindings.config(), &prepared.watch, changed);
        started.map_err(|error| BuildError::Thread(error.into()))?;
    }
    commit();
    Ok(registry)
}

/// Counts what is on disk before there is a tracer, sends it, and handles later reports of the store.
#[cfg(feature = "spool")]
fn start_spool(registry: &TracerRegistry, spool: &Arc<OpenSpool>) {
    let found = {
        let _quiet = context::suppress();
        spool.handle()
    };
    registry.start_drain(&spool.spool);
    for ledger in found.found {
        registry.0.engine.load(&ledger);
    }
    let to_save = Arc::clone(spool);
    registry.0.engine.spawn(async move {
        loop {
            tokio::time::sleep(SAVE_USAGE).await;
            to_save.save_usage();
        }
    });
    let (weak, spool) = (registry.downgrade(), Arc::clone(spool));
    registry.0.engine.spawn(async move {
        loop {
            spool.reported().await;
            let handled = spool.handle();
            for ledger in handled.found {
                weak.load(&ledger);
            }
            for selector in handled.erased {
                weak.with(|registry| registry.0.end_purge(&selector));
            }
            if handled.has_allowed {
                weak.with(|registry| registry.0.state.copies.note_change());
            }
        }
    });
}
