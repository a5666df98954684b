//! Actions: what changes something. Each writes a line to the log.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tracer_registry::Selector;
use tracer_registry::check::CheckMode;
use tracer_registry::error::{PurgeError, ReloadError};

use super::call::{self, Call, Json};
use super::pages;
use super::refusal::{NO_TRACER, Refusal, cut};

/// Longest wait of a flush, and the one without a parameter.
const MAX_FLUSH: Duration = Duration::from_secs(30);
const DEFAULT_FLUSH: Duration = Duration::from_secs(5);
/// Most names of a list in the answer of a reload.
const MAX_NAMES: usize = 1_000;

/// `POST /api/reload`
pub(super) fn reload(call: &Call) -> Result<Json, Refusal> {
    let current = &call.admin.current;
    // A configuration of TLS is another one only if its files have changed.
    let state = || (current.running(), current.tls().current());
    let (before, tls_before) = state();
    let mut reload = call.admin.registry.reload().map_err(|error| match &error {
        ReloadError::Config(faults) => {
            Refusal::conflict("the running configuration is kept").with_faults(faults.problems())
        }
        error => Refusal::unavailable(error.to_string()),
    })?;
    call.log("reloaded the configuration");
    let (after, tls_after) = state();
    let mut changes = after.changes_since(&before);
    let has_same_tls = tls_before.as_ref().map(Arc::as_ptr) == tls_after.as_ref().map(Arc::as_ptr);
    if !has_same_tls && !changes.settings.contains(&"gateway.tls") {
        changes.settings.push("gateway.tls");
    }
    reload.needs_restart.extend(&after.needs_restart);
    let mut text = reload.to_string();
    if !changes.settings.is_empty() {
        let of_gateway = format!("applied: {}", changes.settings.join(", "));
        text = if reload.is_empty() {
            of_gateway
        } else {
            format!("{of_gateway}; {text}")
        };
    }
    let [callers, tokens] = changes
        .callers
        .counts()
        .map(|[added, removed]| json!({"added": added, "removed": removed}));
    let first = |names: &[_]| {
        names
            .iter()
            .take(MAX_NAMES)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    call::json(&json!({
        "changed": cut(text),
        "gateway": changes.settings,
        "callers": callers,
        "caller_tokens": tokens,
        "added": first(&reload.added),
        "changed_selectors": first(&reload.changed),
        "removed": first(&reload.removed),
        "needs_restart": reload.needs_restart,
    }))
}

/// `POST /api/tenants/{selector}/flush`
pub(super) fn flush(call: &Call) -> Result<Json, Refusal> {
    let selector = call.known_selector()?;
    let expected = format!("a time from 0s to {MAX_FLUSH:?}");
    let parse = |text: &str| duration(text).filter(|time| *time <= MAX_FLUSH);
    let timeout = call.query.parsed("timeout", &expected, parse)?.unwrap_or(DEFAULT_FLUSH);
    let pending = call.admin.registry.flush(selector.clone(), timeout)?;
    let pending = pending.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, NO_TRACER))?;
    call.log(&format!("flushed {selector}"));
    call::json(&json!({"pending": pending}))
}

/// Reads seconds or milliseconds, such as `5s`, `1500ms` or `5`.
fn duration(text: &str) -> Option<Duration> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    if let Some(millis) = text.strip_suffix("ms") {
        return Some(Duration::from_millis(number(millis)?.into()));
    }
    let seconds = text.strip_suffix('s').unwrap_or(text);
    Some(Duration::from_secs(number(seconds)?.into()))
}

/// `POST /api/tenants/{selector}/pause`
pub(super) fn pause(call: &Call) -> Result<Json, Refusal> {
    let selector = call.selector()?;
    let changed = call.admin.registry.pause(selector.clone())?;
    call.log(&format!("paused {selector}"));
    call::json(&json!({"paused": true, "changed": changed}))
}

/// `POST /api/tenants/{selector}/resume`
pub(super) fn resume(call: &Call) -> Result<Json, Refusal> {
    let selector = call.known_selector()?;
    let changed = call.admin.registry.resume(selector.clone())?;
    call.log(&format!("resumed {selector}"));
    call::json(&json!({"paused": false, "changed": changed}))
}

/// `POST /api/tenants/{selector}/rotate`
pub(super) fn rotate(call: &Call) -> Result<Json, Refusal> {
    let selector = call.selector()?;
    if call.query.flag("dry_run", false)? {
        return try_key(call, selector);
    }
    let rotation = call.admin.registry.rotate(selector.clone())?;
    let changed = rotation.before.is_some_and(|before| before != rotation.fingerprint);
    call.log(&format!("read the key of {selector} again"));
    call::json(&json!({
        "before": rotation.before,
        "fingerprint": rotation.fingerprint,
        "changed": changed,
        "tracers": rotation.tracers,
    }))
}

/// `POST /api/tenants/{selector}/nudge`
pub(super) fn nudge(call: &Call) -> Result<Json, Refusal> {
    let selector = call.known_selector()?;
    let nudged = call.admin.cluster.nudge(&selector).ok_or_else(pages::no_stream)?;
    nudged.map_err(pages::unavailable)?;
    call.log(&format!("nudged all replicas to read the key of {selector} again"));
    call::json(&json!({"nudged": true}))
}

/// Reads the key that a rotation would read, tries it, and changes nothing.
fn try_key(call: &Call, selector: Selector) -> Result<Json, Refusal> {
    let registry = &call.admin.registry;
    let status = registry.tracer_status(selector.clone())?;
    let before = status.and_then(|status| status.key).map(|key| key.fingerprint);
    let checked = registry.check_selector(selector, CheckMode::Connect)?;
    if let Some(error) = checked.error {
        return Err(error.into());
    }
    call::json(&json!({
        "before": before,
        "fingerprint": checked.fingerprint,
        "changed": before.is_some() && before != checked.fingerprint,
        "connection": checked.connection,
    }))
}

/// `POST /api/tenants/{selector}/remove`
pub(super) fn remove(call: &Call) -> Result<Json, Refusal> {
    let selector = call.known_selector()?;
    let removed = call.admin.registry.remove(selector.clone())?;
    call.log(&format!("removed {selector}"));
    call::json(&json!({"removed": removed}))
}

/// `POST /api/tenants/{selector}/purge`
pub(super) fn purge(call: &Call) -> Result<Json, Refusal> {
    let selector = call.known_selector()?;
    let receipt = call.admin.registry.purge(selector.clone())?;
    call.log(&format!("erased the data of {selector}"));
    call::json(&receipt)
}

/// `POST /api/tenants/{selector}/allow`
pub(super) fn allow(call: &Call) -> Result<Json, Refusal> {
    let selector = call.selector()?;
    let changed = call.admin.registry.allow(selector.clone())?;
    if !changed {
        // An erased selector may have no binding any more, a misspelt one has none.
        call.known_selector()?;
    }
    call.log(&format!("allowed data of {selector}"));
    call::json(&json!({"erased": false, "changed": changed}))
}

impl From<PurgeError> for Refusal {
    fn from(error: PurgeError) -> Self {
        match error {
            PurgeError::Selector(error) => error.into(),
            error => Self::unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_of_seconds_or_milliseconds() {
        for (text, millis) in [
            ("5s", Some(5_000)),
            ("5", Some(5_000)),
            ("1500ms", Some(1_500)),
            ("0s", Some(0)),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
        for text in ["", "s", "ms", "-1s", "+1s", "1.5s", "1m", "1 s", "1e3", "5000000000s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
