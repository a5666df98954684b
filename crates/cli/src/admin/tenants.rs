//! Text of the pages about tenants.

use std::io::Write;
use std::time::SystemTime;

use humantime::{format_duration, format_rfc3339_seconds};
use serde::Deserialize;
use tracer_registry::status::{
    BreakerState, BreakerStatus, KeyStatus, LedgerSnapshot, QuotaUse, RequestState, TracerStatus,
};
use tracer_registry::text::printable;

use crate::error::CliError;
use crate::table::{self, Align};

#[derive(Deserialize)]
pub(super) struct Page {
    tenants: Vec<TracerStatus>,
    found: usize,
    next: Option<String>,
}

pub(super) fn write(page: &Page, out: &mut impl Write) -> Result<(), CliError> {
    let rows: Vec<[String; 7]> = page.tenants.iter().map(row).collect();
    let columns = [
        ("selector", Align::Left),
        ("accepted", Align::Right),
        ("delivered", Align::Right),
        ("waiting", Align::Right),
        ("dropped", Align::Right),
        ("oldest", Align::Right),
        ("problem", Align::Left),
    ];
    table::write(out, columns, &rows)?;
    writeln!(out, "{} of {} found", rows.len(), page.found)?;
    if let Some(next) = &page.next {
        writeln!(out, "next page: --after {}", printable(next))?;
    }
    Ok(())
}

fn row(tracer: &TracerStatus) -> [String; 7] {
    let spans = &tracer.spans;
    [
        tracer.selector.to_string(),
        spans.accepted.to_string(),
        spans.delivered.to_string(),
        waiting(spans).to_string(),
        dropped(spans).to_string(),
        tracer.oldest_queued.map_or_else(|| "-".to_owned(), age),
        problems(tracer).into_iter().next().unwrap_or_else(|| "-".to_owned()),
    ]
}

pub(super) fn write_one(tracer: &TracerStatus, out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "{}", printable(&tracer.selector.to_string()))?;
    let mut line = |name: &str, value: &str| writeln!(out, "  {name:<15} {}", printable(value));
    for problem in problems(tracer) {
        line("problem", &problem)?;
    }
    if let Some(to) = &tracer.destination {
        line("sends to", &to.endpoint)?;
    }
    if let Some(key) = &tracer.key {
        let KeyStatus { fingerprint, since, .. } = key;
        line("key", &format!("{fingerprint} since {}", time(*since)))?;
    }
    line("spans", &counts(&tracer.spans))?;
    if !tracer.quota.is_empty() {
        let used = |limit: &QuotaUse| format!("{} {} of {}", limit.setting, limit.used, limit.limit);
        let used: Vec<String> = tracer.quota.iter().map(used).collect();
        line("quota used", &used.join(", "))?;
    }
    let redacted = &tracer.redaction;
    let rules = redacted.rules.iter().map(|(rule, count)| (rule.as_str(), *count));
    let others = [
        ("unreadable", redacted.unreadable),
        ("by redactors", redacted.redactors),
        ("panics of redactors", redacted.redactor_panics),
    ];
    let others = others.into_iter().filter(|(_, count)| *count > 0);
    let redacted: Vec<String> = rules
        .chain(others)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !redacted.is_empty() {
        line("redacted values", &redacted.join(", "))?;
    }
    if tracer.session_events.accepted > 0 {
        line("session events", &counts(&tracer.session_events))?;
    }
    if let Some(oldest) = tracer.oldest_queued {
        let queued = format!("{} bytes, the oldest for {}", tracer.queued_bytes, age(oldest));
        line("queued", &queued)?;
    }
    if let Some(request) = &tracer.oldest_request {
        let state = match request.state {
            RequestState::Paused => "paused",
            RequestState::Sent => "sent, without an answer so far",
            RequestState::WaitsAtBreaker => "waits at a breaker",
            RequestState::WaitsForPermit => "waits for its turn",
            RequestState::WaitsToRetry => "waits for its next attempt",
            _ => "waits",
        };
        let request = format!("for {}, attempt {}: {state}", age(request.since), request.attempt);
        line("oldest request", &request)?;
    }
    let delivered = tracer.last_delivery.map_or_else(|| "never".to_owned(), time);
    line("last delivery", &delivered)?;
    if let Some(error) = &tracer.last_error {
        let when = tracer.errors.as_ref().map(|errors| match errors.over {
            None => format!(" ({} times since {})", errors.count, time(errors.since)),
            Some(over) => format!(" (over since {})", time(over)),
        });
        line("last error", &format!("{error}{}", when.unwrap_or_default()))?;
    }
    if let Some(span) = &tracer.last_refused_span {
        let span = format!(
            "{:?} of trace {}, {} bytes: {}",
            span.name, span.trace_id, span.bytes, span.reason
        );
        line("refused span", &span)?;
    }
    Ok(())
}

/// Returns what keeps a tenant from delivering, the worst first.
fn problems(tracer: &TracerStatus) -> Vec<String> {
    let mut problems = Vec::new();
    if tracer.paused {
        problems.push("paused".to_owned());
    }
    if let Some(key) = &tracer.key {
        if let Some(refused) = &key.refused {
            problems.push(format!("key refused since {}", time(refused.since)));
        } else if let Some(error) = &key.error {
            problems.push(error.to_string());
        }
    }
    let breakers = [
        ("endpoint unreachable", &tracer.breakers.endpoint),
        ("requests fail", &tracer.breakers.spans),
        ("session events fail", &tracer.breakers.session_events),
    ];
    let open = breakers.into_iter().filter(|(_, breaker)| is_open(breaker));
    problems.extend(open.map(|(problem, _)| problem.to_owned()));
    problems
}

fn is_open(breaker: &BreakerStatus) -> bool {
    breaker.state != BreakerState::Closed
}

fn counts(ledger: &LedgerSnapshot) -> String {
    let mut text = format!("{} accepted, {} delivered", ledger.accepted, ledger.delivered);
    if waiting(ledger) > 0 {
        text = format!("{text}, {} waiting", waiting(ledger));
    }
    for (reason, count) in &ledger.dropped {
        text = format!("{text}, {count} dropped ({reason})");
    }
    text
}

fn waiting(ledger: &LedgerSnapshot) -> u64 {
    ledger.queued + ledger.in_flight + ledger.spooled
}

fn dropped(ledger: &LedgerSnapshot) -> u64 {
    ledger.dropped.values().sum()
}

/// Returns the time since then, in whole seconds of this machine's clock.
fn age(then: SystemTime) -> String {
    let age = then.elapsed().unwrap_or_default();
    format_duration(std::time::Duration::from_secs(age.as_secs())).to_string()
}

fn time(time: SystemTime) -> String {
    format_rfc3339_seconds(time).to_string()
}
