//! What holds for a selector now: by the running configuration, tenants' files, the program's source of bindings.
//!
//! A tenant's binding is the first of: its table in the configuration, its file in `tenants_dir`, what the source says, the table `"*"`.
//! What cannot be read is an error, never the next one of these: a tenant with a broken file, or whose source fails, must not be taken
//! for a tenant without either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::binding_cache::{Answer, BindingCache};
use super::error::LookupError;
use crate::config::{Config, ResolvedBinding, Shape, TenantBinding};
use crate::selector::{Selector, SelectorKind, Slug};

pub(crate) struct Bindings {
    config: ArcSwap<Config>,
    /// Goes up after every change, before the tracers that it concerns are looked for, and after every removal.
    generation: AtomicU64,
    cache: Option<Arc<BindingCache>>,
}

/// Who says what holds for a tenant that has neither a table nor a file.
#[derive(Clone)]
pub(crate) enum Asking {
    /// The source.
    Source,
    /// The source was asked, and this is its answer.
    Answered(Answer),
}

/// What holds for a selector.
pub(crate) struct Bound {
    pub(crate) binding: ResolvedBinding,
    /// When the source must be asked again. `None` if no answer of it, positive or negative, has a part in the binding.
    pub(crate) expires: Option<Instant>,
    /// What the tenant's file has.
    pub(crate) shape: Shape,
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

    /// As [`config`](Self::config), for a short time and without counting a reference.
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

    /// Something outside the configuration changed, or a tracer was removed.
    pub(crate) fn note_change(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns what holds for a selector.
    pub(crate) fn resolve(&self, selector: &Selector, asking: &Asking) -> Result<Bound, LookupError> {
        let config = self.config();
        let mut expires = None;
        let given = given_in(&config, selector, |tenant| {
            let Some(cache) = &self.cache else { return Ok(None) };
            let answer = match asking {
                Asking::Answered(answer) => answer.clone(),
                Asking::Source => cache.get(&config, tenant)?,
            };
            expires = answer.expires;
            Ok(answer.binding)
        })?;
        Ok(Bound {
            binding: config.resolve_with(selector, given.as_deref())?,
            expires,
            shape: given.map(|given| given.shape.clone()).unwrap_or_default(),
        })
    }

    /// Returns what holds for a selector, or `None` if only the source can tell. An error has no suggestions.
    pub(crate) fn resolve_without_asking(&self, selector: &Selector) -> Result<Option<ResolvedBinding>, LookupError> {
        let config = self.config();
        let cached = |tenant: &Slug| match &self.cache {
            Some(cache) => cache
                .cached(tenant)
                .map(|answer| answer.binding)
                .ok_or_else(|| LookupError::OnlyAsync(tenant.clone())),
            None => Ok(None),
        };
        let given = match given_in(&config, selector, cached) {
            Err(LookupError::OnlyAsync(_)) => return Ok(None),
            other => other?,
        };
        Ok(Some(config.resolve_for_program(selector, given.as_deref())?))
    }

    /// Whether the tenant's file no longer has a table or a setting of `had`. Not asked if the tenant has a table by now.
    #[cfg(feature = "watch")]
    pub(crate) fn file_loses(&self, selector: &Selector, had: &Shape) -> bool {
        let config = self.config();
        let tenant = selector.get(SelectorKind::Tenant);
        let Some(tenant) = tenant.filter(|tenant| !config.has_table(tenant)) else {
            return false;
        };
        let file = config.tenant_file(tenant).ok().flatten();
        had.loses(&file.map(|file| file.shape).unwrap_or_default())
    }

    /// The tenant of a selector whose binding the source has, unless the tenant has a file.
    pub(crate) fn of_source<'s>(&self, selector: &'s Selector) -> Option<(&Arc<BindingCache>, &'s Slug)> {
        let tenant = selector.get(SelectorKind::Tenant)?;
        let cache = self.cache.as_ref()?;
        (!self.config.load().has_table(tenant)).then_some((cache, tenant))
    }
}

/// A tenant's binding from elsewhere than the configuration.
fn given_in(
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
