//! `check`: lists each binding of a configuration and tests its key and connection, and reads the
//! tokens of the gateway's callers.

use std::fs::DirEntry;
use std::io::Write;
use std::path::{Path, PathBuf};

use anstream::stderr;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use tracer_registry::check::{CheckMode, CheckedBinding, ConnectionCheck};
use tracer_registry::config::{Config, ConfigError, ConfigProblem, SpoolMode, SpoolSettings};
use tracer_registry::secret::SecretSources;
use tracer_registry::selector::SelectorKind;
use tracer_registry::text::printable;
use tracer_registry::{BuildError, Selector, TracerRegistry};
use tracer_registry_gateway::callers::Callers;
use tracer_registry_gateway::config::Settings;

use super::error::{CliError, Outcome};
use super::json;
use super::table::{self, Align};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Configuration file, or a folder that contains default.toml or gateway.toml
    #[arg(long, value_name = "FILE", default_value = "config")]
    config: PathBuf,
    /// Also connect to each endpoint. An empty export checks only the key; a span checks the
    /// project
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "key")]
    connect: Option<Connect>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Request that is sent to each endpoint.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Connect {
    /// Send an empty export with each key
    Key,
    /// Send one span named tracer_registry.check to each project
    Send,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    let (registry, gateway) = match read(&arguments.config) {
        Ok(read) => read,
        Err(BuildError::Config(error)) if arguments.json => {
            json::write_pretty(out, &json!({"faults": faults(&error)}))?;
            return Ok(Outcome::Failure);
        }
        Err(error) => return Err(error.into()),
    };
    let mode = match arguments.connect {
        None => CheckMode::Keys,
        Some(Connect::Key) => CheckMode::Connect,
        Some(Connect::Send) => {
            // On standard error, because the output may be JSON.
            let note =
                "sending one span named tracer_registry.check to the project of each binding with a readable key";
            writeln!(stderr(), "{note}")?;
            CheckMode::Send
        }
    };
    let checked = registry.check(mode);
    let gateway = gateway.map(|(config, settings)| CheckedGateway::new(&config, &settings, &checked));
    let of_spool = spool_warnings(registry.config().spool());
    if arguments.json {
        let mut document = json!({"bindings": checked});
        if !of_spool.is_empty() {
            document["spool"] = json!({"warnings": of_spool});
        }
        if let Some(gateway) = &gateway {
            document["gateway"] = serde_json::to_value(gateway)?;
        }
        json::write_pretty(out, &document)?;
    } else {
        write_table(out, &checked)?;
        for warning in &of_spool {
            writeln!(out, "warning: {}", printable(warning))?;
        }
        if let Some(gateway) = &gateway {
            gateway.write(out)?;
        }
    }
    let is_faulty = checked.iter().any(CheckedBinding::is_faulty);
    let is_faulty = is_faulty || gateway.is_some_and(|gateway| !gateway.faults.is_empty());
    Ok(Outcome::success_if(!is_faulty))
}

/// Returns what would keep the spool from working on this machine.
fn spool_warnings(settings: &SpoolSettings) -> Vec<String> {
    let (Some(path), Some(max_bytes)) = (&settings.path, settings.max_bytes) else {
        return Vec::new();
    };
    if settings.mode == SpoolMode::Off {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let shown = path.display();
    let files = || std::fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = |file: &DirEntry| file.metadata().map_or(0, |file| file.len());
    let is_set_aside = |file: &DirEntry| file.file_name().to_string_lossy().starts_with("spool.db.");
    let set_aside: Vec<u64> = files().filter(is_set_aside).map(|file| bytes(&file)).collect();
    if !set_aside.is_empty() {
        warnings.push(format!(
            "spool.path: set-aside files in {shown}: {}, with {} MiB; look at them with `spool check`, then delete them",
            set_aside.len(),
            set_aside.iter().sum::<u64>() >> 20
        ));
    }
    // The folder is created at the start, in its parent.
    let existing = if path.exists() {
        Some(path.as_path())
    } else {
        path.parent().filter(|parent| parent.is_dir())
    };
    if existing.is_none() {
        warnings.push(format!("spool.path: the folder of {shown} does not exist"));
    }
    if path.exists() && !path.is_dir() {
        warnings.push(format!("spool.path: {shown} is not a folder"));
    }
    #[cfg(unix)]
    {
        use std::io;
        use std::os::unix::fs::MetadataExt as _;

        use rustix::fs::Access;

        if let Ok(folder) = path.metadata()
            && folder.mode() & 0o777 != 0o700
        {
            warnings.push(format!(
                "spool.path: {shown} has mode {:o}, and is refused unless only its owner may use it: chmod 700",
                folder.mode() & 0o777
            ));
        }
        if let Some(existing) = existing
            && let Err(error) = rustix::fs::access(existing, Access::WRITE_OK)
        {
            let error = io::Error::from(error);
            warnings.push(format!("spool.path: {} cannot be written: {error}", existing.display()));
        }
        if let Some(disk) = existing.and_then(|existing| rustix::fs::statvfs(existing).ok()) {
            let used: u64 = files().map(|file| bytes(&file)).sum();
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free.saturating_add(used) < max_bytes as u64 {
                warnings.push(format!(
                    "spool.max_bytes: {} MiB, but the disk of {shown} has {} MiB free",
                    max_bytes >> 20,
                    free >> 20
                ));
            }
        }
    }
    warnings
}

/// Reads the configuration as the gateway does, which has one more layer. Without that layer and a
/// table `[gateway]`, it is what any program reads.
fn read(path: &Path) -> Result<(TracerRegistry, Option<(Config, Settings)>), BuildError> {
    let config = Config::load_for_gateway(path)?;
    let gateway = if config.has_gateway() {
        let settings = Settings::read(&config)?;
        Some((config.clone(), settings))
    } else {
        None
    };
    // A running process may use the files of the spool.
    Ok((
        TracerRegistry::builder().config(config).without_spool().build()?,
        gateway,
    ))
}

fn faults(error: &ConfigError) -> Vec<Value> {
    let problems = error.problems().iter();
    let fault =
        |problem: &ConfigProblem| json!({"file": problem.file(), "key": problem.key(), "message": problem.message()});
    problems.map(fault).collect()
}

/// The callers of the gateway.
#[derive(Debug, Serialize)]
struct CheckedGateway {
    callers: usize,
    /// Tokens that cannot be used.
    faults: Vec<Value>,
    warnings: Vec<String>,
    #[serde(skip)]
    error: Option<ConfigError>,
}

impl CheckedGateway {
    /// Reads the tokens of all callers.
    fn new(config: &Config, settings: &Settings, checked: &[CheckedBinding]) -> Self {
        let mut warnings = Vec::new();
        // The table "*" is a binding of every tenant.
        if !config.has_wildcard() {
            let selectors = checked
                .iter()
                .filter_map(|binding| binding.selector.parse::<Selector>().ok());
            let tenants = selectors.filter_map(|selector| selector.get(SelectorKind::Tenant).cloned());
            warnings.extend(settings.unused_tenants(&tenants.collect::<Vec<_>>()));
        }
        let error = match Callers::read(config, settings, &SecretSources::default(), None) {
            Ok(callers) => {
                warnings.extend_from_slice(callers.warnings());
                None
            }
            Err(error) => Some(error),
        };
        Self {
            callers: settings.callers.len(),
            faults: error.as_ref().map(faults).unwrap_or_default(),
            warnings,
            error,
        }
    }

    fn write(&self, out: &mut impl Write) -> Result<(), CliError> {
        for warning in &self.warnings {
            writeln!(out, "warning: {}", printable(warning))?;
        }
        for problem in self.error.iter().flat_map(ConfigError::problems) {
            writeln!(out, "{}: {}", problem.key(), problem.message())?;
        }
        let callers = if self.callers == 1 { "caller" } else { "callers" };
        writeln!(
            out,
            "{} {callers} of the gateway, {} failed",
            self.callers,
            self.faults.len()
        )?;
        Ok(())
    }
}

fn write_table(out: &mut impl Write, checked: &[CheckedBinding]) -> Result<(), CliError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 6]> = checked
        .iter()
        .map(|binding| {
            let fingerprint = binding.fingerprint.map(|fingerprint| fingerprint.to_string());
            [
                binding.selector.clone(),
                text(&binding.key_source),
                text(&fingerprint),
                text(&binding.endpoint),
                text(&binding.project),
                result(binding),
            ]
        })
        .collect();
    let columns = [
        ("binding", Align::Left),
        ("key source", Align::Left),
        ("fingerprint", Align::Left),
        ("endpoint", Align::Left),
        ("project", Align::Left),
        ("result", Align::Left),
    ];
    table::write(out, columns, &rows)?;
    for binding in checked {
        for warning in &binding.warnings {
            let warning = format!("{}: {warning}", binding.selector);
            writeln!(out, "warning: {}", printable(&warning))?;
        }
    }
    if checked
        .iter()
        .any(|binding| binding.connection == ConnectionCheck::Accepted)
    {
        writeln!(
            out,
            "note: an empty export checks only the key; use --connect=send to check that each project accepts spans"
        )?;
    }
    let failed = checked.iter().filter(|binding| binding.is_faulty()).count();
    let bindings = if checked.len() == 1 { "binding" } else { "bindings" };
    writeln!(out, "{} {bindings}, {failed} failed", checked.len())?;
    Ok(())
}

fn result(binding: &CheckedBinding) -> String {
    match (&binding.error, &binding.connection) {
        (Some(error), _) => error.to_string(),
        (None, ConnectionCheck::NotTried) if binding.fingerprint.is_none() => "applies to any other tenant".to_owned(),
        (None, ConnectionCheck::NotTried) => "ok".to_owned(),
        (None, ConnectionCheck::Accepted) => "ok, the endpoint accepted the key".to_owned(),
        (None, ConnectionCheck::Delivered) => "ok, the endpoint accepted a span".to_owned(),
        (None, ConnectionCheck::Failed(error)) => error.to_string(),
        (None, ConnectionCheck::NotDelivered { fate, error }) => format!("the span is {fate}: {error}"),
        (None, other) => format!("{other:?}"),
    }
}
