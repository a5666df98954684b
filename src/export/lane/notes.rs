//! What a lane remembers of its last requests.

use super::super::ExportError;
use super::Lane;

impl Lane {
    /// A span was started, and is recorded or left out by sampling.
    #[cfg(feature = "metrics")]
    pub(crate) fn note_start(&self, recorded: bool) {
        self.starts.count(recorded);
    }

    pub(in super::super) fn is_suspect(&self) -> bool {
        self.lock().suspect
    }

    /// An attempt takes long: what comes next waits in the line of the suspects.
    pub(in super::super) fn note_slow(&self) {
        self.lock().suspect = true;
    }

    pub(in super::super) fn note_success(&self, slow: bool, warning: Option<ExportError>) {
        let mut state = self.lock();
        state.suspect = slow;
        if warning.is_some() {
            state.seldom().last_error = warning;
        }
    }

    /// A quick refusal costs the others nothing, so it makes no suspect: that line may be full of those that hang.
    pub(in super::super) fn note_failure(&self, slow: bool, error: ExportError) {
        let mut state = self.lock();
        state.suspect = slow;
        state.seldom().last_error = Some(error);
    }

    /// A request was given up that was never sent.
    pub(in super::super) fn note_not_asked(&self) {
        let error = self.unavailable();
        self.lock().seldom().last_error = Some(error);
    }

    pub(super) fn unavailable(&self) -> ExportError {
        ExportError::Unavailable {
            url: self.destination.origin.clone(),
        }
    }

    /// Wakes those who flush.
    pub(super) fn tell_settled(&self) {
        self.settled.notify_all();
        self.shared.driver.note_settled();
    }
}
