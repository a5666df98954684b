//! How tracers are doing, and what the bindings of a configuration come to.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::{Inner, LookupError};
use crate::export::{Account, ExportError};
use crate::ledger::LedgerSnapshot;
use crate::secret::Fingerprint;
use crate::selector::Selector;

/// All tracers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// By selector, in their order.
    pub tracers: Vec<TracerStatus>,
}

/// The books of one selector at one moment: its tracer, dedicated ones, and those that are gone, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracerStatus {
    /// Whose.
    pub selector: Selector,
    /// Tracers that are there, dedicated ones with it.
    pub tracers: usize,
    /// What became of its spans.
    pub spans: LedgerSnapshot,
    /// What became of the starts and enrichments of its sessions.
    pub session_events: LedgerSnapshot,
    /// The last thing that went wrong. Stays until something else does.
    pub last_error: Option<ExportError>,
    /// When the receiver last took something.
    pub last_delivery: Option<SystemTime>,
}

/// What a binding comes to, without making a tracer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedBinding {
    /// What it is for.
    pub selector: Selector,
    /// Where its key comes from.
    pub key_source: Option<String>,
    /// Where its spans would go.
    pub endpoint: Option<String>,
    /// What may be shown of its key.
    pub fingerprint: Option<Fingerprint>,
    /// Why a look-up of it would fail.
    #[serde(serialize_with = "as_text")]
    pub error: Option<LookupError>,
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn as_text<S: Serializer>(error: &Option<LookupError>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}

impl Status {
    /// The books of one selector.
    pub fn tracer(&self, selector: &Selector) -> Option<&TracerStatus> {
        self.tracers.iter().find(|tracer| tracer.selector == *selector)
    }
}

pub(super) fn of(accounts: &[Arc<Account>]) -> Status {
    let tracers = accounts.iter().map(|account| {
        let books = account.snapshot();
        TracerStatus {
            selector: account.selector.clone(),
            tracers: books.lanes,
            spans: books.spans.snapshot(),
            session_events: books.events.snapshot(),
            last_error: books.last_error,
            last_delivery: books.last_delivery,
        }
    });
    Status {
        tracers: tracers.collect(),
    }
}

pub(super) fn check(registry: &Inner, selector: Selector) -> CheckedBinding {
    let mut checked = CheckedBinding {
        selector,
        key_source: None,
        endpoint: None,
        fingerprint: None,
        error: None,
    };
    checked.error = try_binding(registry, &mut checked).err();
    checked
}

fn try_binding(registry: &Inner, checked: &mut CheckedBinding) -> Result<(), LookupError> {
    let binding = registry.config.resolve(&checked.selector)?;
    checked.key_source = Some(binding.api_key.to_string());
    checked.endpoint = Some(registry.destination(&binding)?.traces_url);
    let key = binding.api_key.read(&registry.sources)?;
    checked.fingerprint = Some(key.fingerprint(&registry.fingerprinter));
    Ok(())
}
