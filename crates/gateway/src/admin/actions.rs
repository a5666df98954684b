//! Actions: what changes something. Each writes a line to the log.

use serde_json::json;
use tracer_registry::error::ReloadError;

use super::call::{self, Call, Json};
use super::refusal::Refusal;

/// Most names of a list in the answer of a reload.
const MAX_NAMES: usize = 1_000;

/// `POST /api/reload`
pub(super) fn reload(call: &Call) -> Result<Json, Refusal> {
    let reload = call.admin.registry.reload().map_err(|error| match &error {
        ReloadError::Config(faults) => {
            Refusal::conflict("the running configuration is kept").with_faults(faults.problems())
        }
        error => Refusal::unavailable(error.to_string()),
    })?;
    call.log("reloaded the configuration");
    let first = |names: &[_]| {
        names
            .iter()
            .take(MAX_NAMES)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    call::json(&json!({
        "changed": reload.to_string(),
        "added": first(&reload.added),
        "changed_selectors": first(&reload.changed),
        "removed": first(&reload.removed),
        "needs_restart": reload.needs_restart,
    }))
}

/// `POST /api/tenants/{selector}/remove`
pub(super) fn remove(call: &Call) -> Result<Json, Refusal> {
    let selector = call.selector()?;
    let removed = call.admin.registry.remove(selector.clone())?;
    call.log(&format!("removed {selector}"));
    call::json(&json!({"removed": removed}))
}
