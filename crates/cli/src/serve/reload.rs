//! Reloads by SIGHUP.

use std::sync::mpsc::{self, SyncSender};
use std::thread;

use tracer_registry::TracerRegistry;
use tracer_registry::error::ReloadError;
use tracer_registry::selector::SelectorKind;
use tracer_registry::text::printable;
use tracing::{error, info, warn};

use super::systemd;

/// Reloads on a thread of its own, because reading keys takes time and must not delay a stop. The
/// thread starts with the first reload.
#[derive(Default)]
pub(super) struct Reloads(Option<SyncSender<()>>);

impl Reloads {
    pub(super) fn request(&mut self, registry: &TracerRegistry) {
        if self.0.is_none() {
            let (requests, requested) = mpsc::sync_channel(1);
            let registry = registry.clone();
            let started = thread::Builder::new().spawn(move || requested.iter().for_each(|()| reload(&registry)));
            match started {
                Ok(_) => self.0 = Some(requests),
                Err(error) => warn!("cannot start the thread of a reload: {error}"),
            }
        }
        if let Some(requests) = &self.0 {
            // If one waits already, it reads the same.
            let _full = requests.try_send(());
        }
    }
}

fn reload(registry: &TracerRegistry) {
    systemd::notify("RELOADING=1");
    let result = registry.reload();
    match &result {
        Ok(reload) => info!(
            "the configuration was read again: {} added, {} changed, {} removed",
            reload.added.len(),
            reload.changed.len(),
            reload.removed.len()
        ),
        // A line for each fault.
        Err(error) => error.to_string().lines().for_each(|line| error!("{}", printable(line))),
    }
    ready(registry, result.err().as_ref());
}

/// Reports to systemd that the gateway serves, and with which configuration.
pub(super) fn ready(registry: &TracerRegistry, refused: Option<&ReloadError>) {
    let selectors = registry.config().selectors();
    let tenants = selectors
        .iter()
        .filter(|selector| selector.get(SelectorKind::Tenant).is_some())
        .count();
    let mut state = format!("READY=1\nSTATUS=configured tenants: {tenants}");
    match refused {
        Some(ReloadError::Config(error)) => {
            let problems = error.problems().len();
            state = format!("{state}; the changed configuration was not applied, problems: {problems}");
        }
        Some(_) => state.push_str("; the changed configuration was not applied"),
        None => {}
    }
    systemd::notify(&state);
}
