//! What the receiver accepted, by key.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tracer_registry::secret::Fingerprinter;
use tracer_registry_collector::{Endpoint, Received};

use crate::options::{key_of, name_of};

/// The receiver's report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// Counts by tenant.
    pub(crate) tenants: Vec<TenantCounts>,
    pub(crate) requests: u64,
    /// Spans with another tenant's name, sessions of another tenant, and unknown keys.
    pub(crate) foreign: u64,
    /// Answers by status, including those lost by a fault.
    pub(crate) answers: std::collections::BTreeMap<u16, u64>,
    /// How often the receiver did not listen. Refused connections cannot be counted.
    pub(crate) closed: u64,
}

/// Data received under one tenant's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TenantCounts {
    /// Distinct spans.
    pub(crate) spans: u64,
    /// Duplicate spans.
    pub(crate) duplicates: u64,
    /// Distinct started sessions.
    pub(crate) sessions: u64,
}

/// State that identifies accepted data.
pub(crate) struct AcceptedData {
    /// Tenant by the fingerprint of its key.
    tenants: HashMap<u64, usize>,
    ids: Vec<HashSet<u64>>,
    /// Tenant by session id; requests and spans that name a session must belong to its tenant.
    sessions: HashMap<String, usize>,
    started: HashSet<String>,
    pub(crate) accepted: Accepted,
}

impl AcceptedData {
    pub(crate) fn new(tenants: u32, fingerprinter: &Fingerprinter) -> Self {
        let keys = (0..tenants).map(|tenant| fingerprinter.fingerprint(key_of(&name_of(tenant)).as_bytes()).into());
        Self {
            tenants: keys.zip(0..).collect(),
            ids: vec![HashSet::new(); tenants as usize],
            sessions: HashMap::new(),
            started: HashSet::new(),
            accepted: Accepted {
                tenants: vec![TenantCounts::default(); tenants as usize],
                ..Accepted::default()
            },
        }
    }

    pub(crate) fn note(&mut self, received: &Received) {
        let accepted = &mut self.accepted;
        accepted.requests += 1;
        *accepted.answers.entry(received.status).or_default() += 1;
        let Some(tenant) = self.tenants.get(&received.key.into()).copied() else {
            accepted.foreign += 1;
            return;
        };
        let counts = &mut accepted.tenants[tenant];
        let name = name_of(u32::try_from(tenant).unwrap_or(u32::MAX));
        for span in &received.stored {
            let is_new = u64::from_str_radix(&span.span_id, 16).is_ok_and(|id| self.ids[tenant].insert(id));
            counts.spans += u64::from(is_new);
            counts.duplicates += u64::from(!is_new);
            accepted.foreign += u64::from(span.name != name);
        }
        for session in &received.sessions {
            let owner = *self.sessions.entry(session.clone()).or_insert(tenant);
            accepted.foreign += u64::from(owner != tenant);
            if received.endpoint == Endpoint::Sessions && self.started.insert(session.clone()) {
                counts.sessions += 1;
            }
        }
    }
}
