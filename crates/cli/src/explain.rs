//! `explain`: what happened to a trace in a running gateway.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde::Deserialize;
use tracer_registry::text::printable;

use super::admin::connect::{Connection, Gateway};
use super::error::{CliError, Outcome};
use super::json;

#[derive(Debug, Args)]
#[command(after_help = "Needs export.explain.max_traces in the gateway's configuration. \
                        Exits with 1 if the trace was not seen.")]
pub(crate) struct Arguments {
    /// Trace id, 32 hexadecimal digits
    #[arg(value_name = "TRACE_ID", value_parser = trace_id)]
    trace_id: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Explanation {
    selectors: Vec<Fate>,
    more_selectors: u64,
    kept: String,
}

#[derive(Deserialize)]
struct Fate {
    selector: String,
    caller: Option<String>,
    first: String,
    last: String,
    accepted: u64,
    sampled_out: u64,
    too_large: u64,
    refused: u64,
    batches: u64,
    attempts: u64,
    answers: Vec<Answer>,
    delivered: u64,
    unclear: u64,
    pending: u64,
    dropped: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Answer {
    answer: String,
    count: u64,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let Arguments { trace_id, connection } = arguments;
    let answer = Gateway::connect(connection)?.get(&format!("/api/explain?trace_id={trace_id}"))?;
    let seen = answer["seen"] == true;
    if connection.json {
        json::write(out, &answer)?;
    } else {
        let explanation = Explanation::deserialize(&answer).map_err(CliError::Answer)?;
        for line in explanation.lines() {
            writeln!(out, "{}", printable(&line))?;
        }
    }
    Ok(Outcome::success_if(seen))
}

fn trace_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && text.bytes().any(|byte| byte != b'0') {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected 32 hexadecimal digits that are not all zero".to_owned())
    }
}

impl Explanation {
    fn lines(&self) -> Vec<String> {
        if self.selectors.is_empty() {
            return vec![format!(
                "not seen in the last {}: sampled out by the client, sent elsewhere, refused before it was read, or older",
                self.kept
            )];
        }
        let mut lines: Vec<String> = self.selectors.iter().flat_map(Fate::lines).collect();
        if self.more_selectors > 0 {
            lines.push(format!(
                "spans of {} further selectors are not listed",
                self.more_selectors
            ));
        }
        lines
    }
}

impl Fate {
    fn lines(&self) -> Vec<String> {
        let caller = self.caller.as_ref().map(|caller| format!(", sent by {caller}"));
        let caller = caller.unwrap_or_default();
        let (first, last) = (time_of_day(&self.first), time_of_day(&self.last));
        let time = if first == last {
            first.to_owned()
        } else {
            format!("{first} to {last}")
        };
        let mut lines = vec![format!("{}{caller}, {time} UTC", self.selector)];
        let mut line = |name: &str, words: Vec<String>| {
            if !words.is_empty() {
                lines.push(format!("  {name:<10}{}", words.join(", ")));
            }
        };
        let counts = [
            (self.accepted, "accepted"),
            (self.sampled_out, "sampled out"),
            (self.too_large, "too large for the tenant"),
            (self.refused, "refused, with an answer that says whether to send again"),
        ];
        line("spans", listed(&counts));
        if self.batches > 0 {
            let (batches, attempts) = (
                of(self.batches, "batch", "batches"),
                of(self.attempts, "attempt", "attempts"),
            );
            line("requests", vec![batches, attempts]);
        }
        let answers = self.answers.iter();
        let answers = answers.map(|Answer { answer, count }| format!("{answer} ({count})"));
        line("answers", answers.collect());
        let counts = [
            (self.delivered, "delivered"),
            (
                self.unclear,
                "delivered or rejected: the receiver accepted a part of the batch",
            ),
            (self.pending, "waiting"),
        ];
        let mut outcome = listed(&counts);
        outcome.extend(
            self.dropped
                .iter()
                .map(|(reason, count)| format!("{count} dropped ({reason})")),
        );
        line("outcome", outcome);
        lines
    }
}

/// Returns the counts that are not zero.
fn listed(counts: &[(u64, &str)]) -> Vec<String> {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!("{count} {what}")).collect()
}

fn of(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Returns the time of `2026-03-01T09:30:00.125Z`, up to its seconds.
fn time_of_day(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}
