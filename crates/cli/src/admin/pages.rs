//! Text of the other pages.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Deserialize;
use serde_json::Value;
use tracer_registry::text::printable;

use crate::error::CliError;
use crate::table::{self, Align};

#[derive(Deserialize)]
pub(super) struct Refused {
    refused: Vec<RefusedBatch>,
}

#[derive(Deserialize)]
struct RefusedBatch {
    at: String,
    reason: String,
    spans: u64,
    bytes: u64,
    error: Option<String>,
}

pub(super) fn refused(page: &Refused, out: &mut impl Write) -> Result<(), CliError> {
    if page.refused.is_empty() {
        return Ok(writeln!(out, "no refused batch is kept")?);
    }
    let rows = page.refused.iter().map(|batch| {
        [
            batch.at.clone(),
            batch.spans.to_string(),
            batch.bytes.to_string(),
            batch.reason.clone(),
            batch.error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let columns = [
        ("at", Align::Left),
        ("spans", Align::Right),
        ("bytes", Align::Right),
        ("reason", Align::Left),
        ("error", Align::Left),
    ];
    table::write(out, columns, &rows.collect::<Vec<_>>())?;
    Ok(writeln!(out, "--json also prints the requests")?)
}

#[derive(Deserialize)]
pub(super) struct CallerPage {
    callers: Vec<CallerRow>,
    found: usize,
    next: Option<String>,
    unidentified: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct CallerRow {
    caller: String,
    addresses: Value,
    tokens: u64,
    requests: u64,
    spans: u64,
    refused: BTreeMap<String, u64>,
}

pub(super) fn callers(page: &CallerPage, out: &mut impl Write) -> Result<(), CliError> {
    let rows = page.callers.iter().map(|caller| {
        [
            caller.caller.clone(),
            fields(&caller.addresses),
            caller.tokens.to_string(),
            caller.requests.to_string(),
            caller.spans.to_string(),
            counts(&caller.refused),
        ]
    });
    let columns = [
        ("caller", Align::Left),
        ("addresses", Align::Left),
        ("tokens", Align::Right),
        ("requests", Align::Right),
        ("spans", Align::Right),
        ("refused", Align::Left),
    ];
    let rows: Vec<_> = rows.collect();
    table::write(out, columns, &rows)?;
    writeln!(out, "{} of {} found", rows.len(), page.found)?;
    if let Some(next) = &page.next {
        writeln!(out, "next page: --after {}", printable(next))?;
    }
    if !page.unidentified.is_empty() {
        let refused = counts(&page.unidentified);
        writeln!(out, "requests without a known caller: {}", printable(&refused))?;
    }
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct EndpointPage {
    endpoints: Vec<EndpointRow>,
    found: usize,
}

#[derive(Deserialize)]
struct EndpointRow {
    endpoint: String,
    breaker: Breaker,
    tracers: u64,
    failing: u64,
    queued_bytes: u64,
    spans: Ledger,
}

#[derive(Deserialize)]
struct Breaker {
    state: Value,
}

#[derive(Deserialize)]
struct Ledger {
    delivered: u64,
    dropped: BTreeMap<String, u64>,
}

pub(super) fn endpoints(page: &EndpointPage, out: &mut impl Write) -> Result<(), CliError> {
    let rows = page.endpoints.iter().map(|endpoint| {
        let state = match &endpoint.breaker.state {
            Value::String(state) if state == "closed" => "works",
            Value::String(_) => "is tried again",
            _ => "unreachable",
        };
        [
            endpoint.endpoint.clone(),
            state.to_owned(),
            endpoint.tracers.to_string(),
            endpoint.failing.to_string(),
            endpoint.queued_bytes.to_string(),
            endpoint.spans.delivered.to_string(),
            endpoint.spans.dropped.values().sum::<u64>().to_string(),
        ]
    });
    let columns = [
        ("endpoint", Align::Left),
        ("state", Align::Left),
        ("tracers", Align::Right),
        ("failing", Align::Right),
        ("queued bytes", Align::Right),
        ("delivered", Align::Right),
        ("dropped", Align::Right),
    ];
    let rows: Vec<_> = rows.collect();
    table::write(out, columns, &rows)?;
    Ok(writeln!(out, "{} of {} found", rows.len(), page.found)?)
}

/// Prints a line for each value, with its path.
pub(super) fn config(page: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let mut lines = Vec::new();
    flatten("", page, &mut lines);
    let width = lines.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    for (path, value) in lines {
        writeln!(out, "{}  {}", printable(&format!("{path:<width$}")), printable(&value))?;
    }
    Ok(())
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&below(name), value, lines);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                flatten(&below(&index.to_string()), value, lines);
            }
        }
        value => lines.push((path.to_owned(), word(value))),
    }
}

#[derive(Deserialize)]
pub(super) struct Attention {
    attention: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    rule: String,
    severity: String,
    count: usize,
    tracers: Vec<String>,
    endpoints: Vec<String>,
    since: Option<String>,
    message: String,
}

pub(super) fn attention(page: &Attention, out: &mut impl Write) -> Result<(), CliError> {
    if page.attention.is_empty() {
        writeln!(out, "nothing needs attention")?;
    }
    for item in &page.attention {
        let since = item.since.as_ref().map(|since| format!(", since {since}"));
        let line = format!(
            "{} {}: {}{}",
            item.severity,
            item.rule,
            item.message,
            since.unwrap_or_default()
        );
        writeln!(out, "{}", printable(&line))?;
        let more = if item.count > item.tracers.len() { ", .." } else { "" };
        let tenants = format!("tenants ({}): {}{more}", item.count, item.tracers.join(", "));
        let endpoints = format!("receivers: {}", item.endpoints.join(", "));
        for (line, names) in [(tenants, &item.tracers), (endpoints, &item.endpoints)] {
            if !names.is_empty() {
                writeln!(out, "  {}", printable(&line))?;
            }
        }
    }
    Ok(())
}

/// Prints a change, or how many changes are no longer kept.
pub(super) fn change(change: &Value, out: &mut impl Write) -> Result<(), CliError> {
    if let Some(missed) = change.get("missed") {
        return Ok(writeln!(
            out,
            "{} changes are no longer kept",
            printable(&word(missed))
        )?);
    }
    // The number is what `--after` takes, so it comes first.
    let fields = [
        "number", "at", "kind", "name", "problem", "reason", "selector", "endpoint", "detail",
    ];
    let words = fields
        .iter()
        .filter_map(|field| change.get(field).filter(|value| !value.is_null()));
    let line = words.map(word).collect::<Vec<_>>().join(" ");
    Ok(writeln!(out, "{}", printable(&line))?)
}

/// Returns the fields of an object as words, such as `header x-tenant, allow 3`. The last name
/// comes first: how a request names its tenant, then which ones it may name.
fn fields(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().rev();
            let fields = fields.map(|(name, value)| format!("{name} {}", word(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        value => word(value),
    }
}

/// Returns a text without its quotes, or any other value as JSON.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "-".to_owned();
    }
    let counts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    counts.collect::<Vec<_>>().join(", ")
}
