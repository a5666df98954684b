//! What a lane remembers of its last requests.

use opentelemetry_sdk::trace::SpanData;

use super::Lane;
use crate::export::ExportError;
use crate::export::accounting::lane_status::RefusedSpan;
use crate::ledger::DropReason;

impl Lane {
    /// A span was started, and is recorded or left out by sampling.
    #[cfg(feature = "metrics")]
    pub(crate) fn note_start(&self, recorded: bool) {
        self.starts.count(recorded);
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.state.lock().suspect
    }

    /// An attempt takes long: what comes next waits in the line of the suspects.
    pub(crate) fn note_slow(&self) {
        self.state.lock().suspect = true;
    }

    /// The receiver refused a span that it was sent alone, in a request of so many bytes.
    pub(crate) fn note_refused_span(&self, span: &SpanData, bytes: usize, reason: DropReason) {
        let refused = RefusedSpan::new(span, bytes, reason, &self.key.key().secret);
        self.state.lock().seldom().refused_span = Some(Box::new(refused));
    }

    pub(super) fn unavailable(&self) -> ExportError {
        ExportError::Unavailable {
            url: self.destination.origin.clone(),
        }
    }

    /// Wakes those who flush.
    pub(super) fn notify_completed(&self) {
        self.settled.notify_all();
        self.shared.driver.notify_completed();
    }
}
