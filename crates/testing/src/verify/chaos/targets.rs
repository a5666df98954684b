//! Targets of copies that refuse requests, or have no key. Their copies may be lost, and are counted.
//! The sources must not notice.

use std::thread;

use super::{Chaos, ConfigState, Disturbed, PAUSE, Registries};
use crate::lock::lock;
use tracer_registry_collector::Fault;

impl Chaos {
    /// Refuses the requests of a target for a moment, in a way that is not repeated.
    pub(super) fn refuse_requests(&self, member: usize) {
        lock(&self.unable).insert(member);
        // Its settings are in all of its requests.
        let fault = Fault::status(400).when_body_contains(&self.cast[member].token);
        let fault = self.rotation.collector().fault(fault);
        thread::sleep(PAUSE);
        self.rotation.collector().clear_fault(fault);
    }

    /// Gives a target another binding, and takes its key away until later.
    pub(super) fn withhold(&self, registries: Registries<'_>, state: &mut ConfigState, member: usize) -> Disturbed {
        lock(&self.unable).insert(member);
        let of = &self.cast[member];
        let failed = |error: &dyn std::fmt::Display| (member, error.to_string());
        self.files.remove_key(of).map_err(|error| failed(&error))?;
        state.settings[member].binding += 1;
        self.history.begin(&[(member, state.of(member))]);
        self.write(state, of.registry, None)?;
        let registry = &registries.all[of.registry];
        let reloaded = registry.reload();
        self.history.done();
        reloaded.map_err(|error| failed(&error))?;
        thread::sleep(PAUSE);
        let key = self.rotation.current(member, of);
        self.files.write_key(of, &key).map_err(|error| failed(&error))?;
        // Looks the target up again, at once.
        registry.reload().map_err(|error| failed(&error))?;
        self.find(registries, member).map(drop)
    }
}
