//! What the receiver took, by the key that it came with.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tracer_registry::secret::Fingerprinter;
use tracer_registry_collector::{Endpoint, Received};

use crate::options::{key_of, name_of};

/// What the receiver says at the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// By tenant.
    pub(crate) tenants: Vec<OfTenant>,
    pub(crate) requests: u64,
    /// Spans with another tenant's name, sessions that are known of another tenant, keys that are nobody's.
    pub(crate) foreign: u64,
    /// Answers by status, also those that a fault lost.
    pub(crate) answers: std::collections::BTreeMap<u16, u64>,
    /// Requests that found nobody listening cannot be counted here: how often that was.
    pub(crate) closed: u64,
}

/// What came under one tenant's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OfTenant {
    /// Spans, each once.
    pub(crate) spans: u64,
    /// Spans that were there already.
    pub(crate) again: u64,
    /// Sessions that were started, each once.
    pub(crate) sessions: u64,
}

/// Everything that identifies what was taken.
pub(crate) struct Taking {
    /// By the fingerprint of its key.
    tenants: HashMap<u64, usize>,
    ids: Vec<HashSet<u64>>,
    /// By id; every request and every span that names a session must be its tenant's.
    sessions: HashMap<String, usize>,
    started: HashSet<String>,
    pub(crate) taken: Taken,
}

impl Taking {
    pub(crate) fn new(tenants: u32, fingerprinter: &Fingerprinter) -> Self {
        let keys = (0..tenants).map(|tenant| fingerprinter.fingerprint(key_of(&name_of(tenant)).as_bytes()).into());
        Self {
            tenants: keys.zip(0..).collect(),
            ids: vec![HashSet::new(); tenants as usize],
            sessions: HashMap::new(),
            started: HashSet::new(),
            taken: Taken {
                tenants: vec![OfTenant::default(); tenants as usize],
                ..Taken::default()
            },
        }
    }

    pub(crate) fn note(&mut self, received: &Received) {
        let taken = &mut self.taken;
        taken.requests += 1;
        *taken.answers.entry(received.status).or_default() += 1;
        let Some(tenant) = self.tenants.get(&received.key.into()).copied() else {
            taken.foreign += 1;
            return;
        };
        let of_tenant = &mut taken.tenants[tenant];
        let name = name_of(u32::try_from(tenant).unwrap_or(u32::MAX));
        for span in &received.stored {
            let is_new = u64::from_str_radix(&span.span_id, 16).is_ok_and(|id| self.ids[tenant].insert(id));
            of_tenant.spans += u64::from(is_new);
            of_tenant.again += u64::from(!is_new);
            taken.foreign += u64::from(span.name != name);
        }
        for session in &received.sessions {
            let owner = *self.sessions.entry(session.clone()).or_insert(tenant);
            taken.foreign += u64::from(owner != tenant);
            if received.endpoint == Endpoint::Sessions && self.started.insert(session.clone()) {
                of_tenant.sessions += 1;
            }
        }
    }
}
