//! Pages: what is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use http::StatusCode;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde_json::{Map, Value, json};
use tracer_registry::error::ReloadError;
use tracer_registry::selector::Slug;
use tracer_registry::status::TracerQuery;

use super::call::{self, Call, Json};
use super::query::Query;
use super::refusal::{NO_TRACER, Refusal, cut, faults};
use crate::callers::Caller;
use crate::config::{Settings, TenantRule};

/// Most entries of a page, and their number without a parameter.
const MAX_LIMIT: usize = 1_000;
const DEFAULT_LIMIT: usize = 100;
/// Longest part of a name to filter by, in bytes.
const MAX_CONTAINS_BYTES: usize = 64;

fn limit(query: &Query) -> Result<usize, Refusal> {
    Ok(query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT))
}

fn contains(query: &Query) -> Result<&str, Refusal> {
    let expected = format!("at most {MAX_CONTAINS_BYTES} bytes");
    let is_short = |text: &str| (text.len() <= MAX_CONTAINS_BYTES).then_some(());
    query.parsed("contains", &expected, is_short)?;
    Ok(query.text("contains").unwrap_or_default())
}

/// `GET /api/tenants`
pub(super) fn tenants(call: &Call) -> Result<Json, Refusal> {
    let query = &call.query;
    let mut tracers = TracerQuery::default();
    contains(query)?.clone_into(&mut tracers.contains);
    tracers.limit = limit(query)?;
    let orders = "selector, queued_bytes, queued, dropped, delivered or oldest_queued";
    tracers.order = query.parsed("order", orders, variant)?.unwrap_or_default();
    tracers.only = query
        .parsed("only", "all, failing or paused", variant)?
        .unwrap_or_default();
    let position = "the text of next of the page before";
    tracers.after = query.parsed("after", position, |text| text.parse().ok())?;
    let page = call.admin.registry.tracers(&tracers);
    call::json(&json!({"tenants": page.tracers, "found": page.found, "next": page.next}))
}

/// Returns the variant of an enum with this serde name.
fn variant<T: DeserializeOwned>(text: &str) -> Option<T> {
    let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(text).ok()
}

/// `GET /api/tenants/{selector}`
pub(super) fn tenant(call: &Call) -> Result<Json, Refusal> {
    let (registry, selector) = (&call.admin.registry, call.known_selector()?);
    if let Some(status) = registry.tracer_status(&selector)? {
        return call::json(&status);
    }
    let not_found = |message: Cow<'static, str>| Refusal::new(StatusCode::NOT_FOUND, message);
    Err(match registry.creation_error(&selector)? {
        Some(error) => not_found(cut(format!("no tracer, because the last look-up failed: {error}")).into()),
        None => not_found(NO_TRACER.into()),
    })
}

/// `GET /api/tenants/{selector}/history`
pub(super) fn history(call: &Call) -> Result<Json, Refusal> {
    let selector = call.known_selector()?;
    let history = call.admin.history().of(&selector, Instant::now());
    call::json(&history)
}

/// `GET /api/tenants/{selector}/refused`
pub(super) fn refused(call: &Call) -> Result<Json, Refusal> {
    let (registry, with_body) = (&call.admin.registry, call.query.flag("body", true)?);
    if registry.config().export().dead_letters.max_batches == 0 {
        let off = "nothing is kept of refused batches: export.dead_letters.max_batches is 0";
        return Err(Refusal::conflict(off));
    }
    let mut refused = registry.refused(call.known_selector()?)?;
    for batch in refused.iter_mut().filter(|_| !with_body) {
        batch.body = None;
    }
    call::json(&json!({"refused": refused}))
}

/// `GET /api/endpoints`
pub(super) fn endpoints(call: &Call) -> Result<Json, Refusal> {
    let limit = limit(&call.query)?;
    let mut endpoints = call.admin.registry.endpoints();
    let found = endpoints.len();
    endpoints.truncate(limit);
    call::json(&json!({"endpoints": endpoints, "found": found}))
}

/// `GET /api/cluster`
pub(super) fn cluster(call: &Call) -> Result<Json, Refusal> {
    let ledger = call.admin.cluster.ledger().ok_or_else(no_stream)?;
    call::json(&ledger.map_err(unavailable)?)
}

/// `GET /api/stream`
pub(super) fn stream(call: &Call) -> Result<Json, Refusal> {
    call::json(&call.admin.cluster.stream().ok_or_else(no_stream)?)
}

/// The configuration has no stream.
pub(super) fn no_stream() -> Refusal {
    Refusal::conflict("this gateway shares nothing with others: there is no [gateway.stream]")
}

/// The servers of the stream do not answer.
pub(super) fn unavailable(error: String) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, cut(error))
}

/// `GET /api/spool`
pub(super) fn spool(call: &Call) -> Result<Json, Refusal> {
    let off = "nothing is written to disk: spool.mode is \"off\"";
    let spool = call.admin.registry.spool_status();
    call::json(&spool.ok_or_else(|| Refusal::conflict(off))?)
}

/// `GET /api/callers`
pub(super) fn callers(call: &Call) -> Result<Json, Refusal> {
    let (limit, contains) = (limit(&call.query)?, contains(&call.query)?);
    let after = call
        .query
        .parsed("after", "the name of a caller", |text| Slug::new(text).ok())?;
    let running = call.admin.current.running();
    let all = running.callers.all();
    let matching = || all.iter().filter(|caller| caller.name().contains(contains));
    let mut rest = matching().filter(|caller| after.as_ref().is_none_or(|after| caller.name() > after));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(page.last()).map(|last| last.name().as_str());
    let callers: Vec<Value> = page.iter().map(|caller| described(caller)).collect();
    call::json(&json!({
        "callers": callers,
        "found": matching().count(),
        "next": next,
        "unidentified": running.callers.unidentified().refusals(),
    }))
}

/// Returns a caller with its counts. Contains no token and no source of one.
fn described(caller: &Caller) -> Value {
    let settings = caller.settings();
    let mut addresses = match &settings.tenant {
        TenantRule::Fixed(tenant) => json!({"tenant": tenant.as_deref()}),
        TenantRule::Header { name, allow } => json!({"header": name.as_str(), "allow": allow.len()}),
        TenantRule::Resource { attribute, allow } => json!({"resource": &**attribute, "allow": allow.len()}),
        TenantRule::Path { allow } => json!({"path": true, "allow": allow.len()}),
    };
    for (part, name) in [("environment", &settings.environment), ("feature", &settings.feature)] {
        if let Some(name) = name {
            addresses[part] = name.as_str().into();
        }
    }
    let counts = caller.snapshot();
    json!({
        "caller": counts.caller,
        "addresses": addresses,
        "tokens": settings.tokens.len() + settings.token_sha256.len(),
        "requests": counts.requests,
        "spans": counts.spans,
        "session_requests": counts.session_requests,
        "refused": counts.refused,
    })
}

/// `GET /api/explain`
pub(super) fn explain(call: &Call) -> Result<Json, Refusal> {
    let expected = "32 hexadecimal digits, not all 0";
    let is_id = |text: &&str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = |text: &str| u128::from_str_radix(Some(text).filter(is_id)?, 16).ok();
    let parse = |text: &str| number(text).filter(|number| *number != 0);
    let Some(trace_id) = call.query.parsed("trace_id", expected, parse)? else {
        return Err(Refusal::bad_request("parameter trace_id is missing"));
    };
    let off = "nothing is kept about traces: export.explain.max_traces is 0";
    let explanation = call.admin.registry.explain(trace_id.into());
    let explanation = explanation.ok_or_else(|| Refusal::conflict(off))?;
    let mut page = serde_json::to_value(&explanation).unwrap_or_default();
    page["trace_id"] = format!("{trace_id:032x}").into();
    page["seen"] = (!explanation.selectors.is_empty()).into();
    call::json(&page)
}

/// `GET /api/config`
pub(super) fn config(call: &Call) -> Result<Json, Refusal> {
    let admin = &call.admin;
    let (running, config) = (admin.current.running(), admin.registry.config());
    let status = admin.registry.status_without_tracers().configuration;
    let faults: Vec<Value> = match &status.error {
        Some(ReloadError::Config(error)) => faults(error.problems()),
        _ => Vec::new(),
    };
    let mut tables: Map<String, Value> = config
        .table_counts()
        .into_iter()
        .map(|(table, count)| (table.to_owned(), count.into()))
        .collect();
    tables.insert("callers".to_owned(), running.settings.callers.len().into());
    tables.insert("wildcard".to_owned(), config.has_wildcard().into());
    let mut configuration = serde_json::to_value(&status).unwrap_or_default();
    if let Some(error) = &status.error {
        configuration["error"] = cut(error.to_string()).into();
    }
    let settings: BTreeMap<&str, String> = config.effective().into_iter().collect();
    call::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "source": config.source(),
        "configuration": configuration,
        "faults": faults,
        "tables": tables,
        "settings": settings,
        "gateway": gateway(&running.settings),
    }))
}

/// Returns the gateway's own settings, without callers and sources of tokens.
fn gateway(settings: &Settings) -> Value {
    let seconds = |time: std::time::Duration| json!(time.as_secs_f64());
    let admin = settings.admin.as_ref();
    json!({
        "http": settings.http,
        "grpc": settings.grpc,
        "admin": admin.map(|admin| admin.listen),
        "admin_hosts": admin.map(|admin| &admin.hosts),
        "telemetry": settings.telemetry.as_ref().map(|telemetry| telemetry.endpoint.to_string()),
        "tls": settings.tls.is_some(),
        "client_certificates": settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
        "insecure": settings.insecure,
        "open": settings.open,
        "trusted_proxies": settings.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "max_request": settings.max_request,
        "memory": settings.memory,
        "max_connections": settings.max_connections,
        "header_timeout_seconds": seconds(settings.header_timeout),
        "body_grace_seconds": seconds(settings.body_grace),
        "body_min_rate": settings.body_min_rate,
        "idle_timeout_seconds": seconds(settings.idle_timeout),
        "http2_max_streams": settings.http2_max_streams,
        "shutdown_timeout_seconds": seconds(settings.shutdown_timeout),
    })
}
