//! What holds for a selector at this moment: the running configuration, tenants' files, the program's source of bindings.
//!
//! A tenant's binding is the first of: its table in the configuration, its file in `tenants_dir`, what the source says, the table `"*"`.
//! What cannot be read is an error, never the next one of these: who has a file that is broken, or a source that fails, must not be
//! taken for somebody who has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::binding_cache::{Answer, Answers};
use super::error::LookupError;
use crate::config::{Config, ResolvedBinding, Shape};
use crate::selector::{Selector, SelectorKind, Slug};

pub(crate) struct Bindings {
    config: ArcSwap<Config>,
    /// Goes up after every change, and so before anybody looks which tracers it concerns, and after every removal.
    generation: AtomicU64,
    pub(crate) answers: Option<Arc<Answers>>,
}

/// Who is asked for a tenant that has neither a table nor a file.
#[derive(Clone)]
pub(crate) enum Asking {
    /// The source.
    Source,
    /// Nobody: this is what the source said.
    Told(Answer),
}

/// What holds for a selector.
pub(crate) struct Bound {
    pub(crate) binding: ResolvedBinding,
    /// Whether that is so because the source was asked, whatever it said.
    pub(crate) of_source: bool,
    /// What the tenant's file has.
    pub(crate) shape: Shape,
}

impl Bindings {
    pub(crate) fn new(config: Config, answers: Option<Arc<Answers>>) -> Self {
        Self {
            config: ArcSwap::from_pointee(config),
            generation: AtomicU64::new(0),
            answers,
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
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Something outside the configuration changed, or a tracer was removed.
    pub(crate) fn note_change(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// What holds for a selector.
    pub(crate) fn resolve(&self, selector: &Selector, asking: &Asking) -> Result<Bound, LookupError> {
        let config = self.config();
        let mut of_source = false;
        let ask = |tenant: &Slug| match (asking, &self.answers) {
            (_, None) => Ok(None),
            (asking, Some(answers)) => {
                of_source = true;
                match asking {
                    Asking::Told(answer) => Ok(answer.clone()),
                    Asking::Source => answers.get(&config, tenant),
                }
            }
        };
        let given = given_in(&config, selector, ask)?;
        Ok(Bound {
            binding: config.resolve_with(selector, given.as_deref())?,
            of_source,
            shape: given.map(|given| given.shape.clone()).unwrap_or_default(),
        })
    }

    /// What holds for a selector, where that can be said without asking the source. An error has no suggestions.
    pub(crate) fn resolve_without_asking(&self, selector: &Selector) -> Result<Option<ResolvedBinding>, LookupError> {
        let config = self.config();
        let kept = |tenant: &Slug| match &self.answers {
            Some(answers) => answers
                .kept(tenant)
                .ok_or_else(|| LookupError::OnlyAsync(tenant.clone())),
            None => Ok(None),
        };
        let given = match given_in(&config, selector, kept) {
            Err(LookupError::OnlyAsync(_)) => return Ok(None),
            other => other?,
        };
        Ok(Some(config.resolve_for_program(selector, given.as_deref())?))
    }

    /// Whether the tenant's file had a table or a setting that is gone, by what it had. One whose tenant has a table by now is not asked for.
    #[cfg(feature = "watch")]
    pub(crate) fn file_loses(&self, selector: &Selector, had: &Shape) -> bool {
        let config = self.config();
        let Some(tenant) = selector
            .get(SelectorKind::Tenant)
            .filter(|tenant| !config.has_table(tenant))
        else {
            return false;
        };
        let file = config.tenant_file(tenant).ok().flatten();
        had.loses(&file.map(|file| file.shape).unwrap_or_default())
    }

    /// The tenant of a selector, where the source has the say about it, unless it has a file.
    pub(crate) fn asks_for<'s>(&self, selector: &'s Selector) -> Option<(&Arc<Answers>, &'s Slug)> {
        let tenant = selector.get(SelectorKind::Tenant)?;
        let answers = self.answers.as_ref()?;
        (!self.config.load().has_table(tenant)).then_some((answers, tenant))
    }
}

/// A tenant's binding from elsewhere than the configuration.
fn given_in(
    config: &Config,
    selector: &Selector,
    ask: impl FnOnce(&Slug) -> Result<Answer, LookupError>,
) -> Result<Answer, LookupError> {
    match selector.get(SelectorKind::Tenant) {
        Some(tenant) if !config.has_table(tenant) => match config.tenant_file(tenant)? {
            Some(file) => Ok(Some(Arc::new(file))),
            None => ask(tenant),
        },
        _ => Ok(None),
    }
}
