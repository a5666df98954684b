//! Finds the tracers of targets.
//!
//! | event | what follows |
//! |---|---|
//! | the first tracer that copies to a target is looked up | the target's tracer is looked up on another thread, and awaited for [`MAX_WAIT`] at most |
//! | the look-up fails | copies are lost and counted; it is tried again after a back-off |
//! | a reload, a removal, or an expired binding | it is looked up again; the old one is kept if its binding is unchanged |
//! | no tracer copies to it any more | the look-ups end |
//!
//! The wait is bounded, because it holds the pool slot of the tracer: two look-ups may wait for each
//! other, if a binding source gives each of two selectors copies to the other.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::{ExportMode, HAS_COPIES, ResolvedBinding};
use crate::context;
use crate::export::{Copies, CopyTarget, HEALTH, Lane};
use crate::registry::error::LookupError;
use crate::registry::handle::{Inner, TracerRegistry};
use crate::registry::weak::WeakRegistry;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

/// How long the look-up of a tracer waits for the first look-up of a target.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How often a target compares its tracer with the pool's.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest pause after failures in a row. The first is [`PERIOD`].
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Why a target has no tracer.
#[derive(Debug, thiserror::Error)]
enum TargetError {
    #[error(transparent)]
    LookUp(#[from] LookupError),
    #[error("{}", HAS_COPIES)]
    HasCopies,
}

impl Inner {
    /// Returns the targets of a binding, after their first look-ups. `None` if nothing is copied.
    pub(crate) fn copies(&self, binding: &ResolvedBinding) -> Option<Arc<Copies<Lane>>> {
        if binding.also.is_empty() {
            return None;
        }
        let targets: Vec<_> = binding.also.iter().map(|selector| self.target(selector)).collect();
        for target in &targets {
            target.await_first_look_up(MAX_WAIT);
        }
        Some(Arc::new(Copies::new(targets)))
    }

    fn target(&self, selector: &Selector) -> Arc<CopyTarget<Lane>> {
        let ledger = || self.accounting.find_or_create(selector);
        let (target, is_new) = self.state.copies.get_or_create(selector, ledger);
        if is_new {
            self.start_look_ups(&target);
        }
        target
    }

    fn start_look_ups(&self, target: &Arc<CopyTarget<Lane>>) {
        let registry = WeakRegistry::of(&self.weak);
        if self.engine.settings().mode == ExportMode::Inline {
            // Tasks run only during a flush.
            let (registry, target) = (registry.clone(), Arc::clone(target));
            let look_up = move || {
                context::suppress_on_this_thread();
                if let Some(registry) = registry.hold() {
                    let found = registry.get(&target.selector).map_err(TargetError::from);
                    // A task of the engine logs a failure.
                    drop(registry.settle(&target, found));
                }
                target.note_tried();
            };
            let thread = thread::Builder::new().name("tracer-registry-copies".to_owned());
            // Without a thread, the first flush looks it up.
            drop(thread.spawn(look_up));
        }
        let changed_rx = self.state.copies.subscribe();
        self.engine.spawn(keep(registry, Arc::downgrade(target), changed_rx));
    }
}

/// Keeps the tracer of a target current, as long as a tracer copies to it.
async fn keep(registry: WeakRegistry, target: Weak<CopyTarget<Lane>>, mut changed_rx: watch::Receiver<()>) {
    let mut pause = PERIOD;
    let mut is_failing = false;
    loop {
        {
            let (Some(registry), Some(target)) = (registry.hold(), target.upgrade()) else {
                return;
            };
            let result = registry.refresh(&target).await;
            target.note_tried();
            let selector = &target.selector;
            match result {
                Ok(()) => {
                    if is_failing {
                        tracing::info!(target: HEALTH, %selector, "spans are copied again");
                    }
                    (pause, is_failing) = (PERIOD, false);
                }
                Err(TargetError::LookUp(LookupError::Shutdown | LookupError::Forked)) => return,
                Err(error) => {
                    if !is_failing && let Some(granted) = registry.0.engine.lines().take(Instant::now()) {
                        let left_out = granted.left_out;
                        tracing::warn!(target: HEALTH, %selector, left_out, "copies of spans are lost, because their tracer cannot be created: {error}");
                    }
                    pause = if is_failing { (2 * pause).min(MAX_PAUSE) } else { PERIOD };
                    is_failing = true;
                }
            }
        }
        // Keeps neither the registry nor the target while it waits.
        drop(timeout(pause, changed_rx.changed()).await);
    }
}

impl TracerRegistry {
    /// Looks the tracer of a target up, unless it has the pool's.
    async fn refresh(&self, target: &CopyTarget<Lane>) -> Result<(), TargetError> {
        let selector = &target.selector;
        let binding = self.0.state.bindings.resolve_without_asking(selector);
        if let Ok(Some(binding)) = &binding
            && !binding.also.is_empty()
        {
            return self.settle(target, Err(TargetError::HasCopies));
        }
        let found = self.get_async(selector).await;
        self.settle(target, found.map_err(TargetError::from))
    }

    /// Gives a target the tracer that was found. After an error, it keeps the one that it has if the
    /// binding is unchanged.
    fn settle(&self, target: &CopyTarget<Lane>, found: Result<TracerHandle, TargetError>) -> Result<(), TargetError> {
        let current = target.tracer().as_deref().and_then(TracerHandle::of_target);
        let found = found.and_then(|found| {
            let has_copies = found.lane().copies.is_some();
            (!has_copies).then_some(found).ok_or(TargetError::HasCopies)
        });
        match found {
            Ok(found) => {
                if current.as_ref() != Some(&found) {
                    target.set(Some(found.as_target()));
                }
                Ok(())
            }
            Err(error) => {
                let is_current = |current: &TracerHandle| {
                    let binding = self.0.state.bindings.resolve_without_asking(current.selector());
                    match binding {
                        Ok(Some(binding)) => binding.digest() == current.digest(),
                        // Only a binding source knows it now.
                        Ok(None) => true,
                        Err(_) => false,
                    }
                };
                let keeps = !matches!(error, TargetError::HasCopies) && current.as_ref().is_some_and(is_current);
                if !keeps {
                    target.set(None);
                }
                Err(error)
            }
        }
    }
}
