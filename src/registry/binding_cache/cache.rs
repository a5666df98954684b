//! A cache of what the program's source of bindings answers.
//!
//! | asked for | then |
//! |---|---|
//! | an answer that has not expired | returned |
//! | an answer that another caller is asking for | the same answer |
//! | anything else | the source is asked, once; its answer is cached, an error is not |

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::single_flight::{SingleFlight, block_on};
use super::source::{BindingCacheOptions, Source};
use super::ttl_map::TtlMap;
use crate::config::{Config, TenantBinding};
use crate::registry::error::LookupError;
use crate::selector::{Selector, SelectorKind, Slug};
use crate::util::fork::ForkLock;

/// For how long a tracer is kept after its source failed, at the most, before the source is asked again.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);

/// What the source says of a tenant.
#[derive(Clone)]
pub(crate) struct Answer {
    /// `None` if the source does not know the tenant.
    pub(crate) binding: Option<Arc<TenantBinding>>,
    /// `None` if it never does.
    pub(crate) expires: Option<Instant>,
}

pub(crate) struct BindingCache {
    source: Source,
    retry_after: Duration,
    answers: ForkLock<Answers>,
    asking: SingleFlight<Slug, Result<Answer, LookupError>>,
}

struct Answers {
    known: TtlMap<Arc<TenantBinding>>,
    unknown: TtlMap<()>,
}

impl BindingCache {
    pub(crate) fn new(source: Source, options: BindingCacheOptions) -> Arc<Self> {
        Arc::new(Self {
            source,
            retry_after: options.ttl.min(AFTER_A_FAILURE),
            answers: ForkLock::new(Answers {
                known: TtlMap::new(options.ttl, options.max_entries),
                unknown: TtlMap::new(options.negative_ttl, options.max_entries),
            }),
            asking: SingleFlight::default(),
        })
    }

    /// Returns what is cached, else asks a blocking source on this thread.
    pub(crate) fn get(self: &Arc<Self>, config: &Arc<Config>, tenant: &Slug) -> Result<Answer, LookupError> {
        match (self.cached(tenant), &self.source) {
            (Some(answer), _) => Ok(answer),
            (None, Source::Blocking(_)) => block_on(self.ask(config, tenant)),
            (None, Source::Async(_)) => Err(LookupError::OnlyAsync(tenant.clone())),
        }
    }

    /// Returns what is cached, else asks the source.
    pub(crate) fn ask(
        self: &Arc<Self>,
        config: &Arc<Config>,
        tenant: &Slug,
    ) -> impl Future<Output = Result<Answer, LookupError>> + Send + Unpin + use<> {
        let (cache, config, name) = (Arc::clone(self), Arc::clone(config), tenant.clone());
        let panicked = LookupError::Panicked(Selector::of(SelectorKind::Tenant, tenant.clone()));
        let work = move || async move {
            // Another caller may have been answered a moment ago.
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
            let binding = binding.map(|binding| config.tenant_given(&name, binding)).transpose()?;
            Ok(cache.insert(&name, binding.map(Arc::new)))
        };
        self.asking.join(tenant, work, Err(panicked))
    }

    /// Returns what is cached, without asking.
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

    /// When a source that failed just now is to be asked again for a tenant that has a tracer.
    pub(crate) fn next_retry(&self) -> Instant {
        // At most `AFTER_A_FAILURE` from now.
        Instant::now() + self.retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_failed_is_asked_again_after_five_seconds_or_the_time_to_live_if_that_is_shorter() {
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        for (ttl, wait) in [
            (hour, AFTER_A_FAILURE),
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
