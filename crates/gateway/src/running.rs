//! What a reload replaces as a whole.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tracer_registry::config::{Config, ConfigError};
use tracer_registry::gateway::{GatewayProblems, PreparedReload};
use tracer_registry::secret::SecretSources;

use crate::budget::Budget;
use crate::callers::{CallerChanges, Callers};
use crate::config::Settings;
use crate::log::Log;
use crate::tls::{self, ReadTls, Tls};

/// Settings and callers of one configuration. A request uses those of its start to its end.
pub(crate) struct Running {
    pub(crate) settings: Settings,
    pub(crate) callers: Callers,
    /// Value of `Authorization` in requests with the gateway's own metrics.
    pub(crate) telemetry_token: Option<HeaderValue>,
    /// Settings of the configuration that take effect at the next start.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// What differs between two configurations that ran one after the other.
pub(crate) struct Changes {
    /// Names of settings and tables.
    pub(crate) settings: Vec<&'static str>,
    pub(crate) callers: CallerChanges,
}

impl Running {
    pub(crate) fn changes_since(&self, before: &Self) -> Changes {
        let mut settings = self.settings.differing(&before.settings);
        let callers = self.callers.changes_since(&before.callers);
        for (name, differs) in [
            ("gateway.callers", !callers.is_empty()),
            ("gateway.admin", self.callers.has_other_admins(&before.callers)),
        ] {
            if differs && !settings.contains(&name) {
                settings.push(name);
            }
        }
        Changes { settings, callers }
    }
}

/// The running settings and callers, and what follows them.
pub(crate) struct Current {
    running: ArcSwapOption<Running>,
    sources: SecretSources,
    tls: Tls,
    budget: Budget,
    /// Address of the admin listener since the start. It stays open while a configuration has none.
    admin: OnceLock<Option<SocketAddr>>,
    /// Whether the last reading of the certificates failed.
    certificates_fail: AtomicBool,
}

/// Takes over the settings that take effect only at a start, and returns those that differ. `admin`
/// is the address of the admin listener. Without a table `[gateway.admin]` no token is valid, so that
/// listener refuses every request until then.
fn keep_startup_settings(old: &Settings, admin: Option<SocketAddr>, new: &mut Settings) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let mut keep = |name, differs| {
        if differs {
            kept.push(name);
        }
    };
    keep("gateway.http", old.http != new.http);
    keep("gateway.grpc", old.grpc != new.grpc);
    let listen = new.admin.as_ref().map(|admin| admin.listen);
    keep("gateway.admin.listen", listen != admin);
    keep("gateway.stream", old.stream != new.stream);
    keep("gateway.telemetry", old.telemetry != new.telemetry);
    keep("gateway.log", old.log != new.log);
    (new.http, new.grpc, new.log) = (old.http, old.grpc, old.log);
    new.stream.clone_from(&old.stream);
    new.telemetry.clone_from(&old.telemetry);
    if let (Some(listen), Some(admin)) = (admin, &mut new.admin) {
        admin.listen = listen;
    }
    kept
}

impl Current {
    /// Returns nothing but defaults, until [`prepare`](Self::prepare) was called and committed.
    pub(crate) fn new(sources: SecretSources) -> Self {
        Self {
            running: ArcSwapOption::empty(),
            sources,
            tls: Tls::default(),
            budget: Budget::new(0),
            admin: OnceLock::new(),
            certificates_fail: AtomicBool::new(false),
        }
    }

    /// Returns the settings and callers.
    ///
    /// # Panics
    /// Before the first commit.
    pub(crate) fn running(&self) -> Arc<Running> {
        self.running
            .load_full()
            .expect("a registry that was built has committed")
    }

    fn admin(&self) -> Option<SocketAddr> {
        self.admin.get().copied().flatten()
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Reads the settings, callers and certificates of a configuration. Blocks the thread.
    pub(crate) fn prepare(self: &Arc<Self>, config: &Config) -> PreparedReload {
        let settings = match Settings::read(config) {
            Ok(settings) => settings,
            Err(error) => {
                return PreparedReload {
                    watch: self
                        .running
                        .load()
                        .iter()
                        .flat_map(|running| running.settings.watched())
                        .collect(),
                    commit: Err(error),
                };
            }
        };
        let watch = settings.watched();
        let commit = self.read(config, settings).map(|(running, tls)| {
            let current = Arc::clone(self);
            Box::new(move || current.commit(running, tls)) as Box<dyn FnOnce() + Send>
        });
        PreparedReload { watch, commit }
    }

    fn read(&self, config: &Config, settings: Settings) -> Result<(Running, Option<ReadTls>), ConfigError> {
        let before = self.running.load();
        if let Some(before) = &*before {
            let mut kept = settings.clone();
            keep_startup_settings(&before.settings, self.admin(), &mut kept);
            kept.check_running(config)?;
        }
        let callers = Callers::read(
            config,
            &settings,
            &self.sources,
            before.as_ref().map(|before| &before.callers),
        )?;
        let tls = settings.tls.as_ref().map(tls::read).transpose().map_err(|error| {
            let mut problems = GatewayProblems::new(config);
            problems.add(error.field, error.problem);
            problems.into_result().expect_err("there is a problem")
        })?;
        let telemetry_token = self.telemetry_token(config, &settings)?;
        let running = Running {
            settings,
            callers,
            telemetry_token,
            needs_restart: Vec::new(),
        };
        Ok((running, tls))
    }

    fn telemetry_token(&self, config: &Config, settings: &Settings) -> Result<Option<HeaderValue>, ConfigError> {
        let token = settings
            .telemetry
            .as_ref()
            .and_then(|telemetry| telemetry.token.as_ref());
        let read = token.map(|source| config.read_key(source, &self.sources)).transpose();
        read.map(|key| key.map(|key| key.bearer())).map_err(|error| {
            let mut problems = GatewayProblems::new(config);
            problems.add("gateway.telemetry.token", error.to_string());
            problems.into_result().expect_err("there is a problem")
        })
    }

    fn commit(&self, mut running: Running, tls: Option<ReadTls>) {
        if let Some(before) = &*self.running.load() {
            let (old, new) = (&before.settings, &mut running.settings);
            running.needs_restart = keep_startup_settings(old, self.admin(), new);
            for setting in &running.needs_restart {
                Log::needs_restart(setting);
            }
            if running.callers.has_other_admins(&before.callers) {
                Log::admins_changed();
            }
            let changes = running.callers.changes_since(&before.callers);
            if !changes.is_empty() {
                Log::callers_changed(changes);
            }
        }
        let admin = running.settings.admin.as_ref();
        self.admin.get_or_init(|| admin.map(|admin| admin.listen));
        self.budget.set_limit(running.settings.memory);
        self.certificates_fail.store(false, Ordering::Relaxed);
        if self.tls.apply(tls) && self.running.load().is_some() {
            Log::certificates_changed();
        }
        self.running.store(Some(Arc::new(running)));
    }

    /// Returns whether the files of the certificates could be used when they were last read.
    pub(crate) fn certificates_are_usable(&self) -> bool {
        !self.certificates_fail.load(Ordering::Relaxed)
    }

    /// Reads the certificates again, and applies them if they changed. Returns what changed. Blocks
    /// the thread.
    pub(crate) fn renew_certificates(&self, log: &Log) -> Option<String> {
        let running = self.running();
        let read = tls::read(running.settings.tls.as_ref()?);
        self.certificates_fail.store(read.is_err(), Ordering::Relaxed);
        match read {
            Ok(read) => self.tls.apply(Some(read)).then(|| {
                Log::certificates_changed();
                "new connections use the changed certificates".to_owned()
            }),
            Err(error) => {
                log.certificates_unusable(&error);
                None
            }
        }
    }
}
