//! Log lines, bounded in number: whatever clients do, each kind of event writes a few lines a
//! minute.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tracer_registry::Selector;
use tracer_registry::text::printable;
use tracing::{info, warn};

use crate::answer::{Refusal, RefusalKind};
use crate::callers::CallerChanges;
use crate::tls::TlsError;

/// Time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Admits one line in each interval, and counts the others.
#[derive(Debug, Default)]
struct Lines(Mutex<LinesState>);

#[derive(Debug, Default)]
struct LinesState {
    last: Option<Instant>,
    skipped: u64,
}

impl Lines {
    /// Returns how many lines were skipped since the last one. `None` if this one is skipped.
    fn admit(&self) -> Option<Skipped> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            state.skipped += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(Skipped(std::mem::take(&mut state.skipped)))
    }
}

struct Skipped(u64);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            skipped => write!(f, " ({skipped} similar lines skipped)"),
        }
    }
}

/// The log lines of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Log {
    refused: [Lines; RefusalKind::ALL.len()],
    look_up: Lines,
    unknown: Lines,
    queue: Lines,
    accept: Lines,
    connections: Lines,
    handshake: Lines,
    certificates: Lines,
    admin: Lines,
}

impl Log {
    /// Logs a refused request. `caller` is the caller's name, if its credential was known.
    pub(crate) fn refused(&self, client: IpAddr, caller: Option<&str>, refusal: &Refusal) {
        if let Some(skipped) = self.refused[refusal.kind as usize].admit() {
            let message = printable(&refusal.message);
            let caller = printable(caller.unwrap_or("unknown"));
            let status = refusal.kind.status().as_u16();
            warn!("request of caller {caller} from {client} refused with {status}: {message}{skipped}");
        }
    }

    /// Logs a name that the caller may address, and that is not configured. The client gets the
    /// same answer as for a name that it may not address.
    pub(crate) fn not_configured(&self, caller: &str, error: &tracer_registry::LookupError) {
        if let Some(skipped) = self.unknown.admit() {
            warn!(
                "caller {} may address a tenant that is not configured: {}{skipped}",
                printable(caller),
                printable(&error.to_string())
            );
        }
    }

    /// Logs a look-up that failed for another reason than an unknown name.
    pub(crate) fn look_up_failed(&self, selector: &Selector, error: &tracer_registry::LookupError) {
        if let Some(skipped) = self.look_up.admit() {
            warn!(
                "requests of {} are refused: {}{skipped}",
                printable(&selector.to_string()),
                printable(&error.to_string())
            );
        }
    }

    /// Logs data that a lane could not take.
    pub(crate) fn not_queued(&self, error: &tracer_registry::ingest::IngestError) {
        if let Some(skipped) = self.queue.admit() {
            warn!(
                "requests of a tenant are refused: {}{skipped}",
                printable(&error.to_string())
            );
        }
    }

    pub(crate) fn accept_failed(&self, error: &std::io::Error) {
        if let Some(skipped) = self.accept.admit() {
            warn!("cannot accept a connection: {error}{skipped}");
        }
    }

    pub(crate) fn too_many_connections(&self, limit: usize) {
        if let Some(skipped) = self.connections.admit() {
            warn!("a connection was closed at once: {limit} connections are open{skipped}");
        }
    }

    pub(crate) fn handshake_failed(&self, peer: IpAddr, error: &std::io::Error) {
        if let Some(skipped) = self.handshake.admit() {
            warn!(
                "TLS handshake with {peer} failed: {}{skipped}",
                printable(&error.to_string())
            );
        }
    }

    pub(crate) fn callers_changed(changes: CallerChanges) {
        info!("callers reloaded: {changes}");
    }

    pub(crate) fn certificates_changed() {
        info!("new connections use the changed TLS certificates");
    }

    /// Logs that the running certificates are kept.
    pub(crate) fn certificates_unusable(&self, error: &TlsError) {
        if let Some(skipped) = self.certificates.admit() {
            warn!(
                "{} cannot be used, and the running certificates are kept: {}{skipped}",
                error.field,
                printable(&error.problem)
            );
        }
    }

    /// Logs a request that the admin listener refuses. The reason contains no text of the request,
    /// which may be a misplaced token.
    pub(crate) fn admin_refused(&self, peer: IpAddr, status: StatusCode, reason: &'static str) {
        if let Some(skipped) = self.admin.admit() {
            warn!("request to the admin listener from {peer} refused with {status}: {reason}{skipped}");
        }
    }

    /// Logs an action through the admin listener. Not bounded, because it needs a token.
    pub(crate) fn admin_did(action: &str, peer: IpAddr) {
        info!("admin: {action}, from {peer}");
    }

    pub(crate) fn admins_changed() {
        info!("the tokens of the admin listener changed");
    }

    pub(crate) fn needs_restart(setting: &str) {
        warn!("{setting} takes effect at the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_in_an_interval_is_admitted_and_the_next_states_the_others() {
        let lines = Lines::default();
        assert_eq!(lines.admit().unwrap().to_string(), "");
        assert!(lines.admit().is_none() && lines.admit().is_none());
        tokio::time::advance(INTERVAL).await;
        assert_eq!(lines.admit().unwrap().to_string(), " (2 similar lines skipped)");
    }
}
