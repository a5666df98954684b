//! Commands that change something.

use std::io::Write;

use serde::Deserialize;
use serde_json::Value;
use tracer_registry::text::printable;

use super::arguments::{Command, Flush, Rotate, Selected, encoded};
use super::connect::{Gateway, write};
use crate::error::{CliError, Outcome};

pub(super) fn run(action: &Command, gateway: &Gateway, json: bool, out: &mut impl Write) -> Result<Outcome, CliError> {
    match action {
        Command::Reload => {
            write(&gateway.post("/api/reload")?, json, out, reloaded)?;
            Ok(Outcome::Success)
        }
        Command::Flush(flush) => flush.run(gateway, json, out),
        Command::Pause(of) => of.switch("pause", "paused", gateway, json, out),
        Command::Resume(of) => of.switch("resume", "sends again", gateway, json, out),
        Command::Remove(of) => {
            let answer = gateway.post(&of.path("/remove"))?;
            write(&answer, json, out, |answer: &Removed, out| {
                let removed = if answer.removed { "removed" } else { "had no tracer" };
                of.say(removed, out)
            })?;
            Ok(Outcome::Success)
        }
        Command::Rotate(rotate) => rotate.run(gateway, json, out),
        Command::Nudge(of) => {
            write(&gateway.post(&of.path("/nudge"))?, json, out, |_: &Value, out| {
                of.say("all replicas read the key again", out)
            })?;
            Ok(Outcome::Success)
        }
        Command::Purge(of) => {
            purge(gateway, &of.selector, json, out)?;
            Ok(Outcome::Success)
        }
        Command::Allow(of) => {
            allow(gateway, &of.selector, json, out)?;
            Ok(Outcome::Success)
        }
        _ => unreachable!("all others are pages"),
    }
}

#[derive(Deserialize)]
struct Reloaded {
    added: Vec<String>,
    changed_selectors: Vec<String>,
    removed: Vec<String>,
    needs_restart: Vec<String>,
    /// Settings of `[gateway]`.
    #[serde(default)]
    gateway: Vec<String>,
    #[serde(default)]
    callers: Counts,
    #[serde(default)]
    caller_tokens: Counts,
}

#[derive(Default, Deserialize)]
struct Counts {
    added: u64,
    removed: u64,
}

fn reloaded(answer: &Reloaded, out: &mut impl Write) -> Result<(), CliError> {
    let lists = [
        ("added", &answer.added),
        ("changed", &answer.changed_selectors),
        ("removed", &answer.removed),
        ("applied", &answer.gateway),
        ("takes effect at the next start", &answer.needs_restart),
    ];
    if lists.iter().all(|(_, list)| list.is_empty()) {
        writeln!(out, "the configuration was read again, and nothing changed")?;
    }
    for (change, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        writeln!(out, "{change}: {}", printable(&list.join(", ")))?;
    }
    for (what, Counts { added, removed }) in [("callers", &answer.callers), ("their tokens", &answer.caller_tokens)] {
        if added + removed > 0 {
            writeln!(out, "{what}: {added} added, {removed} removed")?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Switched {
    changed: bool,
}

#[derive(Deserialize)]
struct Removed {
    removed: bool,
}

impl Selected {
    fn switch(
        &self,
        action: &str,
        done: &str,
        gateway: &Gateway,
        json: bool,
        out: &mut impl Write,
    ) -> Result<Outcome, CliError> {
        let answer = gateway.post(&self.path(&format!("/{action}")))?;
        write(&answer, json, out, |answer: &Switched, out| {
            let before = if answer.changed { "" } else { ", as before" };
            self.say(&format!("{done}{before}"), out)
        })?;
        Ok(Outcome::Success)
    }

    fn say(&self, what: &str, out: &mut impl Write) -> Result<(), CliError> {
        Ok(writeln!(out, "{}: {}", printable(&self.selector), printable(what))?)
    }
}

#[derive(Deserialize)]
struct Flushed {
    pending: u64,
}

impl Flush {
    fn run(&self, gateway: &Gateway, json: bool, out: &mut impl Write) -> Result<Outcome, CliError> {
        let path = self.of.path(&format!("/flush?timeout={}", encoded(&self.timeout)));
        let answer = gateway.post(&path)?;
        write(&answer, json, out, |answer: &Flushed, out| match answer.pending {
            0 => self.of.say("nothing waits", out),
            pending => self.of.say(&format!("{pending} still waiting"), out),
        })?;
        Ok(Outcome::success_if(answer["pending"] == 0))
    }
}

#[derive(Deserialize)]
struct Rotated {
    before: Option<String>,
    fingerprint: String,
    changed: bool,
    tracers: Option<u64>,
    /// `accepted`, or `{"failed": ".."}`.
    connection: Option<Value>,
}

impl Rotate {
    fn run(&self, gateway: &Gateway, json: bool, out: &mut impl Write) -> Result<Outcome, CliError> {
        let dry_run = if self.dry_run { "?dry_run=true" } else { "" };
        let answer = gateway.post(&self.of.path(&format!("/rotate{dry_run}")))?;
        write(&answer, json, out, |answer, out| self.of.say(&self.text(answer), out))?;
        let failed = answer.get("connection").is_some_and(Value::is_object);
        Ok(Outcome::success_if(!failed))
    }

    fn text(&self, answer: &Rotated) -> String {
        let Rotated { fingerprint, .. } = answer;
        let key = match (&answer.before, answer.changed, self.dry_run) {
            (_, false, _) => format!("key {fingerprint} is the current one"),
            (Some(before), true, true) => format!("key {before} would become {fingerprint}"),
            (Some(before), true, false) => format!("key {before} became {fingerprint}"),
            (None, true, true) => format!("the key would be {fingerprint}"),
            (None, true, false) => format!("the key is {fingerprint}"),
        };
        match (&answer.connection, answer.tracers) {
            (Some(Value::Object(failed)), _) => {
                let error = failed.values().find_map(Value::as_str).unwrap_or("it failed");
                format!("{key}; the endpoint does not accept it: {error}")
            }
            (Some(_), _) => format!("{key}; the endpoint accepts it"),
            (None, Some(0)) => format!("{key}; no tracer uses it yet"),
            (None, _) => key,
        }
    }
}

/// What a purge erased.
#[derive(Deserialize)]
struct Receipt {
    selector: String,
    generation: u64,
    memory: Amount,
    in_flight_spans: u64,
    in_flight_session_events: u64,
    spooled: Amount,
    /// With a stream.
    #[serde(default)]
    streamed: Amount,
    rows: u64,
}

#[derive(Default, Deserialize)]
struct Amount {
    spans: u64,
    session_events: u64,
}

/// Asks a gateway to erase the data of a selector, and prints the receipt.
pub(crate) fn purge(gateway: &Gateway, selector: &str, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let path = format!("/api/tenants/{}/purge", encoded(selector));
    write_receipt(&gateway.post(&path)?, json, out)
}

/// Prints a receipt.
pub(crate) fn write_receipt(receipt: &Value, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    write(receipt, json, out, |receipt: &Receipt, out| {
        let Receipt {
            selector,
            generation,
            memory,
            spooled,
            streamed,
            rows,
            ..
        } = receipt;
        writeln!(
            out,
            "{}: erased {} spans and {} session events in memory, {} and {} on disk alone, {rows} rows (purge {generation})",
            printable(selector),
            memory.spans,
            memory.session_events,
            spooled.spans,
            spooled.session_events,
        )?;
        if streamed.spans + streamed.session_events > 0 {
            writeln!(
                out,
                "and {} spans and {} session events that were given to the stream",
                streamed.spans, streamed.session_events
            )?;
        }
        let (spans, events) = (receipt.in_flight_spans, receipt.in_flight_session_events);
        if spans + events > 0 {
            writeln!(
                out,
                "{spans} of the spans and {events} of the session events were in a request, and may have arrived"
            )?;
        }
        Ok(())
    })
}

/// Asks a gateway to take data of an erased selector again.
pub(crate) fn allow(gateway: &Gateway, selector: &str, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let path = format!("/api/tenants/{}/allow", encoded(selector));
    write_allowed(&gateway.post(&path)?, selector, json, out)
}

/// Prints whether a selector was erased before.
pub(crate) fn write_allowed(answer: &Value, selector: &str, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    write(answer, json, out, |answer: &Switched, out| {
        let before = if answer.changed { "" } else { ", as before" };
        Ok(writeln!(out, "{}: takes data again{before}", printable(selector))?)
    })
}
