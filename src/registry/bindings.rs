//! Resolves the current binding of a selector from the configuration, tenant files and the binding
//! source.
//!
//! A tenant's binding is the first of: its table in the configuration, its file in `tenants_dir`,
//! the answer of the binding source, the table `"*"`. A read failure is an error and never falls
//! through to the next one: a broken file or a failing source does not count as a missing one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::binding_cache::{Answer, BindingCache};
use super::error::LookupError;
use crate::config::{Config, DefinedPaths, ResolvedBinding, TenantBinding};
use crate::selector::{Selector, SelectorKind, Slug};

pub(crate) struct Bindings {
    config: ArcSwap<Config>,
    /// Incremented after every removal, and after every change before the affected tracers are
    /// looked for.
    generation: AtomicU64,
    cache: Option<Arc<BindingCache>>,
}

/// How to get the binding of a tenant that has neither a table nor a file.
#[derive(Clone)]
pub(crate) enum SourceQuery {
    /// Ask the source (through its cache).
    Ask,
    /// Use this answer of the source.
    Answer(Answer),
}

/// The binding of a selector as resolved now.
pub(crate) struct CurrentBinding {
    pub(crate) binding: ResolvedBinding,
    /// When the source must be asked again. `None` if the binding does not depend on an answer of
    /// the source.
    pub(crate) expires: Option<Instant>,
    /// Settings present in the tenant's file.
    pub(crate) defined_paths: DefinedPaths,
}

impl Bindings {
    pub(crate) fn new(config: Config, cache: Option<Arc<BindingCache>>) -> Self {
        Self {
            config: ArcSwap::from_pointee(config),
            generation: AtomicU64::new(0),
            cache,
        }
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Like [`config`](Self::config), for short use: does not increment the reference count.
    pub(crate) fn loaded(&self) -> arc_swap::Guard<Arc<Config>> {
        self.config.load()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(crate) fn replace(&self, config: Config) {
        self.config.store(Arc::new(config));
        self.note_change();
    }

    /// Starts a new generation after a change outside the configuration, or the removal of a
    /// tracer.
    pub(crate) fn note_change(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Resolves the binding of a selector.
    pub(crate) fn resolve(&self, selector: &Selector, query: &SourceQuery) -> Result<CurrentBinding, LookupError> {
        let config = self.config();
        let mut expires = None;
        let given = binding_outside_config(&config, selector, |tenant| {
            let Some(cache) = &self.cache else { return Ok(None) };
            let answer = match query {
                SourceQuery::Answer(answer) => answer.clone(),
                SourceQuery::Ask => cache.get(&config, tenant)?,
            };
            expires = answer.expires;
            Ok(answer.binding)
        })?;
        Ok(CurrentBinding {
            binding: config.resolve_with(selector, given.as_deref())?,
            expires,
            defined_paths: given.map(|given| given.defined_paths.clone()).unwrap_or_default(),
        })
    }

    /// Resolves the binding of a selector without asking the source. Returns `None` if only the
    /// source knows it. The error has no suggestions.
    pub(crate) fn resolve_without_asking(&self, selector: &Selector) -> Result<Option<ResolvedBinding>, LookupError> {
        let config = self.config();
        let cached = |tenant: &Slug| match &self.cache {
            Some(cache) => cache
                .cached(tenant)
                .map(|answer| answer.binding)
                .ok_or_else(|| LookupError::OnlyAsync(tenant.clone())),
            None => Ok(None),
        };
        let given = match binding_outside_config(&config, selector, cached) {
            Err(LookupError::OnlyAsync(_)) => return Ok(None),
            other => other?,
        };
        Ok(Some(config.resolve_without_suggestions(selector, given.as_deref())?))
    }

    /// Whether the tenant's file lost a table or a setting that `had` has. False if the tenant now
    /// has a table in the configuration.
    #[cfg(feature = "watch")]
    pub(crate) fn file_removes_paths(&self, selector: &Selector, had: &DefinedPaths) -> bool {
        let config = self.config();
        let tenant = selector.get(SelectorKind::Tenant);
        let Some(tenant) = tenant.filter(|tenant| !config.has_table(tenant)) else {
            return false;
        };
        let file = config.tenant_file(tenant).ok().flatten();
        had.any_removed_in(&file.map(|file| file.defined_paths).unwrap_or_default())
    }

    /// Returns the cache and the tenant of a selector if the tenant has no table, so that a source
    /// may answer for it.
    pub(crate) fn source_of<'s>(&self, selector: &'s Selector) -> Option<(&Arc<BindingCache>, &'s Slug)> {
        let tenant = selector.get(SelectorKind::Tenant)?;
        let cache = self.cache.as_ref()?;
        (!self.config.load().has_table(tenant)).then_some((cache, tenant))
    }
}

/// Returns a tenant's binding from its file or from `ask`. `None` if the configuration has a table
/// for the tenant.
fn binding_outside_config(
    config: &Config,
    selector: &Selector,
    ask: impl FnOnce(&Slug) -> Result<Option<Arc<TenantBinding>>, LookupError>,
) -> Result<Option<Arc<TenantBinding>>, LookupError> {
    match selector.get(SelectorKind::Tenant) {
        Some(tenant) if !config.has_table(tenant) => match config.tenant_file(tenant)? {
            Some(file) => Ok(Some(Arc::new(file))),
            None => ask(tenant),
        },
        _ => Ok(None),
    }
}
