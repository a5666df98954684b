//! What is done to the registries while programs run on them, and what a look-up may come to meanwhile.
//!
//! | file | what it knows |
//! |---|---|
//! | `history` | what holds for whom, and since when |
//! | `instances` | the tracers that a name had |
//! | `files` | the configuration and the keys, as they are written |
//! | `rotation` | the keys that are refused |
//! | `keys` | what is done to keys, and what must come of it |

mod files;
mod history;
mod instances;
mod keys;
mod rotation;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::error::VerifyError;
use super::program::cast::{Member, Setting};
use super::program::operation::Disturbance;
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

/// The disturber of both registries.
pub(super) struct Chaos {
    cast: Vec<Member>,
    files: Files,
    rotation: Rotation,
    history: History,
    instances: Instances,
    /// Held while something is disturbed: one thing at a time.
    now: Mutex<Now>,
    /// By member: held by look-ups, and alone by what no look-up may come between.
    gates: Vec<RwLock<()>>,
    /// A tracer of each tenant that went: what code that had it goes on with.
    kept: Mutex<HashMap<usize, (TracerHandle, usize)>>,
}

/// What the files say.
struct Now {
    settings: Vec<Setting>,
    gone: BTreeSet<usize>,
    done: usize,
}

/// The registries of the cast, and how a member is looked up in them.
#[derive(Clone, Copy)]
pub(super) struct Registries<'a> {
    pub(super) all: &'a [TracerRegistry],
    pub(super) members: &'a [(usize, Selector)],
    /// Whether a tracer is the member's.
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
            rotation: Rotation::new(collector, fingerprinter.clone(), cast.len()),
            history: History::new(cast.len()),
            instances: Instances::default(),
            gates: cast.iter().map(|_| RwLock::default()).collect(),
            now: Mutex::new(Now {
                settings: vec![Setting::default(); cast.len()],
                gone: BTreeSet::new(),
                done: 0,
            }),
            kept: Mutex::default(),
            cast: cast.to_vec(),
        })
    }

    /// The file of a registry.
    pub(super) fn configuration(&self, registry: usize) -> PathBuf {
        self.files.configuration(registry)
    }

    /// Where the keys are that no file is watched for.
    pub(super) fn vault(&self) -> impl SecretSource + use<> {
        self.files.vault()
    }

    /// How many requests were refused since the beginning, because their key had been rotated away.
    pub(super) fn refused(&self) -> u64 {
        self.rotation.refused()
    }

    /// A look-up, and whether it came to what it may. If the tenant is gone, the code goes on with
    /// a tracer that it had.
    pub(super) fn look_up(
        &self,
        registries: Registries<'_>,
        member: usize,
        look_up: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Found<TracerHandle> {
        let _in_gate = self.gates[member].read().unwrap_or_else(PoisonError::into_inner);
        self.look_up_in_gate(registries, member, look_up)
    }

    fn look_up_in_gate(
        &self,
        registries: Registries<'_>,
        member: usize,
        look_up: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Found<TracerHandle> {
        let since = self.history.now();
        let found = look_up();
        let may_be = self.history.may_be(member, since);
        let error = match found {
            Ok(tracer) => {
                let wrong = if !(registries.is_of)(&tracer, member) {
                    Some(format!("the tracer of {}", tracer.selector()))
                } else if may_be.there.is_empty() {
                    Some("a tracer of a tenant that is gone".to_owned())
                } else {
                    None
                };
                return Found {
                    instance: Some(self.instances.found(member, &tracer, &may_be.there)),
                    tracer,
                    wrong,
                };
            }
            Err(error) => error,
        };
        let is_right = may_be.gone && matches!(error, LookupError::Resolve(ResolveError::Unknown { .. }));
        let kept = lock(&self.kept).get(&member).cloned();
        let Some((tracer, instance)) = kept else {
            panic!("{}: {error}", self.cast[member].name());
        };
        Found {
            tracer,
            instance: Some(instance),
            wrong: (!is_right).then(|| error.to_string()),
        }
    }

    /// Disturbs the registries. Returns the member with a wrong look-up after that, and what was wrong.
    pub(super) fn disturb(&self, registries: Registries<'_>, disturbance: Disturbance) -> Option<(usize, String)> {
        let mut now = lock(&self.now);
        now.done += 1;
        let disturbed = match disturbance {
            Disturbance::Remove { member } => self.remove(registries, &now, member),
            Disturbance::Rebind { member, count } => self.rebind(registries, &mut now, member, count),
            Disturbance::Defaults { registry } => self.change_defaults(registries, &mut now, registry),
            Disturbance::Broken { registry } => self.write_broken(registries, &now, registry),
            Disturbance::Rotate { member } => self.rotate(registries, &now, member),
            Disturbance::Vanish { member } if self.may_vanish(member) => self.vanish(registries, &mut now, member),
            Disturbance::Vanish { member } => self.rebind(registries, &mut now, member, 1),
        };
        disturbed.and_then(|()| Self::is_refused(registries)).err()
    }

    /// The file of a tenant that names another one's key is not obeyed.
    fn is_refused(registries: Registries<'_>) -> Disturbed {
        for registry in registries.all {
            match registry.tenant(HOSTILE) {
                Err(LookupError::Resolve(ResolveError::Refused(_))) => {}
                other => return Err((0, format!("{other:?} for a tenant whose file names another one's key"))),
            }
        }
        Ok(())
    }

    /// Everything that was found since the last time. No look-up may be under way.
    pub(super) fn settle(&self) -> HashMap<usize, Instance> {
        self.history.forget();
        let now = lock(&self.now);
        lock(&self.kept).retain(|member, _| now.gone.contains(member));
        let known = self.instances.take();
        let mut kept = lock(&self.kept);
        for (member, (tracer, number)) in kept.iter_mut() {
            // It has the settings that it had, and a new number.
            let settings = known.get(number).map(|instance| instance.settings.clone());
            *number = self.instances.found(*member, tracer, &settings.unwrap_or_default());
        }
        known
    }

    /// Removes a tracer: the next look-up must return another one.
    fn remove(&self, registries: Registries<'_>, now: &Now, member: usize) -> Disturbed {
        if now.gone.contains(&member) {
            return Ok(());
        }
        let before = self.find(registries, member)?;
        let (registry, selector) = &registries.members[member];
        match registries.all[*registry].remove(selector) {
            Ok(true) => {}
            other => return Err((member, format!("{other:?} where the tracer is taken out"))),
        }
        if self.find(registries, member)?.same_tracer(&before) {
            return Err((member, "the tracer that was taken out".to_owned()));
        }
        Ok(())
    }

    fn rebind(&self, registries: Registries<'_>, now: &mut Now, member: usize, count: usize) -> Disturbed {
        let registry = self.cast[member].registry;
        let following = (member..self.cast.len()).chain(0..member);
        let of_registry = following.filter(|member| self.cast[*member].registry == registry);
        let there = of_registry.filter(|member| !now.gone.contains(member));
        let changed: Vec<usize> = there.take(count).collect();
        for member in &changed {
            now.settings[*member].binding += 1;
        }
        self.reload(registries, now, registry, &changed)
    }

    fn change_defaults(&self, registries: Registries<'_>, now: &mut Now, registry: usize) -> Disturbed {
        let of_registry = (0..self.cast.len()).filter(|member| self.cast[*member].registry == registry);
        let all: Vec<usize> = of_registry.collect();
        for member in &all {
            now.settings[*member].defaults += 1;
        }
        let there: Vec<usize> = all.into_iter().filter(|member| !now.gone.contains(member)).collect();
        self.reload(registries, now, registry, &there)
    }

    /// Tenants alone, and not the one whose combination with a feature is a member too.
    fn may_vanish(&self, member: usize) -> bool {
        let of = &self.cast[member];
        let is_combined = |other: &Member| {
            other.registry == of.registry && other.parts.len() > 1 && other.parts.contains(&of.parts[0])
        };
        matches!(of.parts.as_slice(), [(SelectorKind::Tenant, _)]) && !self.cast.iter().any(is_combined)
    }

    fn vanish(&self, registries: Registries<'_>, now: &mut Now, member: usize) -> Disturbed {
        if now.gone.remove(&member) {
            now.settings[member].binding += 1;
        } else {
            let found = self.find_numbered(registries, member)?;
            lock(&self.kept).insert(member, found);
            now.gone.insert(member);
        }
        self.reload(registries, now, self.cast[member].registry, &[member])?;
        let after = self.look_up(registries, member, || registries.get(member));
        after.wrong.map_or(Ok(()), |wrong| Err((member, wrong)))
    }

    /// Writes the settings and reloads: the changed members, and no others, have another tracer after that.
    fn reload(&self, registries: Registries<'_>, now: &Now, registry: usize, changed: &[usize]) -> Disturbed {
        let witness = self.witness(registries, now, registry, changed)?;
        let begun: Vec<_> = changed.iter().map(|member| (*member, now.of(*member))).collect();
        self.history.begin(&begun);
        self.write(now, registry, None)?;
        let report = registries.all[registry].reload();
        self.history.done();
        let report = report.map_err(|error| (changed[0], error.to_string()))?;
        Self::check_report(registries, now, changed, &report)?;
        for member in changed {
            let after = self.look_up(registries, *member, || registries.get(*member));
            after.wrong.map_or(Ok(()), |wrong| Err((*member, wrong)))?;
        }
        self.is_unmoved(registries, witness)
    }

    /// Nothing is taken over from files with a fault.
    fn write_broken(&self, registries: Registries<'_>, now: &Now, registry: usize) -> Disturbed {
        let witness = self.witness(registries, now, registry, &[])?;
        let flaw = [Flaw::Torn, Flaw::Unknown, Flaw::Wrong][now.done % 3];
        self.write(now, registry, Some(flaw))?;
        let report = registries.all[registry].reload();
        let kept = matches!(report, Err(ReloadError::Config(_)));
        let status = registries.all[registry].status().configuration;
        self.write(now, registry, None)?;
        let Some((member, _)) = witness else { return Ok(()) };
        if !kept || status.error.is_none() {
            return Err((member, format!("files with a fault ({flaw:?}) taken over: {report:?}")));
        }
        self.is_unmoved(registries, witness)
    }

    fn write(&self, now: &Now, registry: usize, flaw: Option<Flaw>) -> Disturbed {
        let setting = |member: &Member| {
            let at = self.cast.iter().position(|known| known.token == member.token)?;
            let setting = now.of(at).filter(|_| member.registry == registry)?;
            let changed = u32::from(flaw.is_some());
            Some(Setting {
                binding: setting.binding + changed,
                ..setting
            })
        };
        let written = self.files.write(registry, &self.cast, setting, flaw);
        written.map_err(|error| (0, format!("the configuration cannot be written: {error}")))
    }

    /// What a reload says is what was done.
    fn check_report(registries: Registries<'_>, now: &Now, changed: &[usize], report: &Reload) -> Disturbed {
        let mut there = [BTreeSet::new(), BTreeSet::new()];
        for member in changed {
            there[usize::from(now.gone.contains(member))].insert(&registries.members[*member].1);
        }
        let [came_or_changed, removed] = there;
        let reported_changed: BTreeSet<&Selector> = report.changed.iter().chain(&report.added).collect();
        let reported_removed: BTreeSet<&Selector> = report.removed.iter().collect();
        let others = !report.kept.is_empty() || !report.needs_restart.is_empty();
        if (reported_changed, reported_removed) != (came_or_changed.clone(), removed.clone()) || others {
            let expected = format!("changed or added: {came_or_changed:?}, removed: {removed:?}");
            return Err((changed[0], format!("a reload that says {report}, where {expected}")));
        }
        Ok(())
    }

    /// A member that a change does not concern, and its tracer.
    fn witness(
        &self,
        registries: Registries<'_>,
        now: &Now,
        registry: usize,
        changed: &[usize],
    ) -> Result<Witness, Deviation> {
        let mut unconcerned = (0..self.cast.len()).map(|member| (member + now.done) % self.cast.len());
        let member = unconcerned.find(|member| {
            self.cast[*member].registry == registry && !changed.contains(member) && !now.gone.contains(member)
        });
        member
            .map(|member| self.find(registries, member).map(|tracer| (member, tracer)))
            .transpose()
    }

    /// Checks that the member that a change did not concern still has its tracer.
    fn is_unmoved(&self, registries: Registries<'_>, witness: Witness) -> Disturbed {
        let Some((member, before)) = witness else { return Ok(()) };
        if self.find(registries, member)?.same_tracer(&before) {
            return Ok(());
        }
        Err((member, "another tracer, where nothing changed for the name".to_owned()))
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

/// The member, and what was wrong.
type Deviation = (usize, String);

type Disturbed = Result<(), Deviation>;

/// `None` if the registry has no other member.
type Witness = Option<(usize, TracerHandle)>;

impl Now {
    fn of(&self, member: usize) -> Option<Setting> {
        (!self.gone.contains(&member)).then_some(self.settings[member])
    }
}
