//! Disturbances of the gateway and its receiver.

use std::thread;
use std::time::Duration;

use super::super::check::finding::FindingKind;
use super::super::error::VerifyError;
use super::process::LIMIT;
use super::program::{Disturbance, ReceiverFault};
use super::service::{PlantedFault, Service};
use super::world::State;
use crate::lock::lock;
use tracer_registry::selector::SelectorKind;
use tracer_registry_collector::Fault;

/// Long enough that idle tracers are evicted.
const PAUSE: Duration = Duration::from_millis(30);

/// Line of the log after a reload.
const RELOADED: &str = "the configuration was read again";
/// Line of the log after a reload that failed.
const REFUSED: &str = "the running configuration is kept";

impl Service {
    /// Disturbs the gateway. Reports deviations of its reloads and restarts.
    pub(super) fn disturb(&self, disturbance: Disturbance, op: u32) -> Result<(), VerifyError> {
        let _one_at_a_time = lock(&self.disturbing);
        let world = &self.world;
        match disturbance {
            Disturbance::RotateKey(member) => {
                let (index, member) = (
                    member % world.members.len(),
                    &world.members[member % world.members.len()],
                );
                self.rotation
                    .rotate(index, member, |key| self.files.write_key(member, key))?;
            }
            Disturbance::RotateToken(caller) => {
                let caller = caller % world.callers.len();
                self.reload(op, |state| state.tokens[caller] += 1)?;
            }
            Disturbance::Reload(member) => {
                let member = member % world.members.len();
                self.reload(op, |state| state.settings[member].binding += 1)?;
            }
            Disturbance::ReloadDefaults => self.reload(op, |state| {
                state.settings.iter_mut().for_each(|setting| setting.defaults += 1);
            })?,
            Disturbance::ReloadBroken => {
                self.files.break_configuration()?;
                self.hang_up(op, REFUSED)?;
                // The next reload reads a valid file.
                self.reload(op, |_| ())?;
            }
            Disturbance::Remove(member) => {
                let is_tenant = |index: &usize| {
                    let parts = &world.members[*index].parts;
                    // Other members need the first tenant and the features.
                    matches!(parts.as_slice(), [(SelectorKind::Tenant, name)] if name != "t0")
                };
                let tenants: Vec<usize> = (0..world.members.len()).filter(is_tenant).collect();
                if !tenants.is_empty() {
                    let tenant = tenants[member % tenants.len()];
                    self.reload(op, |state| _ = state.removed.insert(tenant))?;
                }
            }
            Disturbance::Restore => self.reload(op, |state| state.removed.clear())?,
            Disturbance::Narrow(caller) => {
                let lists = world
                    .callers
                    .iter()
                    .enumerate()
                    .filter(|(_, caller)| caller.allow().len() > 1);
                let lists: Vec<usize> = lists.map(|(index, _)| index).collect();
                if !lists.is_empty() {
                    let caller = lists[caller % lists.len()];
                    self.reload(op, |state| _ = state.narrowed.insert(caller))?;
                }
            }
            Disturbance::Widen => self.reload(op, |state| state.narrowed.clear())?,
            Disturbance::Receiver(member, fault) => self.plant(member % world.members.len(), fault),
            Disturbance::Restart(replica) => self.restart(replica)?,
            Disturbance::Kill(replica) => self.kill(replica)?,
            Disturbance::KillServer(server) => self.kill_server(server),
            Disturbance::Pause => thread::sleep(PAUSE),
        }
        Ok(())
    }

    /// Changes the configuration, and waits until the gateway has read it.
    fn reload(&self, op: u32, change: impl FnOnce(&mut State)) -> Result<(), VerifyError> {
        let state = self.states.begin(change);
        self.files.write(&self.world, &state)?;
        self.hang_up(op, RELOADED)?;
        self.states.done();
        Ok(())
    }

    fn hang_up(&self, op: u32, wanted: &'static str) -> Result<(), VerifyError> {
        for replica in &self.replicas {
            let process = lock(&replica.process);
            let Some(process) = process.as_ref() else { continue };
            let from = process.log().len();
            process.signal("HUP")?;
            let line = process
                .log()
                .wait(from, LIMIT, |line| line.contains(RELOADED) || line.contains(REFUSED));
            let seen = line.map_or_else(|| "no such line".to_owned(), |(_, line)| line);
            if !seen.contains(wanted) {
                self.wrong(FindingKind::WrongLookup, op, wanted, seen);
            }
        }
        Ok(())
    }

    fn plant(&self, member: usize, fault: ReceiverFault) {
        let project = &self.world.members[member];
        let (fault, repeats) = match fault {
            ReceiverFault::Unavailable => (Fault::status(503).retry_after("1").times(3), false),
            ReceiverFault::TooMany => (Fault::status(429).times(2), false),
            ReceiverFault::Reset => (Fault::reset().times(2), false),
            ReceiverFault::LoseAnswer => (Fault::lose_answer().times(2), true),
            ReceiverFault::Partial => (Fault::partial_success(2).times(1), false),
        };
        // Its data is also in the requests of targets.
        let key = self.rotation.current(member, project);
        let id = self.collector.fault(fault.only(key));
        self.add_fault(PlantedFault { member, id, repeats });
    }
}
