//! `spool purge` and `spool allow`: on the files of a configuration, or, if a process uses them, by
//! its admin listener.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use clap::Args;
use serde_json::json;
use tracer_registry::Selector;
use tracer_registry::config::Config;
use tracer_registry_spool::check::{self, CheckError};
use tracer_registry_spool::{OpenError, Purged};

use super::check::covers;
use crate::admin::actions;
use crate::admin::connect::{CONFIG, Connection, Gateway};
use crate::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    of: Erased,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Erased {
    /// Name of a tenant. Covers each selector of it
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Selector such as environment:staging. Covers each selector with all of its parts
    #[arg(long, value_name = "SELECTOR")]
    selector: Option<String>,
}

pub(super) fn purge(arguments: &Arguments, out: &mut impl Write) -> Result<(), CliError> {
    let (connection, selector) = (&arguments.connection, arguments.of.selector()?);
    let what = selector.to_string();
    let (at, began) = (SystemTime::now(), Instant::now());
    match offline(connection, |folder| check::purge(folder, &what, covers))? {
        Offline::Done(purged) => {
            let receipt = receipt(&what, &purged, at, began);
            actions::write_receipt(&receipt, connection.json, out)
        }
        Offline::Gateway(gateway) => actions::purge(&gateway, &what, connection.json, out),
    }
}

pub(super) fn allow(arguments: &Arguments, out: &mut impl Write) -> Result<(), CliError> {
    let (connection, selector) = (&arguments.connection, arguments.of.selector()?);
    let what = selector.to_string();
    match offline(connection, |folder| check::allow(folder, &what, covers))? {
        Offline::Done(changed) => {
            let answer = json!({"erased": false, "changed": changed});
            actions::write_allowed(&answer, &what, connection.json, out)
        }
        Offline::Gateway(gateway) => actions::allow(&gateway, &what, connection.json, out),
    }
}

/// Works on the folder of the configuration, or returns the gateway that does: it uses the folder, or
/// an option names it.
fn offline<T>(
    connection: &Connection,
    work: impl FnOnce(&Path) -> Result<T, CheckError>,
) -> Result<Offline<T>, CliError> {
    if connection.url.is_some() {
        return gateway(connection);
    }
    let file = connection.config.as_deref().unwrap_or(Path::new(CONFIG));
    match work(&folder_of(file)?) {
        Ok(done) => Ok(Offline::Done(done)),
        Err(CheckError::Open(used @ OpenError::Locked { .. })) => match gateway(connection) {
            Err(CliError::NoAdmin(config)) => Err(CliError::SpoolInUse { used, config }),
            gateway => gateway,
        },
        Err(error) => Err(CliError::Spool(error)),
    }
}

fn gateway<T>(connection: &Connection) -> Result<Offline<T>, CliError> {
    let gateway = Gateway::connect(connection)?;
    Ok(Offline::Gateway(Box::new(gateway)))
}

/// What became of work on a folder.
enum Offline<T> {
    Done(T),
    /// This gateway has to do it.
    Gateway(Box<Gateway>),
}

fn folder_of(file: &Path) -> Result<PathBuf, CliError> {
    let config = Config::load_for_gateway(file).map_err(CliError::Config)?;
    let path = config.spool().path.clone();
    path.ok_or_else(|| CliError::NoSpool(file.display().to_string()))
}

/// Returns the receipt of a purge of files, in the form of that of a gateway.
fn receipt(selector: &str, purged: &Purged, at: SystemTime, began: Instant) -> serde_json::Value {
    let (mut spans, mut events, mut bytes, mut rows) = (0, 0, 0, 0);
    for queue in &purged.queues {
        spans += queue.spans;
        events += queue.events;
        bytes += queue.bytes;
        rows += queue.span_rows + queue.event_rows;
    }
    let mut selectors: Vec<&str> = purged.queues.iter().map(|queue| &*queue.queue).collect();
    selectors.sort_unstable();
    json!({
        "selector": selector,
        "generation": purged.generation,
        "at": humantime::format_rfc3339_millis(at).to_string(),
        "took_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "selectors": selectors,
        "memory": {"spans": 0, "session_events": 0, "bytes": 0},
        "in_flight_spans": 0,
        "in_flight_session_events": 0,
        "spooled": {"spans": spans, "session_events": events, "bytes": bytes},
        "rows": rows,
        "file_bytes_before": purged.file_bytes_before,
        "file_bytes_after": purged.file_bytes_after,
    })
}

impl Erased {
    fn selector(&self) -> Result<Selector, CliError> {
        let selector = match (&self.tenant, &self.selector) {
            (Some(tenant), _) => Selector::tenant(tenant).try_into(),
            (None, Some(selector)) => selector.parse(),
            (None, None) => unreachable!("one of them is required"),
        };
        selector.map_err(CliError::Selector)
    }
}
