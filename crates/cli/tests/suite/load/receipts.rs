//! What the receiver of a load has, and the tenants of a configuration.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tracer_registry_collector::{CollectorBuilder, LocalCollector, Received};

use super::connection::TOKEN;
use super::tenant_of;

/// When each span was received.
#[derive(Default)]
pub(crate) struct Receipts {
    pub(crate) spans: HashMap<u64, Receipt>,
    /// Spans in the project of another tenant.
    pub(crate) foreign: u64,
}

pub(crate) struct Receipt {
    pub(crate) first: Instant,
    /// The number of other spans that were received before.
    place: usize,
    /// How often it was received.
    pub(crate) times: usize,
}

impl Receipts {
    fn note(&mut self, received: &Received) {
        let now = Instant::now();
        for span in &received.stored {
            let id = u64::from_str_radix(&span.span_id, 16).expect("hexadecimal") - 1;
            let tenant = format!("t{}", tenant_of(id));
            if received.project.as_ref() != Some(&tenant) || span.name != tenant {
                self.foreign += 1;
            }
            let place = self.spans.len();
            let receipt = self.spans.entry(id).or_insert(Receipt {
                first: now,
                place,
                times: 0,
            });
            receipt.times += 1;
        }
    }

    /// Returns the number of tenants with spans.
    pub(crate) fn tenants(&self) -> u64 {
        let tenants: HashSet<u64> = self.spans.keys().map(|span| tenant_of(*span)).collect();
        tenants.len() as u64
    }

    /// Returns how often spans were received again.
    pub(crate) fn again(&self) -> usize {
        self.spans.values().map(|receipt| receipt.times - 1).sum()
    }

    /// Describes pairs of these spans, each of one tenant, of which the newer one was received first.
    pub(crate) fn out_of_order(&self, mut spans: Vec<(u64, Instant)>) -> Vec<String> {
        spans.sort_unstable();
        let pairs = spans.windows(2).filter_map(|pair| {
            let [(older, acknowledged), (newer, also)] = [pair[0], pair[1]];
            let [first, second] = [self.spans.get(&older)?, self.spans.get(&newer)?];
            let is_wrong = tenant_of(older) == tenant_of(newer) && first.place > second.place;
            is_wrong.then(|| {
                format!(
                    "t{}: {older:x}, {:.0?} after its acknowledgement; {newer:x}, {:.0?} after its own, and {:.0?} \
                     before the other",
                    tenant_of(older),
                    first.first - acknowledged,
                    second.first - also,
                    first.first - second.first,
                )
            })
        });
        pairs.collect()
    }
}

/// Returns a receiver with a project for each tenant.
pub(crate) fn builder(receipts: &Arc<Mutex<Receipts>>, tenants: u64) -> CollectorBuilder {
    let observer = Arc::clone(receipts);
    let collector = LocalCollector::builder()
        // The observer keeps what matters.
        .max_spans(1_000)
        .max_projects(usize::try_from(tenants).expect("few"))
        .observer(move |received| observer.lock().expect("no panic").note(received));
    (0..tenants).fold(collector, |collector, tenant| {
        collector.project(format!("t{tenant}"), format!("key-of-t{tenant}"))
    })
}

/// Starts a receiver with a project for each tenant.
pub(crate) fn collector(receipts: &Arc<Mutex<Receipts>>, tenants: u64) -> LocalCollector {
    builder(receipts, tenants).start().expect("started")
}

/// Writes the keys of all tenants, and the token of the caller. Returns the tables.
pub(crate) fn tenants(folder: &Path, tenants: u64) -> String {
    let keys = folder.join("keys");
    fs::create_dir(&keys).expect("made");
    for tenant in 0..tenants {
        fs::write(keys.join(format!("t{tenant}")), format!("key-of-t{tenant}")).expect("written");
    }
    fs::write(folder.join("token"), TOKEN).expect("written");
    "[tenants.\"*\"]\napi_key = { file = \"keys/{tenant}\" }\n\
     [gateway.callers.all]\ntoken = { file = \"token\" }\ntenant = { header = \"x-tenant\", allow = [\"*\"] }\n"
        .to_owned()
}
