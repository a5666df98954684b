//! Configuration and key files of the registries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::super::ours::EXPLAINED;
use super::super::program::cast::{Backend, Member, REGISTRIES, Setting};
use tracer_registry::config::SessionMode;
use tracer_registry::secret::{SecretError, SecretSource};
use tracer_registry::selector::SelectorKind;

/// Larger than the spans and session events of one tracer in a round.
const QUEUE: usize = 1 << 20;
/// Idle time until a tracer may be evicted; shorter than a program runs.
const IDLE: &str = "20ms";

/// Name of the secret source that provides some of the keys.
pub(in super::super) const VAULT: &str = "vault";

/// A tenant without a table, with a tenant file that names another tenant's key.
pub(super) const HOSTILE: &str = "hostile";
const TENANTS: &str = "tenants.d";

/// A temporary folder with the configuration of each registry and the key of each member.
pub(super) struct Files {
    folder: TempDir,
    url: String,
}

/// Fault in a configuration file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flaw {
    /// The file is truncated.
    Truncated,
    /// The bindings have an unknown setting.
    UnknownSetting,
    /// The bindings have an invalid key source.
    InvalidKeySource,
}

impl Files {
    pub(super) fn new(url: String, cast: &[Member]) -> io::Result<Self> {
        let files = Self {
            folder: tempfile::tempdir()?,
            url,
        };
        for member in cast {
            files.write_key(member, &member.key)?;
        }
        fs::create_dir(files.path(TENANTS))?;
        if let Some(other) = cast.iter().find(|member| !member.has_key_in_vault) {
            let hostile = json!({"endpoint": files.url, "api_key": {"file": files.key(other)}});
            fs::write(files.path(TENANTS).join(format!("{HOSTILE}.json")), hostile.to_string())?;
        }
        for registry in 0..REGISTRIES {
            let all = |member: &Member| (member.registry == registry).then(Setting::default);
            files.write(registry, cast, all, None)?;
        }
        Ok(files)
    }

    pub(super) fn configuration(&self, registry: usize) -> PathBuf {
        // Not named `default`, so that no other file is merged into it.
        self.path(&format!("registry-{registry}.json"))
    }

    /// Writes the configuration of a registry, with the members that have settings.
    pub(super) fn write(
        &self,
        registry: usize,
        cast: &[Member],
        setting: impl Fn(&Member) -> Option<Setting>,
        flaw: Option<Flaw>,
    ) -> io::Result<()> {
        let configured = cast.iter().filter_map(|member| Some((member, setting(member)?)));
        let mut document = bindings(configured, &self.url, |member, mut binding| {
            binding["api_key"] = if member.has_key_in_vault {
                json!({"provider": VAULT, "name": member.token})
            } else {
                json!({"file": self.key(member)})
            };
            match flaw {
                Some(Flaw::UnknownSetting) => binding["metdata"] = json!({}),
                Some(Flaw::InvalidKeySource) => binding["api_key"] = json!({"nowhere": member.token}),
                Some(Flaw::Truncated) | None => {}
            }
            binding
        });
        let members = cast.iter().filter(|member| member.registry == registry).count();
        let protocol = if registry == 0 { "http/protobuf" } else { "http/json" };
        document["tenants_dir"] = json!(TENANTS);
        document["export"] = json!({
            "protocol": protocol,
            "scheduled_delay": "50ms",
            "max_queue_size": QUEUE,
            "timeout": "60s",
            "explain": { "max_traces": EXPLAINED },
        });
        document["pool"] = pool(members);
        let mut text = document.to_string();
        if matches!(flaw, Some(Flaw::Truncated)) {
            text.truncate(text.len() / 2);
        }
        fs::write(self.configuration(registry), text)
    }

    /// Writes a member's key atomically.
    pub(super) fn write_key(&self, member: &Member, key: &str) -> io::Result<()> {
        let new = self.path("new-key");
        fs::write(&new, key)?;
        fs::rename(new, self.key(member))
    }

    /// Removes a member's key.
    pub(super) fn remove_key(&self, member: &Member) -> io::Result<()> {
        fs::remove_file(self.key(member))
    }

    /// Returns a secret source with the keys by token. It does not announce changes.
    pub(super) fn vault(&self) -> impl SecretSource + use<> {
        let folder = self.folder.path().to_owned();
        move |token: &str| {
            let read = fs::read_to_string(folder.join(key_file(token)));
            read.map(SecretString::from)
                .map_err(|error| SecretError::refused(error.to_string()))
        }
    }

    fn key(&self, member: &Member) -> PathBuf {
        self.path(&key_file(&member.token))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

/// Returns a pool with fewer tracers than there are members, so that tracers are evicted.
pub(in super::super) fn pool(members: usize) -> Value {
    json!({"max_tracers": members.div_ceil(2).max(2), "idle_timeout": IDLE, "when_full": "grow"})
}

/// Returns a document with the bindings of these members, without their keys. `finish` changes each
/// binding.
pub(in super::super) fn bindings<'m>(
    members: impl Iterator<Item = (&'m Member, Setting)>,
    url: &str,
    finish: impl Fn(&Member, Value) -> Value,
) -> Value {
    let mut tables: [Map<String, Value>; SelectorKind::ALL.len()] = Default::default();
    let mut routes = Vec::new();
    let mut defaults = json!({"backend": "honeyhive"});
    for (member, at) in members {
        if let Some(era) = at.era() {
            defaults["resource"] = json!({"era": era});
        }
        let mut binding = finish(member, binding(member, at, url));
        if let [(part, name)] = member.parts.as_slice() {
            tables[*part as usize].insert(name.clone(), binding);
            continue;
        }
        let when = member.parts.iter().map(|(part, name)| (part.to_string(), json!(name)));
        binding["when"] = Value::Object(when.collect());
        routes.push(binding);
    }
    let [tenants, environments, features] = [SelectorKind::Tenant, SelectorKind::Environment, SelectorKind::Feature]
        .map(|part| std::mem::take(&mut tables[part as usize]));
    json!({
        "defaults": defaults,
        "tenants": tenants,
        "environments": environments,
        "features": features,
        "routes": routes,
    })
}

fn binding(member: &Member, at: Setting, url: &str) -> Value {
    let (backend, path) = match member.backend {
        Backend::Honeyhive => ("honeyhive", ""),
        Backend::Otlp => ("otlp", "/v1/traces"),
    };
    let sessions = match member.sessions {
        SessionMode::Explicit => "explicit",
        SessionMode::PerTrace => "per_trace",
        SessionMode::AutoCreate => "auto_create",
        other => unreachable!("{other:?} is not in the cast"),
    };
    let rules = if member.redacts() {
        json!({"planted": {"patterns": ["email"]}})
    } else {
        json!({})
    };
    let also: Vec<String> = member.also.iter().map(|name| format!("environment:{name}")).collect();
    json!({
        "redact": {"rules": rules},
        "sampling": {"ratio": member.ratio},
        "also": also,
        "backend": backend,
        "endpoint": format!("{url}{path}"),
        "source": member.source_at(at),
        "headers": {"x-project": member.own_at("project", at)},
        "metadata": {"plan": member.own_at("plan", at)},
        "resource": {"team": member.own_at("team", at)},
        "sessions": sessions,
        "propagation": {
            "trust_remote_parent": member.trusts_parents,
            "session_id": member.takes_sessions,
        },
    })
}

fn key_file(token: &str) -> String {
    format!("key-{token}")
}
