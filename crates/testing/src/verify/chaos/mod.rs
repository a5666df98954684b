//! Disturbs registries while programs run on them, and checks the results of look-ups.
//!
//! | file | content |
//! |---|---|
//! | `history` | settings of each member over time |
//! | `instances` | numbers for the successive tracers of a name |
//! | `files` | configuration and key files |
//! | `rotation` | refused keys |
//! | `keys` | rotation of keys, and its checks |
//! | `targets` | targets of copies that refuse requests, or have no key |

pub(super) mod files;
mod history;
mod instances;
mod keys;
pub(super) mod rotation;
mod targets;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::error::VerifyError;
use super::program::cast::{Member, Setting};
use super::program::operation::Disturbance;
use super::stage::FLUSH;
use super::subject::{Found, Instance};
use crate::lock::lock;
pub(super) use files::VAULT;
use files::{Files, Flaw, HOSTILE};
use history::History;
use instances::Instances;
use rotation::Rotation;
use tracer_registry::config::ResolveError;
use tracer_registry::error::ReloadError;
use tracer_registry::report::Reload;
use tracer_registry::secret::{Fingerprinter, SecretSource};
use tracer_registry::selector::SelectorKind;
use tracer_registry::{LookupError, Selector, TracerHandle, TracerRegistry};
use tracer_registry_collector::LocalCollector;

/// Longer than the delay of a batch.
const PAUSE: Duration = Duration::from_millis(60);

/// Disturbs both registries.
pub(super) struct Chaos {
    cast: Vec<Member>,
    files: Files,
    rotation: Rotation,
    fingerprinter: Fingerprinter,
    history: History,
    instances: Instances,
    /// Locked during a disturbance: one at a time.
    state: Mutex<ConfigState>,
    /// By member: read-locked by look-ups, write-locked to exclude them.
    gates: Vec<RwLock<()>>,
    /// A tracer of each removed tenant, for code that still uses it.
    retained: Mutex<HashMap<usize, (TracerHandle, usize)>>,
    /// Targets that could not get all copies.
    unable: Mutex<BTreeSet<usize>>,
}

/// State of the configuration files.
struct ConfigState {
    settings: Vec<Setting>,
    removed: BTreeSet<usize>,
    disturbances: usize,
}

/// The registries of the cast, and the registry and selector of each member.
#[derive(Clone, Copy)]
pub(super) struct Registries<'a> {
    pub(super) all: &'a [TracerRegistry],
    pub(super) members: &'a [(usize, Selector)],
    /// Returns whether a tracer belongs to a member.
    pub(super) is_of: &'a dyn Fn(&TracerHandle, usize) -> bool,
}

impl Registries<'_> {
    fn get(&self, member: usize) -> Result<TracerHandle, LookupError> {
        let (registry, selector) = &self.members[member];
        self.all[*registry].get(selector)
    }

    fn dedicated(&self, member: usize) -> Result<TracerHandle, LookupError> {
        let (registry, selector) = &self.members[member];
        self.all[*registry].dedicated(selector)
    }
}

impl Chaos {
    pub(super) fn new(
        cast: &[Member],
        collector: &Arc<LocalCollector>,
        fingerprinter: &Fingerprinter,
    ) -> Result<Self, VerifyError> {
        Ok(Self {
            files: Files::new(collector.url(), cast)?,
            rotation: Rotation::new(collector, cast.len()),
            fingerprinter: fingerprinter.clone(),
            history: History::new(cast.len()),
            instances: Instances::default(),
            gates: cast.iter().map(|_| RwLock::default()).collect(),
            state: Mutex::new(ConfigState {
                settings: vec![Setting::default(); cast.len()],
                removed: BTreeSet::new(),
                disturbances: 0,
            }),
            retained: Mutex::default(),
            unable: Mutex::default(),
            cast: cast.to_vec(),
        })
    }

    /// Returns the path of a registry's configuration.
    pub(super) fn configuration(&self, registry: usize) -> PathBuf {
        self.files.configuration(registry)
    }

    /// Returns the secret source of the keys that are not in watched files.
    pub(super) fn vault(&self) -> impl SecretSource + use<> {
        self.files.vault()
    }

    /// Returns the number of requests that were refused because of an old key.
    pub(super) fn refused(&self) -> u64 {
        self.rotation.refused()
    }

    /// Looks up a tracer and checks the result. If the tenant is removed, returns a retained
    /// tracer.
    pub(super) fn look_up(
        &self,
        registries: Registries<'_>,
        member: usize,
        look_up: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Found<TracerHandle> {
        let _shared = self.gates[member].read().unwrap_or_else(PoisonError::into_inner);
        self.look_up_in_gate(registries, member, look_up)
    }

    fn look_up_in_gate(
        &self,
        registries: Registries<'_>,
        member: usize,
        look_up: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Found<TracerHandle> {
        let start = self.history.start();
        let found = look_up();
        let permitted = self.history.permitted(member, start);
        let error = match found {
            Ok(tracer) => {
                let wrong = if !(registries.is_of)(&tracer, member) {
                    Some(format!("the tracer of {}", tracer.selector()))
                } else if permitted.settings.is_empty() {
                    Some("a tracer of a removed tenant".to_owned())
                } else {
                    None
                };
                return Found {
                    instance: Some(self.instances.found(member, &tracer, &permitted.settings)),
                    tracer,
                    wrong,
                };
            }
            Err(error) => error,
        };
        let is_right = permitted.unknown && matches!(error, LookupError::Resolve(ResolveError::Unknown { .. }));
        let retained = lock(&self.retained).get(&member).cloned();
        let Some((tracer, instance)) = retained else {
            panic!("{}: {error}", self.cast[member].name());
        };
        Found {
            tracer,
            instance: Some(instance),
            wrong: (!is_right).then(|| error.to_string()),
        }
    }

    /// Disturbs the registries. If a look-up after that is wrong, returns its member and the
    /// reason.
    pub(super) fn disturb(&self, registries: Registries<'_>, disturbance: Disturbance) -> Option<(usize, String)> {
        let mut state = lock(&self.state);
        state.disturbances += 1;
        let disturbed = match disturbance {
            Disturbance::Remove { member } => self.remove(registries, &state, member),
            Disturbance::Rebind { member, count } => self.rebind(registries, &mut state, member, count),
            Disturbance::Defaults { registry } => self.change_defaults(registries, &mut state, registry),
            Disturbance::Broken { registry } => self.write_broken(registries, &state, registry),
            Disturbance::Rotate { member } => self.rotate(registries, &state, member),
            Disturbance::Pause { member } => Self::pause(registries, member),
            Disturbance::Refuse { member } => {
                self.refuse_requests(member);
                Ok(())
            }
            Disturbance::Withhold { member } => self.withhold(registries, &mut state, member),
            Disturbance::Vanish { member } if self.may_vanish(member) => self.vanish(registries, &mut state, member),
            Disturbance::Vanish { member } => self.rebind(registries, &mut state, member, 1),
        };
        disturbed.and_then(|()| Self::check_hostile(registries)).err()
    }

    /// Checks that the registries refuse a tenant file that names another tenant's key.
    fn check_hostile(registries: Registries<'_>) -> Disturbed {
        for registry in registries.all {
            match registry.tenant(HOSTILE) {
                Err(LookupError::Resolve(ResolveError::Refused(_))) => {}
                other => {
                    return Err((
                        0,
                        format!("{other:?} for a tenant file that names another tenant's key"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the settings of each member since the last call. No look-up may be running.
    pub(super) fn take_settings(&self) -> Vec<Vec<Setting>> {
        self.history.take()
    }

    /// Returns the targets that could not get all copies since the last call.
    pub(super) fn take_unable(&self) -> BTreeSet<usize> {
        std::mem::take(&mut lock(&self.unable))
    }

    /// Returns the instances found since the last call. No look-up may be running.
    pub(super) fn take_instances(&self) -> HashMap<usize, Instance> {
        let state = lock(&self.state);
        let instances = self.instances.take();
        let mut retained = lock(&self.retained);
        retained.retain(|member, _| state.removed.contains(member));
        for (member, (tracer, number)) in retained.iter_mut() {
            // Retained tracers keep their settings and get new numbers.
            let settings = instances.get(number).map(|instance| instance.settings.clone());
            *number = self.instances.found(*member, tracer, &settings.unwrap_or_default());
        }
        instances
    }

    /// Removes a tracer: the next look-up must return another one.
    fn remove(&self, registries: Registries<'_>, state: &ConfigState, member: usize) -> Disturbed {
        if state.removed.contains(&member) {
            return Ok(());
        }
        let before = self.find(registries, member)?;
        let (registry, selector) = &registries.members[member];
        match registries.all[*registry].remove(selector) {
            Ok(true) => {}
            other => return Err((member, format!("remove returned {other:?}"))),
        }
        if self.find(registries, member)?.same_tracer(&before) {
            return Err((member, "the removed tracer".to_owned()));
        }
        Ok(())
    }

    /// Pauses a member's selector, flushes it, and resumes it. The flush must not wait.
    fn pause(registries: Registries<'_>, member: usize) -> Disturbed {
        let (registry, selector) = &registries.members[member];
        let registry = &registries.all[*registry];
        // A removed tenant without a tracer, or without a ledger since its eviction.
        let Ok(is_new) = registry.pause(selector) else {
            return Ok(());
        };
        let begun = Instant::now();
        let flushed = registry.flush(selector, FLUSH);
        let took = begun.elapsed();
        let is_shown = registry
            .tracer_status(selector)
            .is_ok_and(|status| status.is_some_and(|status| status.paused));
        thread::sleep(PAUSE);
        let resumed = registry.resume(selector);
        if !is_new || !is_shown || flushed.is_err() || took > FLUSH / 2 || resumed != Ok(true) {
            let results = format!("paused: {is_new}, shown: {is_shown}, flush: {flushed:?}, resumed: {resumed:?}");
            return Err((member, format!("a pause with a flush of {took:?}; {results}")));
        }
        Ok(())
    }

    fn rebind(&self, registries: Registries<'_>, state: &mut ConfigState, member: usize, count: usize) -> Disturbed {
        let registry = self.cast[member].registry;
        let following = (member..self.cast.len()).chain(0..member);
        let of_registry = following.filter(|member| self.cast[*member].registry == registry);
        let present = of_registry.filter(|member| !state.removed.contains(member));
        let changed: Vec<usize> = present.take(count).collect();
        for member in &changed {
            state.settings[*member].binding += 1;
        }
        self.reload(registries, state, registry, &changed)
    }

    fn change_defaults(&self, registries: Registries<'_>, state: &mut ConfigState, registry: usize) -> Disturbed {
        let of_registry = (0..self.cast.len()).filter(|member| self.cast[*member].registry == registry);
        let all: Vec<usize> = of_registry.collect();
        for member in &all {
            state.settings[*member].defaults += 1;
        }
        let present = all.into_iter().filter(|member| !state.removed.contains(member));
        self.reload(registries, state, registry, &present.collect::<Vec<_>>())
    }

    /// Returns whether a member is a tenant that no combined selector of the cast contains.
    fn may_vanish(&self, member: usize) -> bool {
        let of = &self.cast[member];
        let is_combined = |other: &Member| {
            other.registry == of.registry && other.parts.len() > 1 && other.parts.contains(&of.parts[0])
        };
        matches!(of.parts.as_slice(), [(SelectorKind::Tenant, _)]) && !self.cast.iter().any(is_combined)
    }

    /// Removes a tenant from the configuration, or restores it.
    fn vanish(&self, registries: Registries<'_>, state: &mut ConfigState, member: usize) -> Disturbed {
        if state.removed.remove(&member) {
            state.settings[member].binding += 1;
        } else {
            let found = self.find_numbered(registries, member)?;
            lock(&self.retained).insert(member, found);
            state.removed.insert(member);
        }
        self.reload(registries, state, self.cast[member].registry, &[member])?;
        let after = self.look_up(registries, member, || registries.get(member));
        after.wrong.map_or(Ok(()), |wrong| Err((member, wrong)))
    }

    /// Writes the settings and reloads. After that the changed members, and no others, must have
    /// another tracer.
    fn reload(&self, registries: Registries<'_>, state: &ConfigState, registry: usize, changed: &[usize]) -> Disturbed {
        let witness = self.witness(registries, state, registry, changed)?;
        let updates: Vec<_> = changed.iter().map(|member| (*member, state.of(*member))).collect();
        self.history.begin(&updates);
        self.write(state, registry, None)?;
        let report = registries.all[registry].reload();
        self.history.done();
        let report = report.map_err(|error| (changed[0], error.to_string()))?;
        Self::check_report(registries, state, changed, &report)?;
        for member in changed {
            let after = self.look_up(registries, *member, || registries.get(*member));
            after.wrong.map_or(Ok(()), |wrong| Err((*member, wrong)))?;
        }
        self.check_unchanged(registries, witness)
    }

    /// Reloads files with a fault. The registry must reject them as a whole.
    fn write_broken(&self, registries: Registries<'_>, state: &ConfigState, registry: usize) -> Disturbed {
        let witness = self.witness(registries, state, registry, &[])?;
        let flaw = [Flaw::Truncated, Flaw::UnknownSetting, Flaw::InvalidKeySource][state.disturbances % 3];
        self.write(state, registry, Some(flaw))?;
        let report = registries.all[registry].reload();
        let rejected = matches!(report, Err(ReloadError::Config(_)));
        let status = registries.all[registry].status().configuration;
        self.write(state, registry, None)?;
        let Some((member, _)) = witness else { return Ok(()) };
        if !rejected || status.error.is_none() {
            return Err((member, format!("accepted files with a fault ({flaw:?}): {report:?}")));
        }
        self.check_unchanged(registries, witness)
    }

    fn write(&self, state: &ConfigState, registry: usize, flaw: Option<Flaw>) -> Disturbed {
        let setting = |member: &Member| {
            let at = self.cast.iter().position(|known| known.token == member.token)?;
            let setting = state.of(at).filter(|_| member.registry == registry)?;
            let changed = u32::from(flaw.is_some());
            Some(Setting {
                binding: setting.binding + changed,
                ..setting
            })
        };
        let written = self.files.write(registry, &self.cast, setting, flaw);
        written.map_err(|error| (0, format!("cannot write the configuration: {error}")))
    }

    /// Checks that the report of a reload matches the change.
    fn check_report(registries: Registries<'_>, state: &ConfigState, changed: &[usize], report: &Reload) -> Disturbed {
        let mut expected = [BTreeSet::new(), BTreeSet::new()];
        for member in changed {
            expected[usize::from(state.removed.contains(member))].insert(&registries.members[*member].1);
        }
        let [added_or_changed, removed] = expected;
        let reported_changed: BTreeSet<&Selector> = report.changed.iter().chain(&report.added).collect();
        let reported_removed: BTreeSet<&Selector> = report.removed.iter().collect();
        let others = !report.kept.is_empty() || !report.needs_restart.is_empty();
        if (reported_changed, reported_removed) != (added_or_changed.clone(), removed.clone()) || others {
            let expected = format!("changed or added: {added_or_changed:?}, removed: {removed:?}");
            return Err((changed[0], format!("the reload report {report} instead of {expected}")));
        }
        Ok(())
    }

    /// Returns a member that a change does not affect, and its tracer.
    fn witness(
        &self,
        registries: Registries<'_>,
        state: &ConfigState,
        registry: usize,
        changed: &[usize],
    ) -> Result<Witness, Deviation> {
        let mut candidates = (0..self.cast.len()).map(|member| (member + state.disturbances) % self.cast.len());
        let member = candidates.find(|member| {
            self.cast[*member].registry == registry && !changed.contains(member) && !state.removed.contains(member)
        });
        member
            .map(|member| self.find(registries, member).map(|tracer| (member, tracer)))
            .transpose()
    }

    /// Checks that an unaffected member still has the same tracer.
    fn check_unchanged(&self, registries: Registries<'_>, witness: Witness) -> Disturbed {
        let Some((member, before)) = witness else { return Ok(()) };
        if self.find(registries, member)?.same_tracer(&before) {
            return Ok(());
        }
        Err((member, "another tracer, although its binding did not change".to_owned()))
    }

    fn find(&self, registries: Registries<'_>, member: usize) -> Result<TracerHandle, Deviation> {
        self.find_numbered(registries, member).map(|(tracer, _)| tracer)
    }

    fn find_numbered(&self, registries: Registries<'_>, member: usize) -> Result<(TracerHandle, usize), Deviation> {
        let found = self.look_up(registries, member, || registries.get(member));
        match (found.wrong, found.instance) {
            (None, Some(instance)) => Ok((found.tracer, instance)),
            (wrong, _) => Err((member, wrong.unwrap_or_default())),
        }
    }
}

/// The member, and the reason.
type Deviation = (usize, String);

type Disturbed = Result<(), Deviation>;

/// `None` if the registry has no other member.
type Witness = Option<(usize, TracerHandle)>;

impl ConfigState {
    fn of(&self, member: usize) -> Option<Setting> {
        (!self.removed.contains(&member)).then_some(self.settings[member])
    }
}
