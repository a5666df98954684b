//! The end: what was made, what the ledgers say, and what the receiver took, tenant by tenant.

use serde::Serialize;
use serde_json::{Value, json};

use tracer_registry::status::DropReason;

use crate::Result;
use crate::memory::Drift;
use crate::options::{Options, name_of};
use crate::taken::Taken;
use crate::watch::{Sum, Watch};

/// How many faults are shown in words.
const SHOWN: usize = 20;

/// Whether everything adds up.
pub(crate) struct Verdict {
    rows: Vec<Row>,
    /// What does not, in words.
    wrong: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    what: &'static str,
    value: Value,
    good: Option<bool>,
}

impl Verdict {
    pub(crate) fn new(watch: &Watch, taken: &Taken, pending: u64) -> Self {
        let (spans, events) = (Sum::of(&watch.spans), Sum::of(&watch.events));
        let mut wrong = watch.examples.clone();
        let mut tenants_wrong = 0;
        for (tenant, ((spans, events), of_tenant)) in
            (0..).zip(watch.spans.iter().zip(&watch.events).zip(&taken.tenants))
        {
            let dropped_unsent = [
                DropReason::QueueFull,
                DropReason::QueueFullUnauthorized,
                DropReason::QueueFullUnavailable,
                DropReason::AfterShutdown,
            ];
            let never_sent: u64 = dropped_unsent
                .iter()
                .filter_map(|reason| spans.dropped.get(reason))
                .sum();
            let holds = [
                ("it has things pending", spans.pending() + events.pending() == 0),
                (
                    "spans are delivered that were never received",
                    spans.delivered <= of_tenant.spans,
                ),
                (
                    "spans were received that were never sent",
                    of_tenant.spans <= spans.accepted - never_sent,
                ),
                (
                    "sessions were received that were never made",
                    of_tenant.sessions <= events.accepted,
                ),
            ];
            for (what, _) in holds.into_iter().filter(|(_, holds)| !holds) {
                tenants_wrong += 1;
                wrong.push(format!(
                    "{}: {what}: {spans:?}, {events:?}, {of_tenant:?}",
                    name_of(tenant)
                ));
            }
        }
        let received: u64 = taken.tenants.iter().map(|tenant| tenant.spans).sum();
        let again: u64 = taken.tenants.iter().map(|tenant| tenant.again).sum();
        let sessions: u64 = taken.tenants.iter().map(|tenant| tenant.sessions).sum();
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
            fact("spans received again", again.into()),
            fact("session events accepted", events.accepted.into()),
            fact("session events delivered", events.delivered.into()),
            fact("session events dropped", json!(events.dropped)),
            fact("sessions received", sessions.into()),
            fact("requests by answer, lost ones too", json!(taken.answers)),
            fact("times that nobody listened", taken.closed.into()),
            fact("snapshots", watch.snapshots.into()),
            fact("ledgers compared in them", watch.compared.into()),
            judged("that did not add up", watch.wrong),
            judged("tenants that do not agree with the receiver", tenants_wrong),
            judged("received under another tenant's key", taken.foreign),
            judged(
                "tracers for one job that are left",
                watch.tracers.saturating_sub(watch.spans.len()) as u64,
            ),
            judged("left by the shutdown", pending + spans.pending + events.pending),
            Row {
                what: "resident memory after the first minute",
                value: drift.map_or_else(|| "too short to tell".into(), shown),
                good: drift.map(Drift::is_flat),
            },
        ];
        Self { rows, wrong }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.good != Some(false))
    }

    pub(crate) fn show(&self, options: &Options) -> Result<()> {
        if options.json {
            let line = json!({ "good": self.is_good(), "rows": self.rows, "wrong": self.wrong, "seed": options.seed });
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
        for wrong in self.wrong.iter().take(SHOWN) {
            println!("{wrong}");
        }
        println!(
            "\n{}",
            if self.is_good() {
                "it adds up"
            } else {
                "IT DOES NOT ADD UP"
            }
        );
        Ok(())
    }
}

/// Counts by name one after the other, everything else as it is.
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
