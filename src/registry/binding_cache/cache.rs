//! What the program's source of bindings answered, for as long as that holds.
//!
//! | asked for | and then |
//! |---|---|
//! | an answer that is kept | it is given |
//! | one that somebody is asking for | the same answer |
//! | anything else | the source is asked, once; what it answers is kept, an error is not |

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::single_flight::{self, Flights};
use super::source::{BindingCacheOptions, Source};
use super::ttl_map::Ages;
use crate::config::{Config, TenantBinding};
use crate::registry::error::LookupError;
use crate::selector::{Selector, SelectorKind, Slug};

/// What the source says of a tenant; none where it does not know it.
pub(crate) type Answer = Option<Arc<TenantBinding>>;

/// How long a tracer is left alone whose source failed when it was asked again.
pub(crate) const AFTER_A_FAILURE: Duration = Duration::from_secs(5);

pub(crate) struct Answers {
    source: Source,
    kept: Mutex<Kept>,
    asked: Flights<Slug, Result<Answer, LookupError>>,
}

struct Kept {
    known: Ages<Arc<TenantBinding>>,
    unknown: Ages<()>,
    /// The source failed; who has a tracer keeps it.
    failed: Ages<()>,
}

impl Answers {
    pub(crate) fn new(source: Source, keep: BindingCacheOptions) -> Arc<Self> {
        Arc::new(Self {
            source,
            kept: Mutex::new(Kept {
                known: Ages::new(keep.known, keep.most),
                unknown: Ages::new(keep.unknown, keep.most),
                failed: Ages::new(keep.known.min(AFTER_A_FAILURE), keep.most),
            }),
            asked: Flights::default(),
        })
    }

    /// What is known, else what the source says, on this thread.
    pub(crate) fn get(self: &Arc<Self>, config: &Arc<Config>, tenant: &Slug) -> Result<Answer, LookupError> {
        if let Some(kept) = self.kept(tenant) {
            return Ok(kept);
        }
        match self.source {
            Source::Blocking(_) => single_flight::wait(self.ask(config, tenant)),
            Source::Async(_) => Err(LookupError::OnlyAsync(tenant.clone())),
        }
    }

    /// What is known, else what the source says.
    pub(crate) fn ask(
        self: &Arc<Self>,
        config: &Arc<Config>,
        tenant: &Slug,
    ) -> impl Future<Output = Result<Answer, LookupError>> + Send + Unpin + use<> {
        let (answers, config, name) = (Arc::clone(self), Arc::clone(config), tenant.clone());
        let panicked = Err(LookupError::Panicked(Selector::of(
            SelectorKind::Tenant,
            tenant.clone(),
        )));
        let work = move || async move {
            // Somebody else's question may have been answered a moment ago.
            if let Some(kept) = answers.kept(&name) {
                return Ok(kept);
            }
            let said = match &answers.source {
                Source::Blocking(source) => source.binding(&name),
                Source::Async(source) => source.binding(&name).await,
            };
            let said = said.map_err(|error| LookupError::Source {
                tenant: name.clone(),
                error,
            })?;
            let answer = match said {
                Some(binding) => Some(Arc::new(config.tenant_given(&name, binding)?)),
                None => None,
            };
            answers.keep(&name, answer.as_ref());
            Ok(answer)
        };
        self.asked.join(tenant, work, panicked)
    }

    /// What is known without asking.
    pub(crate) fn kept(&self, tenant: &Slug) -> Option<Answer> {
        let kept = self.lock();
        let unknown = || kept.unknown.get(tenant).map(|()| None);
        kept.known.get(tenant).map(Some).or_else(unknown)
    }

    fn keep(&self, tenant: &Slug, answer: Option<&Arc<TenantBinding>>) {
        let (mut kept, now) = (self.lock(), Instant::now());
        match answer {
            Some(binding) => kept.known.put(tenant, Arc::clone(binding), now),
            None => kept.unknown.put(tenant, (), now),
        }
    }

    /// The source failed for a tenant that has a tracer; it is asked again after a while.
    pub(crate) fn note_failure(&self, tenant: &Slug) {
        self.lock().failed.put(tenant, (), Instant::now());
    }

    /// Whether somebody is going to say when the tenant must be asked for again.
    pub(crate) fn holds(&self, tenant: &Slug) -> bool {
        self.kept(tenant).is_some() || self.lock().failed.get(tenant).is_some()
    }

    /// The tenants whose answers hold no longer, since the last call.
    pub(crate) fn gone(&self) -> BTreeSet<Slug> {
        let (mut kept, now) = (self.lock(), Instant::now());
        let mut gone = kept.known.gone(now);
        gone.extend(kept.unknown.gone(now));
        gone.extend(kept.failed.gone(now));
        gone.into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
