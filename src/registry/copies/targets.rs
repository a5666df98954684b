//! The targets of a registry.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::export::{CopyTarget, Lane, SelectorLedger};
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// The targets that tracers hold, by selector.
pub(crate) struct CopyTargets {
    targets: ForkLock<BTreeMap<Selector, Weak<CopyTarget<Lane>>>>,
    /// Changes if tracers may have to be looked up again.
    changed_tx: watch::Sender<()>,
}

impl Default for CopyTargets {
    fn default() -> Self {
        Self {
            targets: ForkLock::default(),
            changed_tx: watch::Sender::new(()),
        }
    }
}

impl CopyTargets {
    /// Returns the target of a selector, and whether it is new.
    pub(super) fn get_or_create(
        &self,
        selector: &Selector,
        ledger: impl FnOnce() -> Arc<SelectorLedger>,
    ) -> (Arc<CopyTarget<Lane>>, bool) {
        let mut targets = self.targets.lock();
        if let Some(target) = targets.get(selector).and_then(Weak::upgrade) {
            return (target, false);
        }
        targets.retain(|_, target| target.strong_count() > 0);
        let target = Arc::new(CopyTarget::new(selector.clone(), ledger()));
        targets.insert(selector.clone(), Arc::downgrade(&target));
        (target, true)
    }

    /// Makes all targets look their tracers up again, because bindings may have changed.
    pub(crate) fn note_change(&self) {
        self.changed_tx.send_replace(());
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed_tx.subscribe()
    }
}
