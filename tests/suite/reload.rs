//! Configuration changes at runtime, with real files that are replaced in the usual ways.

#[cfg(feature = "gateway")]
mod extension;
mod slow_lookup;
mod watching;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tempfile::TempDir;
use tracer_registry::config::Config;
use tracer_registry::error::ReloadError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{LookupError, RegistryBuilder, Selector, TracerHandle};

use crate::support::{LONG, World, collector, keys};

/// A folder with a configuration file, and a registry built from it.
pub(crate) struct Files {
    pub(crate) folder: TempDir,
    pub(crate) world: World,
}

impl Files {
    /// `text` is the configuration without the endpoint.
    pub(crate) fn new(projects: &[&str], text: &str) -> Self {
        Self::with(projects, text, |builder| builder)
    }

    pub(crate) fn with(projects: &[&str], text: &str, adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("tenants.d")).expect("made");
        let fingerprinter = Fingerprinter::new();
        let collector = collector(projects, &fingerprinter).start().expect("a free port");
        fs::write(folder.path().join("url"), collector.url()).expect("written");
        let file = folder.path().join("default.toml");
        fs::write(&file, whole(&collector.url(), text)).expect("written");
        let builder = tracer_registry::TracerRegistry::builder()
            .config(Config::load(file).expect("valid"))
            .fingerprinter(fingerprinter)
            .secret_source("test", keys());
        let registry = adapt(builder).build().expect("valid");
        Self {
            folder,
            world: World { registry, collector },
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Replaces the configuration. `text` omits the endpoint.
    pub(crate) fn rewrite(&self, text: &str) {
        self.write("default.toml", &self.text(text));
    }

    pub(crate) fn text(&self, text: &str) -> String {
        whole(&self.world.collector.url(), text)
    }

    pub(crate) fn tenant(&self, name: &str) -> TracerHandle {
        self.world.tenant(name)
    }
}

fn whole(url: &str, text: &str) -> String {
    // Top-level settings are written in front of the first table.
    let (top, tables) = text.split_at(text.find('[').unwrap_or(text.len()));
    format!(
        "{top}\n[export]\nscheduled_delay = \"5ms\"\n{tables}\n[defaults]\nendpoint = \"{url}\"\nsource = \"test\"\n"
    )
}

/// Returns the configuration of a tenant with the test key of `key`.
pub(crate) fn table(tenant: &str, key: &str) -> String {
    format!("[tenants.\"{tenant}\"]\napi_key = {{ provider = \"test\", name = \"{key}\" }}\n")
}

pub(crate) fn selector(text: &str) -> Selector {
    text.parse().expect("a selector")
}

fn to_strings(selectors: &[Selector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}

#[test]
fn changed_selectors_get_a_new_tracer_and_unchanged_ones_keep_theirs() {
    let tables = |source: &str| table("acme", "acme") + source + &table("globex", "globex");
    let files = Files::new(
        &["acme", "globex", "initech", "hooli"],
        &(tables("") + &table("initech", "initech")),
    );
    let (acme, globex, initech) = (files.tenant("acme"), files.tenant("globex"), files.tenant("initech"));
    acme.in_span("before", |_| ());

    files.rewrite(&(tables("metadata = { plan = \"team\" }\n") + &table("hooli", "hooli")));
    let report = files.world.registry.reload().expect("without a fault");
    assert_eq!(to_strings(&report.added), ["tenant:hooli"]);
    assert_eq!(to_strings(&report.changed), ["tenant:acme"]);
    assert_eq!(to_strings(&report.removed), ["tenant:initech"]);
    assert_eq!(
        report.to_string(),
        "added: tenant:hooli; changed: tenant:acme; removed: tenant:initech"
    );

    let newer = files.tenant("acme");
    assert!(!newer.same_tracer(&acme));
    assert!(files.tenant("acme").same_tracer(&newer));
    assert!(files.tenant("globex").same_tracer(&globex));
    let gone = files.world.registry.tenant("initech").expect_err("removed");
    assert!(matches!(gone, LookupError::Resolve(_)), "{gone}");
    // Existing handles keep working.
    acme.in_span("on the old one", |_| ());
    initech.in_span("removed", |_| ());
    newer.in_span("on the new one", |_| ());
    files.tenant("hooli").in_span("added", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("acme").len(), 3);
    assert_eq!(
        files.world.span("acme", "on the new one").attributes["honeyhive_metadata.plan"],
        "team"
    );
    assert!(
        !files
            .world
            .span("acme", "on the old one")
            .attributes
            .contains_key("honeyhive_metadata.plan")
    );
    assert_eq!(files.world.names("initech"), ["removed"]);
    assert_eq!(files.world.names("hooli"), ["added"]);
    // The old tracer drains and is dropped with its last handle.
    drop(acme);
    crate::support::wait_for(
        "the drop of the old tracer",
        || files.world.status("acme").tracers,
        |left| *left == 1,
    );

    let report = files.world.registry.reload().expect("without a fault");
    assert!(report.is_empty(), "{report}");
    assert!(files.tenant("acme").same_tracer(&newer));
    assert_eq!(files.world.registry.status().configuration.reloads, 2);
}

#[test]
fn an_invalid_configuration_keeps_the_running_one_and_reports_all_faults() {
    let files = Files::new(&["acme"], &table("acme", "acme"));
    let acme = files.tenant("acme");
    files.rewrite("[tenants.acme]\napi_key = \"hh_key_canary\"\nsourse = \"x\"\n[tenants.ACME]\n");
    let error = files.world.registry.reload().expect_err("three faults");
    let ReloadError::Config(faults) = &error else {
        panic!("{error}")
    };
    assert_eq!(faults.problems().len(), 3, "{error}");
    assert!(
        error
            .to_string()
            .starts_with("the running configuration is kept: 3 errors"),
        "{error}"
    );
    assert!(!error.to_string().contains("canary"), "{error}");
    assert!(files.tenant("acme").same_tracer(&acme));
    assert_eq!(files.world.registry.status().configuration.error, Some(error));

    files.rewrite(&table("acme", "acme"));
    assert!(files.world.registry.reload().expect("valid").is_empty());
    assert_eq!(files.world.registry.status().configuration.error, None);
}

#[test]
fn a_change_of_the_defaults_replaces_only_tracers_that_use_the_default() {
    let text = |limit: u32| {
        let own = "limits = { events = 7 }\n";
        let wildcard = "[tenants.\"*\"]\napi_key = { provider = \"test\", name = \"{tenant}\" }\n";
        format!("[defaults.limits]\nevents = {limit}\n")
            + &table("acme", "acme")
            + own
            + &table("globex", "globex")
            + wildcard
    };
    let files = Files::new(&["acme"], &text(1));
    let (acme, globex, initech) = (files.tenant("acme"), files.tenant("globex"), files.tenant("initech"));
    files.rewrite(&text(2));
    let report = files.world.registry.reload().expect("without a fault");
    assert_eq!(to_strings(&report.changed), ["tenant:globex", "tenant:initech"]);
    assert!(files.tenant("acme").same_tracer(&acme));
    assert!(!files.tenant("globex").same_tracer(&globex));
    assert!(!files.tenant("initech").same_tracer(&initech));
}

#[test]
fn settings_that_need_a_restart_are_reported_and_keep_their_values() {
    let files = Files::new(&["acme"], &table("acme", "acme"));
    let acme = files.tenant("acme");
    files.rewrite(&format!(
        "[export.retry]\nmax_backoff = \"7s\"\n[reload]\nwatch = true\n{}",
        table("acme", "acme")
    ));
    for _ in 0..2 {
        let report = files.world.registry.reload().expect("without a fault");
        assert_eq!(report.needs_restart, ["export.retry.max_backoff", "reload.watch"]);
    }
    assert_ne!(files.world.registry.config().export().retry.max_backoff.as_secs(), 7);
    assert!(!files.world.registry.status().configuration.watched);
    assert!(files.tenant("acme").same_tracer(&acme));
}

#[test]
fn a_changed_active_environment_is_reported_and_used() {
    let text = |active: &str| {
        let tables = ["staging", "production"].map(|name| table(name, name).replace("tenants", "environments"));
        format!("active_environment = \"{active}\"\n{}{}", tables[0], tables[1])
    };
    let files = Files::new(&["staging", "production"], &text("staging"));
    let staging = files.world.registry.active().expect("configured");
    files.rewrite(&text("production"));
    assert!(
        files
            .world
            .registry
            .reload()
            .expect("without a fault")
            .active_environment
    );
    assert_eq!(
        files.world.registry.active().expect("configured").selector(),
        &selector("environment:production")
    );
    assert!(
        files
            .world
            .registry
            .environment("staging")
            .expect("configured")
            .same_tracer(&staging)
    );
}

#[test]
fn after_a_reload_look_ups_use_the_new_configuration_and_every_span_arrives() {
    let text = |key: u64| table("acme", &format!("acme_{}", key % 2)) + &table("globex", "globex");
    let files = Files::new(&["acme_0", "acme_1", "globex"], &text(0));
    let globex = files.tenant("globex");
    let fingerprints = [0, 1].map(|key| {
        files.rewrite(&text(key));
        files.world.registry.reload().expect("without a fault");
        files.tenant("acme").fingerprint()
    });
    let (started, ended, stop) = (AtomicU64::new(1), AtomicU64::new(1), AtomicBool::new(false));
    let spans = AtomicU64::new(0);
    // Number of the last reload with a look-up that started after it and ended before the next one.
    let last_checked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let before = ended.load(Ordering::SeqCst);
                    let acme = files.tenant("acme");
                    let after = started.load(Ordering::SeqCst);
                    if before == after {
                        assert_eq!(
                            acme.fingerprint(),
                            fingerprints[usize::try_from(after % 2).expect("0 or 1")]
                        );
                        last_checked.fetch_max(after, Ordering::SeqCst);
                    }
                    // Fewer spans than the queue holds, even if the reloads are slow.
                    if spans.fetch_add(1, Ordering::SeqCst) < 4000 {
                        acme.in_span("during reloads", |_| ());
                    }
                    assert!(files.tenant("globex").same_tracer(&globex));
                }
            });
        }
        for key in 2..100 {
            files.rewrite(&text(key));
            started.store(key, Ordering::SeqCst);
            files.world.registry.reload().expect("without a fault");
            ended.store(key, Ordering::SeqCst);
            let now = Instant::now();
            while last_checked.load(Ordering::SeqCst) != key && now.elapsed() < LONG {
                std::thread::yield_now();
            }
            if last_checked.load(Ordering::SeqCst) != key {
                break;
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(
        last_checked.load(Ordering::SeqCst),
        99,
        "a look-up must run between any two reloads"
    );
    files.world.flush();
    let arrived = files.world.names("acme_0").len() + files.world.names("acme_1").len();
    assert_eq!(arrived as u64, spans.load(Ordering::SeqCst).min(4000));
}

#[test]
fn a_reload_replaces_only_the_changed_tracer_of_ten_thousand() {
    const TENANTS: usize = 10_000;
    let text = |source: &str| {
        let tables = (0..TENANTS).map(|number| {
            let own = if number == 4711 { source } else { "" };
            table(&format!("t{number}"), "acme") + own
        });
        tables.collect::<String>()
    };
    let files = Files::new(&["acme"], &text(""));
    let look_up = || {
        (0..TENANTS)
            .map(|number| files.tenant(&format!("t{number}")))
            .collect::<Vec<_>>()
    };
    let before = look_up();
    files.rewrite(&text("source = \"eu\"\n"));
    let started = Instant::now();
    let report = files.world.registry.reload().expect("without a fault");
    println!(
        "a reload with {TENANTS} tracers, one of them changed: {:?}",
        started.elapsed()
    );
    assert_eq!(to_strings(&report.changed), ["tenant:t4711"]);
    let differ = before
        .iter()
        .zip(look_up())
        .filter(|(one, other)| !one.same_tracer(other));
    assert_eq!(
        differ.map(|(one, _)| one.selector().to_string()).collect::<Vec<_>>(),
        ["tenant:t4711"]
    );
}

#[test]
fn a_reload_after_shutdown_is_an_error() {
    let files = Files::new(&["acme"], &table("acme", "acme"));
    assert!(files.world.registry.shutdown(LONG).is_complete());
    assert_eq!(files.world.registry.reload(), Err(ReloadError::Shutdown));
}
