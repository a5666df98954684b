//! Caches the answers of a binding source.
//!
//! | request | result |
//! |---|---|
//! | cached, not expired | the cached answer |
//! | in progress for another caller | that caller's answer |
//! | otherwise | asks the source once; caches its answer, never an error |

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::single_flight::{SingleFlight, block_on};
use super::source::{BindingCacheOptions, Source};
use super::ttl_map::TtlMap;
use crate::config::{Config, TenantBinding};
use crate::registry::error::LookupError;
use crate::selector::{Selector, SelectorKind, Slug};
use crate::util::fork::ForkLock;

/// Maximum time before a failed source is asked again for a tenant with a tracer.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// An answer of the source for one tenant.
#[derive(Clone)]
pub(crate) struct Answer {
    /// `None` if the source does not know the tenant.
    pub(crate) binding: Option<Arc<TenantBinding>>,
    /// `None` if it never expires.
    pub(crate) expires: Option<Instant>,
}

pub(crate) struct BindingCache {
    source: Source,
    retry_after: Duration,
    answers: ForkLock<Answers>,
    in_progress: SingleFlight<Slug, Result<Answer, LookupError>>,
}

struct Answers {
    known: TtlMap<Arc<TenantBinding>>,
    unknown: TtlMap<()>,
}

impl BindingCache {
    pub(crate) fn new(source: Source, options: BindingCacheOptions) -> Arc<Self> {
        Arc::new(Self {
            source,
            retry_after: options.ttl.min(MAX_RETRY_DELAY),
            answers: ForkLock::new(Answers {
                known: TtlMap::new(options.ttl, options.max_entries),
                unknown: TtlMap::new(options.negative_ttl, options.max_entries),
            }),
            in_progress: SingleFlight::default(),
        })
    }

    /// Returns the cached answer. Otherwise asks a blocking source on this thread.
    pub(crate) fn get(self: &Arc<Self>, config: &Arc<Config>, tenant: &Slug) -> Result<Answer, LookupError> {
        match (self.cached(tenant), &self.source) {
            (Some(answer), _) => Ok(answer),
            (None, Source::Blocking(_)) => block_on(self.ask(config, tenant)),
            (None, Source::Async(_)) => Err(LookupError::OnlyAsync(tenant.clone())),
        }
    }

    /// Returns the cached answer. Otherwise asks the source.
    pub(crate) fn ask(
        self: &Arc<Self>,
        config: &Arc<Config>,
        tenant: &Slug,
    ) -> impl Future<Output = Result<Answer, LookupError>> + Send + Unpin + use<> {
        let (cache, config, name) = (Arc::clone(self), Arc::clone(config), tenant.clone());
        let panicked = LookupError::Panicked(Selector::of(SelectorKind::Tenant, tenant.clone()));
        let work = move || async move {
            // Another caller may have received an answer in the meantime.
            if let Some(answer) = cache.cached(&name) {
                return Ok(answer);
            }
            let result = match &cache.source {
                Source::Blocking(source) => source.binding(&name),
                Source::Async(source) => source.binding(&name).await,
            };
            let binding = result.map_err(|error| LookupError::Source {
                tenant: name.clone(),
                error,
            })?;
            let binding = binding
                .map(|binding| config.tenant_from_program(&name, binding))
                .transpose()?;
            Ok(cache.insert(&name, binding.map(Arc::new)))
        };
        self.in_progress.join(tenant, work, Err(panicked))
    }

    /// Returns the cached answer without asking the source.
    pub(crate) fn cached(&self, tenant: &Slug) -> Option<Answer> {
        let (answers, now) = (self.answers.lock(), Instant::now());
        let unknown = || answers.unknown.get(tenant, now).map(|((), expires)| (None, expires));
        let known = answers.known.get(tenant, now);
        let known = known.map(|(binding, expires)| (Some(binding), expires));
        let (binding, expires) = known.or_else(unknown)?;
        Some(Answer { binding, expires })
    }

    fn insert(&self, tenant: &Slug, binding: Option<Arc<TenantBinding>>) -> Answer {
        let (mut answers, now) = (self.answers.lock(), Instant::now());
        let expires = match &binding {
            Some(binding) => answers.known.insert(tenant, Arc::clone(binding), now),
            None => answers.unknown.insert(tenant, (), now),
        };
        Answer { binding, expires }
    }

    /// Returns when to ask a source again that failed just now, for a tenant with a tracer.
    pub(crate) fn next_retry(&self) -> Instant {
        Instant::now() + self.retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_source_is_asked_again_after_five_seconds_or_a_shorter_ttl() {
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        for (ttl, wait) in [
            (hour, MAX_RETRY_DELAY),
            (second, second),
            (Duration::ZERO, Duration::ZERO),
        ] {
            let source = Source::Blocking(Arc::new(|_: &Slug| Ok(None)));
            let options = BindingCacheOptions {
                ttl,
                ..BindingCacheOptions::default()
            };
            let before = Instant::now();
            let retry = BindingCache::new(source, options).next_retry();
            assert!(before + wait <= retry && retry <= Instant::now() + wait, "{ttl:?}");
        }
    }
}
