//! The last changes of a registry.

use super::handle::TracerRegistry;
use crate::export::Change;
#[cfg(feature = "gateway")]
use crate::export::ChangeKind;

impl TracerRegistry {
    /// Returns the changes after a number, oldest first, and the number of those that are no longer
    /// kept: starts and ends of problems, new keys, reloads, and actions of operators.
    ///
    /// The registry keeps the last 1,024. `0` returns all of them, and so does a number that no
    /// change has yet, such as one of an earlier process. Tracers that are created or evicted are no
    /// changes. Empty in a forked child of the registry's process.
    pub fn changes(&self, after: u64) -> (Vec<Change>, u64) {
        if self.0.engine.is_forked() {
            return (Vec::new(), 0);
        }
        self.0.engine.changes().after(after)
    }

    /// Waits until [`changes`](Self::changes) returns a change for this number. Cancel safe. Never
    /// returns in a forked child of the registry's process.
    pub async fn changed(&self, after: u64) {
        if self.0.engine.is_forked() {
            std::future::pending::<()>().await;
        }
        self.0.engine.changes().wait(after).await;
    }

    /// Records a change of the program. `detail` must not contain a key.
    #[cfg(feature = "gateway")]
    pub fn record_change(&self, name: &'static str, detail: String) {
        let kind = ChangeKind::Program { name };
        self.0.engine.changes().record(kind, None, None, Some(detail));
    }
}
