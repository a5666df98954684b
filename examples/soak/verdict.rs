//! The final comparison, per tenant: items created, the ledgers, and items received.

use serde::Serialize;
use serde_json::{Value, json};

use tracer_registry::status::DropReason;

use crate::Result;
use crate::accepted::Accepted;
use crate::memory::Drift;
use crate::options::{Options, name_of};
use crate::registry::MAX_DISK;
use crate::watch::{Sum, Watch};

/// Maximum number of errors printed.
const SHOWN: usize = 20;

/// Whether everything adds up.
pub(crate) struct Verdict {
    rows: Vec<Row>,
    /// Descriptions of all errors.
    errors: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    what: &'static str,
    value: Value,
    good: Option<bool>,
}

impl Verdict {
    pub(crate) fn new(watch: &Watch, accepted: &Accepted) -> Self {
        let (spans, events) = (Sum::of(&watch.past_spans), Sum::of(&watch.past_events));
        let mut errors = watch.examples.clone();
        let mut tenants_wrong = 0;
        for (tenant, ((spans, events), counts)) in
            (0..).zip(watch.past_spans.iter().zip(&watch.past_events).zip(&accepted.tenants))
        {
            let dropped_unsent = [
                DropReason::QueueFull,
                DropReason::QueueFullUnauthorized,
                DropReason::QueueFullUnavailable,
                DropReason::AfterShutdown,
                DropReason::SpoolFull,
            ];
            let never_sent: u64 = dropped_unsent
                .iter()
                .filter_map(|reason| spans.dropped.get(reason))
                .sum();
            let holds = [
                ("data is on disk", spans.spooled + events.spooled == 0),
                (
                    "spans are delivered but were not received",
                    spans.delivered <= counts.spans,
                ),
                (
                    "spans were received but never sent",
                    counts.spans <= spans.accepted - never_sent,
                ),
                (
                    "sessions were received but never created",
                    counts.sessions <= events.accepted,
                ),
            ];
            for (what, _) in holds.into_iter().filter(|(_, holds)| !holds) {
                tenants_wrong += 1;
                errors.push(format!(
                    "{}: {what}: {spans:?}, {events:?}, {counts:?}",
                    name_of(tenant)
                ));
            }
        }
        let received: u64 = accepted.tenants.iter().map(|tenant| tenant.spans).sum();
        let duplicates: u64 = accepted.tenants.iter().map(|tenant| tenant.duplicates).sum();
        let sessions: u64 = accepted.tenants.iter().map(|tenant| tenant.sessions).sum();
        let drift = watch.memory.drift();
        let fact = |what, value: Value| Row {
            what,
            value,
            good: None,
        };
        let judged = |what, value: u64| Row {
            what,
            value: value.into(),
            good: Some(value == 0),
        };
        let rows = vec![
            fact("spans accepted", spans.accepted.into()),
            fact("spans delivered", spans.delivered.into()),
            fact("spans dropped", json!(spans.dropped)),
            fact("spans received, each once", received.into()),
            fact(
                "of those, dropped in the ledger",
                received.saturating_sub(spans.delivered).into(),
            ),
            fact("spans received again", duplicates.into()),
            fact("session events accepted", events.accepted.into()),
            fact("session events delivered", events.delivered.into()),
            fact("session events dropped", json!(events.dropped)),
            fact("sessions received", sessions.into()),
            fact("requests by answer, including lost ones", json!(accepted.answers)),
            fact("times the receiver was closed", accepted.closed.into()),
            fact("registries", watch.ended.into()),
            Row {
                what: "largest size on disk, in MB",
                value: (watch.disk / 1_000_000).into(),
                good: (watch.disk > 0).then_some(watch.disk <= MAX_DISK as u64),
            },
            fact("snapshots", watch.snapshots.into()),
            fact("ledgers compared", watch.compared.into()),
            judged("ledgers that did not add up", watch.errors),
            judged("tenants that do not agree with the receiver", tenants_wrong),
            judged("received under another tenant's key", accepted.foreign),
            judged(
                "dedicated tracers left",
                watch.tracers.saturating_sub(watch.past_spans.len()) as u64,
            ),
            judged(
                "pending or on disk after the shutdown",
                watch.pending + spans.pending + events.pending,
            ),
            Row {
                what: "resident memory after the first minute",
                value: drift.map_or_else(|| "too short to measure".into(), shown),
                good: drift.map(Drift::is_flat),
            },
        ];
        Self { rows, errors }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.good != Some(false))
    }

    pub(crate) fn show(&self, options: &Options) -> Result<()> {
        if options.json {
            let line =
                json!({ "good": self.is_good(), "rows": self.rows, "errors": self.errors, "seed": options.seed });
            println!("{}", serde_json::to_string(&line)?);
            return Ok(());
        }
        println!();
        for row in &self.rows {
            let judged = match row.good {
                None => "",
                Some(true) => "  good",
                Some(false) => "  BAD",
            };
            println!("{:<46}{}{judged}", row.what, text(&row.value));
        }
        for error in self.errors.iter().take(SHOWN) {
            println!("{error}");
        }
        println!(
            "\n{}",
            if self.is_good() {
                "all counts add up"
            } else {
                "COUNTS DO NOT ADD UP"
            }
        );
        Ok(())
    }
}

/// Formats counts by name; other values unchanged.
fn text(value: &Value) -> String {
    match value {
        Value::Object(counts) => {
            let each = counts.iter().map(|(name, count)| format!("{count} {name}"));
            each.collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown(drift: Drift) -> Value {
    let tenths = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
    format!(
        "{} in its middle third, {} in its last",
        tenths(drift.middle),
        tenths(drift.last)
    )
    .into()
}
